// Who holds how much, side by side: a strip for each request, as long as the places it holds. What is filled is lit,
// what is held and empty is hatched, so that a slab and a row of pages are told apart at a glance.

import { label } from "../stage/text.js";
import { count } from "../state/format.js";
import { isSlab, tally, tellsBlocks } from "../state/paging.js";
import { t } from "../ui/messages.js";
import { nameOf, shortName } from "./paging_pool.js";
import { strokes } from "./paging_tables.js";
import { clamp } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/paging.js").Sequence} Sequence */
/** @typedef {import("../state/paging.js").Tally} Tally */
/** @typedef {import("./paging_grid.js").Box} Box */
/** @typedef {{ left: number, top: number, line: number, deep: number, pitch: number, down: number, height: number, most: number, box: Box, narrow: boolean }} Strips `line`: from strip to strip; `deep`: places one under the other; `pitch`, `down`: from place to place; `height` of a strip; `most` places of the longest */
/** @typedef {{ context: CanvasRenderingContext2D, css: Record<import("../stage/types.d.ts").ColorName, string>, alpha: number, narrow: boolean, state: State, counted: Tally, strips: Strips }} Pen */

/** Places one under the other; a deeper strip is taken only where its places grow by it. */
const DEPTHS = [4, 8, 16, 32];
const GROWS = 1.3;
/** Places may stand so much further apart downwards than along. */
const STRETCH = 1.8;
/** Between the pages of a strip. */
const GAP = 2;

/** Places of the longest strip there may be. @param {State} state */
function longest(state) {
  const { sequences, blockSize } = tally(state);
  const held = Math.max(1, ...sequences.map(({ table }) => table.length)) * blockSize;
  return isSlab(state) ? Math.max(held, state.opened?.engine?.max_model_len ?? 0) : held;
}

/**
 * Strips for these runs at one scale: beside one another they can be measured with the eye.
 * @param {(State | null | undefined)[]} states
 * @param {Box} box
 * @param {boolean} narrow
 * @returns {Strips}
 */
export function stripsOf(states, box, narrow) {
  const told = /** @type {State[]} */ (states.filter((state) => state && tellsBlocks(state)));
  const most = Math.max(1, ...told.map(longest));
  const lines = Math.max(1, ...told.map((state) => tally(state).sequences.length));
  const names = narrow ? 25 : 66;
  const line = Math.min(box.height / lines, narrow ? 40 : 84);
  // Pages stand apart: a pixel or two for each is kept free.
  const width = box.width - names - GAP * 8;
  const pitchOf = (/** @type {number} */ deep) => Math.min(width / Math.ceil(most / deep), (0.72 * line) / deep);
  let deep = DEPTHS[0];
  for (const more of DEPTHS) if (pitchOf(more) > GROWS * pitchOf(deep)) deep = more;
  const pitch = pitchOf(deep);
  const down = Math.min(STRETCH * pitch, (0.72 * line) / deep);
  return { left: box.left + names, top: box.top, line, deep, pitch, down, height: deep * down, most, box, narrow };
}

/** Where a page of a strip begins, and how wide it is. @param {Strips} strips @param {number} blockSize @param {number} index @param {boolean} slab @returns {[number, number]} */
function pageSpan({ left, deep, pitch }, blockSize, index, slab) {
  const wide = (blockSize / deep) * pitch;
  return [left + index * (wide + (slab || wide < 3 * GAP ? 0 : GAP)), wide];
}

/**
 * The middle of a place.
 * @param {Strips} strips
 * @param {number} row
 * @param {number} position
 * @param {number} blockSize
 * @param {boolean} slab
 * @returns {[number, number]}
 */
export function stripSeat(strips, row, position, blockSize, slab) {
  const { deep, pitch, down } = strips;
  const [x] = pageSpan(strips, blockSize, Math.floor(position / blockSize), slab);
  const place = position % blockSize;
  const column = Math.min(deep, blockSize);
  // A page of fewer places than a strip is deep has one column, and its places stand further apart.
  const along = blockSize < deep ? (blockSize / deep) * pitch : pitch;
  const step = (deep / column) * down;
  return [
    x + (Math.floor(place / column) + 0.5) * along,
    strips.top + row * strips.line + ((place % column) + 0.5) * step,
  ];
}

/** Radius of a token in its place. @param {Strips} strips */
export const stripRadius = ({ pitch }) => clamp(0.4 * pitch, 0.6, 6);

/**
 * The page under a point, -1 for none.
 * @param {Strips} strips
 * @param {State} state
 * @param {number} x
 * @param {number} y
 */
