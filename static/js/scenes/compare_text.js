// Two answers side by side: the words that both have, where they part, and how each goes on.

import { bounded, font, visible } from "../stage/text.js";
import { piecesOf } from "../ui/answer.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {{ text: string, x: number, width: number, tone: "same" | "parting" | "own" }} Run letters of one tone on a line */

/** @param {number} i @param {number} common @param {boolean} parted @returns {Run["tone"]} */
const toneOf = (i, common, parted) => (i < common || !parted ? "same" : i === common ? "parting" : "own");

/** @type {WeakMap<State, { key: string, lines: Run[][] }>} */
const known = new WeakMap();

/**
 * An answer in lines. Words stay whole: a token without a space before it belongs to the word before.
 * @param {CanvasRenderingContext2D} context
 * @param {State} state
 * @param {{ common: number, parted: boolean }} agreement
 * @param {number} size of its letters
 * @param {number} width
 * @returns {Run[][]}
 */
export function linesOf(context, state, { common, parted }, size, width) {
  const key = [state.seq, common, parted, size, width].join();
  const found = known.get(state);
  if (found?.key === key) return found.lines;
  context.font = font({ size, face: "serif" });
  /** @type {Run[][]} */
  const lines = [[]];
  let x = 0;
  /** @type {{ text: string, tone: Run["tone"] }[]} */
  let word = [];
  const setWord = () => {
    const wide = context.measureText(word.map(({ text }) => text).join("")).width;
    if (x > 0 && x + wide > width) {
      lines.push([]);
      x = 0;
    }
    for (const { text, tone } of word) {
      const shown = x === 0 ? text.replace(/^ +/, "") : text;
      const own = context.measureText(shown).width;
      lines[lines.length - 1].push({ text: shown, x, width: own, tone });
      x += own;
    }
    word = [];
  };
  piecesOf(state).forEach((piece, i) => {
    const tone = toneOf(i, common, parted);
    // A token that adds no letters can still be where they part: it gets a sign.
    if (tone === "parting" && piece.trim() === "") word.push({ text: visible(piece) || "¶", tone });
    for (const part of bounded(piece).split(/(?<=\n)|(?= )/)) {
      if (part.startsWith(" ")) setWord();
      word.push({ text: part.replace(/\n/g, ""), tone });
      if (!part.endsWith("\n")) continue;
      setWord();
      lines.push([]);
      x = 0;
    }
  });
  setWord();
  known.set(state, { key, lines });
  return lines;
}

/**
 * The lines that fit: the newest, and above them, however far back it is, the one in which the texts part.
 * @param {Run[][]} lines
 * @param {number} most
 * @returns {{ lines: Run[][], gaps: number[] }} `gaps`: before which of them lines are left out
 */
export function inSight(lines, most) {
  const last = lines.findLastIndex((line) => line.length > 0);
  const from = Math.max(0, last + 1 - most);
  if (from === 0) return { lines: lines.slice(0, last + 1), gaps: [] };
  const parting = lines.findIndex((line) => line.some(({ tone }) => tone === "parting"));
  if (parting < 0 || parting >= from || most < 3) return { lines: lines.slice(from, last + 1), gaps: [0] };
  return { lines: [lines[parting], ...lines.slice(from + 1, last + 1)], gaps: parting ? [0, 1] : [1] };
}
