// What the engine draws a token from, worked out again in the browser: repetition penalty, temperature, top-k, top-p,
// min-p, in the order and the precision of inference/sampler.py. tests/browser/test_room_loop.py holds the two equal.
//
// Every cut keeps the likeliest, so once the vocabulary is ranked, each is a length.

/** @typedef {{ temperature: number, top_k: number, top_p: number, min_p: number, repetition_penalty: number }} Settings */
/** @typedef {{ ids: Uint32Array, scores: Float32Array }} Ranked the whole vocabulary, likeliest first; of equals the lower id */
/** @typedef {{ topK: number, topP: number, minP: number }} Kept how many tokens are left after each cut */
/** @typedef {Ranked & { mass: Float64Array, kept: Kept }} Distribution `mass[i]` is that of `ids[i]`, as far as anything has mass; in all 1 */

/** Temperatures under this are greedy: dividing by them would leave float32. */
const GREEDY_BELOW = 1e-5;
/** Room for an id behind a score's 32 bits, in a double. */
const IDS = 2 ** 20;

/** The model's own opinion: nothing reshaped. @type {Settings} */
export const PLAIN = { temperature: 1, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };

/**
 * @param {Float32Array} logits of the whole vocabulary
 * @param {Settings} settings
 * @param {Iterable<number>} seen ids of the tokens so far, the prompt's too
 * @returns {Distribution}
 */
export function reshape(logits, settings, seen) {
  return cut(ranked(scored(logits, settings, seen)), settings);
}

/**
 * Penalised, and divided by the temperature.
 * @param {Float32Array} logits
 * @param {Settings} settings
 * @param {Iterable<number>} seen
 */
export function scored(logits, { repetition_penalty: penalty, temperature }, seen) {
  const scores = logits.slice(); // float32: what is stored is rounded as torch rounds
  if (penalty !== 1) {
    const by = Math.fround(penalty);
    for (const id of new Set(seen))
      if (id < scores.length) scores[id] = logits[id] < 0 ? logits[id] * by : logits[id] / by;
  }
  if (temperature >= GREEDY_BELOW && temperature !== 1) {
    const by = Math.fround(temperature);
    for (let i = 0; i < scores.length; i++) scores[i] /= by;
  }
  return scores;
}

/**
 * Sorted as whole numbers, score before id: several times faster than by a comparison.
 * @param {Float32Array} scores
 * @returns {Ranked}
 */
export function ranked(scores) {
  const keys = new Float64Array(scores.length);
  const float = new Float32Array(1);
  const bits = new Int32Array(float.buffer);
  for (let id = 0; id < scores.length; id++) {
    float[0] = scores[id] + 0; // of two noughts one
    // The bits of a positive float grow with it, those of a negative one shrink: made one order, the largest first.
    const order = bits[0] < 0 ? bits[0] >>> 0 : 0x7fffffff - bits[0];
    keys[id] = order * IDS + id;
  }
  keys.sort();
  const ids = new Uint32Array(keys.length);
  const sorted = new Float32Array(keys.length);
  for (let i = 0; i < keys.length; i++) {
    ids[i] = keys[i] % IDS;
    sorted[i] = scores[ids[i]];
  }
  return { ids, scores: sorted };
}

/**
 * @param {Ranked} ranking
 * @param {Settings} settings
 * @returns {Distribution}
 */
export function cut({ ids, scores }, { temperature, top_k: most, top_p: share, min_p: least }) {
  const all = scores.length;
  if (temperature < GREEDY_BELOW || all === 0) {
    const one = Math.min(1, all);
    return { ids, scores, mass: new Float64Array(one).fill(1), kept: { topK: one, topP: one, minP: one } };
  }
  let topK = all;
  if (most > 0 && most < all) {
    topK = most;
    while (topK < all && scores[topK] === scores[most - 1]) topK += 1; // equals of the last one stay with it
  }
  const topP = share < 1 ? nucleus(scores.subarray(0, topK), share) : topK;
  let minP = topP;
  if (least > 0) {
    const floor = Math.fround(least);
    while (minP > 0 && !(Math.fround(Math.exp(Math.fround(scores[minP - 1] - scores[0]))) >= floor)) minP -= 1;
  }
  return { ids, scores, mass: softmax(scores.subarray(0, minP)), kept: { topK, topP, minP } };
}

/**
 * How many of the likeliest together hold at least `share` of the mass: the fewest that do.
 * @param {Float32Array} scores likeliest first
 * @param {number} share
 */
function nucleus(scores, share) {
  const logSum = Math.fround(scores[0] + Math.log(sumOfExp(scores)));
  let mass = 0;
  for (let i = 0; i < scores.length; i++) {
    mass += Math.fround(Math.exp(Math.fround(scores[i] - logSum)));
    if (!(mass < share)) return i + 1;
  }
  return scores.length;
}

/** @param {Float32Array} scores likeliest first */
function sumOfExp(scores) {
  const [highest] = scores;
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += Math.exp(scores[i] - highest);
  return sum;
}

/** @param {Float32Array} scores likeliest first */
function softmax(scores) {
  const mass = new Float64Array(scores.length);
  let sum = 0;
  for (let i = 0; i < scores.length; i++) {
    mass[i] = Math.exp(scores[i] - scores[0]);
    sum += mass[i];
  }
  for (let i = 0; i < scores.length; i++) mass[i] /= sum;
  return mass;
}

/**
 * Where a uniform number in [0, 1) falls on the line of masses laid end to end.
 * @param {Float64Array} mass
 * @param {number} uniform
 * @returns {number} index
 */
export function drawAt(mass, uniform) {
  let total = 0;
  for (const part of mass) total += part;
  let end = 0;
  let last = 0;
  for (let i = 0; i < mass.length; i++) {
    end += mass[i];
    if (uniform * total < end) return i;
    if (mass[i] > 0) last = i;
  }
  return last; // rounding may point past the last that has any mass
}
