// What this run's probes showed, by position. The events are kept as they came; a room decodes what it draws.

/** @typedef {import("./types.d.ts").State} State */

/** @param {State} state @param {import("../types/events.d.ts").ProbeLogits} event */
export function onProbeLogits(state, event) {
  if (event.request_id === state.ownId) state.probes.logits.set(event.position, event);
}

/** @param {State} state @param {import("../types/events.d.ts").ProbeAttention} event */
export function onProbeAttention(state, event) {
  if (event.request_id === state.ownId) state.probes.attention.set(event.position, event);
}

/** @param {State} state @param {import("../types/events.d.ts").ProbeAttentionSummary} event */
export function onProbeAttentionSummary(state, event) {
  if (event.request_id === state.ownId) state.probes.summaries.set(event.position, event);
}

/** @param {State} state @param {import("../types/events.d.ts").ProbeTiles} event */
export function onProbeTiles(state, event) {
  if (event.request_id === state.ownId) state.probes.tiles = event;
}
