// The pool: every page at its own place, lit by what stands in it. A round dot is a token of the run on stage (the
// stage draws it), a square somebody else's, a stroke a place that is held and empty.

import { font, label } from "../stage/text.js";
import { number } from "../state/paging.js";
import { t } from "../ui/messages.js";
import { cornerOf, isNear, pagesOf, seatOf } from "./paging_grid.js";
import { clamp } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/paging.js").Tally} Tally */
/** @typedef {import("../state/paging.js").Sequence} Sequence */
/** @typedef {import("../state/paging.js").Page} Page */
/** @typedef {import("./paging_grid.js").Grid} Grid */
/** @typedef {import("../stage/types.d.ts").ColorName} ColorName */
/**
 * What a part of the picture is drawn with, and what of.
 * @typedef {{ context: CanvasRenderingContext2D, css: Record<ColorName, string>, alpha: number, narrow: boolean, state: State, counted: Tally, grid: Grid }} Pen
 */

/** Log seconds that what just happened to a page stays pointed out. */
const RECENT = 0.5;

/** Pages smaller than this are not told apart while they are free, in pixels. */
const TINY = 3;

/** How a sequence is called where there is little room. @param {Sequence} sequence */
export function shortName(sequence) {
  if (sequence.own) return t("you");
  return sequence.sample ? `#${sequence.sample + 1}` : `g${number(sequence)}`;
}

/** How a sequence is called. @param {Sequence} sequence @param {boolean} several whether ours is one sample of several */
export function nameOf(sequence, several) {
  if (sequence.own) return several ? t("answer {n}", { n: 1 }) : t("this run");
  return sequence.sample ? t("answer {n}", { n: sequence.sample + 1 }) : t("guest {n}", { n: number(sequence) });
}

/** Which sequence a page is drawn as: the first of its holders. @param {Tally} counted @param {Page} page */
const holderOf = ({ sequences }, { holders }) => sequences[holders[0]];

/**
 * The frame of a page says what it is: free, kept, ours, a guest's, or shared.
 * @param {Tally} counted
 * @param {Page} page
 * @returns {{ color: ColorName, alpha: number, width: number }}
 */
function frameOf(counted, page) {
  if (page.holders.length > 1) return { color: "shared", alpha: 1, width: 1.5 };
  const holder = holderOf(counted, page);
  if (holder.losing) return { color: "rejected", alpha: 1, width: 1.5 };
  if (holder.own) return { color: "decode", alpha: 0.75, width: 1 };
  return holder.sample ? { color: "decode", alpha: 0.4, width: 1 } : { color: "muted", alpha: 0.55, width: 1 };
}

/** @param {Pen} pen @param {boolean} dots the stage draws the tokens of this run */
export function drawPool(pen, dots) {
  const { context, grid, counted, state, css, alpha } = pen;
  // [kept, in the picture from near]
  const paths = [0, 1, 2, 3].map(() => new Path2D());
  const tiny = grid.cell < TINY;
  if (tiny) paths[1].rect(grid.left, grid.top, grid.columns * grid.cell, grid.rows.length * grid.cell);
  for (const id of tiny ? state.pool.cached : pagesOf(grid)) {
    if (counted.pages.has(id)) continue;
    const which = (state.pool.cached.has(id) ? 2 : 0) + (isNear(grid, id) ? 1 : 0);
    outline(paths[which], grid, cornerOf(grid, id), which % 2 ? grid.size : Math.min(grid.size, grid.own));
  }
  context.fillStyle = css.idle;
  paths.forEach((path, which) => {
    context.globalAlpha = alpha * (which > 1 ? 0.85 : 0.34) * (which % 2 ? 1 : (1 - grid.amount) ** 2);
    context.fill(path);
  });
  drawHeld(pen);
  drawPlaces(pen, dots);
  if (grid.head > 11) drawTitles(pen);
  context.globalAlpha = 1;
}

/** @param {Path2D} path @param {Grid} grid @param {[number, number]} corner @param {number} width */
function outline(path, { size: full }, [x, y], width) {
  const size = Math.min(full, width);
  if (size > 16) path.roundRect(x + 0.5, y + 0.5, width - 1, size - 1, size > 60 ? 6 : 3);
  else path.rect(x, y, Math.max(0.5, width), Math.max(0.5, size));
}

