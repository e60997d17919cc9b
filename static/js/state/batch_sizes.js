// What a decode step costs at every batch size that a run saw: the steps grouped by how many sequences they wrote a
// token for. Only steps that did nothing but decode: a prompt in a step would be priced as if it were an answer.

import { quantile } from "./norms.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Step} Step */
/**
 * @typedef {object} Size
 * @property {number} size tokens a step, one a sequence
 * @property {number} steps
 * @property {number} seconds a step, median: also the time between two tokens of one reader
 * @property {number} low its first quartile
 * @property {number} high its third
 * @property {number} rate tokens a second, of all together
 */

/** No clock tells less: a step of no time has no rate, and is on no curve. */
const LEAST_SECONDS = 1e-9;

/** @param {Step} step */
const onlyWrote = (step) =>
  step.seconds !== null && step.items.length > 0 && step.items.every(({ phase }) => phase === "decode");

/** @param {Step} step */
export const isTimed = ({ seconds }) => (seconds ?? 0) >= LEAST_SECONDS;

/** Whether it did nothing but decode, in a time that was measured. @param {Step} step */
export const isDecode = (step) => isTimed(step) && onlyWrote(step);

/** Whether steps that only wrote are there, and none says how long it took. @param {State} state */
export const isUntimed = ({ steps }) => steps.some(onlyWrote) && !steps.some(isDecode);

/** @param {State} state @returns {Size[]} by size, ascending */
function group(state) {
  /** @type {Map<number, number[]>} */
  const bySize = new Map();
  for (const step of state.steps) {
    if (!isDecode(step)) continue;
    const all = bySize.get(step.items.length) ?? [];
    all.push(step.seconds ?? 0);
    bySize.set(step.items.length, all);
  }
  return [...bySize]
    .sort(([a], [b]) => a - b)
    .map(([size, all]) => {
      const seconds = quantile(all, 0.5);
      const [low, high] = [quantile(all, 0.25), quantile(all, 0.75)];
      return { size, steps: all.length, seconds, low, high, rate: size / seconds };
    });
}

/** @type {WeakMap<State, { seq: number, sizes: Size[] }>} */
const known = new WeakMap();

/** @param {State} state @returns {Size[]} */
export function sizesOf(state) {
  const found = known.get(state);
  if (found?.seq === state.seq) return found.sizes;
  const sizes = group(state);
  known.set(state, { seq: state.seq, sizes });
  return sizes;
}

/**
 * Money a million tokens: the machine's hour is shared by all who sit in the batch, a reader's hour of waiting is not.
 * @param {number} seconds a step
 * @param {number} size
 * @param {{ machine: number, waiting: number }} prices an hour
 */
export const costOf = (seconds, size, { machine, waiting }) => (1e6 * seconds * (machine / size + waiting)) / 3600;

/**
 * The size at which a million tokens cost least.
 * @param {Size[]} sizes
 * @param {{ machine: number, waiting: number }} prices
 * @returns {Size | null}
 */
export function cheapest(sizes, prices) {
  /** @param {Size} size */
  const cost = ({ seconds, size }) => costOf(seconds, size, prices);
  return sizes.reduce(
    (best, size) => (best === null || cost(size) < cost(best) ? size : best),
    /** @type {Size | null} */ (null),
  );
}

/**
 * Sequences at which reading the weights and multiplying by them would take equally long, were both done at the
 * machine's measured best. Null where the log does not say what they follow from.
 * @param {State} state
 */
export function cornerOf(state) {
  const hardware = state.opened?.hardware;
  const step = state.steps.find(isDecode);
  if (!hardware || !step?.flops || !step.weightBytes) return null;
  const flopsPerSequence = step.flops / step.items.length;
  return (step.weightBytes / hardware.memory_bandwidth) * (hardware.peak_flops / flopsPerSequence);
}
