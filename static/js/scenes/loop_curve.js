// The whole vocabulary as a curve, with the place of every cut. In the same place, once a token has its seat, the turns
// so far: a bar for each token that was drawn, as tall as the model's own probability of it.

import { label } from "../stage/text.js";
import { count, significant } from "../state/format.js";
import { t } from "../ui/messages.js";
import { atRank, capacityOf, DECADES, depthOf, rankAt } from "./loop_layout.js";

/** @typedef {import("./loop_picture.js").Picture} Picture */
/** @typedef {import("./loop_layout.js").Layout} Layout */
/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {CanvasRenderingContext2D} Context */

/** A small note at the right or left edge of the box, above a height. @param {Context} context @param {Picture} picture @param {string} text @param {number} y @param {CanvasTextAlign} align */
function note(context, { layout: { curve }, css }, text, y, align) {
  label(context, text, curve.left + (align === "right" ? curve.width : 0), y, { size: 11, align, color: css.muted });
}

/** Likeliest first, both scales logarithmic; what the cuts leave is filled. @param {Context} context @param {Picture} picture @param {number} alpha */
export function drawCurve(context, picture, alpha) {
  const { plain, shaped, token } = picture.scores;
  if (!plain || !shaped) return;
  const { css, mix } = picture;
  const { curve, narrow } = picture.layout;
  const all = plain.ids.length;
  const bottom = curve.top + curve.height;
  const filled = mix.shape < 0.5 ? plain : shaped;
  const drawn = token ? filled.ids.indexOf(token.id) : -1;
  context.strokeStyle = css.muted;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = 0; x < curve.width; x++) {
    const rank = Math.floor(atRank(curve, curve.left + x + 0.5, all)) - 1;
    const part = filled.mass[rank] ?? 0;
    const y = depthOf(curve, part);
    context.globalAlpha = alpha * (rank === drawn ? 1 : 0.5);
    context.fillStyle = rank === drawn ? css.decode : css.ink;
    if (part > 0) context.fillRect(curve.left + x, y, 1, bottom - y);
    context.lineTo(curve.left + x, depthOf(curve, plain.mass[rank] ?? 0));
  }
  context.globalAlpha = alpha;
  context.stroke();
  context.fillStyle = css.line;
  context.fillRect(curve.left, bottom, curve.width, 1);
  for (const rank of [1, 10, 100, 1000, 10000, all]) {
    const x = rankAt(curve, rank, all);
    if (rank !== all && curve.left + curve.width - x < 72) continue;
    const align = rank === 1 ? "left" : rank === all ? "right" : "center";
    label(context, count(rank), x, bottom + 15, { size: 11, face: "mono", align, color: css.muted });
  }
  if (!narrow) {
    note(context, picture, "1 %", curve.top + (2 / DECADES) * curve.height - 4, "right");
    note(context, picture, `1 / ${count(1e6)}`, curve.top + (6 / DECADES) * curve.height - 4, "right");
    note(context, picture, t("all {count} tokens, likeliest first", { count: count(all) }), curve.top - 14, "left");
  }
  context.globalAlpha = alpha * mix.shape;
  drawCuts(context, picture, shaped);
}

/** @param {Context} context @param {Picture} picture @param {import("../state/sampling.js").Distribution} shaped */
function drawCuts(context, { layout: { curve, narrow }, scores: { settings }, css }, { ids, kept, mass }) {
  /** @type {[boolean, string, number][]} */
  const cuts = [
    [settings.top_k > 0, `top-k ${count(settings.top_k)}`, kept.topK],
    [settings.top_p < 1, `top-p ${significant(settings.top_p)}`, kept.topP],
    [settings.min_p > 0, `min-p ${significant(settings.min_p)}`, kept.minP],
  ];
  const shown = cuts.filter(([on]) => on);
  shown.forEach(([, cut, left], i) => {
    const x = rankAt(curve, left + 1, ids.length);
    const y = curve.top + i * (narrow ? 12 : 15);
    const last = left === mass.length;
    const color = last ? css.ink : css.muted;
    context.fillStyle = color;
    context.fillRect(x - 0.5, y - 8, last ? 2 : 1, curve.top + curve.height - y + 8);
    const text = t("{cut} leaves {left}", { cut, left: count(left) });
    const beyond = x + 10 + 6.6 * text.length > curve.left + curve.width;
    label(context, text, beyond ? x - 6 : x + 7, y + 2, {
      size: 11,
      weight: last ? 650 : 450,
      face: "mono",
      align: beyond ? "right" : "left",
      color,
    });
  });
}

/** @param {Layout} layout @param {State} state */
export const turnWidth = ({ curve }, state) =>
  Math.min(14, curve.width / Math.max(1, capacityOf(state) - state.request.numPromptTokens));

/** @param {Context} context @param {Picture} picture @param {number} alpha */
export function drawTurns(context, picture, alpha) {
  const { state, view, css, layout } = picture;
  const { curve, narrow } = layout;
  const bottom = curve.top + curve.height;
  const start = state.request.numPromptTokens;
  context.fillStyle = css.line;
  context.fillRect(curve.left, bottom, curve.width, 1);
  if (!narrow) {
    context.fillRect(curve.left, curve.top, curve.width, 1);
    note(context, picture, t("how probable the model itself found each token that was drawn"), curve.top - 14, "left");
    note(context, picture, "100 %", curve.top - 4, "right");
  }
  const width = turnWidth(layout, state);
  context.fillStyle = css.decode;
  for (const { position, probability } of state.tokens.slice(start)) {
    const x = curve.left + width * (position - start);
    const height = Math.max(1, curve.height * (probability ?? 0));
    const lit = position === state.tokens.length - 1 || position === view.hover;
    context.globalAlpha = alpha * (lit ? 1 : 0.5);
    context.fillRect(x, bottom - height, Math.max(0.6, width - (width > 2.4 ? 1 : 0.3)), height);
  }
}