/** @param {Pen} pen @param {Path2D} path @param {Page} page */
function paint({ context, grid, counted, css, alpha }, path, page) {
  const frame = frameOf(counted, page);
  context.globalAlpha = alpha;
  context.fillStyle = css.panel;
  context.fill(path);
  context.globalAlpha = alpha * (page.holders.includes(0) ? 0.12 : 0.06);
  context.fillStyle = css[frame.color];
  context.fill(path);
  context.globalAlpha = alpha * frame.alpha;
  context.strokeStyle = css[frame.color];
  context.lineWidth = grid.size > 12 ? frame.width : 0.7;
  context.stroke(path);
}

/** @param {Pen} pen */
function drawHeld(pen) {
  const { grid, counted } = pen;
  for (const [id, page] of counted.pages) {
    const path = new Path2D();
    outline(path, grid, cornerOf(grid, id), grid.size);
    paint(pen, path, page);
  }
}

/** @param {Pen} pen @param {boolean} dots */
function drawPlaces({ context, grid, counted, state, css, alpha }, dots) {
  const prompt = state.request.numPromptTokens;
  const guests = new Path2D();
  const read = new Path2D();
  const written = new Path2D();
  const empty = new Path2D();
  const half = Math.max(0.5, 0.3 * grid.pitch);
  for (const [id, page] of counted.pages) {
    const holder = holderOf(counted, page);
    const mine = holder.own || holder.sample > 0;
    for (let place = 0; place < grid.blockSize; place++) {
      const filled = place < page.filled;
      if (filled && holder.own && dots) continue;
      const [x, y] = seatOf(grid, id, place);
      if (!filled) {
        empty.moveTo(x - 0.7 * half, y + 0.7 * half);
        empty.lineTo(x + 0.7 * half, y - 0.7 * half);
        continue;
      }
      const position = page.index * grid.blockSize + place;
      const path = !mine ? guests : position < prompt ? read : written;
      path.rect(x - half, y - half, 2 * half, 2 * half);
    }
  }
  context.globalAlpha = alpha * 0.62;
  context.fillStyle = css.muted;
  context.fill(guests);
  context.globalAlpha = alpha * 0.85;
  context.fillStyle = css.prefill;
  context.fill(read);
  context.fillStyle = css.decode;
  context.fill(written);
  context.globalAlpha = alpha * 0.75;
  context.strokeStyle = css.muted;
  context.lineWidth = grid.pitch > 5 ? 1 : 0.7;
  context.stroke(empty);
}

/** Whose a page is, and how many hold it. @param {Pen} pen */
function drawTitles({ context, grid, counted, state, css, alpha }) {
  context.globalAlpha = alpha;
  for (const id of state.pool.cached) {
    if (counted.pages.has(id) || !isNear(grid, id)) continue;
    const [x, y] = cornerOf(grid, id);
    label(context, String(id), x + 5, y + 12, { size: 11, face: "mono", color: css.muted, width: grid.size - 30 });
    label(context, t("kept"), x + grid.size - 5, y + 12, { size: 11, color: css.muted, align: "right" });
  }
  const alone = counted.sequences.length === 1;
  const several = counted.sequences.some(({ sample }) => sample > 0);
  for (const [id, page] of counted.pages) {
    const [x, y] = cornerOf(grid, id);
    const holder = holderOf(counted, page);
    const shared = page.holders.length > 1;
    const text = shared ? `×${page.holders.length}` : several ? `#${holder.sample + 1}` : shortName(holder);
    const color = shared ? css.shared : page.holders.includes(0) ? css.decode : css.muted;
    const style = { size: shared && grid.size > 50 ? 13 : 11, weight: shared ? 700 : 500, color };
    if (!alone) label(context, text, x + grid.size - 5, y + 12, { ...style, align: "right" });
    label(context, String(id), x + 5, y + 12, { size: 11, face: "mono", color: css.muted, width: grid.size - 30 });
  }
}

/**
 * What has just happened: a copy at a first write, a page that gave up what it kept, a request that lost its pages.
 * @param {Pen} pen
 */
