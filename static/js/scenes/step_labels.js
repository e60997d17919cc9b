// What is written and drawn around the steps in each of their views: axes, percentiles, the price of a token, and what
// a request of another shape would come to.

import { toCss } from "../stage/palette.js";
import { font, label } from "../stage/text.js";
import { count, seconds } from "../state/format.js";
import { t } from "../ui/messages.js";
import { estimate, PERCENTILES, windowOf } from "./step_shapes.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./step_shapes.js").Plot} Plot */
/** @typedef {import("./step_shapes.js").Picture} Picture */

/** @param {number} span above nought @param {number} most */
function niceStep(span, most) {
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
}

/**
 * Round numbers along an axis from nought, about `most` of them: of one that has no length, nought alone.
 * @param {number} span
 * @param {number} most
 */
export function ticksOf(span, most) {
  const step = niceStep(span, most);
  // (A span of nought, or one beyond all numbers, has no step.)
  if (!(step > 0 && Number.isFinite(step))) return [0];
  return Array.from({ length: Math.floor((1.001 * span) / step) + 1 }, (_, k) => k * step);
}

/**
 * Whether a label has room above a part of the picture, before what stands beside it begins.
 * @param {CanvasRenderingContext2D} context @param {string} text @param {import("../stage/text.js").Style} style @param {number} width
 */
function fits(context, text, style, width) {
  context.font = font(style);
  return context.measureText(text).width + 10 <= width;
}

/**
 * From a label that had to stand higher down to what it speaks of.
 * @param {CanvasRenderingContext2D} context @param {number} x @param {number} from @param {number} to @param {string} color
 */
function leader(context, x, from, to, color) {
  context.fillStyle = color;
  if (to > from) context.fillRect(x, from, 1, to - from);
}

/** @param {CanvasRenderingContext2D} context @param {Plot} plot @param {number} span @param {View} view */
function drawTimeAxis(context, plot, span, { palette }) {
  const y = plot.top + plot.height + 14;
  context.fillStyle = palette.css.line;
  context.fillRect(plot.left, y, plot.width, 1);
  for (const value of ticksOf(span, plot.width < 460 ? 3 : 6)) {
    const x = plot.left + (value && value / span) * plot.width;
    context.fillStyle = palette.css.line;
    context.fillRect(x, y, 1, 6);
    label(context, value ? seconds(value) : "0", x, y + 20, {
      size: 11,
      face: "mono",
      align: value ? "center" : "left",
      color: palette.css.muted,
    });
  }
}

/**
 * How the prompt went in: a step takes only so many tokens, and a longer prompt takes several.
 * @param {{ steps: number, tokens: number }} prefill
 */
export function prefillWords({ steps, tokens }) {
  const values = { tokens: count(tokens), steps: count(steps) };
  return steps === 1 ? t("{tokens} tokens at once", values) : t("{tokens} tokens in {steps} steps", values);
}

