// Where things stand in the loop: the context, a row for each likely token, the line that the coin falls on, the curve
// of the whole vocabulary, and at the foot the seats of the tokens that are there.

import { clamp, room } from "./room.js";

/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {{ left: number, top: number, width: number, height: number }} Box */
/** @typedef {{ narrow: boolean, area: Box, context: { y: number, size: number }, bars: Box, words: number, rowHeight: number, axis: number, curve: Box, seats: Box, track: number }} Layout `bars`: where bars begin and how far a certainty reaches; `words`: right edge of the names; `axis`: height of the line from 0 to 1; `track`: x of the way back */

/** Tokens that have a row of their own: as many as every token of a log comes with. */
export const ROWS = 8;

/** @param {View} view @returns {Layout} */
export function layoutOf(view) {
  const { left, width, height, narrow, words } = room(view);
  const pad = narrow ? 14 : clamp(0.05 * width, 36, 120);
  const unit = narrow ? height / 388 : height / 788;
  const rowHeight = narrow ? 15.5 * unit : clamp(36 * unit, 20, 58);
  const top = narrow ? 46 * unit : Math.max(64, 74 * unit);
  const named = narrow ? 78 : clamp(0.14 * width, 96, 180);
  const gutter = narrow ? 40 : 92;
  const size = narrow ? 11 : clamp(14 * unit, 12, 20);
  const rows = top + (narrow ? 12 : 24 * unit);
  const axis = rows + (ROWS + 1) * rowHeight + (narrow ? 6 : 10);
  const barsLeft = left + pad + named + 10;
  const bars = { left: barsLeft, top: rows, width: left + width - pad - gutter - barsLeft, height: axis - rows };
  const seatsHeight = narrow ? 62 * unit : clamp(108 * unit, 60, 190);
  const seatsTop = Math.min(words, height) - seatsHeight - (narrow ? 8 : 14);
  const curveTop = axis + (narrow ? 26 : 44 * unit);
  const curve = {
    left: left + pad,
    top: curveTop,
    width: width - 2 * pad - (narrow ? 10 : 34),
    height: Math.max(24, seatsTop - curveTop - (narrow ? 24 : 46 * unit)),
  };
  return {
    narrow,
    area: { left, top: 0, width, height },
    context: { y: top, size },
    bars,
    words: barsLeft - 10,
    rowHeight,
    axis,
    curve,
    seats: { left: left + pad, top: seatsTop, width: width - 2 * pad - (narrow ? 10 : 34), height: seatsHeight },
    track: left + width - pad + (narrow ? 4 : 8),
  };
}

/** Seats for more tokens than these are made when they come. */
const MOST_AHEAD = 640;

/**
 * How many tokens the seats must hold: all that the run may come to, so that no seat moves while it goes on.
 * @param {State} state
 */
export function capacityOf({ tokens, request, opened }) {
  let seats = Math.min(MOST_AHEAD, Math.max(24, request.numPromptTokens + (opened?.params.max_tokens ?? 0)));
  while (seats < tokens.length) seats *= 2;
  return seats;
}

/**
 * Seats in reading order, as large as their number allows.
 * @param {Box} box
 * @param {number} count
 * @returns {{ at: (index: number) => [number, number], r: number }}
 */
export function seatsIn(box, count) {
  let gap = 0;
  for (let rows = 1; rows <= count; rows++) {
    const next = Math.min(box.height / rows, box.width / Math.ceil(count / rows));
    if (next < gap) break;
    gap = next;
  }
  gap = Math.min(gap, 24);
  const columns = Math.max(1, Math.floor(box.width / gap + 1e-6));
  return {
    at: (index) => [box.left + gap * ((index % columns) + 0.5), box.top + gap * (Math.floor(index / columns) + 0.5)],
    r: clamp(0.36 * gap, 0.7, 6),
  };
}

/**
 * The x of a rank on the curve, whose ranks stand on a logarithmic scale.
 * @param {Box} box
 * @param {number} rank from 1; may lie between two
 * @param {number} count of all
 */
export const rankAt = (box, rank, count) =>
  box.left + (box.width * Math.log(Math.max(1, rank))) / Math.log(Math.max(2, count));

/** The rank at an x of it. @param {Box} box @param {number} x @param {number} count */
export const atRank = (box, x, count) => Math.exp((Math.log(Math.max(2, count)) * (x - box.left)) / box.width);

/** Probabilities of the curve's upper and lower edge. */
export const DECADES = 10;

/** Height of a probability on it, which is logarithmic too. @param {Box} box @param {number} probability */
export const depthOf = (box, probability) =>
  box.top + box.height * clamp(-Math.log10(Math.max(1e-30, probability)) / DECADES);

/** From one token's window to the next one's, as a share of all: those of common words would crowd in a corner. */
const STRIDE = 0.6180339887;

/** @param {number} a @param {number} b @returns {number} */
const common = (a, b) => (b ? common(b, a % b) : a);

/** @type {{ count: number, windowOf: Uint32Array, idOf: Uint32Array }} made last */
let scattered = { count: 0, windowOf: new Uint32Array(0), idOf: new Uint32Array(0) };

/** A fixed order without neighbours: every token has a window, every window a token. @param {number} count */
function scatter(count) {
  if (scattered.count === count) return scattered;
  let stride = Math.max(1, Math.round(STRIDE * count));
  while (common(stride, count) !== 1) stride += 1;
  const windowOf = new Uint32Array(count);
  const idOf = new Uint32Array(count);
  for (let id = 0, at = 0; id < count; id++, at = (at + stride) % count) {
    windowOf[id] = at;
    idOf[at] = id;
  }
  scattered = { count, windowOf, idOf };
  return scattered;
}

/**
 * The field of the whole vocabulary, each token a window: as large as the display's pixels allow.
 * @param {Box} box
 * @param {number} count
 * @param {number} dpr
 */
export function fieldIn(box, count, dpr) {
  // (A stage that is being resized may leave a room less than nothing.)
  const [wide, high] = [Math.max(1, box.width * dpr), Math.max(1, box.height * dpr)];
  // On a fine display the quarters of a pixel do not show.
  const step = dpr > 1 ? 0.25 : 1;
  let cell = Math.max(1, Math.floor(Math.sqrt((wide * high) / Math.max(1, count)) / step) * step);
  while (cell > 1 && Math.ceil(count / Math.floor(wide / cell)) * cell > high) cell -= step;
  const columns = Math.max(1, Math.floor(wide / cell));
  const rows = Math.ceil(count / columns);
  const size = cell / dpr;
  const left = Math.round((box.left + (box.width - columns * size) / 2) * dpr) / dpr;
  const top = Math.round((box.top + Math.max(0, box.height - rows * size) / 2) * dpr) / dpr;
  const { windowOf, idOf } = scatter(count);
  return {
    columns,
    rows,
    size,
    left,
    top,
    windowOf,
    /** @param {number} id @returns {[number, number]} middle of its window */
    at: (id) => [
      left + ((windowOf[id] % columns) + 0.5) * size,
      top + (Math.floor(windowOf[id] / columns) + 0.5) * size,
    ],
    /** The token under a point, -1 for none. @param {number} x @param {number} y */
    under: (x, y) => {
      const [column, row] = [Math.floor((x - left) / size), Math.floor((y - top) / size)];
      const inside = column >= 0 && column < columns && row >= 0 && row * columns + column < count;
      return inside ? idOf[row * columns + column] : -1;
    },
  };
}
