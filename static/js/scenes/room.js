// The part of the stage that a room may use: beside the prose column and above the foot (ribbon and transport). The
// stage itself always spans the window, so that the prologue can fill it and no canvas changes its size between rooms.

/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ left: number, top: number, width: number, height: number, narrow: boolean, reach: number, floor: number, words: number }} Area CSS pixels of the stage; `reach`: half the hall's width as a share of the area's; `floor`: where its floor may end at the lowest; `words`: below it stand caption and ribbon, and no dot */

/** Below this width the prose lies under the stage: the breakpoint of `static/css/layout.css`. */
export const NARROW = 900;
/** Heights of the foot, `--foot` of `static/css/layout.css`. */
const FOOT = 112;

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));

/** @param {number} a @param {number} b @param {number} amount */
export const lerp = (a, b, amount) => a + (b - a) * amount;

/** A smooth 0 to 1 between two edges. @param {number} low @param {number} high @param {number} x */
export function smooth(low, high, x) {
  const u = clamp((x - low) / (high - low));
  return u * u * (3 - 2 * u);
}

/**
 * How far the dots have come to a picture that shows by `share`: they sit on what the leading one draws, and cross where
 * neither is clear.
 * @param {number} share
 */
export const crossed = (share) => smooth(0.35, 0.65, share);

/**
 * Beside the prose; on a narrow window the stage is all room, for the prose lies below it.
 * @param {View} view
 * @returns {Area}
 */
export function room({ width, height }) {
  if (width < NARROW)
    return { left: 0, top: 0, width, height, narrow: true, reach: 0.49, floor: height - 12, words: height };
  const column = clamp(0.3 * width, 320, 440);
  return {
    left: column,
    top: 0,
    width: width - column,
    height: height - FOOT,
    narrow: false,
    reach: 0.485,
    floor: height - FOOT - 46,
    words: height - FOOT - 32,
  };
}

/**
 * The whole window, behind the words of the prologue.
 * @param {View} view
 * @returns {Area}
 */
export function fullBleed({ width, height }) {
  const narrow = width < NARROW;
  return { left: 0, top: 0, width, height, narrow, reach: 0.53, floor: Number.POSITIVE_INFINITY, words: height - FOOT };
}
