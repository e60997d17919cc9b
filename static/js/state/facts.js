// The numbers in the prose, each with where it comes from. A fact that the run has not said yet is null, and the page
// shows a dash.
//
// `measured` becomes `recorded` when the log was made elsewhere. `modelled` follows from shapes (the events' own FLOPs
// and bytes are counted by inference/costs.py, never here).

import { bytes, count, percent, seconds, si, significant } from "./format.js";
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

/** @param {Step} step */
const flopsOf = (step) => step.flops ?? 0;
/** @param {Step} step */
const bytesOf = (step) => (step.weightBytes ?? 0) + (step.kvReadBytes ?? 0) + (step.kvWrittenBytes ?? 0);

/**
 * @param {number | null} part
 * @param {number | null | undefined} whole
 */
const share = (part, whole) => (part !== null && whole ? part / whole : null);

/** @param {State} state @param {number} q */
const gap = (state, q) =>
  state.interTokenSeconds.length ? quantile(Float64Array.from(state.interTokenSeconds).sort(), q) : null;

/** @param {State} state */
function ttft({ request }) {
  return request.firstTokenAt; // the log opens when the request arrives
}

/** @param {State} state */
const completion = (state) => state.tokens.length - state.request.numPromptTokens;

/** @param {string} value */
const words = (value) => value;
/** @param {number} value */
const flopsPerSecond = (value) => si(value, "FLOP/s");
/** @param {number} value */
const bytesPerSecond = (value) => si(value, "B/s");
/** @param {number} value */
const tokensPerSecond = (value) => `${si(value, "tokens/s", [""])}`;
/** @param {number} value */

/** @param {Rule["of"]} of @param {Rule["text"]} text @param {string} says @returns {Rule} */
const measured = (of, text, says) => ({ kind: "measured", of, text, says });
/** @param {Rule["of"]} of @param {Rule["text"]} text @param {string} says @returns {Rule} */
const modelled = (of, text, says) => ({ kind: "modelled", of, text, says });

const CARD = "from the model's own configuration";
const CLOCK = "the engine's clock";
const COUNTED = "counted in this run";
const COSTS = "work counted from the shapes, time from the engine's clock";
const ROOF = "measured on the machine that ran it";

