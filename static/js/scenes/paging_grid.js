// Where the pages of a pool lie: in the order of their ids, row by row, as large as the room for them allows.

import { lerp } from "./room.js";

/** @typedef {{ left: number, top: number, width: number, height: number }} Box CSS pixels of the stage */
/** @typedef {{ blockSize: number, numBlocks: number, columns: number, rows: number, cell: number, size: number, head: number, pitch: number, across: number, radius: number, box: Box, left: number, top: number }} Grid `cell`: from page to page; `size`: a page's side; `head`: height of its title; `pitch`: from place to place; `across`: places in a row; `radius` of a token in its place */

/** A page is not drawn larger than this. */
const LARGEST = 78;
/** From this size on a page has a title: whose it is, how many hold it. */
const TITLED = 38;
const TITLE = 13;

/**
 * @param {number} numBlocks
 * @param {number} blockSize
 * @param {Box} box
 * @returns {Grid}
 */
export function gridOf(numBlocks, blockSize, box) {
  const count = Math.max(1, numBlocks);
  let columns = Math.max(1, Math.floor(Math.sqrt((count * box.width) / Math.max(1, box.height))));
  // One column more may make larger pages, where the last row was nearly empty.
  const cellOf = (/** @type {number} */ n) => Math.min(box.width / n, box.height / Math.ceil(count / n), LARGEST);
  while (columns < count && cellOf(columns + 1) >= cellOf(columns)) columns += 1;
  if (cellOf(columns) === LARGEST) columns = Math.max(1, Math.min(count, Math.floor(box.width / LARGEST)));
  const cell = cellOf(columns);
  const rows = Math.ceil(count / columns);
  const size = cell - (cell > 40 ? 6 : cell > 14 ? 3 : cell > 4 ? 1 : 0);
  const head = size >= TITLED ? TITLE : 0;
  const across = Math.ceil(Math.sqrt(blockSize));
  const down = Math.ceil(blockSize / across);
  const inset = size > 30 ? 5 : size > 12 ? 2 : 0;
  const pitch = Math.min((size - 2 * inset) / across, (size - head - 2 * inset + (head ? 3 : 0)) / down);
  const radius = Math.max(0.5, Math.min(4.6, 0.4 * pitch));
  const left = box.left + (box.width - columns * cell) / 2;
  return {
    blockSize,
    numBlocks: count,
    columns,
    rows,
    cell,
    size,
    head,
    pitch,
    across,
    radius,
    box,
    left,
    top: box.top,
  };
}

/**
 * The left upper corner of a page.
 * @param {Grid} grid
 * @param {number} id
 * @returns {[number, number]}
 */
export function cornerOf({ columns, cell, left, top }, id) {
  return [left + (id % columns) * cell, top + Math.floor(id / columns) * cell];
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

/**
 * The page under a point, -1 for none.
 * @param {Grid} grid
 * @param {number} x
 * @param {number} y
 */
export function pageAt({ columns, rows, cell, size, left, top, numBlocks }, x, y) {
  const [column, row] = [Math.floor((x - left) / cell), Math.floor((y - top) / cell)];
  if (column < 0 || column >= columns || row < 0 || row >= rows) return -1;
  if (x - left - column * cell > size || y - top - row * cell > size) return -1;
  const id = row * columns + column;
  return id < numBlocks ? id : -1;
}

/**
 * A box between two.
 * @param {Box} a @param {Box} b @param {number} amount
 * @returns {Box}
 */
export function boxBetween(a, b, amount) {
  return {
    left: lerp(a.left, b.left, amount),
    top: lerp(a.top, b.top, amount),
    width: lerp(a.width, b.width, amount),
    height: lerp(a.height, b.height, amount),
  };
}
