// Engine steps: what was computed, for whom, and what it cost.

import { isOwn } from "../log/whose.js";
import { otherOf } from "./requests.js";

/** @typedef {import("./types.d.ts").State} State */

/** @param {State} state @param {import("../types/events.d.ts").StepStarted} event */
export function onStepStarted(state, event) {
  const own = event.requests.find((item) => isOwn(state, item)) ?? null;
  state.steps.push({
    step: event.step,
    phase: event.phase,
    ownPhase: own ? own.phase : null,
    ownStart: own ? own.start : null,
    ownStop: own ? own.stop : null,
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