/** @param {CanvasRenderingContext2D} context @param {Picture} picture @param {View} view @param {number} alpha */
export function drawStream(context, { all, plot, mix, rects }, view, alpha) {
  const { css } = view.palette;
  context.globalAlpha = alpha;
  drawTimeAxis(context, plot, windowOf(all, mix.zoom), view);
  const prefills = all.steps.filter((step) => step.ownPhase === "prefill");
  const [x, y, width] = rects;
  const small = plot.width < 460;
  if (prefills.length) {
    label(context, prefillWords(all.prefill), x, y - 30, {
      size: small ? 13 : 17,
      weight: 650,
      color: css.prefill,
    });
    label(context, seconds(all.prefill.seconds), x, y - 11, { size: 12, face: "mono", color: css.muted });
  }
  const decode = all.steps.findIndex((step) => step.ownPhase !== "prefill");
  if (decode > 0) {
    const left = Math.max(x + width + 12, rects[4 * decode] + 4);
    const top = plot.top + plot.height / 2;
    label(context, t("one token a step"), left, top - 34, { size: small ? 13 : 17, weight: 650, color: css.decode });
    label(
      context,
      t("{time} each", { time: seconds(all.decode.seconds / Math.max(1, all.decode.tokens)) }),
      left,
      top - 15,
      { size: 12, face: "mono", color: css.muted },
    );
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Picture} picture @param {View} view @param {number} alpha */
export function drawCost(context, { all, plot }, { palette: { css } }, alpha) {
  if (!all.steps.length || alpha <= 0) return;
  const bottom = plot.top + plot.height;
  const unit = plot.width / Math.max(1, all.tokens);
  const split = plot.left + all.prefill.tokens * unit;
  const small = plot.width < 460;
  context.globalAlpha = alpha;
  context.fillStyle = css.line;
  context.fillRect(plot.left, bottom + 1, plot.width, 1);
  label(context, t("{tokens} read", { tokens: count(all.prefill.tokens) }), plot.left, bottom + 22, {
    size: 12,
    face: "mono",
    color: css.prefill,
  });
  label(context, t("{tokens} written", { tokens: count(all.decode.tokens) }), plot.left + plot.width, bottom + 22, {
    size: 12,
    face: "mono",
    align: "right",
    color: css.decode,
  });
  const low = (plot.height * all.prefill.seconds) / Math.max(1, all.prefill.tokens) / all.tallest;
  const each = t("{time} a token", { time: seconds(all.prefill.seconds / Math.max(1, all.prefill.tokens)) });
  const bold = { size: small ? 13 : 17, weight: 650 };
  const above = plot.top - 20;
  const beside = fits(context, each, bold, split - plot.left);
  const y = beside ? Math.max(above, bottom - low - 20) : above;
  if (!beside) leader(context, plot.left, y + 8, bottom - low - 12, css.prefill);
  label(context, each, plot.left, y, { ...bold, color: css.prefill });
  if (all.decode.tokens) {
    label(
      context,
      t("{time} a token", { time: seconds(all.decode.seconds / all.decode.tokens) }),
      plot.left + plot.width,
      plot.top - 20,
      { ...bold, align: "right", color: css.decode },
    );
    label(
      context,
      t("area: {reading} reading, {writing} writing", {
        reading: seconds(all.prefill.seconds),
        writing: seconds(all.decode.seconds),
      }),
      plot.left,
      above - (small ? 18 : 26),
      { size: 12, color: css.muted, width: plot.width },
    );
  }
  context.globalAlpha = 1;
}

/**
 * A percentile of the gaps: a line across their bars, its name and value at its end.
 * @param {CanvasRenderingContext2D} context @param {string} name @param {number} value @param {number} y
 * @param {number} aside how far below the line the words stand
 * @param {{ left: number, right: number, dash: number[], color: string }} style
 */
function percentile(context, name, value, y, aside, { left, right, dash, color }) {
  context.beginPath();
  context.setLineDash(dash);
  context.moveTo(left, y);
  context.lineTo(right + 4, y);
  context.strokeStyle = color;
  context.lineWidth = 1.5;
  context.stroke();
  context.setLineDash([]);
  const words = { size: 12, weight: 600, face: /** @type {const} */ ("mono"), color };
  label(context, name, right + 10, y + aside - 4, words);
  label(context, seconds(value), right + 10, y + aside + 12, words);
}

/** @param {CanvasRenderingContext2D} context @param {Picture} picture @param {State} state @param {View} view @param {number} alpha */
export function drawGaps(context, { all, plot, rects }, state, { palette: { css } }, alpha) {
  if (!all.steps.length) return;
  const bottom = plot.top + plot.height;
  const left = plot.left + 0.12 * plot.width;
  const right = plot.left + plot.width - PERCENTILES;
  context.globalAlpha = alpha;
  context.fillStyle = css.line;
  context.fillRect(plot.left, bottom + 1, plot.width, 1);
  label(context, t("first token"), plot.left, bottom + 22, { size: 12, color: css.prefill });
  label(context, seconds(all.ttft), plot.left, rects[1] - 18, { size: 15, weight: 650, color: css.prefill });
  if (state.interTokenSeconds.length > 1) {
    label(context, t("the gap before each token after it"), right, bottom + 22, {
      size: 12,
      align: "right",
      color: css.decode,
      width: right - plot.left - 74,
    });
    /** @param {number} value */
    const level = (value) => bottom - (plot.height * value) / all.longest;
    // Each name stands in the margin beside its line: above the bars no dot crosses it. The two never touch.
    const apart = Math.max(0, 40 - (level(all.p50) - level(all.p99))) / 2;
    percentile(context, "p99", all.p99, level(all.p99), -apart, { left, right, dash: [5, 4], color: css.ink });
    percentile(context, "p50", all.p50, level(all.p50), apart, { left, right, dash: [], color: css.ink });
  }
  context.globalAlpha = 1;
}

/** The request that is imagined, in tokens. @param {Record<string, any>} controls */
export const shapeOf = ({ prompt_length, output_length }) => ({
  prompt: Math.max(1, Number(prompt_length ?? 500)),
  output: Math.max(1, Number(output_length ?? 200)),
});

/** @param {CanvasRenderingContext2D} context @param {Picture} picture @param {View} view @param {number} alpha */
export function drawGuess(context, { all, plot }, { palette, controls }, alpha) {
  const { prompt, output } = shapeOf(controls);
  const guess = estimate(all, prompt, output);
  if (!guess) return;
  const { css, rgb } = palette;
  const unit = plot.width / (prompt + output);
  const bottom = plot.top + plot.height;
  context.globalAlpha = alpha;
  const shapes = [
    {
      name: t("reading"),
      x: plot.left,
      width: prompt * unit,
      each: guess.read,
      time: guess.reading,
      color: css.prefill,
      fill: rgb.prefill,
      align: "left",
    },
    {
      name: t("writing"),
      x: plot.left + prompt * unit,
      width: output * unit,
      each: guess.write,
      time: guess.writing,
      color: css.decode,
      fill: rgb.decode,
      align: "right",
    },
  ];
  for (const { name, x, width, each, time, color, fill, align } of shapes) {
    const height = Math.min(plot.height, (plot.height * each) / all.tallest);
    context.fillStyle = toCss(fill, 0.3);
    context.fillRect(x, bottom - height, width, height);
    context.setLineDash([5, 4]);
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.strokeRect(x, bottom - height, width, height);
    context.setLineDash([]);
    const at = align === "left" ? plot.left : plot.left + plot.width;
    const words = t("{name} ≈ {time}", { name, time: seconds(time) });
    const bold = { size: plot.width < 460 ? 14 : 20, weight: 650 };
    const above = plot.top - 34;
    const beside = align === "left" && fits(context, words, bold, width);
    const y = beside ? Math.max(above, bottom - height - 34) : above;
    if (align === "left" && !beside) leader(context, x, y + 26, bottom - height - 6, color);
    const side = { align: /** @type {CanvasTextAlign} */ (align) };
    label(context, words, at, y, { ...bold, color, ...side });
    label(context, t("modelled"), at, y + 18, { size: 12, color: css.muted, ...side });
  }
  label(
    context,
    t("first token ≈ {first}, whole answer ≈ {total}", {
      first: seconds(guess.reading),
      total: seconds(guess.reading + guess.writing),
    }),
    plot.left,
    bottom + 24,
    { size: 13, color: css.ink, width: plot.width },
  );
  context.globalAlpha = 1;
}
