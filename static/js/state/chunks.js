// What a neighbour's long prompt does to the run beside it: how long the run waits for its next token, and how long the
// prompt takes to be read. Counted from the steps of the log.

import { isOwn } from "../log/whose.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {{ seconds: number, from: number, to: number }} Gap log seconds */
/** @typedef {{ tokens: number, steps: number, seconds: number }} Reading of others' prompts: `seconds` from its first step to the end of its last */

/**
 * The longest wait from one step that brought a token of the answer to the next.
 * @param {State} state
 * @returns {Gap | null}
 */
export function longestGap({ tokens, request }) {
  /** @type {Gap | null} */
  let longest = null;
  for (let i = request.numPromptTokens + 1; i < tokens.length; i++) {
    const [from, to] = [tokens[i - 1].t, tokens[i].t];
    if (tokens[i].step !== tokens[i - 1].step && to - from > (longest?.seconds ?? 0))
      longest = { seconds: to - from, from, to };
  }
  return longest;
}

/** Tokens of others' prompts that a step reads. @param {State} state @param {import("./types.d.ts").Step} step */
export const othersRead = (state, { items }) =>
  items.reduce((sum, item) => sum + (item.phase === "prefill" && !isOwn(state, item) ? item.stop - item.start : 0), 0);

/**
 * How others' prompts were read while this run was in the kitchen.
 * @param {State} state
 * @returns {Reading | null}
 */
export function guestReading(state) {
  const steps = state.steps.filter((step) => step.finishedAt !== null && othersRead(state, step) > 0);
  const [first, last] = [steps[0], steps.at(-1)];
  if (!first || !last) return null;
  const tokens = steps.reduce((sum, step) => sum + othersRead(state, step), 0);
  return { tokens, steps: steps.length, seconds: (last.finishedAt ?? last.startedAt) - first.startedAt };
}