export function stripPageAt(strips, state, x, y) {
  const { sequences, blockSize } = tally(state);
  const row = Math.floor((y - strips.top) / strips.line);
  if (y - strips.top - row * strips.line > strips.height) return -1;
  const table = sequences[row]?.held ? sequences[row].table : [];
  const index = table.findIndex((_, i) => {
    const [left, wide] = pageSpan(strips, blockSize, i, isSlab(state));
    return x >= left && x <= left + wide;
  });
  return index < 0 ? -1 : table[index];
}

/**
 * @param {Pen} pen
 * @param {boolean} dots the stage draws the tokens of this run
 */
export function drawStrips(pen, dots) {
  const { context, counted, css, alpha, narrow, strips } = pen;
  const several = counted.sequences.some(({ sample }) => sample > 0);
  counted.sequences.forEach((sequence, row) => {
    const y = strips.top + row * strips.line;
    const middle = y + strips.height / 2 + 4;
    context.globalAlpha = alpha;
    label(context, narrow ? shortName(sequence) : nameOf(sequence, several), strips.box.left, middle, {
      size: narrow ? 11 : 13,
      weight: sequence.own ? 650 : 500,
      color: sequence.own || sequence.sample ? css.ink : css.muted,
      width: strips.left - strips.box.left - 4,
    });
    if (sequence.held && sequence.table.length) drawStrip(pen, sequence, row, dots);
    else drawNothing(pen, sequence, y, middle);
  });
  context.globalAlpha = 1;
}

/** Who holds nothing: still in line, or gone. @param {Pen} pen @param {Sequence} sequence @param {number} y @param {number} middle */
function drawNothing({ context, css, alpha, strips, narrow, state }, { status, own }, y, middle) {
  const words = status === "finished" ? t("ended") : isSlab(state) ? t("in line: no slab is free") : t("in line");
  const height = strips.height;
  context.globalAlpha = 0.8 * alpha;
  if (status !== "finished" && !own) {
    context.strokeStyle = css.muted;
    context.lineWidth = 1;
    context.setLineDash([3, 4]);
    context.strokeRect(
      strips.left + 0.5,
      y + 0.5,
      isSlab(state)
        ? (strips.most / strips.deep) * strips.pitch - 1
        : Math.max(0, strips.box.left + strips.box.width - strips.left),
      height,
    );
    context.setLineDash([]);
  }
  const short = status === "finished" ? words : t("in line");
  label(context, narrow ? short : words, strips.left + 8, middle, { size: narrow ? 11 : 12, color: css.muted });
}

/** @param {Pen} pen @param {Sequence} sequence @param {number} row @param {boolean} dots */
function drawStrip(pen, sequence, row, dots) {
  const { context, counted, css, alpha, narrow, strips, state } = pen;
  const { blockSize, pages } = counted;
  const { table, numComputed, numPrompt, own, sample } = sequence;
  const slab = isSlab(state);
  const mine = own || sample > 0;
  const index = counted.sequences.indexOf(sequence);
  const y = strips.top + row * strips.line;
  const height = strips.height;
  const [, wide] = pageSpan(strips, blockSize, 0, slab);
  const end = pageSpan(strips, blockSize, table.length - 1, slab)[0] + wide;
  let most = 0;
  if (slab) drawSlab(pen, sequence, { x: strips.left, y, wide: end - strips.left, height }, dots);
  else
    table.forEach((id, i) => {
      const [x] = pageSpan(strips, blockSize, i, slab);
      const holders = pages.get(id)?.holders ?? [index];
      const shared = holders.length > 1;
      const named = shared && holders[0] !== index;
      if (!named) most = Math.max(most, shared ? holders.length : 0);
      const filled = clamp(numComputed - i * blockSize, 0, blockSize);
      const color = shared ? css.shared : mine ? css.decode : css.muted;
      context.globalAlpha = alpha;
      if (!named) {
        context.fillStyle = css.panel;
        context.fillRect(x, y, wide, height);
        fill(
          pen,
          { x, y, wide, height },
          filled / blockSize,
          i * blockSize >= numPrompt ? "decode" : "prefill",
          sequence,
          dots,
        );
      }
      context.globalAlpha = alpha * (shared ? 1 : 0.75);
      context.strokeStyle = color;
      context.lineWidth = shared ? 1.5 : 1;
      // What another strip stores is only named here.
      context.setLineDash(named ? [2, 3] : []);
      if (wide > 3 * GAP) context.strokeRect(x + 0.5, y + 0.5, wide - 1, height - 1);
      context.setLineDash([]);
    });
  context.globalAlpha = alpha;
  const empty = table.length * blockSize - numComputed;
  const words = narrow ? count(empty) : t("{n} empty", { n: count(empty) });
  const middle = y + height / 2 + 4;
  if (slab)
    tag(pen, words, (strips.left + (end - strips.left) * (numComputed / (table.length * blockSize)) + end) / 2, middle);
  else label(context, narrow ? "" : words, end + 8, middle, { size: 12, color: css.muted });
  if (!slab && most)
    label(
      context,
      narrow ? `×${most}` : t("×{n}: stored once", { n: count(most) }),
      narrow ? end + 4 : end + 70,
      middle,
      {
        size: narrow ? 11 : 12,
        weight: 650,
        color: css.shared,
        width: strips.box.left + strips.box.width - end - (narrow ? 4 : 70),
      },
    );
}

