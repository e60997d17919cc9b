// The text, lit by a look: beams from the lamp to the words that it finds, each word as bright as its share.

import { toCss } from "../stage/palette.js";
import { font, label } from "../stage/text.js";
import { echoOf } from "../state/attention.js";
import { percent } from "../state/format.js";
import { t } from "../ui/messages.js";
import { wordOn } from "./attention_page.js";
import { lightOf } from "./attention_picture.js";
import { clamp } from "./room.js";

/** @typedef {import("./attention_picture.js").Picture} Picture */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {CanvasRenderingContext2D} Context */

/** Shares under this throw no beam, and over this are named. */
const SEEN = 0.004;
const NAMED = 0.045;
const MOST_NAMED = 6;

/** The colour of a token's kind in a text. @param {Picture} picture @param {number} i @returns {"prefill" | "decode"} */
export const hueOf = ({ look }, i) => (i < look.start ? "prefill" : "decode");

/** @param {Float32Array} weights @param {number} i */
const weightAt = (weights, i) => (Number.isNaN(weights[i]) ? 0 : weights[i]);

/**
 * Beams of light. As a reader enters they sweep over the text, from its first word on.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
export function drawBeams(context, picture, view, alpha) {
  const { weights, lamp, dots, asker, mix } = picture;
  if (asker < 0) return;
  const [lx, ly] = lightOf(lamp);
  const rgb = view.palette.rgb[hueOf(picture, asker)];
  const night = view.theme === "dark";
  context.save();
  for (let i = 0; i < weights.length; i++) {
    const weight = weightAt(weights, i);
    if (weight < SEEN || (i === asker && mix.seat < 0.5)) continue;
    const [x, y, r] = dots.subarray(3 * i, 3 * i + 3);
    const away = Math.hypot(x - lx, y - ly) || 1;
    const [nx, ny] = [(y - ly) / away, (lx - x) / away]; // across the beam
    const half = Math.max(1.2, 0.92 * r);
    const strength = alpha * clamp(3 * view.entered - 2 * (i / weights.length)) * clamp(0.07 + 0.72 * weight ** 0.6);
    const light = context.createLinearGradient(lx, ly, x, y);
    light.addColorStop(0, toCss(rgb, (night ? 0.9 : 0.75) * strength));
    light.addColorStop(1, toCss(rgb, (night ? 0.5 : 0.55) * strength));
    context.fillStyle = light;
    context.beginPath();
    context.moveTo(lx - 1.5 * nx, ly - 1.5 * ny);
    context.lineTo(x - half * nx, y - half * ny);
    context.lineTo(x + half * nx, y + half * ny);
    context.lineTo(lx + 1.5 * nx, ly + 1.5 * ny);
    context.fill();
  }
  context.restore();
}

/**
 * The words on their lines.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
export function drawWords(context, picture, view, alpha) {
  const { look, page, weights, asker, mix } = picture;
  const { css, rgb } = view.palette;
  context.font = font({ face: "mono", size: page.size });
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  look.tokens.forEach((token, i) => {
    if (page.width[i] <= 0) return;
    const weight = weightAt(weights, i);
    const [x, y, width] = [page.x[i], page.y[i], page.width[i]];
    if (weight > 0.01) {
      context.globalAlpha = alpha;
      context.fillStyle = toCss(rgb[hueOf(picture, i)], clamp(0.08 + 0.5 * Math.sqrt(weight)));
      context.beginPath();
      context.roundRect(x - 4, y - 1.02 * page.size, width + 8, 1.36 * page.size, 5);
      context.fill();
    }
    const template = i < look.start && !token.own;
    const out = mix.column > 0.5 ? i < asker : i > asker && asker >= 0;
    context.globalAlpha = alpha * (out ? 0.5 : weight > 0.01 ? 1 : template ? 0.72 : 0.92);
    context.fillStyle = weight > 0.01 ? css.ink : css.muted;
    context.fillText(wordOn(token).word, x, y, width + 1);
  });
  if (page.left) drawThread(context, picture, view, alpha);
  if (asker >= 0 && page.width[asker] > 0) {
    context.globalAlpha = alpha;
    context.strokeStyle = css[hueOf(picture, asker)];
    context.lineWidth = 1.5;
    context.beginPath();
    const [x, y] = [page.x[asker], page.y[asker]];
    context.roundRect(x - 4, y - 1.02 * page.size, page.width[asker] + 8, 1.36 * page.size, 5);
    context.stroke();
  }
  context.globalAlpha = 1;
}

/**
 * What no line is left for.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
function drawThread(context, { page, plot }, view, alpha) {
  const { left } = page;
  if (!left) return;
  context.globalAlpha = alpha;
  label(context, t("{count} tokens in between", { count: left.to - left.from }), plot.left, left.y + 18, {
    size: 11,
    color: view.palette.css.muted,
  });
}

/**
 * The shares of the words that have most, above them.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
export function drawShares(context, { page, weights, plot }, view, alpha) {
  const size = page.size > 13 ? 13 : 11;
  context.font = font({ size, weight: 600, face: "mono" });
  /** What stands already: where two would overlap, the larger share has the place. @type {[number, number, number][]} */
  const standing = [];
  for (const i of strongest(weights, page.size > 12 ? MOST_NAMED : 3)) {
    if (page.width[i] <= 0) continue;
    const text = percent(weights[i]);
    const half = context.measureText(text).width / 2 + 3;
    const middle = page.x[i] + page.width[i] / 2;
    const [x, y] = [
      clamp(middle, plot.left - 4 + half, plot.left + plot.width + 4 - half),
      page.y[i] - 1.08 * page.size,
    ];
    const meets = standing.some(
      ([otherX, otherY, other]) => Math.abs(x - otherX) < half + other && Math.abs(y - otherY) < 2.4 * size,
    );
    if (meets) continue;
    standing.push([x, y, half]);
    // The line before has its dots here.
    context.globalAlpha = 0.85 * alpha;
    context.fillStyle = view.palette.css.ground;
    context.beginPath();
    context.roundRect(x - half, y - 0.86 * size, 2 * half, size, 4);
    context.fill();
    context.globalAlpha = alpha;
    label(context, text, x, y, { size, weight: 600, face: "mono", align: "center", color: view.palette.css.ink });
  }
  context.globalAlpha = 1;
}

