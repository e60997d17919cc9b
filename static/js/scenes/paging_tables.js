// The block tables, one sequence under the other: for each place in its order the page that holds it. What is reserved in
// one piece needs no table: it is drawn as a bar of what is used and what is not.

import { label } from "../stage/text.js";
import { count } from "../state/format.js";
import { t } from "../ui/messages.js";
import { cornerOf } from "./paging_grid.js";
import { arrow, nameOf } from "./paging_pool.js";

/** @typedef {import("../state/paging.js").Tally} Tally */
/** @typedef {import("../state/paging.js").Sequence} Sequence */
/** @typedef {import("./paging_grid.js").Box} Box */
/** @typedef {import("./paging_grid.js").Grid} Grid */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ sequence: Sequence, x: number, y: number, entries: [number, number][], width: number, height: number, ids: boolean, hidden: number }} Row `entries`: corners of the cells; `hidden`: entries for which there is no room */

const TITLE = 18;
const GAP = 14;

/** @param {boolean} ids @param {number} largest @param {boolean} narrow */
const cellOf = (ids, largest, narrow) =>
  ids ? { width: largest > 999 ? 36 : narrow ? 24 : 29, height: narrow ? 17 : 20 } : { width: 10, height: 10 };

/**
 * Where the tables stand. The first has its pages' numbers written out, and so have the others while all fit.
 * @param {Tally} counted
 * @param {Box} box
 * @param {boolean} narrow
 * @param {boolean} [slab] a bar for each, no entries
 * @returns {Row[]}
 */
export function rowsOf(counted, box, narrow, slab = false) {
  const shown = counted.sequences.filter(({ table, own, status }) => own || table.length > 0 || status === "preempted");
  const largest = Math.max(0, ...shown.flatMap(({ table }) => table));
  if (slab) return bars(shown, box, narrow);
  for (const spelt of [shown.length, 1, 0]) {
    const rows = layOut(shown, box, narrow, spelt, largest);
    const last = rows.at(-1);
    if (!last || last.y + last.height <= box.top + box.height || spelt === 0) return rows;
  }
  return [];
}

/** @param {Sequence[]} shown @param {Box} box @param {boolean} narrow @param {number} spelt @param {number} largest @returns {Row[]} */
function layOut(shown, box, narrow, spelt, largest) {
  let y = box.top;
  return shown.map((sequence, i) => {
    const ids = i < spelt;
    const { width, height } = cellOf(ids, largest, narrow);
    const columns = Math.max(1, Math.floor((box.width + 3) / (width + 3)));
    const most = columns * Math.max(1, Math.floor((box.top + box.height - y - TITLE) / (height + 3)));
    const many = Math.min(sequence.table.length, most);
    const entries = Array.from({ length: many }, (_, k) => {
      return /** @type {[number, number]} */ ([
        box.left + (k % columns) * (width + 3),
        y + TITLE + Math.floor(k / columns) * (height + 3),
      ]);
    });
    const tall = Math.max(1, Math.ceil(many / columns)) * (height + 3);
    const row = {
      sequence,
      x: box.left,
      y,
      entries,
      width,
      height: TITLE + tall,
      ids,
      hidden: sequence.table.length - many,
    };
    y += row.height + (narrow ? 6 : GAP);
    return row;
  });
}

/** @param {Sequence[]} shown @param {Box} box @param {boolean} narrow @returns {Row[]} */
function bars(shown, box, narrow) {
  const height = TITLE + 12 + (narrow ? 6 : GAP);
  return shown.map((sequence, i) => {
    const y = box.top + i * height;
    return { sequence, x: box.left, y, entries: [], width: box.width, height: TITLE + 12, ids: false, hidden: 0 };
  });
}

/** What a sequence holds, in words. @param {Sequence} sequence @param {Tally} counted @param {boolean} narrow */
function holds({ numComputed, table, status }, { blockSize }, narrow) {
  if (status === "preempted") return t("✗ back in line");
  if (!table.length) return status === "queued" ? t("in line") : "";
  if (narrow) return t("{pages} p.", { pages: count(table.length) });
  return t("{tokens} tokens, {pages} pages", {
    tokens: count(numComputed),
    pages: count(table.length),
    places: count(table.length * blockSize),
  });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Row[]} rows
 * @param {Tally} counted
 * @param {Box} box
 * @param {View} view
 * @param {{ alpha: number, narrow: boolean, slab: boolean }} how
 */
