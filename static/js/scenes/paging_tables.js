// The block tables. A run alone has one like a table of contents: a line for each page, with what stands in it; several
// sequences have their pages' numbers in a row.

import { chipText, label } from "../stage/text.js";
import { count } from "../state/format.js";
import { t } from "../ui/messages.js";
import { nameOf } from "./paging_pool.js";
import { clamp } from "./room.js";

/** @typedef {import("../state/paging.js").Tally} Tally */
/** @typedef {import("../state/paging.js").Sequence} Sequence */
/** @typedef {import("./paging_grid.js").Box} Box */
/** @typedef {import("./paging_pool.js").Pen} Pen */
/** @typedef {{ index: number, x: number, y: number, width: number, height: number }} Entry of a table: which, and where the number of its page stands */
/** @typedef {"lines" | "chips" | "cells"} Shape */
/** @typedef {{ sequence: Sequence, shape: Shape, y: number, entries: Entry[], hidden: number, height: number }} Row `hidden`: entries for which there is no room, the oldest in a list of lines, else the newest */

const TITLE = 20;

/** Who is shown: ours always, others while they hold something or have lost it. @param {Tally} counted */
const shownOf = ({ sequences }) =>
  sequences.filter(({ table, own, status }) => own || table.length > 0 || status === "preempted");

/**
 * @param {Tally} counted
 * @param {Box} box
 * @param {boolean} narrow
 * @returns {Row[]}
 */
export function rowsOf(counted, box, narrow) {
  const shown = shownOf(counted);
  if (shown.length === 1 && counted.sequences.length === 1) return [lines(shown[0], box, narrow)];
  for (const [spelt, large] of /** @type {[number, boolean][]} */ ([
    [shown.length, true],
    [shown.length, false],
    [1, false],
  ])) {
    const rows = chips(shown, box, narrow, spelt, large);
    const last = rows.at(-1);
    if (!last || last.y + last.height <= box.top + box.height) return rows;
  }
  return chips(shown, box, narrow, 0, false);
}

/** @param {Sequence} sequence @param {Box} box @param {boolean} narrow @returns {Row} */
function lines(sequence, box, narrow) {
  const many = sequence.table.length;
  const space = box.height - TITLE - 6;
  const height = clamp(space / Math.max(1, many), 17, narrow ? 22 : Math.max(30, 0.034 * box.height));
  const most = Math.max(1, Math.floor(space / height));
  const hidden = many > most ? many - most + 1 : 0;
  const top = box.top + TITLE + 6 + (hidden ? height : 0);
  const width = numberWidth(sequence.table) + (narrow ? 4 : 12);
  const entries = Array.from({ length: many - hidden }, (_, line) => {
    return { index: hidden + line, x: box.left + box.width - width, y: top + line * height, width, height: height - 3 };
  });
  return { sequence, shape: "lines", y: box.top, entries, hidden, height: TITLE + 6 + height * Math.min(many, most) };
}

/** Room for the largest number. @param {number[]} table */
const numberWidth = (table) => 12 + 7 * String(Math.max(0, ...table)).length;

/** @param {Sequence[]} shown @param {Box} box @param {boolean} narrow @param {number} spelt how many have their numbers written @param {boolean} large @returns {Row[]} */
function chips(shown, box, narrow, spelt, large) {
  const gap = narrow ? 6 : large ? 26 : 12;
  const room = Math.max(0, ...shown.map(({ table }) => numberWidth(table)));
  let y = box.top;
  return shown.map((sequence, i) => {
    const written = i < spelt;
    const width = written ? Math.max(room, large && !narrow ? 40 : 0) : 11;
    const height = written ? (large && !narrow ? 28 : 19) : 11;
    const columns = Math.max(1, Math.floor((box.width + 3) / (width + 3)));
    const left = Math.floor((box.top + box.height - y - TITLE) / (height + 3));
    const most = columns * Math.max(1, left);
    const many = Math.min(sequence.table.length, most);
    const entries = Array.from({ length: many }, (_, index) => {
      const x = box.left + (index % columns) * (width + 3);
      return { index, x, y: y + TITLE + Math.floor(index / columns) * (height + 3), width, height };
    });
    const tall = TITLE + Math.max(1, Math.ceil(many / columns)) * (height + 3);
    /** @type {Row} */
    const row = {
      sequence,
      shape: written ? "chips" : "cells",
      y,
      entries,
      hidden: sequence.table.length - many,
      height: tall,
    };
    y += tall + gap;
    return row;
  });
}

/** What a sequence holds, in words. @param {Sequence} sequence @param {Tally} counted @param {boolean} narrow */
function holds({ numComputed, table, status, held, losing }, { blockSize }, narrow) {
  if (losing || (status === "preempted" && !table.length)) return narrow ? t("✗ in line") : t("✗ back in line");
  if (!table.length) return status === "queued" ? t("in line") : "";
  if (!held) return narrow ? t("ended") : t("ended, pages let go");
  const values = { tokens: count(numComputed), pages: count(table.length), places: count(table.length * blockSize) };
  return narrow ? t("{pages} pages", values) : t("{tokens} tokens, {pages} pages", values);
}

