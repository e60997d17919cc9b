// One short name for a whole state, so that two readers can be told apart or found equal: the same log gives the same
// hash, live or recorded, in one piece or in many. Where the log came from and when are no part of it.

/** @typedef {import("./types.d.ts").State} State */

const NOT_STATE = new Set(["source", "opened_at"]);
const scratch = new DataView(new ArrayBuffer(8));

class Hasher {
  #a = 0xdeadbeef;
  #b = 0x41c6ce57;

  /** @param {number} word 32 bits */
  word(word) {
    this.#a = Math.imul(this.#a ^ word, 2654435761);
    this.#b = Math.imul(this.#b ^ word, 1597334677);
    this.#a = (this.#a << 13) | (this.#a >>> 19);
    this.#b = (this.#b << 17) | (this.#b >>> 15);
  }

  /** @param {number} value */
  number(value) {
    if (Number.isNaN(value)) return this.word(0x7ff80000);
    scratch.setFloat64(0, value === 0 ? 0 : value);
    this.word(scratch.getInt32(0));
    this.word(scratch.getInt32(4));
  }

  /** @param {string} text */
  text(text) {
    this.word(text.length);
    for (let i = 0; i < text.length; i++) this.word(text.charCodeAt(i));
  }

  digest() {
    let a = Math.imul(this.#a ^ (this.#a >>> 16), 2246822507) ^ Math.imul(this.#b ^ (this.#b >>> 13), 3266489909);
    let b = Math.imul(this.#b ^ (this.#b >>> 16), 2246822507) ^ Math.imul(this.#a ^ (this.#a >>> 13), 3266489909);
    a ^= a >>> 16;
    b ^= b >>> 16;
    return [a, b].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }
}

/**
 * @param {Hasher} hasher
 * @param {unknown} value
 */
function walk(hasher, value) {
  if (value === null || value === undefined) hasher.word(1);
  else if (typeof value === "number") hasher.number(value);
  else if (typeof value === "string") hasher.text(value);
  else if (typeof value === "boolean") hasher.word(value ? 3 : 2);
  else if (Array.isArray(value)) {
    hasher.word(value.length);
    for (let i = 0; i < value.length; i++) walk(hasher, value[i]);
  } else if (value instanceof Map) walkPairs(hasher, [...value]);
  else if (value instanceof Set)
    walkPairs(
      hasher,
      [...value].map((key) => [key, true]),
    );
  else walkPairs(hasher, Object.entries(/** @type {object} */ (value)));
}

/**
 * In the order of the keys, not of their arrival.
 * @param {Hasher} hasher
 * @param {[string | number, unknown][]} pairs
 */
function walkPairs(hasher, pairs) {
  const sorted = pairs
    .filter(([key]) => !NOT_STATE.has(/** @type {string} */ (key)))
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  hasher.word(sorted.length);
  for (const [key, value] of sorted) {
    hasher.text(String(key));
    walk(hasher, value);
  }
}

/**
 * @param {State} state
 * @returns {string} 16 hexadecimal digits
 */
export function stateHash(state) {
  const { cache, ...rest } = state;
  const { norms, ...plain } = cache;
  const hasher = new Hasher();
  walk(hasher, rest);
  walk(hasher, plain);
  walk(hasher, [norms.layers, norms.heads, norms.length, norms.revision]);
  for (const which of /** @type {const} */ (["keys", "values"])) {
    for (let row = 0; row < norms.layers * norms.heads; row++) {
      const from = row * norms.capacity;
      for (let i = 0; i < norms.length; i++) hasher.number(norms[which][from + i]);
    }
  }
  return hasher.digest();
}
