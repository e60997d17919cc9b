// Where the pages of a pool lie: in the order of their ids, row by row, as large as the room for them allows. A large
// pool seen from near shows only the rows in which somebody holds a page.

import { lerp } from "./room.js";

/** @typedef {{ left: number, top: number, width: number, height: number }} Box CSS pixels of the stage */
/** @typedef {{ blockSize: number, numBlocks: number, columns: number, rows: number[], cell: number, size: number, head: number, pitch: number, across: number, radius: number, box: Box, left: number, top: number, own: number, near: Grid | null, amount: number }} Grid `rows`: which rows of ids are drawn, top to bottom; `cell`: from page to page; `size`: a page's side; `head`: height of its title; `pitch`: from place to place; `across`: places in a row; `radius` of a token in its place; on the way to a picture from `near`, `amount` of it is behind and `own` the whole pool's `cell` */

/** A page is not drawn larger than this, but in a large window. */
const LARGEST = 104;
const largestIn = (/** @type {Box} */ { width, height }) => Math.max(LARGEST, Math.min(width, height) / 6);
/** From this size on a page has a title: its number, whose it is, how many hold it. */
const TITLED = 38;
const TITLE = 13;
/** Pages in a row, seen from near. */
const NEAR = [6, 8, 12, 16, 24];
/** Rows for which there is always room from near, so that a page keeps its size while the table grows. */
const FEW = 4;

/**
 * The whole pool.
 * @param {number} numBlocks
 * @param {number} blockSize
 * @param {Box} box
 * @returns {Grid}
 */
export function gridOf(numBlocks, blockSize, box) {
  const count = Math.max(1, numBlocks);
  const most = largestIn(box);
  const cellOf = (/** @type {number} */ n) => Math.min(box.width / n, box.height / Math.ceil(count / n), most);
  let columns = Math.max(1, Math.floor(Math.sqrt((count * box.width) / Math.max(1, box.height))));
  // One column more may make larger pages, where the last row was nearly empty.
  while (columns < count && cellOf(columns + 1) > cellOf(columns)) columns += 1;
  const cell = cellOf(columns);
  if (cell === most) columns = Math.max(1, Math.min(count, Math.floor(box.width / cell)));
  const rows = Array.from({ length: Math.ceil(count / columns) }, (_, row) => row);
  return furnish({ numBlocks: count, blockSize, columns, rows, cell, box });
}

/**
 * The rows in which one of `ids` lies; the whole pool where those are no fewer than a picture from near can hold.
 * @param {number} numBlocks
 * @param {number} blockSize
 * @param {Box} box
 * @param {Iterable<number>} ids
 * @param {number} most pages that the sequences of this log may come to hold
 * @returns {Grid}
 */
export function nearGridOf(numBlocks, blockSize, box, ids, most) {
  const whole = gridOf(numBlocks, blockSize, box);
  const held = [...ids];
  const plans = NEAR.filter((columns) => columns < numBlocks).map((columns) => {
    const rows = [...new Set([0, ...held].map((id) => Math.floor(id / columns)))].sort((a, b) => a - b);
    if (held.length && !held.some((id) => id < columns)) rows.shift();
    const room = Math.max(FEW, rows.length, Math.ceil(most / columns) + 1);
    return { columns, rows, cell: Math.min(box.width / columns, box.height / room, largestIn(box)) };
  });
  const best = plans.reduce((a, b) => (b.cell > a.cell ? b : a), { columns: 0, rows: [], cell: 1.1 * whole.cell });
  return best.columns ? furnish({ numBlocks, blockSize, ...best, box }) : whole;
}

/**
 * What is inside a page of this size.
 * @param {{ numBlocks: number, blockSize: number, columns: number, rows: number[], cell: number, box: Box }} plan
 * @returns {Grid}
 */
