// A seeded generator of numbers (mulberry32), so that a failing test fails again.

/** @param {number} seed */
export function seeded(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    /** An integer, `low <= x < high`. */
    int: (low, high) => low + Math.floor(next() * (high - low)),
    pick: (list) => list[Math.floor(next() * list.length)],
  };
}
