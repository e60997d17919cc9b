// Two small pictures beside the pool: what a page's size costs in empty places, and how many pages are wanted at once.

import { label } from "../stage/text.js";
import { count, significant } from "../state/format.js";
import { fragmentation, lengthsOf, wanted } from "../state/paging.js";
import { t } from "../ui/messages.js";
import { strokes } from "./paging_tables.js";

/** @typedef {import("./paging_pool.js").Pen} Pen */
/** @typedef {import("./paging_grid.js").Box} Box */
/** @typedef {import("../stage/types.d.ts").View} View */

/** Page sizes that a take may be asked for. */
export const SIZES = [4, 8, 16, 32, 64];

/** The page size that the reader has chosen. @param {{ controls: Record<string, any> }} view @param {number} fallback */
export function chosenSize({ controls }, fallback) {
  const value = Number(controls.paging_block_size);
  return SIZES.includes(value) ? value : fallback;
}

/** Empty places a request, where pages are of this size: these lengths, laid out again. @param {number[]} lengths @param {number} size */
export const emptyEach = (lengths, size) => (lengths.length ? fragmentation(lengths, size).unused / lengths.length : 0);

/**
 * Empty places a request for each page size. Modelled.
 * @param {Omit<Pen, "grid">} pen
 * @param {Box} box
 * @param {View} view
 */
export function drawSizes({ context, counted, css, alpha, narrow }, box, view) {
  const lengths = lengthsOf(counted);
  context.globalAlpha = alpha;
  const bars = SIZES.map((size) => ({ size, each: emptyEach(lengths, size) }));
  const most = Math.max(1, ...bars.map(({ each }) => each));
  const chosen = chosenSize(view, counted.blockSize);
  const title = narrow
    ? t("Empty places a guest, by tokens a page (modelled)")
    : t("Empty places a guest, by tokens a page");
  label(context, title, box.left, box.top + 11, { size: 12, weight: 600, color: css.ink, width: box.width });
  if (!narrow)
    label(context, t("the same lengths laid out again: modelled"), box.left + box.width, box.top + 11, {
      size: 12,
      color: css.muted,
      align: "right",
    });
  const [top, height] = [box.top + 22, box.height - 22 - 34];
  const step = box.width / SIZES.length;
  bars.forEach(({ size, each }, i) => {
    const x = box.left + i * step;
    const lit = size === chosen;
    const tall = Math.max(1, (height * each) / most);
    context.globalAlpha = alpha * (lit ? 1 : 0.5);
    const bar = { left: x, top: top + height - tall, width: step - 14, height: tall };
    context.save();
    context.beginPath();
    context.rect(bar.left, bar.top, bar.width, bar.height);
    context.clip();
    strokes(context, bar, lit ? css.ink : css.muted);
    context.restore();
    context.strokeStyle = lit ? css.ink : css.muted;
    context.strokeRect(bar.left + 0.5, bar.top + 0.5, bar.width - 1, Math.max(0.5, bar.height - 1));
    context.globalAlpha = alpha;
    label(context, narrow ? String(size) : t("{n} tokens", { n: size }), x, top + height + 15, {
      size: narrow ? 11 : 12,
      weight: lit ? 700 : 450,
      color: css.ink,
    });
    const empty = lengths.length ? significant(each) : "—";
    label(context, narrow ? empty : t("{n} empty", { n: empty }), x, top + height + 30, {
      size: narrow ? 11 : 12,
      color: css.muted,
      width: step - 8,
    });
  });
  context.globalAlpha = 1;
}

/** The pool that the reader has in mind. @param {{ controls: Record<string, any> }} view @param {number} fallback */
export function chosenPool({ controls }, fallback) {
  const value = Number(controls.paging_num_blocks);
  return Number.isFinite(value) && value > 0 ? value : fallback;
}

/**
 * Pages wanted at once against the pool that is there, and against the one that the reader has in mind.
 * @param {Pen} pen
 * @param {Box} box
 * @param {View} view
 */
export function drawDemand({ context, counted, css, alpha, narrow }, box, view) {
  const need = wanted(counted);
  const { total } = counted;
  const pool = chosenPool(view, total);
  const scale = box.width / Math.max(need, total, pool, 1);
  const { left: x, top: y, width } = box;
  const short = Math.max(0, need - pool);
  const words =
    short > 0
      ? t("{n} would be {short} short (modelled)", { n: count(pool), short: count(short) })
      : t("{n} would do (modelled)", { n: count(pool) });
  context.globalAlpha = alpha;
  const title = t("{n} pages wanted, the pool has {total}", { n: count(need), total: count(total) });
  label(context, title, x, y + 11, { size: 12, weight: 600, color: css.ink, width: narrow ? 0.6 * width : width });
  const top = y + 19;
  bar(context, x, top, scale * Math.min(need, total), css.muted, 0.8);
  if (need > total) bar(context, x + scale * total, top, scale * (need - total), css.rejected, 0.9);
  bar(context, x, top + 11, scale * total, css.idle, 1);
  context.fillStyle = css.ink;
  context.fillRect(Math.min(x + scale * pool, x + width) - 2, top - 3, 2, 27);
  if (pool !== total || !narrow)
    label(
      context,
      pool === total ? t("held and missing above, the pool below") : words,
      narrow ? x + width : x,
      narrow ? y + 11 : y + 62,
      {
        size: narrow ? 11 : 12,
        color: pool === total ? css.muted : css.ink,
        align: narrow ? "right" : "left",
        width: narrow ? 0.4 * width - 6 : width,
      },
    );
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} width @param {string} color @param {number} alpha */
function bar(context, x, y, width, color, alpha) {
  const before = context.globalAlpha;
  context.globalAlpha = before * alpha;
  context.fillStyle = color;
  context.fillRect(x, y, Math.max(1, width), 10);
  context.globalAlpha = before;
}