/** @param {Pen} pen @param {Row[]} rows @param {Box} box */
export function drawTables(pen, rows, box) {
  const { context, counted, css, alpha, narrow } = pen;
  const several = rows.some(({ sequence }) => sequence.sample > 0);
  for (const row of rows) {
    const { sequence, y } = row;
    const mine = sequence.own || sequence.sample > 0;
    context.globalAlpha = alpha;
    const title = narrow && row.shape === "lines" ? t("block table") : nameOf(sequence, several);
    label(context, title, box.left, y + 12, {
      size: narrow ? 12 : 13,
      weight: sequence.own ? 650 : 500,
      color: mine ? css.ink : css.muted,
      width: narrow && row.shape !== "lines" ? 54 : box.width,
    });
    if (!(narrow && row.shape === "lines"))
      label(context, holds(sequence, counted, narrow), box.left + box.width, y + 12, {
        size: narrow ? 11 : 12,
        align: "right",
        color: sequence.losing || sequence.status === "preempted" ? css.rejected : css.muted,
        width: box.width - (narrow ? 54 : 70),
      });
    for (const entry of row.entries) {
      context.globalAlpha = alpha * (sequence.held ? 1 : 0.6);
      if (row.shape === "lines") drawLine(pen, entry, sequence, box);
      drawEntry(pen, entry, row);
    }
    if (row.hidden > 0) drawHidden(pen, row, box);
  }
  context.globalAlpha = 1;
}

/** @param {Pen} pen @param {Row} row @param {Box} box */
function drawHidden({ context, css, alpha }, { shape, hidden, entries, y, height }, box) {
  const words =
    shape === "lines" ? t("… {n} pages before", { n: count(hidden) }) : t("… {n} more", { n: count(hidden) });
  const top = shape === "lines" ? (entries[0]?.y ?? y) - 6 : y + height + 8;
  context.globalAlpha = alpha;
  label(context, words, box.left, top, { size: 11, color: css.muted, width: box.width });
}

/** Which page it is, and the words in it. @param {Pen} pen @param {Entry} entry @param {Sequence} sequence @param {Box} box */
function drawLine({ context, counted, state, css, narrow }, { index, x, y, height }, { numComputed }, box) {
  const { blockSize } = counted;
  const size = clamp(0.44 * height, narrow ? 11 : 12, 16);
  const middle = y + height / 2 + 0.36 * size;
  const indent = narrow ? 0 : 26;
  if (!narrow)
    label(context, String(index), box.left + 16, middle, { size: 11, face: "mono", color: css.muted, align: "right" });
  const from = index * blockSize;
  const tokens = state.tokens.slice(from, Math.min(from + blockSize, numComputed));
  if (!tokens.length) return;
  const read = tokens[0].kind === "prompt";
  const words = tokens.map(chipText).join("").replace(/·/g, " ").trim();
  context.letterSpacing = "0.01px"; // a token is shown as it is spelt, without ligatures
  label(context, words, box.left + indent, middle, {
    size,
    face: "mono",
    color: read ? css.prefill : css.decode,
    width: x - box.left - indent - 10,
  });
  context.letterSpacing = "0px";
}

/** The number of a page, filled as far as the page is. @param {Pen} pen @param {Entry} entry @param {Row} row */
function drawEntry({ context, counted, css }, { index, x, y, width, height }, { sequence, shape }) {
  const { pages, blockSize } = counted;
  const id = sequence.table[index];
  const shared = (pages.get(id)?.holders.length ?? 0) > 1;
  const mine = sequence.own || sequence.sample > 0;
  const color = shared ? css.shared : mine ? css.decode : css.muted;
  const written = shape !== "cells";
  const before = context.globalAlpha;
  context.beginPath();
  context.roundRect(x + 0.5, y + 0.5, width - 1, height - 1, written ? 4 : 2);
  context.fillStyle = css.panel;
  context.fill();
  const filled = clamp(sequence.numComputed / blockSize - index);
  context.globalAlpha = before * (written ? 0.2 : 0.6);
  context.fillStyle = color;
  context.fillRect(x + 1, y + 1, (width - 2) * filled, height - 2);
  context.globalAlpha = before * (shared || mine ? 0.9 : 0.6);
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.stroke();
  context.globalAlpha = before;
  if (written)
    label(context, id < 0 ? "–" : String(id), x + width / 2, y + height / 2 + 4, {
      size: height > 24 ? 13 : 11,
      face: "mono",
      color: css.ink,
      align: "center",
    });
}

/**
 * Slanted strokes over a box: held, and empty. The caller clips.
 * @param {CanvasRenderingContext2D} context
 * @param {Box} box
 * @param {string} color
 */
export function strokes(context, { left, top, width, height }, color) {
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = left - height; x < left + width; x += 7) {
    context.moveTo(x, top + height);
    context.lineTo(x + height, top);
  }
  context.stroke();
}