/**
 * The tokens with the largest shares that are worth a name.
 * @param {Float32Array} weights
 * @param {number} most
 */
export function strongest(weights, most) {
  const found = [];
  for (let i = 0; i < weights.length; i++) if (weights[i] >= NAMED) found.push(i);
  return found.sort((a, b) => weights[b] - weights[a]).slice(0, most);
}

/**
 * Who asks, large, where the light comes from.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
export function drawLamp(context, picture, view, alpha) {
  const { lamp, asker, look, mix, dots, area } = picture;
  if (asker < 0) return;
  const hue = hueOf(picture, asker);
  const [lx, ly] = lightOf(lamp);
  context.globalAlpha = alpha;
  const glow = context.createRadialGradient(lx, ly, 0, lx, ly, 2.6 * lamp.size);
  glow.addColorStop(0, toCss(view.palette.rgb[hue], 0.4 * (1 - mix.chart)));
  glow.addColorStop(1, toCss(view.palette.rgb[hue], 0));
  context.fillStyle = glow;
  context.fillRect(lx - 2.6 * lamp.size, ly - 2.6 * lamp.size, 5.2 * lamp.size, 5.2 * lamp.size);
  const away = Math.hypot(dots[3 * asker] - lx, dots[3 * asker + 1] - ly) > 6;
  if (away) {
    context.strokeStyle = view.palette.css[hue];
    context.lineWidth = 2;
    context.beginPath();
    context.arc(lx, ly, 0.24 * lamp.size, 0, 2 * Math.PI);
    context.stroke();
  }
  // In quotes: a colon or a space alone would be no word to look at.
  label(context, `“${wordOn(look.tokens[asker]).word.replace("␣", "·")}”`, lamp.x, lamp.y, {
    size: lamp.size,
    weight: 500,
    face: "mono",
    align: "center",
    baseline: "middle",
    color: view.palette.css.ink,
    width: 0.8 * area.width,
  });
  label(context, placeWords(picture), lamp.x, lamp.y + 0.95 * lamp.size, {
    size: area.narrow ? 11 : 12,
    align: "center",
    color: view.palette.css.muted,
    width: area.width - 24,
  });
  context.globalAlpha = 1;
}

/** Under the lamp: which place asks, or is looked at; and where a head found the token's own earlier copy. @param {Picture} picture */
function placeWords({ asker, mix, weights, look, head }) {
  if (mix.column > 0.5) {
    const later = weights.subarray(asker + 1).reduce((sum, weight) => sum + (Number.isNaN(weight) ? 0 : 1), 0);
    return t("place {place}, and the looks of {count} later tokens", { place: asker + 1, count: later });
  }
  const copy = head ? echoOf(look, asker, weights) : -1;
  const values = { place: asker + 1, copy: copy + 1, next: copy + 2 };
  if (copy >= 0) return t("place {place} found itself at place {copy}, and looks at what came next then", values);
  return t("place {place} asks all places up to its own", values);
}

/**
 * Through which head, at the top of the picture.
 * @param {Context} context
 * @param {Picture} picture
 * @param {View} view
 * @param {number} alpha
 */
export function drawTitle(context, { head, heads, summary, area, map, look, weights }, view, alpha) {
  const { css } = view.palette;
  context.globalAlpha = alpha;
  const y = map.top - (area.narrow ? 12 : 28);
  const layers = summary?.first.shape[0];
  const words = head
    ? t("layer {layer}, head {head}", { layer: head.layer + 1, head: head.head + 1 })
    : heads
      ? t("the mean of {count} heads", { count: heads })
      : "";
  label(context, words, map.left, y, {
    size: area.narrow ? 12 : 14,
    weight: 600,
    color: css.ink,
    width: map.width / 2,
  });
  const all = layers ? t("of {layers} layers, {heads} heads each", { layers, heads: summary.first.shape[1] }) : "";
  context.font = font({ size: area.narrow ? 12 : 14, weight: 600 });
  const indent = words ? context.measureText(words).width + 8 : 0;
  if (head && !area.narrow)
    label(context, all, map.left + indent, y, { size: 12, color: css.muted, width: map.width - indent });
  if (weights.length && Number.isNaN(weights[0]) && Number.isNaN(weights[weights.length - 1]) && !look.sources.length)
    label(context, t("Nobody has looked into the heads at this moment."), map.left, y, {
      size: area.narrow ? 12 : 14,
      color: css.muted,
      width: map.width,
    });
  context.globalAlpha = 1;
}
