// The likeliest tokens as bars, all others as one more; laid end to end they are the line from 0 to 1 that the coin falls
// on.

import { label } from "../stage/text.js";
import { count, percent } from "../state/format.js";
import { t } from "../ui/messages.js";
import { ROWS } from "./loop_layout.js";
import { clamp, lerp } from "./room.js";

/** @typedef {import("./loop_picture.js").Picture} Picture */
/** @typedef {import("./loop_layout.js").Layout} Layout */
/** @typedef {CanvasRenderingContext2D} Context */

/** Room for the dot of the drawn token, which stands at the end of its bar. */
const DOT = 9;
const MONO = /** @type {const} */ ({ face: "mono", baseline: "middle" });

/** Middle of a row. @param {Layout} layout @param {number} index */
export const rowAt = ({ bars, rowHeight }, index) => bars.top + rowHeight * (index + 0.5);

/**
 * Where a row's bar begins and ends.
 * @param {Layout} layout
 * @param {{ from: number, plain: number, shaped: number }} row
 * @param {{ shape: number, stair: number }} mix how far reshaped, and how far laid end to end
 * @returns {[number, number]}
 */
export function barOf({ bars }, row, { shape, stair }) {
  const from = bars.left + bars.width * row.from * stair;
  return [from, from + bars.width * lerp(row.plain, row.shaped, shape)];
}

/** @param {Context} context @param {Picture} picture @param {number} alpha */
export function drawRows(context, picture, alpha) {
  const { layout, mix, scores, css, tally } = picture;
  const { rows, others } = picture.all;
  const { bars, rowHeight, narrow } = layout;
  const size = narrow ? 11 : clamp(0.45 * rowHeight, 12, 18);
  const thick = Math.round(0.6 * rowHeight);
  const line = { from: 1 - lerp(others.plain, others.shaped, mix.shape), plain: others.plain, shaped: others.shaped };
  const rest = { ...line, id: -1, name: t("{count} others", { count: count(others.count) }) };
  for (const [i, row] of [...rows, rest].entries()) {
    const other = row === rest;
    if (other && others.count <= 0) continue;
    const y = rowAt(layout, other ? ROWS : i);
    const color = row.id === scores.token?.id ? css.decode : css.ink;
    const drawn = color === css.decode;
    const cut = mix.shape > 0.5 && row.shaped === 0;
    const [from, to] = barOf(layout, row, mix);
    const before = bars.left + bars.width * row.plain;
    label(context, row.name || "…", layout.words, y + 0.5, {
      baseline: "middle",
      face: other ? "sans" : "mono",
      size: other ? Math.max(11, size - 3) : size,
      weight: drawn ? 700 : 500,
      align: "right",
      color: other || cut ? css.muted : color,
      width: layout.words - layout.curve.left + 4,
    });
    context.fillStyle = other ? css.muted : color;
    // All others are many thin ones, not one thick one.
    for (let x = from; x < to; x += other ? 3 : to - from)
      context.fillRect(x, y - thick / 2, other ? Math.min(2, to - x) : Math.max(1, to - from), thick);
    const outlined = mix.shape * (1 - mix.stair);
    if (outlined > 0.02) drawBefore(context, picture, before, y + thick / 2, alpha * outlined);
    const end = Math.max(to, outlined > 0 ? lerp(to, before, outlined) : to) + (drawn ? DOT * (1 - mix.stair) : 0);
    const now = cut ? t("cut") : percent(mix.shape > 0.5 ? row.shaped : row.plain);
    const words = outlined > 0.5 && !narrow ? `${percent(row.plain)} → ${now}` : now;
    drawShare(context, picture, from, end, y, words, drawn ? color : css.muted, Math.max(11, size - 1));
    if (tally[i])
      label(context, `×${count(tally[i])}`, layout.track - (narrow ? 12 : 24), y + 0.5, {
        ...MONO,
        size,
        weight: 600,
        align: "right",
        color: css.ink,
      });
  }
}

/**
 * How far the bar reached before reshaping: a thin line under it, with an end.
 * @param {Context} context @param {Picture} picture @param {number} end @param {number} y foot of the bar @param {number} alpha
 */
function drawBefore(context, { css, layout: { bars, narrow } }, end, y, alpha) {
  context.save();
  context.globalAlpha = alpha;
  context.fillStyle = css.muted;
  const thick = narrow ? 1.5 : 2.5;
  context.fillRect(bars.left, y + 1, Math.max(1, end - bars.left), thick);
  context.fillRect(Math.max(bars.left, end - 1.5), y + 1 - thick, 1.5, 2 * thick);
  context.restore();
}

