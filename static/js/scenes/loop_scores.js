// What is known of the token that a run drew last: the whole vocabulary's logits where a probe has them, reshaped as the
// sliders say; else the likeliest few that every token comes with.

import { visible } from "../stage/text.js";
import { decodeArray } from "../state/arrays.js";
import { drawAt, PLAIN, reshape } from "../state/sampling.js";
import { uniforms } from "../state/twister.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Token} Token */
/** @typedef {import("../state/sampling.js").Settings} Settings */
/** @typedef {import("../state/sampling.js").Distribution} Distribution */
/** @typedef {{ id: number, name: string, logit: number, plain: number, shaped: number, from: number, rank: number }} Row a token that has a row: its probability as the model has it and after reshaping, where its part of the line begins, and its rank there */
/** @typedef {{ from: number, to: number, uniform: number | null }} Coin the drawn token's part of the line, and where on it the coin fell, if that can be known */
/**
 * @typedef {object} Scores
 * @property {number} place position of the token in question
 * @property {Token | null} token it, null before the first is drawn
 * @property {number} vocabulary
 * @property {Distribution | null} plain the model's own; null where only the likeliest few are known
 * @property {Distribution | null} shaped after the cuts
 * @property {Settings} settings that `shaped` was made with
 * @property {boolean} own they are those of the run
 * @property {(id: number) => string} name
 * @property {Coin | null} coin of the log
 */

/** @param {State} state @returns {Settings} */
export function settingsOf(state) {
  const { temperature = 1, top_k = 0, top_p = 1, min_p = 0, repetition_penalty = 1 } = state.opened?.params ?? {};
  return { temperature, top_k, top_p, min_p, repetition_penalty };
}

/** What the sliders say; the penalty is the run's. @param {State} state @param {Record<string, any>} controls @returns {Settings} */
function settingsFrom(state, controls) {
  const own = settingsOf(state);
  /** @param {keyof Settings} key */
  const of = (key) => (Number.isFinite(controls[`loop_${key}`]) ? Number(controls[`loop_${key}`]) : own[key]);
  return { ...own, temperature: of("temperature"), top_k: of("top_k"), top_p: of("top_p"), min_p: of("min_p") };
}

/** @param {Settings} a @param {Settings} b */
const alike = (a, b) => /** @type {(keyof Settings)[]} */ (Object.keys(a)).every((key) => a[key] === b[key]);

/**
 * The logits that the token at `place` was drawn from: this run's own, or those of a look at the same tokens.
 * @param {State} state
 * @param {(State | null | undefined)[]} looks
 * @param {number} place
 * @returns {Float32Array | null}
 */
export function logitsAt(state, looks, place) {
  for (const look of [state, ...looks]) {
    const probe = look?.probes.logits.get(place - 1);
    if (!look || !probe) continue;
    if (look === state || state.tokens.slice(0, place).every(({ id }, i) => look.tokens[i]?.id === id))
      return decodeArray(probe.logits);
  }
  return null;
}

/** The token that the playhead has come to. @param {State} state */
export function newestOf(state) {
  const token = state.tokens.at(-1);
  return token?.kind === "generated" ? token : null;
}

/** Words of ids, as far as the run has said them. @type {WeakMap<State, { count: number, words: Map<number, string> }>} */
const dictionaries = new WeakMap();

/** @param {State} state */
function dictionary(state) {
  let known = dictionaries.get(state);
  if (!known || known.count > state.tokens.length) known = { count: 0, words: new Map() };
  for (const { id, text, candidates } of state.tokens.slice(known.count)) {
    if (text && !known.words.has(id)) known.words.set(id, text);
    for (const candidate of candidates) known.words.set(candidate.id, candidate.text);
  }
  known.count = state.tokens.length;
  dictionaries.set(state, known);
  return known.words;
}

/** @type {Map<string, { logits: Float32Array, place: number, made: Distribution }>} by settings, the last used at the end */
const made = new Map();
const MOST_MADE = 4;

/** @param {Float32Array} logits @param {Settings} settings @param {State} state @param {number} place */
function distributionOf(logits, settings, state, place) {
  const key = JSON.stringify(settings);
  let known = made.get(key);
  if (known?.logits !== logits || known.place !== place) {
    const seen = state.tokens.slice(0, place).map(({ id }) => id);
    known = { logits, place, made: reshape(logits, settings, seen) };
  }
  made.delete(key);
  made.set(key, known);
  for (const old of made.keys()) if (made.size > MOST_MADE) made.delete(old);
  return known.made;
}

/**
 * @param {State} state
 * @param {(State | null | undefined)[]} looks other runs that may hold the logits
 * @param {Record<string, any>} controls
 * @returns {Scores}
 */
