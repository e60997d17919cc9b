// Tokens as they are drawn, and the answer they spell.

import { isOwn } from "../log/whose.js";

/** @typedef {import("./types.d.ts").State} State */

/** @param {State} state @param {import("../types/events.d.ts").TokenSampled} event */
export function onSampled(state, event) {
  if (!isOwn(state, event)) return;
  const { request } = state;
  state.tokens[event.position] = {
    position: event.position,
    id: event.id,
    text: event.text,
    kind: "generated",
    own: false,
    special: event.text === "" && event.candidates.some(({ id, text }) => id === event.id && /^<\|.*\|>$/.test(text)),
    t: event.t,
    seq: event.seq,
    step: event.step,
    logprob: event.logprob,
    probability: Math.exp(event.logprob),
    candidates: event.candidates,
    rest: event.rest,
    origin: event.origin,
  };
  state.answer += event.text;
  // Tokens that one step brought come together: the reader waited once for all of them.
  const together = state.tokens[event.position - 1]?.step === event.step;
  if (request.lastTokenAt !== null && !together) {
    state.gapOfStep.set(event.step, state.interTokenSeconds.length);
    state.interTokenSeconds.push(event.t - request.lastTokenAt);
  }
  request.firstTokenAt ??= event.t;
  if (!together) request.lastTokenAt = event.t;
}
