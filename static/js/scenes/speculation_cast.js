// Who is on stage in room 11, and which of its pictures is.

import { proofs } from "./speculation_texts.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./speculation_lanes.js").Runner} Runner */
/** @typedef {"walks" | "cards" | "race" | "texts"} Picture */

export const PICTURES = /** @type {const} */ (["walks", "cards", "race", "texts"]);
/** Lanes of the race, from the top. */
const RACE = ["standard", "speculative", "look-up", "mismatched"];
/** Drafters by the name that the engine has for them, and the take that runs them. @type {Record<string, string>} */
const TAKE_OF = { eagle: "speculative", ngram: "look-up", mismatched: "mismatched" };

/** @param {View} view @returns {Record<Picture, number>} */
export function mixOf({ data }) {
  const { walks = 0, cards = 0, race = 0, texts = 0 } = data;
  return { walks, cards, race, texts };
}

/** The picture that the reader sees most of. @param {View} view @returns {Picture} */
export function pictureOf(view) {
  const mix = mixOf(view);
  return PICTURES.reduce((best, name) => (mix[name] > mix[best] ? name : best), /** @type {Picture} */ ("walks"));
}

/**
 * Everybody on stage, by the key of their take: first the run on stage, which is the reader's own until its take is there.
 * @param {View} view
 * @param {State} state of the run on stage
 * @returns {[Runner, ...Runner[]]}
 */
function runnersOf({ cast: { main, lanes } }, state) {
  const first = main.state ? main : { key: "own", status: "own" };
  return [{ ...first, state }, ...(main.state ? [] : [main]), ...lanes];
}

/** In the order of the race. @param {View} view @param {State} state */
export function racers(view, state) {
  const all = runnersOf(view, state);
  const known = ["own", ...RACE].flatMap((key) => all.filter((runner) => runner.key === key));
  // On the way to or from another step somebody else is on stage.
  return known.some((runner) => runner.state === state) ? known : all;
}

/** @param {View} view @param {State} state */
export function proofsOn(view, state) {
  const all = new Map(runnersOf(view, state).map((runner) => [runner.key, runner.state]));
  return proofs((key) => all.get(key) ?? null);
}

/** The lane that the reader picked. @param {View} view */
export const litOf = ({ controls }) => TAKE_OF[controls.speculation_drafter] ?? "";

/** The run in the lane that the reader picked; else the one on stage. @param {Runner[]} all @param {View} view @param {State} state */
export const pickedOf = (all, view, state) => all.find(({ key }) => key === litOf(view))?.state ?? state;
