// Speculation: what was drafted for this run, what became of it, and what a walk to the pantry (a pass of the model)
// brought back. The counting that room 11 shows is done here, from the state alone.

import { isOwn } from "../log/whose.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Round} Round */
/** @typedef {{ step: number, startedAt: number, finishedAt: number | null, seconds: number, draftSeconds: number, phase: string, positions: number[], kept: number, drafts: number, judged: number }} Walk one pass with a part for this run: `positions` of the tokens it gave, of which `kept` were drafts; `drafts` tasted or not, `judged` of them tasted */
/** @typedef {{ kept: number, judged: number }} Place */

/** @param {State} state @param {import("../types/events.d.ts").SpeculationDrafted} event */
export function onDrafted(state, event) {
  if (!isOwn(state, event)) return;
  const { step, drafter, position, ids, texts, q, seconds } = event;
  state.speculation.push({ step, drafter, position, ids, texts, q, seconds, verdict: null });
}

/** @param {State} state @param {import("../types/events.d.ts").SpeculationJudged} event */
export function onJudged(state, event) {
  const round = state.speculation.at(-1);
  // A log may open between a draft and its verdict.
  if (!isOwn(state, event) || round?.step !== event.step || round.verdict) return;
  const { p, draws, num_accepted: kept, id, text, origin, seconds } = event;
  round.verdict = { p, draws, kept, judged: judgedOf(kept, event.num_drafts), id, text, origin, seconds };
}

/** Drafts behind the first that is rejected are never looked at. @param {number} kept @param {number} drafts */
const judgedOf = (kept, drafts) => Math.min(kept + 1, drafts);

/** @type {WeakMap<State, { seq: number, walks: Walk[] }>} */
const walksByState = new WeakMap();

/**
 * The passes of the model that computed something for this run, in order.
 * @param {State} state
 * @returns {Walk[]}
 */
export function walksOf(state) {
  const known = walksByState.get(state);
  if (known?.seq === state.seq) return known.walks;
  const walks = countWalks(state);
  walksByState.set(state, { seq: state.seq, walks });
  return walks;
}

/** @param {State} state */
function countWalks(state) {
  /** @type {Map<number, Walk>} */
  const byStep = new Map();
  for (const step of state.steps) {
    if (step.ownStart === null) continue;
    byStep.set(step.step, {
      step: step.step,
      startedAt: step.startedAt,
      finishedAt: step.finishedAt,
      seconds: step.seconds ?? 0,
      draftSeconds: 0,
      phase: step.ownPhase ?? "decode",
      positions: [],
      kept: 0,
      drafts: 0,
      judged: 0,
    });
  }
  for (const token of state.tokens) {
    const walk = token && token.step !== null ? byStep.get(token.step) : undefined;
    if (!walk) continue;
    walk.positions.push(token.position);
    if (token.origin === "draft") walk.kept += 1;
  }
  for (const round of state.speculation) {
    const walk = byStep.get(round.step);
    if (!walk) continue;
    walk.draftSeconds = round.seconds;
    walk.drafts = round.ids.length;
    walk.judged = round.verdict?.judged ?? 0;
  }
  return [...byStep.values()];
}

/** How many passes are over. @param {State} state */
export const numWalks = (state) => walksOf(state).filter(({ finishedAt }) => finishedAt !== null).length;

/** Tokens written so far. @param {State} state */
export const numWritten = (state) => state.tokens.length - state.request.numPromptTokens;

/**
 * Drafts kept and tasted, by their place in the draft.
 * @param {Round[]} rounds
 * @returns {Place[]}
 */
export function acceptance(rounds) {
  /** @type {Place[]} */
  const places = [];
  for (const { ids, verdict } of rounds) {
    ids.forEach((_, place) => {
      places[place] ??= { kept: 0, judged: 0 };
      if (!verdict) return;
      if (place < verdict.judged) places[place].judged += 1;
      if (place < verdict.kept) places[place].kept += 1;
    });
  }
  return places;
}

/**
 * All drafts together.
 * @param {Round[]} rounds
 */
export function drafted(rounds) {
  const places = acceptance(rounds);
  return {
    kept: places.reduce((sum, { kept }) => sum + kept, 0),
    judged: places.reduce((sum, { judged }) => sum + judged, 0),
    drafts: rounds.reduce((sum, { ids, verdict }) => sum + (verdict ? ids.length : 0), 0),
  };
}

/**
 * Tokens that a walk with `k` guesses brings, if each place keeps what it kept so far: 1 + a1 + a1 a2 + ... Null where
 * a place has not been tasted.
 * @param {Place[]} places
 * @param {number} k
 */
export function expected(places, k) {
  let tokens = 1;
  let all = 1;
  for (let place = 0; place < k && all > 0; place++) {
    const { kept = 0, judged = 0 } = places[place] ?? {};
    if (!judged) return null;
    all *= kept / judged;
    tokens += all;
  }
  return tokens;
}

/**
 * Seconds a token, from the first one to the newest; null where there are no two.
 * @param {State} state
 */
export function secondsPerToken(state) {
  const { firstTokenAt, lastTokenAt } = state.request;
  // Tokens of the walk that brought the first one took no time of their own.
  const first = state.tokens[state.request.numPromptTokens]?.step ?? null;
  const later = state.tokens.filter(({ kind, step }) => kind === "generated" && step !== first).length;
  if (firstTokenAt === null || lastTokenAt === null || later === 0) return null;
  return (lastTokenAt - firstTokenAt) / later;
}

/**
 * Two answers to one prompt, token by token: `common` of them are equal from the first on; `parted`: the next one
 * differs (or one answer ends there and the other does not).
 * @param {State} a
 * @param {State} b
 */
export function compare(a, b) {
  const [from, to] = [a, b].map(({ tokens, request }) => tokens.slice(request.numPromptTokens).map(({ id }) => id));
  const most = Math.min(from.length, to.length);
  let common = 0;
  while (common < most && from[common] === to[common]) common += 1;
  const over = a.request.status === "finished" && b.request.status === "finished";
  return { common, parted: common < most || (over && from.length !== to.length), lengths: [from.length, to.length] };
}
