// The text as an audience: every token has a seat on its line, its dot below its word. Pure arithmetic on the widths of a
// monospaced face, so that dots, words and beams agree without measuring anything.

import { bounded } from "../stage/text.js";

/** @typedef {import("../state/types.d.ts").Token} Token */
/** @typedef {{ left: number, top: number, width: number, height: number }} Box */

/**
 * @typedef {object} Page
 * @property {number} size of the words, CSS pixels
 * @property {number} line from one line to the next
 * @property {Float32Array} x left edge of each token's word
 * @property {Float32Array} y baseline
 * @property {Float32Array} width of the word
 * @property {{ from: number, to: number, y: number } | null} left tokens that no line is left for: a thread of dots
 */

/** Sizes that words may have. */
const SIZES = [42, 38, 34, 31, 28, 25, 23, 21, 19, 17, 16, 15, 14, 13, 12, 11];
/** Width of a character, and height of a line, to its size. */
const ADVANCE = 0.6;
const LINE = 2.75;
const TIGHT_LINE = 2.1;
/** How far below the line its dots sit, to the size. */
const DOT = 0.78;
/** Between two tokens of one word, to the size: they are two dots. */
const SEAM = 0.12;
/** Cells that a token to come is reckoned with, its gap among them: what English answers have. */
const USUAL_CELLS = 5.4;

/** Characters that take two cells: the blocks of Chinese, Japanese, Korean, and pictures. */
const WIDE = /[\u1100-\u115f\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\u{1f300}-\u{1faff}]/u;

/** @param {string} word */
const cellsOf = (word) => [...word].reduce((cells, character) => cells + (WIDE.test(character) ? 2 : 1), 0);

/** @type {WeakMap<Token, { word: string, gap: boolean, open: boolean, cells: number }>} a frame lays thousands of them out */
const words = new WeakMap();

/**
 * The word of a token as it stands on its line, whether a gap comes before it or (`open`) after it, and how wide it is.
 * @param {Token} token
 */
export function wordOn(token) {
  let known = words.get(token);
  if (!known) {
    const { text, special } = token;
    const shown = bounded(text).replaceAll("\n", "⏎").replaceAll("\t", "⇥").trim();
    const word = shown || (special ? "¶" : text ? "␣" : "…");
    const mark = special || /^<\|.*\|>$/.test(text);
    known = { word, gap: mark || /^\s/.test(text), open: mark || text.endsWith("\n"), cells: cellsOf(word) };
    words.set(token, known);
  }
  return known;
}

/**
 * @param {Token[]} tokens
 * @param {number} size
 * @param {number} width of a line
 * @param {(token: number, line: number, x: number, width: number) => void} [seat]
 * @returns {number} lines
 */
function flow(tokens, size, width, seat = () => {}) {
  const cell = ADVANCE * size;
  let [line, x] = [0, 0];
  tokens.forEach((token, i) => {
    const { cells } = wordOn(token);
    const gap = wordOn(token).gap || (i > 0 && wordOn(tokens[i - 1]).open);
    const wide = Math.min(width, cells * cell);
    let from = x === 0 ? 0 : x + (gap ? cell : SEAM * size);
    if (from + wide > width && x > 0) {
      line += 1;
      from = 0;
    }
    seat(i, line, from, wide);
    x = from + wide;
  });
  return line + 1;
}

/**
 * How many tokens the words are sized for: it grows in leaps, so that a new token seldom moves those that sit.
 * @param {number} count
 */
export function capacityFor(count) {
  let capacity = 48;
  while (capacity < count) capacity = Math.ceil((capacity * 1.42) / 8) * 8;
  return capacity;
}

/**
 * @param {Token[]} tokens
 * @param {Box} box
 * @returns {Page}
 */
export function pageOf(tokens, { left, top, width, height }) {
  const count = tokens.length;
  const capacity = capacityFor(count);
  /** @param {number} size lines that so many tokens will take */
  const linesAt = (size) =>
    flow(tokens, size, width) + Math.ceil(((capacity - count) * USUAL_CELLS * ADVANCE * size) / width);
  const size = SIZES.find((wanted) => linesAt(wanted) * lineOf(wanted) <= height) ?? SIZES[SIZES.length - 1];
  const line = lineOf(size);
  const x = new Float32Array(count);
  const y = new Float32Array(count);
  const widths = new Float32Array(count);
  const rows = new Uint16Array(count);
  const lines = flow(tokens, size, width, (i, row, from, wide) => {
    rows[i] = row;
    x[i] = left + from;
    widths[i] = wide;
  });
  // More than there is room for: the first line stays, then a thread, then the last lines.
  const most = Math.max(3, Math.floor(height / line));
  const cut = lines > most ? lines - most + 2 : 0;
  const from = cut ? rows.findIndex((row) => row > 0) : 0;
  const to = cut ? rows.findIndex((row) => row >= cut) : 0;
  const ahead = Math.max(0, height - Math.min(most, Math.ceil(linesAt(size))) * line) / 2;
  rows.forEach((row, i) => {
    const hidden = i >= from && i < to;
    if (hidden) [x[i], widths[i]] = [left + ((i - from + 0.5) / (to - from)) * width, 0];
    const shown = cut && row >= cut ? row - cut + 2 : cut ? Math.min(row, 1) : row;
    y[i] = top + ahead + shown * line + size;
  });
  const thread = to > from ? { from, to, y: top + ahead + line + 0.8 * size } : null;
  return { size, line, x, y, width: widths, left: thread };
}

/** @param {number} size */
const lineOf = (size) => Math.round(size * (size > 12 ? LINE : TIGHT_LINE));

/**
 * Where a token's dot sits: below the middle of its word.
 * @param {Page} page
 * @param {number} i
 * @returns {[number, number]}
 */
export function dotOn({ x, y, width, size, left: thread }, i) {
  if (thread && i >= thread.from && i < thread.to) return [x[i], thread.y];
  return [x[i] + width[i] / 2, y[i] + DOT * size];
}

/**
 * The token whose word is under a point, -1 for none.
 * @param {Page} page
 * @param {number} px
 * @param {number} py
 */
export function wordAt({ x, y, width, size, line }, px, py) {
  for (let i = 0; i < x.length; i++) {
    const inside = px >= x[i] - 3 && px <= x[i] + width[i] + 3;
    if (width[i] > 0 && inside && py >= y[i] - 1.1 * size && py <= y[i] - 1.1 * size + 0.85 * line) return i;
  }
  return -1;
}
