// Norms of keys and values, one row per (layer, KV head), one place per token. Rows grow by doubling. A place whose
// norm nobody measured (it came out of the prefix cache) is NaN.

/** @typedef {import("./types.d.ts").Norms} Norms */
/** @typedef {"keys" | "values"} Which */
/** @typedef {{ low: Float32Array, high: Float32Array, length: number }} Percentiles one pair per row, over the first `length` places */

const LOW = 0.02;
const HIGH = 0.98;

/** @type {WeakMap<object, Map<string, Percentiles>>} by log, so that a replay measures nothing twice */
const caches = new WeakMap();

/** @returns {Norms} */
export function createNorms() {
  return {
    layers: 0,
    heads: 0,
    length: 0,
    capacity: 0,
    revision: 0,
    log: null,
    keys: new Float32Array(0),
    values: new Float32Array(0),
  };
}

/**
 * @param {Float32Array} old
 * @param {number} rows
 * @param {number} before capacity of `old`
 * @param {number} after
 */
function regrow(old, rows, before, after) {
  const grown = new Float32Array(rows * after).fill(Number.NaN);
  for (let row = 0; row < rows; row++) grown.set(old.subarray(row * before, (row + 1) * before), row * after);
  return grown;
}

/**
 * Write the places `start <= position < stop` of every row.
 * @param {Norms} norms
 * @param {number} start
 * @param {number} stop
 * @param {Float32Array} keys `[rows, stop - start]`
 * @param {Float32Array} values the same
 */
export function writeNorms(norms, start, stop, keys, values) {
  const rows = norms.layers * norms.heads;
  const width = stop - start;
  if (stop > norms.capacity) {
    const capacity = Math.max(64, stop, 2 * norms.capacity);
    norms.keys = regrow(norms.keys, rows, norms.capacity, capacity);
    norms.values = regrow(norms.values, rows, norms.capacity, capacity);
    norms.capacity = capacity;
  }
  for (let row = 0; row < rows; row++) {
    const target = row * norms.capacity + start;
    for (let i = 0; i < width; i++) {
      norms.keys[target + i] = keys[row * width + i];
      norms.values[target + i] = values[row * width + i];
    }
  }
  if (start < norms.length) norms.revision += 1;
  norms.length = Math.max(norms.length, stop);
}

/**
 * @param {Norms} norms
 * @param {Which} which
 * @param {number} row layer * heads + head
 * @param {number} position
 */
export function normAt(norms, which, row, position) {
  return position < norms.length ? norms[which][row * norms.capacity + position] : Number.NaN;
}

/**
 * The `q` quantile of sorted numbers, linear between neighbours (numpy's default). NaN of none.
 * @param {ArrayLike<number>} sorted all of them, or as many of the smallest as the quantile lies among
 * @param {number} q
 * @param {number} [count] of all of them
 */
export function quantile(sorted, q, count = sorted.length) {
  if (count === 0) return Number.NaN;
  const place = q * (count - 1);
  const below = Math.floor(place);
  const above = Math.min(count - 1, below + 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/**
 * The 2nd and 98th percentile of each row over its first `length` places; the attention sink would drown the rest.
 * @param {Norms} norms
 * @param {Which} which
 * @param {number} [length]
 * @returns {Percentiles}
 */
export function percentiles(norms, which, length = norms.length) {
  const log = norms.log ?? norms;
  let cache = caches.get(log);
  if (!cache) {
    cache = new Map();
    caches.set(log, cache);
  }
  const key = `${which}:${length}:${norms.revision}`;
  let found = cache.get(key);
  if (!found) {
    found = measure(norms, which, length);
    cache.set(key, found);
  }
  return found;
}

/**
 * @param {Norms} norms
 * @param {Which} which
 * @param {number} length
 * @returns {Percentiles}
 */
function measure(norms, which, length) {
  const rows = norms.layers * norms.heads;
  const low = new Float32Array(rows);
  const high = new Float32Array(rows);
  const source = norms[which];
  const known = new Float32Array(length);
  const tail = new Float32Array(Math.ceil(LOW * length) + 2);
  for (let row = 0; row < rows; row++) {
    const from = row * norms.capacity;
    let count = 0;
    for (let i = from; i < from + length; i++) {
      if (!Number.isNaN(source[i])) known[count++] = source[i];
    }
    const values = known.subarray(0, count);
    low[row] = quantile(smallest(values, tail), LOW, count);
    for (let i = 0; i < count; i++) values[i] = -values[i];
    high[row] = -quantile(smallest(values, tail), 1 - HIGH, count);
  }
  return { low, high, length };
}

/**
 * The smallest of some numbers, in order: as many as `out` holds. (A sort of every row costs ten times as much.)
 * @param {Float32Array} values
 * @param {Float32Array} out
 */
function smallest(values, out) {
  let held = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (held === out.length && value >= out[held - 1]) continue;
    let at = held < out.length ? held++ : held - 1;
    for (; at > 0 && out[at - 1] > value; at--) out[at] = out[at - 1];
    out[at] = value;
  }
  return out.subarray(0, held);
}

/**
 * A length to scale a growing picture by: it changes seldom (each 1/4 of a doubling, never under 16 places apart), so
 * that a new place adds a column and does not recolour the rest, and it is a function of the length alone.
 * @param {number} length
 */
export function scaleLength(length) {
  if (length <= 16) return length;
  const stride = Math.max(16, 2 ** (Math.floor(Math.log2(length)) - 2));
  return Math.floor(length / stride) * stride;
}