export function drawTables(context, rows, counted, box, { palette: { css } }, { alpha, narrow, slab }) {
  const several = rows.some(({ sequence }) => sequence.sample > 0);
  for (const row of rows) {
    const { sequence, y } = row;
    context.globalAlpha = alpha * (sequence.held ? 1 : 0.6);
    const color = sequence.own || sequence.sample ? css.ink : css.muted;
    label(context, nameOf(sequence, several), box.left, y + 12, { size: 12, weight: sequence.own ? 650 : 500, color });
    const sad = sequence.status === "preempted";
    label(context, holds(sequence, counted, narrow), box.left + box.width, y + 12, {
      size: narrow ? 11 : 12,
      align: "right",
      color: sad ? css.rejected : css.muted,
      width: box.width - 52,
    });
    if (slab) drawSlab(context, row, counted, box, css);
    else for (const [k, corner] of row.entries.entries()) drawEntry(context, row, k, corner, counted, css);
    if (row.hidden > 0 && !slab)
      label(context, t("… and {n} more", { n: count(row.hidden) }), box.left, y + row.height + 8, {
        size: 11,
        color: css.muted,
      });
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Row} row @param {number} k @param {[number, number]} corner @param {Tally} counted @param {Record<string, string>} css */
function drawEntry(context, { sequence, width, ids }, k, [x, y], { pages, blockSize }, css) {
  const id = sequence.table[k];
  const shared = (pages.get(id)?.holders.length ?? 0) > 1;
  const mine = sequence.own || sequence.sample > 0;
  const color = shared ? css.shared : mine ? css.decode : css.muted;
  const height = ids ? (width > 26 ? 20 : 17) : 10;
  const before = context.globalAlpha;
  context.beginPath();
  context.roundRect(x + 0.5, y + 0.5, width - 1, height - 1, ids ? 3 : 2);
  context.fillStyle = css.panel;
  context.fill();
  const filled = Math.min(1, Math.max(0, sequence.numComputed / blockSize - k));
  context.globalAlpha = before * (ids ? 0.2 : mine || shared ? 0.7 : 0.5);
  context.fillStyle = color;
  context.fillRect(x + 1, y + 1, (width - 2) * filled, height - 2);
  context.globalAlpha = before * (shared || mine ? 0.9 : 0.6);
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.stroke();
  context.globalAlpha = before;
  if (ids)
    label(context, String(id), x + width / 2, y + height / 2 + 4, {
      size: 11,
      face: "mono",
      color: css.ink,
      align: "center",
    });
}

/** @param {CanvasRenderingContext2D} context @param {Row} row @param {Tally} counted @param {Box} box @param {Record<string, string>} css */
function drawSlab(context, { sequence, y }, { blockSize }, box, css) {
  const { table, numComputed, own, sample } = sequence;
  if (!table.length) return;
  const top = y + TITLE;
  const width = box.width;
  const used = (width * numComputed) / (table.length * blockSize);
  const before = context.globalAlpha;
  context.save();
  context.beginPath();
  context.roundRect(box.left + 0.5, top + 0.5, width - 1, 11, 3);
  context.clip();
  context.fillStyle = css.panel;
  context.fillRect(box.left, top, width, 12);
  context.fillStyle = own || sample ? css.decode : css.muted;
  context.fillRect(box.left, top, used, 12);
  context.globalAlpha = before * 0.6;
  context.strokeStyle = css.muted;
  context.beginPath();
  for (let x = box.left + used - 8; x < box.left + width; x += 6) {
    context.moveTo(Math.max(x, box.left + used), top + 12);
    context.lineTo(x + 10, top);
  }
  context.stroke();
  context.restore();
  context.strokeStyle = own || sample ? css.decode : css.muted;
  context.globalAlpha = before * 0.7;
  context.beginPath();
  context.roundRect(box.left + 0.5, top + 0.5, width - 1, 11, 3);
  context.stroke();
  context.globalAlpha = before;
}

/**
 * From each entry to its page: the order is the table's, the place is the pool's.
 * @param {CanvasRenderingContext2D} context
 * @param {Row[]} rows those whose arrows are shown
 * @param {Tally} counted
 * @param {Grid} grid
 * @param {View} view
 * @param {number} alpha
 */
export function drawArrows(context, rows, counted, grid, { palette: { css } }, alpha) {
  for (const { sequence, entries, width, ids } of rows) {
    if (!ids) continue;
    entries.forEach(([x, y], k) => {
      const id = sequence.table[k];
      const [pageX, pageY] = cornerOf(grid, id);
      const newest = k === sequence.table.length - 1 && sequence.own && sequence.held;
      const shared = (counted.pages.get(id)?.holders.length ?? 0) > 1;
      context.globalAlpha = alpha * (newest ? 0.95 : 0.26);
      const color = shared ? css.shared : css.decode;
      arrow(context, [x + width, y + 10], [pageX, pageY + grid.size / 2], color, newest ? 1.6 : 1);
    });
  }
  context.globalAlpha = 1;
}