export function scoresOf(state, looks, controls) {
  const token = newestOf(state);
  const place = token?.position ?? state.tokens.length;
  const words = dictionary(state);
  const settings = settingsFrom(state, controls);
  const own = alike(settings, settingsOf(state));
  const logits = place > 0 ? logitsAt(state, looks, place) : null;
  const plain = logits && distributionOf(logits, PLAIN, state, place);
  const shaped = logits && distributionOf(logits, settings, state, place);
  return {
    place,
    token,
    vocabulary: state.opened?.model?.vocab_size ?? logits?.length ?? 0,
    plain,
    shaped,
    settings,
    own,
    name: (id) => visible(words.get(id) ?? `#${id}`),
    coin: own && shaped && token ? coinOf(state, token, shaped) : null,
  };
}

/**
 * Where the coin of the log fell. The engine lays likeliest first on the line only where a nucleus sorted it, and its
 * draws are the seed's one by one only where nobody drafted.
 * @param {State} state
 * @param {Token} token
 * @param {Distribution} shaped
 * @returns {Coin | null}
 */
export function coinOf(state, token, { ids, mass }) {
  const at = ids.subarray(0, mass.length).indexOf(token.id);
  const { seed, temperature, top_p } = state.opened?.params ?? {};
  // At temperature 0 no coin is thrown; without a nucleus the line is laid in another order; and what a drafter
  // proposed was judged by a coin of another kind.
  if (at < 0 || !(temperature > 0 && top_p < 1) || token.origin !== "target") return null;
  const from = mass.subarray(0, at).reduce((sum, part) => sum + part, 0);
  const answer = state.tokens.slice(state.request.numPromptTokens, token.position + 1);
  const told = Number.isSafeInteger(seed);
  let uniform = null;
  if (told && answer.every(({ origin }) => origin === "target")) {
    const fell = coinsOf(seed, answer.length)[answer.length - 1];
    if (drawAt(mass, fell) === at) uniform = fell;
  }
  return { from, to: from + mass[at], uniform };
}

/** @type {{ seed: number, all: Float64Array }} */
let coins = { seed: -1, all: new Float64Array(0) };

/** The coins of a seed, at least `count`. @param {number} seed @param {number} count */
function coinsOf(seed, count) {
  if (coins.seed !== seed || coins.all.length < count) coins = { seed, all: uniforms(seed, Math.max(512, 2 * count)) };
  return coins.all;
}

/** @type {number[]} the first coin of the seeds 1, 2, 3 ... */
const firsts = [];

/**
 * Draws of the browser's own: with each seed the first coin.
 * @param {number} count
 */
export function drawsOf(count) {
  while (firsts.length < count) firsts.push(uniforms(firsts.length + 1, 1)[0]);
  return firsts.slice(0, count);
}

/**
 * The likeliest tokens, the drawn one always among them, and what is left for all others.
 * @param {Scores} scores
 * @param {number} most rows
 * @param {boolean} reshaped in the order after reshaping
 * @returns {{ rows: Row[], others: { count: number, plain: number, shaped: number } }}
 */
export function rowsOf({ plain, shaped, token, name, vocabulary }, most, reshaped) {
  const rows = plain && shaped ? ranked(plain, shaped, most, reshaped, token, name) : told(token, most);
  /** @param {(row: Row) => number} of */
  const left = (of) => Math.max(0, 1 - rows.reduce((sum, row) => sum + of(row), 0));
  const others = {
    count: Math.max(0, vocabulary - rows.length),
    plain: left((row) => row.plain),
    shaped: left((row) => row.shaped),
  };
  return { rows, others };
}

/**
 * @param {Distribution} plain
 * @param {Distribution} shaped
 * @param {number} most
 * @param {boolean} reshaped
 * @param {Token | null} token
 * @param {(id: number) => string} name
 * @returns {Row[]}
 */
function ranked(plain, shaped, most, reshaped, token, name) {
  const chosen = [...(reshaped ? shaped : plain).ids.subarray(0, most)];
  if (token && token.id < plain.ids.length && !chosen.includes(token.id)) chosen.splice(-1, 1, token.id);
  return chosen.map((id) => {
    const rank = shaped.ids.indexOf(id);
    const first = plain.ids.indexOf(id);
    const from = shaped.mass.subarray(0, rank).reduce((sum, part) => sum + part, 0);
    return {
      id,
      name: name(id),
      logit: plain.scores[first],
      plain: plain.mass[first],
      shaped: shaped.mass[rank] ?? 0,
      from,
      rank,
    };
  });
}

/**
 * Where only the event's own candidates are known, nothing can be reshaped: they stand as the model had them.
 * @param {Token | null} token
 * @param {number} most
 * @returns {Row[]}
 */
function told(token, most) {
  if (!token?.candidates.length) return [];
  const listed = token.candidates.slice(0, most);
  const own = token.candidates.find(({ id }) => id === token.id) ?? {
    id: token.id,
    text: token.text,
    logit: Number.NaN,
    probability: token.probability ?? 0,
  };
  if (!listed.includes(own)) listed.splice(most - 1, 1, own);
  let from = 0;
  return listed.map(({ id, text, logit, probability }, rank) => {
    const row = { id, name: visible(text), logit, plain: probability, shaped: probability, from, rank };
    from += probability;
    return row;
  });
}
