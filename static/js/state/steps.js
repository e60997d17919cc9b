// Engine steps: what was computed, for whom, and what it cost.

import { isOwn } from "../log/whose.js";
import { otherOf } from "./requests.js";

/** @typedef {import("./types.d.ts").State} State */

/**
 * Tokens of a part that had been computed before: a run that is preempted gives its keys and values up, and reads all
 * again. Null while the prompt is read for the first time.
 * @param {State} state
 * @param {{ start: number, stop: number }} part
 */
function againIn({ request: { numReached, numPromptTokens } }, { start, stop }) {
  const read = numPromptTokens > 0 && numReached >= numPromptTokens;
  return read || start < numReached ? Math.max(0, Math.min(stop, numReached) - start) : null;
}

/** @param {State} state @param {import("../types/events.d.ts").StepStarted} event */
export function onStepStarted(state, event) {
  const own = event.requests.find((item) => isOwn(state, item)) ?? null;
  state.steps.push({
    step: event.step,
    phase: event.phase,
    ownPhase: own ? own.phase : null,
    ownStart: own ? own.start : null,
    ownStop: own ? own.stop : null,
    ownAgain: own?.phase === "prefill" ? againIn(state, own) : null,
    startedAt: event.t,
    finishedAt: null,
    seconds: null,
    scheduleSeconds: null,
    forwardSeconds: null,
    sampleSeconds: null,
    numTokens: event.num_tokens,
    flops: null,
    weightBytes: null,
    kvReadBytes: null,
    kvWrittenBytes: null,
    kvHeldBytes: null,
    kvUnusedBytes: null,
    items: event.requests,
    numRequests: event.requests.length,
    numWaiting: event.num_waiting ?? null,
    idleSlots: event.num_idle_slots ?? null,
  });
  state.request.numReached = Math.max(state.request.numReached, own?.stop ?? 0);
}

/** @param {State} state @param {import("../types/events.d.ts").StepFinished} event */
export function onStepFinished(state, event) {
  const step = state.steps.at(-1);
  // A log may open in the middle of a step: its end without its beginning says nothing that could be drawn.
  if (!step || step.step !== event.step || step.finishedAt !== null) return;
  step.finishedAt = event.t;
  step.seconds = event.seconds;
  step.scheduleSeconds = event.schedule_seconds;
  step.forwardSeconds = event.forward_seconds;
  step.sampleSeconds = event.sample_seconds;
  step.flops = event.flops;
  step.weightBytes = event.weight_bytes;
  step.kvReadBytes = event.kv_read_bytes;
  step.kvWrittenBytes = event.kv_written_bytes;
  step.kvHeldBytes = event.kv_held_bytes ?? null;
  step.kvUnusedBytes = event.kv_unused_bytes ?? null;
  for (const item of step.items) {
    if (isOwn(state, item)) continue;
    const other = otherOf(state, item);
    other.slot = item.slot;
    other.numComputedTokens = item.stop;
    other.numTokens = Math.max(other.numTokens, item.stop);
  }
}
