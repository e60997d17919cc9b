// How long to wait before the next attempt: doubling, bounded, and jittered so that many readers do not come back at once.

const FIRST = 250;
const LONGEST = 8000;

/**
 * @param {number} attempt 1 for the first retry
 * @param {() => number} [random] in [0, 1)
 * @returns {number} milliseconds
 */
export function backoff(attempt, random = Math.random) {
  const whole = Math.min(LONGEST, FIRST * 2 ** (attempt - 1));
  return Math.round(whole * (0.5 + 0.5 * random()));
}

/**
 * @param {string} src
 * @param {number} after
 */
export function withAfter(src, after) {
  return `${src}${src.includes("?") ? "&" : "?"}after=${after}`;
}
