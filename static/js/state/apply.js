// events -> state. Deterministic, and it touches only the state it is given: the same log gives the same state, so
// seeking is a replay and a recording is the run.

import { onAllocated, onCopied, onEvicted, onReleased, onShared } from "./blocks.js";
import { onKvWritten, onProbeKv } from "./cache.js";
import { onProbeAttention, onProbeAttentionSummary, onProbeLogits, onProbeTiles } from "./probes.js";
import { onAdmitted, onFinished, onPreempted, onQueued, onTokenized } from "./requests.js";
import { onClosed, onOpened, onSnapshot } from "./run.js";
import { onDrafted, onJudged } from "./speculation.js";
import { onStepFinished, onStepStarted } from "./steps.js";
import { onSampled } from "./tokens.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("../types/events.d.ts").AnyEvent} AnyEvent */

/** @type {{ [T in keyof import("../types/events.d.ts").EventByType]?: (state: State, event: import("../types/events.d.ts").EventByType[T]) => void }} */
const HANDLERS = {
  "log.opened": onOpened,
  snapshot: onSnapshot,
  "log.closed": onClosed,
  "request.queued": onQueued,
  "request.tokenized": onTokenized,
  "request.admitted": onAdmitted,
  "request.preempted": onPreempted,
  "request.finished": onFinished,
  "step.started": onStepStarted,
  "step.finished": onStepFinished,
  "block.allocated": onAllocated,
  "block.shared": onShared,
  "block.copied": onCopied,
  "block.released": onReleased,
  "block.evicted": onEvicted,
  "kv.written": onKvWritten,
  "token.sampled": onSampled,
  "speculation.drafted": onDrafted,
  "speculation.judged": onJudged,
  "probe.kv": onProbeKv,
  "probe.logits": onProbeLogits,
  "probe.attention": onProbeAttention,
  "probe.attention_summary": onProbeAttentionSummary,
  "probe.tiles": onProbeTiles,
};

/** @type {Map<string, (state: State, event: any) => void>} a Map, so that no type finds `Object.prototype` */
const handlers = new Map(Object.entries(HANDLERS));

/**
 * Fold one event into the state. A type that this page does not know only moves the clock.
 * @param {State} state
 * @param {AnyEvent} event
 */
export function apply(state, event) {
  handlers.get(event.type)?.(state, event);
  state.seq = event.seq;
  state.t = event.t;
}

/**
 * Bring `state` forward to `seq`.
 * @param {State} state
 * @param {AnyEvent[]} events `events[seq - 1]`
 * @param {number} seq
 */
export function applyUpTo(state, events, seq) {
  for (let i = state.seq; i < seq; i++) apply(state, events[i]);
}
