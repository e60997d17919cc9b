// One look as a chart: a key's score, then its share; and the blend of values that the head hands on.

import { toCss } from "../stage/palette.js";
import { font, label } from "../stage/text.js";
import { brought } from "../state/attention.js";
import { percent } from "../state/format.js";
import { t } from "../ui/messages.js";
import { hueOf, strongest } from "./attention_light.js";
import { wordOn } from "./attention_page.js";
import { chartAt, DEEPEST } from "./attention_picture.js";
import { lerp, smooth } from "./room.js";

/** @typedef {import("./attention_picture.js").Picture} Picture */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {CanvasRenderingContext2D} Context */

/** @typedef {{ x: number, y: number, width: number }} Words */

/** Words that stand at the dots of the chart, at most, and how many of the highest are tried. */
const MOST_WORDS = 9;
const MOST_TRIED = 24;

/**
 * Stems up to the dots, a scale, and the words of the highest.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
export function drawChart(context, picture, view, alpha) {
  const { plot, weights, asker, mix } = picture;
  const { css, rgb } = view.palette;
  const foot = plot.top + plot.height;
  context.globalAlpha = alpha;
  drawScale(context, picture, view, alpha);
  const wide = Math.max(1, Math.min(7, 0.55 * (plot.width / Math.max(1, weights.length))));
  for (let i = 0; i <= asker && i < weights.length; i++) {
    const [x, y] = chartAt(picture, i);
    const hue = rgb[hueOf(picture, i)];
    context.fillStyle = toCss(hue, lerp(0.3, 0.55, mix.softmax));
    context.fillRect(x - wide / 2, y, wide, foot - y);
  }
  context.fillStyle = css.line;
  context.fillRect(plot.left, foot, plot.width, 1);
  drawNames(context, picture, view);
  context.globalAlpha = 1;
}

/**
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
function drawScale(context, { plot, mix, area }, view, alpha) {
  const { css } = view.palette;
  const size = area.narrow ? 11 : 12;
  const [scores, shares] = [1 - smooth(0.1, 0.5, mix.softmax), smooth(0.5, 0.9, mix.softmax)];
  for (const step of [0, 0.25, 0.5, 0.75, 1]) {
    const y = plot.top + plot.height * (1 - step);
    context.globalAlpha = 0.5 * alpha;
    context.fillStyle = css.line;
    if (step > 0) context.fillRect(plot.left, y, plot.width, 1);
    if (area.narrow) continue;
    const style = /** @type {const} */ ({
      size: 11,
      face: "mono",
      align: "right",
      baseline: "middle",
      color: css.muted,
    });
    context.globalAlpha = alpha * scores;
    label(context, step === 1 ? "0" : `−${((1 - step) * DEEPEST).toFixed(0)}`, plot.left - 8, y, style);
    context.globalAlpha = alpha * shares;
    label(context, percent(step), plot.left - 8, y, style);
  }
  const style = { size, color: css.muted, width: plot.width };
  context.globalAlpha = alpha * scores;
  label(context, t("score: q · k / √d, below the best"), plot.left, plot.top - 10, style);
  context.globalAlpha = alpha * shares;
  label(context, t("share of the look: all of them together are one"), plot.left, plot.top - 10, style);
  context.globalAlpha = alpha;
}

/**
 * Words beside the highest dots, where they are in nobody's way.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 */
function drawNames(context, picture, view) {
  const { plot, look, asker, mix, area, weights } = picture;
  const { css } = view.palette;
  const size = area.narrow ? 11 : 13;
  context.font = font({ face: "mono", size });
  const shares = mix.softmax > 0.5;
  const points = Array.from({ length: asker + 1 }, (_, i) => chartAt(picture, i));
  const order = points.map((_, i) => i).sort((a, b) => weights[b] - weights[a]);
  /** @type {Words[]} */
  const taken = [];
  for (const i of order.slice(0, MOST_TRIED)) {
    if (taken.length >= MOST_WORDS || !(weights[i] >= (shares ? 0.02 : 0))) break;
    const [x, y] = points[i];
    const { word } = wordOn(look.tokens[i]);
    // In quotes where a number follows: a full stop before one would make another number of it.
    const text = shares ? `“${word}” ${percent(weights[i])}` : word;
    const width = context.measureText(text).width;
    const sides = [x + 8, x - 8 - width].map((left) => ({ x: left, y: y - 5, width }));
    const at = sides.find((side) => isFree(side, size, taken, points, plot));
    if (!at) continue;
    taken.push(at);
    label(context, text, at.x, at.y, { size, face: "mono", color: weights[i] > 0.05 ? css.ink : css.muted });
  }
}

/**
 * Whether words meet neither others nor a stem.
 * @param {Words} at
 * @param {number} size
 * @param {Words[]} taken
 * @param {[number, number][]} points tops of the stems
 * @param {import("./attention_page.js").Box} plot
 */
function isFree(at, size, taken, points, plot) {
  const end = at.x + at.width;
  if (at.x < plot.left || end > plot.left + plot.width) return false;
  const apart = taken.every(
    (other) => Math.abs(other.y - at.y) > size + 3 || at.x > other.x + other.width + 6 || other.x > end + 6,
  );
  return apart && points.every(([x, y]) => x < at.x - 4 || x > end + 4 || y > at.y + 4);
}

/**
 * What the head hands on, as one bar cut into shares; and below, weighed with the length of each value.
 * @param {Context} context
 * @param {Picture} picture
 * @param {import("../state/types.d.ts").State} state
 * @param {View} view
 * @param {number} alpha
 */
export function drawBlend(context, picture, state, view, alpha) {
  const { plot, lamp, weights, head, asker, area, look } = picture;
  if (asker < 0 || Number.isNaN(weights[0])) return;
  const row = weights.subarray(0, asker + 1);
  const box = { left: plot.left, width: plot.width };
  const [tall, gap] = area.narrow ? [13, 30] : [20, 46];
  const top = lamp.y - (area.narrow ? 16 : lamp.size);
  context.globalAlpha = alpha;
  drawBar(context, picture, view, row, t("the blend: values, in these shares"), { ...box, top, height: tall });
  const parts = head && look.own ? brought(row, state, head) : null;
  if (parts)
    drawBar(context, picture, view, parts, t("and weighed by how long each value is"), {
      ...box,
      top: top + gap,
      height: tall,
    });
  context.globalAlpha = 1;
}

/**
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {Float32Array} parts
 * @param {string} words
 * @param {import("./attention_page.js").Box} box
 */
function drawBar(context, picture, view, parts, words, { left, top, width, height }) {
  const { css, rgb } = view.palette;
  const named = new Set(strongest(parts, 12));
  const size = picture.area.narrow ? 11 : 12;
  label(context, words, left, top - 5, { size, color: css.muted, width });
  let x = left;
  parts.forEach((part, i) => {
    const wide = part * width;
    context.fillStyle = toCss(rgb[hueOf(picture, i)], 0.35 + 0.4 * Math.sqrt(part));
    context.fillRect(x, top, Math.max(0, wide - (wide > 3 ? 1 : 0)), height);
    if (named.has(i) && wide > 24)
      label(context, wordOn(picture.look.tokens[i]).word, x + 5, top + height / 2 + 1, {
        size,
        face: "mono",
        baseline: "middle",
        color: css.ink,
        width: wide - 9,
      });
    x += wide;
  });
}