/** What a bar and the line under it mean. @param {Context} context @param {Picture} picture @param {number} alpha */
export function drawKey(context, { layout, css, mix }, alpha) {
  const shown = mix.shape * (1 - mix.stair) * (1 - mix.seat);
  if (shown < 0.05) return;
  context.globalAlpha = alpha * shown;
  const { context: line, curve, narrow } = layout;
  const style = {
    size: narrow ? 11 : 13,
    baseline: /** @type {const} */ ("middle"),
    align: /** @type {const} */ ("right"),
  };
  const right = curve.left + curve.width;
  const short = curve.width < 640;
  const after = short ? t("after") : t("after reshaping");
  const before = short ? t("before") : t("the model's own");
  label(context, after, right, line.y, { ...style, color: css.ink });
  let x = right - context.measureText(after).width - 24;
  context.fillStyle = css.ink;
  context.fillRect(x, line.y - 5, 16, 10);
  x -= narrow ? 10 : 22;
  label(context, before, x, line.y, { ...style, color: css.muted });
  x -= context.measureText(before).width + 24;
  context.fillStyle = css.muted;
  context.fillRect(x, line.y - 1, 16, 2.5);
  context.globalAlpha = alpha;
}

/**
 * The share behind the end of a bar; before its beginning where no room is left; else in it. The coin's line does not
 * cross it.
 * @param {Context} context @param {Picture} picture @param {number} from @param {number} to @param {number} y
 * @param {string} text @param {string} color @param {number} size
 */
function drawShare(context, { layout: { bars, narrow }, mix, css }, from, to, y, text, color, size) {
  const width = 8 + 0.64 * size * text.length;
  const behind = to + width <= bars.left + bars.width + (narrow ? 4 : 40);
  const inside = !behind && from - width < bars.left;
  const at = behind ? to + 8 : inside ? to - 8 : from - 8;
  if (mix.stair > 0.5 && !inside) {
    context.fillStyle = css.ground;
    context.fillRect(behind ? at - 3 : at - width + 6, y - size / 2 - 3, width - 4, size + 6);
  }
  label(context, text, at, y + 0.5, {
    ...MONO,
    size,
    weight: inside ? 650 : 400,
    color: inside ? css.ground : color,
    align: behind ? "left" : "right",
  });
}

/** The line from 0 to 1, and what falls on it. @param {Context} context @param {Picture} picture @param {number} alpha */
export function drawLine(context, picture, alpha) {
  const { layout, scores, css, draws } = picture;
  const { bars, axis, narrow } = layout;
  /** @param {number} share */
  const at = (share) => bars.left + bars.width * share;
  context.fillStyle = css.line;
  context.fillRect(bars.left, axis, bars.width, 1);
  for (const end of [0, 1])
    label(context, String(end), at(end), axis + 16, { size: 11, face: "mono", align: "center", color: css.muted });
  context.fillStyle = css.ink;
  for (const draw of draws) context.fillRect(at(draw) - 0.5, axis - 4, 1, 8);
  const last = draws.at(-1);
  const { coin } = scores;
  const fell = last ?? coin?.uniform;
  const color = last === undefined ? css.decode : css.ink;
  if (fell != null) drawFall(context, at(fell), bars.top - 6, axis, color);
  else if (coin) {
    context.globalAlpha = 0.22 * alpha;
    context.fillStyle = color;
    context.fillRect(at(coin.from), bars.top, Math.max(2, at(coin.to) - at(coin.from)), axis - bars.top);
    context.globalAlpha = alpha;
  }
  const words = lineWords(picture);
  const half = 4 * words.length;
  const middle = at(fell ?? (coin ? (coin.from + coin.to) / 2 : 0.5));
  label(
    context,
    words,
    clamp(middle, bars.left + half + 12, bars.left + bars.width - half - 12),
    axis + (narrow ? 18 : 22),
    {
      size: narrow ? 11 : 13,
      weight: 600,
      face: "mono",
      align: "center",
      color: fell == null && !coin ? css.muted : color,
    },
  );
}

/** @param {Picture} picture */
function lineWords({ scores: { coin, own, shaped }, draws }) {
  const last = draws.at(-1);
  if (last !== undefined) return t("draw {number}: {draw}", { number: count(draws.length), draw: last.toFixed(3) });
  if (coin)
    return coin.uniform === null ? t("it fell in here") : t("the coin: {draw}", { draw: coin.uniform.toFixed(3) });
  return shaped && !own ? t("not this run's settings") : "";
}

/** @param {Context} context @param {number} x @param {number} top @param {number} axis @param {string} color */
function drawFall(context, x, top, axis, color) {
  context.strokeStyle = context.fillStyle = color;
  context.lineWidth = 1.5;
  context.setLineDash([4, 4]);
  context.beginPath();
  context.moveTo(x, top);
  context.lineTo(x, axis);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(x, axis - 2);
  context.lineTo(x - 5, axis + 7);
  context.lineTo(x + 5, axis + 7);
  context.fill();
}
