// The numbers of the prose about batching: counted and timed in the logs of its lanes.

import { cornerOf, sizesOf } from "../state/batch_sizes.js";
import { measured, modelled, set } from "../state/fact.js";
import { count, percent, seconds, significant } from "../state/format.js";
import { seatsOf } from "../state/seats.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/batch_sizes.js").Size} Size */
/** @typedef {import("../state/fact.js").Runs} Runs */

const COUNTED = "counted in the steps of this log";
const MEDIAN = "decode steps that wrote for so many, median";

/** Share of the seat-steps that were empty. @param {State} state */
function emptyShare(state) {
  const { total, idle } = seatsOf(state);
  return total ? idle / total : null;
}

/** A lane as it ended. @template T @param {string} key @param {(state: State) => T} of @returns {(state: State, runs: Runs) => T | null} */
const lane = (key, of) => (_, runs) => {
  const state = runs.ended(key);
  return state ? of(state) : null;
};

/** Of the crowd's batch sizes. @template T @param {(sizes: Size[]) => T} of */
const crowd = (of) => lane("batch", (state) => of(sizesOf(state)));

/** @param {State} state */
const stepsOf = (state) => state.steps.length;
/** @param {State} state */
const wantedOf = (state) => seatsOf(state).wanted;

/** @type {Record<string, import("../state/fact.js").Rule>} */
export const batchingFacts = {
  "batching.seats": set((s) => s.opened?.engine?.max_num_seqs, count, "from the engine's own configuration"),
  "batching.own.empty": measured(emptyShare, percent, COUNTED),
  "batching.own.rate": measured(ownRate, significant, "tokens written over the seconds of their decode steps"),
  "batching.static.steps": measured(lane("static", stepsOf), count, COUNTED, "static"),
  "batching.static.wanted": measured(lane("static", wantedOf), count, COUNTED, "static"),
  "batching.continuous.steps": measured(lane("continuous", stepsOf), count, COUNTED, "continuous"),
  "batching.continuous.wanted": measured(lane("continuous", wantedOf), count, COUNTED, "continuous"),
  "batching.few.size": measured(
    crowd((sizes) => sizes[0]?.size),
    count,
    COUNTED,
    "batch",
  ),
  "batching.few.rate": measured(
    crowd((sizes) => sizes[0]?.rate),
    significant,
    MEDIAN,
    "batch",
  ),
  "batching.few.seconds": measured(
    crowd((sizes) => sizes[0]?.seconds),
    seconds,
    MEDIAN,
    "batch",
  ),
  "batching.many.size": measured(
    crowd((sizes) => sizes.at(-1)?.size),
    count,
    COUNTED,
    "batch",
  ),
  "batching.many.rate": measured(
    crowd((sizes) => sizes.at(-1)?.rate),
    significant,
    MEDIAN,
    "batch",
  ),
  "batching.many.seconds": measured(
    crowd((sizes) => sizes.at(-1)?.seconds),
    seconds,
    MEDIAN,
    "batch",
  ),
  "batching.corner": modelled(
    lane("batch", cornerOf),
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
