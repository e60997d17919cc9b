// The dots' way from one room to the next, as a function of where they were, where they go and how much of the time has
// passed. They set out one after the other in the order of the text, a drawn-out flock, and each speeds up and slows
// down gently: no dot of any window up to 2,560 pixels wide ever leaps.

/** The last dot sets out after this share of the time, and each takes the rest. */
const STAGGER = 0.2;

const STRIDE = 3;

/**
 * How far dot `i` of `count` is on its way.
 * @param {number} i
 * @param {number} count
 * @param {number} elapsed share of the time of the change, 0 to 1
 */
export function wayOf(i, count, elapsed) {
  const start = count > 1 ? (STAGGER * i) / (count - 1) : 0;
  const u = Math.min(1, Math.max(0, (elapsed - start) / (1 - STAGGER)));
  return u * u * (3 - 2 * u);
}

/**
 * Places on the way; tokens that the first room did not have stand at their place in the second. A place that lies
 * outside the stage, hidden there or cut off since the stage became smaller, is reached by way of its edge.
 * @param {Float32Array | null} from x, y, r of each dot
 * @param {Float32Array} to
 * @param {number} elapsed share of the time of the change, 0 to 1
 * @param {Float32Array} out as long as `to`
 * @param {{ width: number, height: number }} stage
 */
export function travel(from, to, elapsed, out, { width, height }) {
  const shared = from && elapsed < 1 ? Math.min(from.length, to.length) : 0;
  for (let i = 0; i < shared; i += STRIDE) {
    const way = wayOf(i / STRIDE, shared / STRIDE, elapsed);
    for (let k = i; k < i + STRIDE; k++) out[k] = /** @type {Float32Array} */ (from)[k] * (1 - way) + to[k] * way;
    out[i] = Math.min(width, Math.max(0, out[i]));
    out[i + 1] = Math.min(height, Math.max(0, out[i + 1]));
  }
  out.set(to.subarray(shared), shared);
  return out;
}