/** @type {Record<string, Rule>} */
const RULES = {
  "prompt.tokens": measured((s) => s.request.numPromptTokens || null, count, COUNTED),
  "prompt.ownTokens": measured((s) => s.tokens.filter((token) => token.own).length || null, count, COUNTED),
  "prompt.cachedTokens": measured(
    (s) => (s.request.admittedAt === null ? null : s.request.cachedTokens),
    count,
    COUNTED,
  ),
  "prompt.computedTokens": measured(
    (s) => (s.request.admittedAt === null ? null : s.request.numPromptTokens - s.request.cachedTokens),
    count,
    COUNTED,
  ),
  "completion.tokens": measured((s) => (completion(s) > 0 ? completion(s) : null), count, COUNTED),
  "total.tokens": measured((s) => s.tokens.length || null, count, COUNTED),
  "total.seconds": measured((s) => s.closed?.totals.seconds ?? (s.seq ? s.t : null), seconds, CLOCK),
  "token.seconds": measured((s) => s.interTokenSeconds.at(-1), seconds, CLOCK),
  "token.probability": measured((s) => s.tokens.at(-1)?.probability, percent, "the model's own distribution"),

  "queue.seconds": measured((s) => s.request.queueSeconds, seconds, CLOCK),
  "queue.position": measured((s) => s.request.position, count, COUNTED),
  "queue.waiting": measured((s) => s.request.numWaiting, count, COUNTED),
  "tokenize.seconds": measured((s) => s.request.tokenizeSeconds, seconds, "chat template and tokenizer"),
  "ttft.seconds": measured(ttft, seconds, "from the request's arrival to the first token"),
  "itl.p50": measured((s) => gap(s, 0.5), seconds, "time between tokens, median"),
  "itl.p99": measured((s) => gap(s, 0.99), seconds, "time between tokens, 99th percentile"),

  "prefill.seconds": measured((s) => sum(prefillSteps(s), (step) => step.seconds ?? 0) || null, seconds, CLOCK),
  "prefill.tokens": measured((s) => sum(prefillSteps(s), ownTokens) || null, count, COUNTED),
  "prefill.steps": measured((s) => prefillSteps(s).length || null, count, COUNTED),
  "prefill.tokensPerSecond": measured((s) => rate(prefillSteps(s), ownTokens), tokensPerSecond, CLOCK),
  "prefill.secondsPerToken": measured(
    (s) => inverse(rate(prefillSteps(s), ownTokens)),
    seconds,
    "prefill seconds over prompt tokens",
  ),
  "prefill.flops": modelled(
    (s) => sum(prefillSteps(s), flopsOf) || null,
    (value) => si(value, "FLOP"),
    COSTS,
  ),
  "prefill.flopsPerSecond": measured((s) => rate(prefillSteps(s), flopsOf), flopsPerSecond, COSTS),
  "prefill.bytesPerSecond": measured((s) => rate(prefillSteps(s), bytesOf), bytesPerSecond, COSTS),
  "prefill.shareOfPeak": measured(
    (s) => share(rate(prefillSteps(s), flopsOf), s.opened?.hardware?.peak_flops),
    percent,
    COSTS,
  ),
  "prefill.shareOfBandwidth": measured(
    (s) => share(rate(prefillSteps(s), bytesOf), s.opened?.hardware?.memory_bandwidth),
    percent,
    COSTS,
  ),

  "decode.seconds": measured((s) => sum(decodeSteps(s), (step) => step.seconds ?? 0) || null, seconds, CLOCK),
  "decode.steps": measured((s) => decodeSteps(s).length || null, count, COUNTED),
  "decode.secondsPerToken": measured((s) => inverse(rate(decodeSteps(s), ownTokens)), seconds, CLOCK),
  "decode.tokensPerSecond": measured((s) => rate(decodeSteps(s), ownTokens), tokensPerSecond, CLOCK),
  "decode.flopsPerSecond": measured((s) => rate(decodeSteps(s), flopsOf), flopsPerSecond, COSTS),
  "decode.bytesPerSecond": measured((s) => rate(decodeSteps(s), bytesOf), bytesPerSecond, COSTS),
  "decode.bytesPerStep": modelled((s) => mean(decodeSteps(s), bytesOf), bytes, "counted from the shapes"),
  "decode.flopsPerStep": modelled(
    (s) => mean(decodeSteps(s), flopsOf),
    (value) => si(value, "FLOP"),
    "counted from the shapes",
  ),
  "decode.shareOfPeak": measured(
    (s) => share(rate(decodeSteps(s), flopsOf), s.opened?.hardware?.peak_flops),
    percent,
    COSTS,
  ),
  "decode.shareOfBandwidth": measured(
    (s) => share(rate(decodeSteps(s), bytesOf), s.opened?.hardware?.memory_bandwidth),
    percent,
    COSTS,
  ),
  "phases.ratio": measured(
    (s) => share(inverse(rate(decodeSteps(s), ownTokens)), inverse(rate(prefillSteps(s), ownTokens))),
    (value) => `${significant(value)}×`,
    "seconds a token, decode over prefill",
  ),

  "kv.tokens": measured((s) => s.cache.numTokens || null, count, COUNTED),
  "kv.bytes": measured((s) => s.cache.bytes || null, bytes, "places in the cache times bytes a place"),
  "kv.bytesPerToken": modelled(
    (s) => s.opened?.model?.kv_bytes_per_token,
    bytes,
    "layers × KV heads × head size × 2 × bytes a number",
  ),
  "kv.blocks": measured((s) => s.cache.blockTable.length || null, count, COUNTED),
  "kv.sharedBlocks": measured((s) => (s.request.admittedAt === null ? null : s.cache.sharedCount), count, COUNTED),
  "kv.blockSize": measured((s) => s.opened?.engine?.block_size, count, "the engine's configuration"),
  "kv.rows": modelled((s) => product(s.opened?.model?.num_layers, s.opened?.model?.num_kv_heads), count, CARD),

  "roof.flops": measured((s) => s.opened?.hardware?.peak_flops, flopsPerSecond, ROOF),
  "roof.bandwidth": measured((s) => s.opened?.hardware?.memory_bandwidth, bytesPerSecond, ROOF),
  "roof.intensity": measured(
    (s) => share(s.opened?.hardware?.peak_flops ?? null, s.opened?.hardware?.memory_bandwidth),
    (value) => si(value, "FLOP/B", [""]),
    ROOF,
  ),
  "machine.name": measured((s) => s.opened?.hardware?.name, words, "the machine's own name"),
  "machine.threads": measured((s) => s.opened?.hardware?.num_threads, count, "the engine's configuration"),
  "machine.memoryBytes": measured((s) => s.opened?.hardware?.memory_bytes, bytes, "the operating system"),
  "machine.measuredOn": measured((s) => s.opened && day(s.opened.opened_at), words, "the log's own date"),

  "model.name": modelled((s) => s.opened?.model?.name, words, CARD),
  "model.dtype": modelled((s) => s.opened?.model?.dtype, words, CARD),
  "model.layers": modelled((s) => s.opened?.model?.num_layers, count, CARD),
  "model.heads": modelled((s) => s.opened?.model?.num_heads, count, CARD),
  "model.kvHeads": modelled((s) => s.opened?.model?.num_kv_heads, count, CARD),
  "model.headDim": modelled((s) => s.opened?.model?.head_dim, count, CARD),
  "model.hidden": modelled((s) => s.opened?.model?.hidden_size, count, CARD),
  "model.vocab": modelled((s) => s.opened?.model?.vocab_size, count, CARD),
  "model.parameters": modelled(
    (s) => s.opened?.model?.num_parameters,
    (value) => si(value, "", ["", "k", "M", "B", "T"]),
    CARD,
  ),
  "model.parameterBytes": modelled((s) => s.opened?.model?.parameter_bytes, bytes, CARD),
  "model.maxLength": modelled((s) => s.opened?.model?.max_model_len, count, CARD),
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

/** @param {Step[]} steps @param {(step: Step) => number} of */
function mean(steps, of) {
  return steps.length ? sum(steps, of) / steps.length : null;
}

/** @param {number | undefined} a @param {number | undefined} b */
function product(a, b) {
  return a === undefined || b === undefined ? null : a * b;
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