/** @param {Pen} pen @param {Sequence} sequence @param {{ x: number, y: number, wide: number, height: number }} slab @param {boolean} dots */
function drawSlab(pen, sequence, slab, dots) {
  const { context, counted, css, alpha, strips } = pen;
  const { table, numComputed, numPrompt, own, sample } = sequence;
  const share = numComputed / (table.length * counted.blockSize);
  context.globalAlpha = alpha;
  context.fillStyle = css.panel;
  context.fillRect(slab.x, slab.y, slab.wide, slab.height);
  fill(pen, slab, share, "decode", sequence, dots);
  if ((own || sample) && !dots) {
    context.globalAlpha = alpha;
    context.fillStyle = css.prefill;
    context.fillRect(slab.x, slab.y, (Math.min(numPrompt, numComputed) / strips.deep) * strips.pitch, slab.height);
  }
  context.globalAlpha = alpha * 0.8;
  context.strokeStyle = own || sample ? css.decode : css.muted;
  context.lineWidth = 1;
  context.strokeRect(slab.x + 0.5, slab.y + 0.5, slab.wide - 1, slab.height - 1);
}

/**
 * The filled part of a page or slab, and strokes over the rest.
 * @param {Pen} pen
 * @param {{ x: number, y: number, wide: number, height: number }} page
 * @param {number} share
 * @param {"prefill" | "decode"} phase
 * @param {Sequence} sequence
 * @param {boolean} dots
 */
function fill({ context, css, alpha }, { x, y, wide, height }, share, phase, { own, sample }, dots) {
  context.globalAlpha = alpha * (own && dots ? 0.16 : own || sample ? 0.75 : 0.5);
  context.fillStyle = own || sample ? css[phase] : css.muted;
  context.fillRect(x, y, wide * share, height);
  if (share >= 1) return;
  context.save();
  context.beginPath();
  context.rect(x + wide * share, y, wide * (1 - share), height);
  context.clip();
  context.globalAlpha = alpha * 0.55;
  strokes(context, { left: x, top: y, width: wide, height }, css.muted);
  context.restore();
}

/** Words over strokes. @param {Pen} pen @param {string} words @param {number} x @param {number} y */
function tag({ context, css, narrow }, words, x, y) {
  label(context, "", x, y, { size: narrow ? 11 : 13, weight: 600 });
  const wide = context.measureText(words).width + 10;
  context.fillStyle = css.ground;
  context.fillRect(x - wide / 2, y - 13, wide, 18);
  label(context, words, x, y, { size: narrow ? 11 : 13, weight: 600, color: css.ink, align: "center" });
}

/**
 * The whole pool as one bar: filled, held and empty, kept, free. Both pools are as large, so both bars are as long.
 * @param {Pen} pen
 * @param {Box} box
 */
export function drawGauge({ context, counted, css, alpha, narrow }, { left, top, width, height }) {
  const { total, blockSize, places, unused, kept } = counted;
  const all = Math.max(1, total * blockSize);
  const tall = Math.min(narrow ? 8 : 12, height);
  let x = left;
  context.globalAlpha = alpha * 0.5;
  context.fillStyle = css.idle;
  context.fillRect(left, top, width, tall);
  context.globalAlpha = alpha;
  context.fillStyle = css.ink;
  context.fillRect(x, top, (width * (places - unused)) / all, tall);
  x += (width * (places - unused)) / all;
  const rest = { left: x, top, width: (width * unused) / all, height: tall };
  context.save();
  context.beginPath();
  context.rect(rest.left, rest.top, rest.width, rest.height);
  context.clip();
  strokes(context, { ...rest, left: left, width }, css.ink);
  context.restore();
  x += rest.width;
  context.fillStyle = css.muted;
  context.globalAlpha = alpha * 0.5;
  context.fillRect(x, top, (width * kept * blockSize) / all, tall);
  context.globalAlpha = alpha;
  const values = { full: count(places - unused), empty: count(unused), rest: count(all - places) };
  const words = narrow
    ? t("{full} filled, {empty} empty, {rest} to give", values)
    : t("All {total} places: {full} filled, {empty} held and empty, {rest} to give away", {
        total: count(all),
        ...values,
      });
  label(context, words, left, top + tall + 15, { size: narrow ? 11 : 12, color: css.muted, width });
  context.globalAlpha = 1;
}
