// The numbers in the prose, each with where it comes from. A fact that the run has not said yet is null, and the page
// shows a dash.
//
// `measured` becomes `recorded` when the log was made elsewhere. `modelled` follows from shapes (the events' own FLOPs
// and bytes are counted by inference/costs.py, never here).

import { t } from "../ui/messages.js";
import { bytes, count, seconds, si } from "./format.js";
import { quantile } from "./norms.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Step} Step */
/** @typedef {"measured" | "modelled" | "recorded"} Provenance */
/** @typedef {{ value: number | string, text: string, provenance: Provenance, source: string }} Fact */
/** @typedef {{ kind: "measured" | "modelled", says: string, of: (state: State) => number | string | null | undefined, text: (value: any) => string }} Rule */

/** @param {State} state @returns {Step[]} finished steps with a part for this run */
const ownSteps = (state) => state.steps.filter((step) => step.ownPhase !== null && step.finishedAt !== null);

/** @param {State} state */
const prefillSteps = (state) => ownSteps(state).filter((step) => step.ownPhase === "prefill");

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

/** @param {Rule["of"]} of @param {Rule["text"]} text @param {string} says @returns {Rule} */
const measured = (of, text, says) => ({ kind: "measured", of, text, says });
/** @param {Rule["of"]} of @param {Rule["text"]} text @param {string} says @returns {Rule} */
const modelled = (of, text, says) => ({ kind: "modelled", of, text, says });

const CARD = "from the model's own configuration";
const CLOCK = "the engine's clock";
const COUNTED = "counted in this run";
const ROOF = "measured on the machine that ran it";

/** @type {Record<string, Rule>} */
const RULES = {
  "prompt.tokens": measured((s) => s.request.numPromptTokens || null, count, COUNTED),
  "ttft.seconds": measured(ttft, seconds, "from the request's arrival to the first token"),
  "itl.p50": measured((s) => gap(s, 0.5), seconds, "time between tokens, median"),
  "itl.p99": measured((s) => gap(s, 0.99), seconds, "time between tokens, 99th percentile"),
  "prefill.seconds": measured((s) => sum(prefillSteps(s), (step) => step.seconds ?? 0) || null, seconds, CLOCK),
  "prefill.steps": measured((s) => prefillSteps(s).length || null, sweeps, COUNTED),
  "prefill.tokens": measured((s) => sum(prefillSteps(s), ownTokens) || null, count, COUNTED),
  "prefill.secondsPerToken": measured(
    (s) => inverse(rate(prefillSteps(s), ownTokens)),
    seconds,
    "prefill seconds over prompt tokens",
  ),
  "decode.secondsPerToken": measured((s) => inverse(rate(decodeSteps(s), ownTokens)), seconds, CLOCK),
  "kv.bytes": measured((s) => s.cache.bytes || null, bytes, "places in the cache times bytes a place"),
  "kv.bytesPerToken": modelled(
    (s) => s.opened?.model?.kv_bytes_per_token,
    bytes,
    "layers × KV heads × head size × 2 × bytes a number",
  ),
  "roof.flops": measured((s) => s.opened?.hardware?.peak_flops, flopsPerSecond, ROOF),
  "roof.bandwidth": measured((s) => s.opened?.hardware?.memory_bandwidth, bytesPerSecond, ROOF),
  "model.parameterBytes": modelled((s) => s.opened?.model?.parameter_bytes, bytes, CARD),
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

/** @type {Map<number, string>} */
const days = new Map();

/** @param {number} unixSeconds */
function day(unixSeconds) {
  const known = days.get(unixSeconds) ?? new Date(unixSeconds * 1000).toISOString().slice(0, 10);
  days.set(unixSeconds, known);
  return known;
}

const rules = new Map(Object.entries(RULES));

/** Every key that `facts` knows. */
export const FACT_KEYS = [...rules.keys()];

/**
 * @param {State} state
 * @param {string} key
 * @returns {Fact | null} null where the run has not said it (or nobody knows such a key)
 */
export function facts(state, key) {
  const rule = rules.get(key);
  const value = rule?.of(state) ?? null;
  if (!rule || value === null || Number.isNaN(value)) return null;
  const { opened } = state;
  const elsewhere = opened?.source === "recorded" && rule.kind === "measured";
  const where = elsewhere ? ` · ${opened.hardware?.name ?? "another machine"}, ${day(opened.opened_at)}` : "";
  return {
    value,
    text: rule.text(value),
    provenance: elsewhere ? "recorded" : rule.kind,
    source: `${rule.says}${where}`,
  };
}
