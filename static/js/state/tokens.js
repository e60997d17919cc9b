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
  if (request.lastTokenAt !== null) state.interTokenSeconds.push(event.t - request.lastTokenAt);
  request.firstTokenAt ??= event.t;
  request.lastTokenAt = event.t;
}
