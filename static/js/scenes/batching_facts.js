// The numbers of the prose about batching: counted and timed in the logs of its lanes.

import { cornerOf, sizesOf } from "../state/batch_sizes.js";
import { measured, modelled } from "../state/fact.js";
import { count, percent, seconds, significant } from "../state/format.js";
import { seatsOf } from "../state/seats.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/batch_sizes.js").Size} Size */

const COUNTED = "counted in the steps of this log";
const MEDIAN = "decode steps that wrote for so many, median";

/** @param {State | undefined} state @returns {number | null} share of the seat-steps that were dark */
function darkShare(state) {
  const { total, idle } = state ? seatsOf(state) : { total: 0, idle: 0 };
  return total ? idle / total : null;
}

/**
 * A number of a lane as it ended.
 * @param {string} key
 * @param {(state: State) => number | null} of
 * @param {(value: number) => string} text
 * @param {string} says
 */
const ofLane = (key, of, text, says) =>
  measured(
    (_, runs) => {
      const state = runs.ended(key);
      return state ? of(state) : null;
    },
    text,
    says,
    key,
  );

/** @param {(sizes: Size[]) => number | undefined} of @param {(value: number) => string} text @param {string} says */
const ofBatch = (of, text, says) => ofLane("batch", (state) => of(sizesOf(state)) ?? null, text, says);

/** @param {State} state */
const stepsOf = (state) => state.steps.length;
/** @param {State} state */
const wantedOf = (state) => seatsOf(state).wanted;

/** @type {Record<string, import("../state/fact.js").Rule>} */
export const batchingFacts = {
  "batching.seats": measured((s) => s.opened?.engine?.max_num_seqs, count, "from the engine's own configuration"),
  "batching.own.dark": measured(darkShare, percent, COUNTED),
  "batching.own.rate": measured(ownRate, significant, "tokens written over the seconds of their decode steps"),
  "batching.static.steps": ofLane("static", stepsOf, count, COUNTED),
  "batching.static.wanted": ofLane("static", wantedOf, count, COUNTED),
  "batching.continuous.steps": ofLane("continuous", stepsOf, count, COUNTED),
  "batching.continuous.wanted": ofLane("continuous", wantedOf, count, COUNTED),
  "batching.few.size": ofBatch((sizes) => sizes[0]?.size, count, COUNTED),
  "batching.few.rate": ofBatch((sizes) => sizes[0]?.rate, significant, MEDIAN),
  "batching.few.seconds": ofBatch((sizes) => sizes[0]?.seconds, seconds, MEDIAN),
  "batching.many.size": ofBatch((sizes) => sizes.at(-1)?.size, count, COUNTED),
  "batching.many.rate": ofBatch((sizes) => sizes.at(-1)?.rate, significant, MEDIAN),
  "batching.many.seconds": ofBatch((sizes) => sizes.at(-1)?.seconds, seconds, MEDIAN),
  "batching.corner": modelled(
    (_, runs) => {
      const state = runs.ended("batch");
      return state ? cornerOf(state) : null;
    },
    (value) => count(Math.round(value)),
    "seconds to read the weights at the measured bandwidth × measured FLOP/s ÷ FLOPs a token",
    "batch",
  ),
};

/** Tokens a second of the run's own decode steps. @param {State} state */
function ownRate(state) {
  let [tokens, time] = [0, 0];
  for (const step of state.steps) {
    if (step.ownPhase !== "decode" || step.phase === "prefill" || step.seconds === null) continue;
    tokens += (step.ownStop ?? 0) - (step.ownStart ?? 0);
    time += step.seconds;
  }
  return time > 0 ? tokens / time : null;
}
