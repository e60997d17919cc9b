// The numbers in the prose that any room may say of the run on stage. A fact that the run has not said yet is null, and
// the page shows a dash. What only one room says is in its scene's own `facts`.

import { t } from "../ui/messages.js";
import { factOf, measured, modelled, set } from "./fact.js";
import { bytes, count, seconds, si } from "./format.js";
import { quantile } from "./norms.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Step} Step */
/** @typedef {import("./fact.js").Fact} Fact */
/** @typedef {import("./fact.js").Rule} Rule */

/** @param {State} state @returns {Step[]} finished steps with a part for this run */
const ownSteps = (state) => state.steps.filter((step) => step.ownPhase !== null && step.finishedAt !== null);

/** @param {State} state */
const prefillSteps = (state) => ownSteps(state).filter((step) => step.ownPhase === "prefill" && step.ownAgain === null);

/** @param {State} state steps that read again what was given up when the run was preempted */
const againSteps = (state) => ownSteps(state).filter((step) => step.ownAgain !== null);

/** @param {State} state decode steps that computed nothing but decoding: the ones a rate can be told from */
const decodeSteps = (state) => ownSteps(state).filter((step) => step.phase !== "prefill");

/**
 * @param {Step[]} steps
 * @param {(step: Step) => number} of
 */
const sum = (steps, of) => steps.reduce((total, step) => total + of(step), 0);

/**
 * Total of `of` over total seconds; null of no steps.
 * @param {Step[]} steps
 * @param {(step: Step) => number} of
 */
function rate(steps, of) {
  const time = sum(steps, (step) => step.seconds ?? 0);
  return time > 0 ? sum(steps, of) / time : null;
}

/** @param {State} state @param {number} q */
const gap = (state, q) => (state.interTokenSeconds.length ? quantile(state.interTokenSeconds, q) : null);

/** @param {State} state */
function ttft({ request }) {
  return request.firstTokenAt; // the log opens when the request arrives
}

/** @param {number} steps a prompt longer than a step may be is read in several */
const sweeps = (steps) => (steps === 1 ? t("one sweep") : t("{steps} sweeps", { steps: count(steps) }));
/** @param {string} value */
const words = (value) => value;
/** @param {number} value */
const flopsPerSecond = (value) => si(value, "FLOP/s");
/** @param {number} value */
const bytesPerSecond = (value) => si(value, "B/s");

/** The weights that a step of one token reads: of an embedding that is not tied a row, of experts those of one token. @param {State} state */
const decodeWeights = (state) => decodeSteps(state).find((step) => step.weightBytes)?.weightBytes;

/** @param {State} state tokens that came in the same step as the one before them */
const together = ({ tokens, request, interTokenSeconds }) =>
  tokens.length - request.numPromptTokens - 1 - interTokenSeconds.length;

const CARD = "from the model's own configuration";
const CLOCK = "the engine's clock";
const COUNTED = "counted in this run";
const ROOF = "measured on the machine that ran it";

/** @type {Record<string, Rule>} */
const RULES = {
  "prompt.tokens": measured((s) => s.request.numPromptTokens || null, count, COUNTED),
  "ttft.seconds": measured(ttft, seconds, "from the request's arrival to the first token"),
  "itl.p50": measured((s) => gap(s, 0.5), seconds, "from one step that brought tokens to the next, median"),
  "itl.p99": measured((s) => gap(s, 0.99), seconds, "from one step that brought tokens to the next, 99th percentile"),
  "itl.together": measured(
    (s) => Math.max(0, together(s)) || null,
    count,
    "tokens that came in one step with the one before",
  ),
  "prefill.seconds": measured((s) => sum(prefillSteps(s), (step) => step.seconds ?? 0) || null, seconds, CLOCK),
  "prefill.steps": measured((s) => prefillSteps(s).length || null, sweeps, COUNTED),
  "prefill.tokens": measured((s) => sum(prefillSteps(s), ownTokens) || null, count, COUNTED),
  "prefill.secondsPerToken": measured(
    (s) => inverse(rate(prefillSteps(s), ownTokens)),
    seconds,
    "prefill seconds over prompt tokens",
  ),
  "again.tokens": measured((s) => sum(againSteps(s), (step) => step.ownAgain ?? 0) || null, count, COUNTED),
  "again.seconds": measured((s) => sum(againSteps(s), (step) => step.seconds ?? 0) || null, seconds, CLOCK),
  "decode.weightBytes": modelled(
    decodeWeights,
    bytes,
    "counted by the engine from the shapes of what a step of one token needs",
  ),
  "decode.secondsPerToken": measured((s) => inverse(rate(decodeSteps(s), ownTokens)), seconds, CLOCK),
  "kv.bytes": modelled((s) => s.cache.bytes || null, bytes, "places in the cache times bytes a place"),
  "kv.bytesPerToken": modelled(
    (s) => s.opened?.model?.kv_bytes_per_token,
    bytes,
    "layers × KV heads × head size × 2 × bytes a number",
  ),
  "roof.flops": measured((s) => s.opened?.hardware?.peak_flops, flopsPerSecond, ROOF),
  "roof.bandwidth": measured((s) => s.opened?.hardware?.memory_bandwidth, bytesPerSecond, ROOF),
  "model.parameterBytes": modelled((s) => s.opened?.model?.parameter_bytes, bytes, CARD),
  "model.experts": set((s) => s.opened?.model?.num_experts || null, count, CARD),
  "model.expertsPerToken": set((s) => s.opened?.model?.num_experts_per_token || null, count, CARD),
  "model.note": modelled((s) => s.opened?.model?.note || null, words, CARD),
};

/** @param {Step} step */
function ownTokens(step) {
  return (step.ownStop ?? 0) - (step.ownStart ?? 0);
}

/** @param {number | null} value */
function inverse(value) {
  return value ? 1 / value : null;
}

const rules = new Map(Object.entries(RULES));

/** Every key that `facts` knows. */
export const FACT_KEYS = [...rules.keys()];

/** @param {string} key @param {Record<string, Rule>} own @returns {Rule | undefined} */
export const ruleOf = (key, own) => (Object.hasOwn(own, key) ? own[key] : rules.get(key));

/**
 * @param {State} state
 * @param {string} key
 * @param {Record<string, Rule>} [own] the rules of the room on stage
 * @param {import("./fact.js").Runs} [runs]
 * @returns {Fact | null} null where the run has not said it (or nobody knows such a key)
 */
export const facts = (state, key, own = {}, runs = undefined) => factOf(ruleOf(key, own), state, runs);