export function drawNews(pen) {
  const { context, grid, counted, state, css, alpha } = pen;
  const victim = counted.sequences.find(({ losing }) => losing);
  if (victim) {
    context.globalAlpha = alpha;
    context.strokeStyle = css.rejected;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const id of victim.table) {
      const [x, y] = cornerOf(grid, id);
      const top = y + grid.head + 3;
      context.moveTo(x + 3, top);
      context.lineTo(x + grid.size - 3, y + grid.size - 3);
      context.moveTo(x + grid.size - 3, top);
      context.lineTo(x + 3, y + grid.size - 3);
    }
    context.stroke();
  }
  for (const { source, id, t: at } of state.pool.copies) {
    const fresh = clamp(1 - (state.t - at) / RECENT);
    if (fresh <= 0) continue;
    context.globalAlpha = fresh * alpha;
    arrow(context, middle(grid, source), middle(grid, id), css.shared, 2);
    tag(pen, t("copied"), cornerOf(grid, id), css.shared);
  }
  // Small pages have no room for more than one word.
  for (const { id, t: at } of state.pool.evictions.slice(grid.size > 52 ? -8 : -1)) {
    const fresh = clamp(1 - (state.t - at) / RECENT);
    if (fresh <= 0) continue;
    context.globalAlpha = fresh * alpha;
    tag(pen, t("evicted"), cornerOf(grid, id), css.ink);
  }
  context.globalAlpha = 1;
}

/** @param {Grid} grid @param {number} id @returns {[number, number]} */
function middle(grid, id) {
  const [x, y] = cornerOf(grid, id);
  return [x + grid.size / 2, y + grid.size / 2];
}

/**
 * A curve with a head.
 * @param {CanvasRenderingContext2D} context
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @param {string} color
 * @param {number} width
 */
function arrow(context, [x0, y0], [x1, y1], color, width) {
  const bend = x0 === x1 ? 0 : (x1 - x0) / 2;
  const lift = Math.abs(y1 - y0) < 4 ? -Math.min(40, Math.abs(x1 - x0) / 2) : 0;
  context.strokeStyle = color;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x0, y0);
  context.bezierCurveTo(x0 + bend, y0 + lift, x1 - bend, y1 + lift, x1, y1);
  context.stroke();
  if (width < 1.2) return;
  const angle = Math.atan2(y1 - (y1 + lift), x1 - (x1 - bend)) || (y1 > y0 ? Math.PI / 2 : 0);
  const head = 5 + width;
  context.fillStyle = color;
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x1 - head * Math.cos(angle - 0.45), y1 - head * Math.sin(angle - 0.45));
  context.lineTo(x1 - head * Math.cos(angle + 0.45), y1 - head * Math.sin(angle + 0.45));
  context.fill();
}

/** Words on a page. @param {Pen} pen @param {string} text @param {[number, number]} corner @param {string} color */
function tag(pen, text, [x, y], color) {
  const { context, grid, css } = pen;
  const { box } = grid;
  context.font = font({ size: 11, weight: 600 });
  const pad = grid.size > 52 ? 5 : 3;
  const width = context.measureText(text).width + 2 * pad;
  const left = Math.min(Math.max(box.left, x + grid.size / 2 - width / 2), box.left + box.width - width);
  const top = y + tagTop(pen, [x, y]);
  context.fillStyle = css.ground;
  context.beginPath();
  context.roundRect(left, top, width, 17, 4);
  context.fill();
  context.strokeStyle = color;
  context.lineWidth = 1;
  context.stroke();
  label(context, text, left + pad, top + 12.5, { size: 11, weight: 600, color });
}

/**
 * How far below a page's corner its tag begins. Dots lie over everything, so it goes where none is: at the foot of a
 * large page, over a small one's title, and outside of one that has none.
 * @param {Pen} pen @param {[number, number]} corner
 */
function tagTop({ grid, counted }, [x, y]) {
  if (grid.size > 52) return grid.size - 22;
  if (grid.head) return -4;
  const below = y + grid.cell;
  const held = [...counted.pages.keys()].map((id) => cornerOf(grid, id));
  return held.some((other) => Math.abs(other[1] - below) < 1 && Math.abs(other[0] - x) < 2 * grid.cell)
    ? -18
    : grid.size + 2;
}
