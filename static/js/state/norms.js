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
 * The `q` quantile of numbers in any order, linear between neighbours (numpy's default). NaN of none.
 * @param {ArrayLike<number>} values
 * @param {number} q
 */
export function quantile(values, q) {
  if (values.length === 0) return Number.NaN;
  const own = new Float64Array(values);
  const place = q * (own.length - 1);
  const below = Math.floor(place);
  select(own, below);
  let above = below + 1 < own.length ? own[below + 1] : own[below];
  for (let i = below + 2; i < own.length; i++) if (own[i] < above) above = own[i];
  return own[below] + (above - own[below]) * (place - below);
}

/**
 * Bring the number that a sort would put at `k` there, smaller ones before it and larger ones after it (Hoare's
 * quickselect: a sort of every row of a long hall takes the time of several frames).
 * @param {Float64Array} values
 * @param {number} k
 */
function select(values, k) {
  let from = 0;
  let to = values.length - 1;
  while (from < to) {
    const pivot = values[(from + to) >> 1];
    let i = from;
    let j = to;
    while (i <= j) {
      while (values[i] < pivot) i++;
      while (values[j] > pivot) j--;
      if (i > j) break;
      const held = values[i];
      values[i++] = values[j];
      values[j--] = held;
    }
    if (k <= j) to = j;
    else if (k >= i) from = i;
    else return;
  }
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
  for (let row = 0; row < rows; row++) {
    const from = row * norms.capacity;
    let count = 0;
    for (let i = from; i < from + length; i++) {
      if (!Number.isNaN(source[i])) known[count++] = source[i];
    }
    low[row] = quantile(known.subarray(0, count), LOW);
    high[row] = quantile(known.subarray(0, count), HIGH);
  }
  return { low, high, length };
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