function furnish({ numBlocks, blockSize, columns, rows, cell, box }) {
  const size = cell - (cell > 60 ? 12 : cell > 40 ? 7 : cell > 14 ? 3 : cell > 4 ? 1 : 0);
  const head = size >= TITLED ? TITLE : 0;
  const across = Math.ceil(Math.sqrt(blockSize));
  const down = Math.ceil(blockSize / across);
  const inset = size > 30 ? 5 : size > 12 ? 2 : 0;
  const pitch = Math.min((size - 2 * inset) / across, (size - head - 2 * inset + (head ? 3 : 0)) / down);
  const radius = Math.max(0.5, Math.min(Math.max(5, 0.05 * cell), 0.4 * pitch));
  return {
    blockSize,
    numBlocks,
    columns,
    rows,
    cell,
    size,
    head,
    pitch,
    across,
    radius,
    box,
    left: box.left,
    top: box.top,
    own: cell,
    near: null,
    amount: 0,
  };
}

/**
 * A picture between two: pages grow and move to where they are seen from near.
 * @param {Grid} whole
 * @param {Grid} near
 * @param {number} amount 0: the whole pool, 1: from near
 * @returns {Grid}
 */
export function gridBetween(whole, near, amount) {
  if (amount <= 0 || near.columns === whole.columns) return whole;
  if (amount >= 1) return near;
  const between = (/** @type {"cell" | "size" | "head" | "pitch" | "radius"} */ key) =>
    lerp(whole[key], near[key], amount);
  return {
    ...whole,
    own: whole.cell,
    cell: between("cell"),
    size: between("size"),
    head: between("head"),
    pitch: between("pitch"),
    radius: between("radius"),
    near,
    amount,
  };
}

/** Whether a page is in the picture from near. @param {Grid} grid @param {number} id */
export const isNear = ({ near }, id) => near === null || near.rows.includes(Math.floor(id / near.columns));

/**
 * The left upper corner of a page.
 * @param {Grid} grid
 * @param {number} id of a row that is drawn
 * @returns {[number, number]}
 */
export function cornerOf(grid, id) {
  const { columns, rows, left, near, amount } = grid;
  // On the way the whole pool keeps its own measure; only what is seen from near leaves its place.
  const cell = near ? grid.own : grid.cell;
  const row = Math.floor(id / columns);
  const line = rows.length > row && rows[row] === row ? row : Math.max(0, rows.indexOf(row));
  const [x, y] = [left + (id % columns) * cell, grid.top + line * cell];
  if (!near || !isNear(grid, id)) return [x, y];
  const [nearX, nearY] = cornerOf(near, id);
  return [lerp(x, nearX, amount), lerp(y, nearY, amount)];
}

/**
 * The middle of a place in a page.
 * @param {Grid} grid
 * @param {number} id
 * @param {number} place 0 is its first
 * @returns {[number, number]}
 */
export function seatOf(grid, id, place) {
  const [x, y] = cornerOf(grid, id);
  const { across, pitch, size, head, blockSize } = grid;
  const down = Math.ceil(blockSize / across);
  const indent = (size - across * pitch) / 2;
  const drop = head ? head + (size - head - down * pitch) / 2 - 1 : (size - down * pitch) / 2;
  return [x + indent + ((place % across) + 0.5) * pitch, y + drop + (Math.floor(place / across) + 0.5) * pitch];
}

/** The pages that are drawn. @param {Grid} grid @returns {Generator<number>} */
export function* pagesOf({ columns, rows, numBlocks }) {
  for (const row of rows) {
    const stop = Math.min(numBlocks, (row + 1) * columns);
    for (let id = row * columns; id < stop; id++) yield id;
  }
}

/**
 * The page under a point, -1 for none.
 * @param {Grid} grid
 * @param {number} x
 * @param {number} y
 */
export function pageAt({ columns, rows, cell, size, left, top, numBlocks }, x, y) {
  const [column, line] = [Math.floor((x - left) / cell), Math.floor((y - top) / cell)];
  if (column < 0 || column >= columns || line < 0 || line >= rows.length) return -1;
  if (x - left - column * cell > size || y - top - line * cell > size) return -1;
  const id = rows[line] * columns + column;
  return id < numBlocks ? id : -1;
}
