// What a batch size costs, as curves over the sizes that were measured: tokens a second of all together, time a token
// of each, money a million tokens. Every point is a decode step of the log; the line goes through the medians.

import { toCss } from "../stage/palette.js";
import { label } from "../stage/text.js";
import { cheapest, costOf, isDecode } from "../state/batch_sizes.js";
import { count, seconds, significant } from "../state/format.js";
import { t } from "../ui/messages.js";
import { clamp } from "./room.js";
import { niceStep } from "./step_labels.js";

/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Step} Step */
/** @typedef {import("../state/batch_sizes.js").Size} Size */
/** @typedef {import("./seat_boards.js").Plot} Plot */
/** @typedef {{ machine: number, waiting: number }} Prices an hour */
/**
 * @typedef {object} Panel
 * @property {Plot} plot
 * @property {number} most the largest size on the axis
 * @property {number} tallest the value at its top
 * @property {(seconds: number, size: number) => number} of the value of a step
 */

/** @param {number} value an amount of money without its currency @returns {string} */
export const money = (value) => (value >= 100 ? count(value) : value >= 0.1 ? value.toFixed(2) : significant(value));

/** @param {Panel} panel @param {number} size */
export const sizeX = ({ plot, most }, size) => plot.left + (plot.width * (size - 0.5)) / Math.max(1, most);

/** @param {Panel} panel @param {number} value */
export const valueY = ({ plot, tallest }, value) =>
  plot.top + plot.height * (1 - clamp(value / Math.max(tallest, 1e-12), 0, 1.04));

/**
 * The panels: throughput and latency side by side (on a phone one over the other), and cost alone.
 * @param {Size[]} sizes
 * @param {Plot} plot
 * @param {boolean} narrow
 * @param {Prices} prices
 */
export function panelsOf(sizes, plot, narrow, prices) {
  const most = sizes.at(-1)?.size ?? 1;
  /** @param {Panel["of"]} of @param {Plot} where @returns {Panel} */
  const panel = (of, where) => ({
    plot: where,
    most,
    of,
    tallest:
      1.1 *
      Math.max(
        1e-12,
        ...sizes.map(({ high, seconds: median, size }) =>
          Math.max(of(median, size), of(Math.min(high, 2 * median), size)),
        ),
      ),
  });
  const [foot, head] = narrow ? [20, 20] : [34, 44];
  const gap = narrow ? 12 : 72;
  const axis = narrow ? 4 : 24;
  const inner = { left: plot.left + axis, width: plot.width - axis };
  const halves = narrow
    ? [0, 1].map((i) => ({
        ...inner,
        top: plot.top + (i * (plot.height + gap)) / 2 + head,
        height: (plot.height - gap) / 2 - head - foot,
      }))
    : [0, 1].map((i) => ({
        left: inner.left + (i * (inner.width + gap)) / 2,
        width: (inner.width - gap) / 2,
        top: plot.top + head + 40,
        height: Math.min(plot.height - head - foot - 40, 420),
      }));
  const whole = narrow
    ? { ...inner, top: plot.top + 38, height: plot.height - 38 - foot }
    : { ...inner, top: plot.top + 96, height: plot.height - 96 - foot };
  return {
    rate: panel((time, size) => size / time, halves[0]),
    wait: panel((time) => time, halves[1]),
    cost: panel((time, size) => costOf(time, size, prices), whole),
  };
}

/** @typedef {ReturnType<typeof panelsOf>} Panels */

/** Where a step stands in a panel. @param {Panel} panel @param {Step} step @returns {[number, number]} */
export const pointIn = (panel, { items, seconds: time }) => [
  sizeX(panel, items.length),
  valueY(panel, panel.of(time ?? 0, items.length)),
];

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Panel} panel
 * @param {View} view
 * @param {{ title: string, tick: (value: number) => string, narrow: boolean, under?: string }} words
 */
function drawAxes(context, panel, { palette: { css } }, { title, tick, narrow, under }) {
  const { plot, most, tallest } = panel;
  const bottom = plot.top + plot.height;
  label(context, title, plot.left, plot.top - (narrow ? 8 : 20), {
    size: narrow ? 12 : 15,
    weight: 600,
    color: css.ink,
    width: plot.width,
  });
  const step = niceStep(tallest, narrow ? 2 : 4);
  for (let value = 0; value <= tallest; value += step) {
    const y = Math.round(valueY(panel, value));
    context.fillStyle = css.line;
    context.fillRect(plot.left, y, plot.width, 1);
    if (value > 0 || !narrow)
      label(context, tick(value), plot.left - 8, y, {
        size: 11,
        face: "mono",
        align: "right",
        baseline: "middle",
        color: css.muted,
      });
  }
  const every = Math.max(1, Math.ceil(most / (plot.width < 260 ? 8 : 16)));
  for (let size = 1; size <= most; size++) {
    if (size !== 1 && size !== most && (size % every || most - size < every)) continue;
    label(context, String(size), sizeX(panel, size), bottom + 15, {
      size: 11,
      face: "mono",
      align: "center",
      color: css.muted,
    });
  }
  if (under)
    label(context, under, plot.left + plot.width / 2, bottom + 32, { size: 12, align: "center", color: css.muted });
}

/** The steps as they were, one faint point each. @param {CanvasRenderingContext2D} context @param {Panel} panel @param {State} state @param {View} view */
function drawSteps(context, panel, state, { palette: { rgb } }) {
  context.fillStyle = toCss(rgb.muted, 0.4);
  for (const step of state.steps) {
    if (!isDecode(step)) continue;
    const [x, y] = pointIn(panel, step);
    context.fillRect(x - 1, y - 1, 2, 2);
  }
}

/** The medians, joined; where a size was seen more than thrice, the middle half of its steps as a bar. @param {CanvasRenderingContext2D} context @param {Panel} panel @param {Size[]} sizes @param {string} color */
function drawMedians(context, panel, sizes, color) {
  context.strokeStyle = color;
  context.fillStyle = color;
  context.lineWidth = 2;
  context.beginPath();
  sizes.forEach(({ size, seconds: time }, i) => {
    const at = /** @type {const} */ ([sizeX(panel, size), valueY(panel, panel.of(time, size))]);
    if (i) context.lineTo(...at);
    else context.moveTo(...at);
  });
  context.stroke();
  for (const { size, seconds: time, low, high, steps } of sizes) {
    const x = sizeX(panel, size);
    if (steps > 3) {
      const [a, b] = [valueY(panel, panel.of(low, size)), valueY(panel, panel.of(high, size))];
      context.fillRect(x - 0.5, Math.min(a, b), 1, Math.abs(a - b));
    }
    context.beginPath();
    context.arc(x, valueY(panel, panel.of(time, size)), 3, 0, 2 * Math.PI);
    context.fill();
  }
}

/**
 * A size that is spoken of: a line down to the axis, its value beside the point.
 * @param {CanvasRenderingContext2D} context @param {Panel} panel @param {Size} size @param {string} words @param {View} view
 * @param {{ ring?: boolean, above?: boolean }} [style]
 */
function drawReading(context, panel, size, words, { palette: { css } }, { ring = false, above = true } = {}) {
  const [x, y] = [sizeX(panel, size.size), valueY(panel, panel.of(size.seconds, size.size))];
  const { left, width, top, height } = panel.plot;
  context.strokeStyle = css.ink;
  context.lineWidth = 1;
  context.setLineDash([3, 4]);
  context.beginPath();
  context.moveTo(x, y + 8);
  context.lineTo(x, top + height);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.arc(x, y, ring ? 8 : 5.5, 0, 2 * Math.PI);
  context.lineWidth = 1.5;
  context.stroke();
  const style = { size: 14, weight: 650, face: /** @type {const} */ ("mono"), color: css.ink };
  const narrow = width < 400;
  if (narrow) style.size = 12;
  const onRight = x > left + 0.62 * width;
  const dy = above ? -14 : 22;
  const ty = clamp(y + dy, top + 8, top + height - 6);
  // A word stands on the ground, so that no line crosses it.
  context.font = `${style.weight} ${style.size}px monospace`;
  label(context, words, onRight ? x - 10 : x + 10, ty, { ...style, align: onRight ? "right" : "left" });
}

/** The measured size next to the one asked for. @param {Size[]} sizes @param {number} wanted */
export const nearest = (sizes, wanted) =>
  sizes.reduce(
    (best, size) => (best === null || Math.abs(size.size - wanted) < Math.abs(best.size - wanted) ? size : best),
    /** @type {Size | null} */ (null),
  );

/**
 * Throughput and latency.
 * @param {CanvasRenderingContext2D} context @param {Panels} panels @param {Size[]} sizes @param {State} state @param {View} view
 * @param {boolean} narrow
 */
export function drawRates(context, { rate, wait }, sizes, state, view, narrow) {
  const { css } = view.palette;
  const [first, last] = [sizes[0], sizes[sizes.length - 1]];
  const under = narrow ? undefined : t("answers written in one step");
  drawAxes(context, rate, view, { title: t("tokens a second, all together"), tick: significant, narrow, under });
  if (first.size === 1) drawFree(context, rate, first, view);
  drawSteps(context, rate, state, view);
  drawMedians(context, rate, sizes, css.decode);
  drawReading(context, rate, last, t("{rate} a second", { rate: significant(last.rate) }), view);
  if (first !== last) drawReading(context, rate, first, significant(first.rate), view);

  drawAxes(context, wait, view, {
    title: t("time a token, for each reader"),
    tick: (value) => (value ? seconds(value) : "0"),
    narrow,
    under,
  });
  drawSteps(context, wait, state, view);
  drawMedians(context, wait, sizes, css.ink);
  drawReading(context, wait, last, seconds(last.seconds), view);
  if (first !== last) drawReading(context, wait, first, seconds(first.seconds), view);
}

/** Where the curve would go if another seat cost nothing: a straight line from the first point. @param {CanvasRenderingContext2D} context @param {Panel} panel @param {Size} first @param {View} view */
function drawFree(context, panel, first, { palette: { css } }) {
  const { plot, most, tallest } = panel;
  const end = Math.min(most, tallest / first.rate);
  if (end < 2) return;
  context.setLineDash([2, 5]);
  context.strokeStyle = css.muted;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(sizeX(panel, 1), valueY(panel, first.rate));
  context.lineTo(sizeX(panel, end), valueY(panel, end * first.rate));
  context.stroke();
  context.setLineDash([]);
  const x = sizeX(panel, end);
  const right = x > plot.left + 0.6 * plot.width;
  label(context, t("if another seat were free"), right ? x - 12 : x + 8, valueY(panel, end * first.rate) + 12, {
    size: 11,
    align: right ? "right" : "left",
    color: css.muted,
    width: right ? x - plot.left - 12 : plot.left + plot.width - x - 8,
  });
}

/**
 * Money a million tokens, at the prices that the reader says.
 * @param {CanvasRenderingContext2D} context @param {Panels} panels @param {Size[]} sizes @param {State} state @param {View} view
 * @param {Prices} prices @param {boolean} narrow
 */
export function drawCost(context, { cost }, sizes, state, view, prices, narrow) {
  const { css } = view.palette;
  const least = /** @type {Size} */ (cheapest(sizes, prices));
  const last = sizes[sizes.length - 1];
  const chosen = nearest(sizes, Number(view.controls.batching_size ?? 1)) ?? last;
  drawAxes(context, cost, view, {
    title: t("$ a million tokens"),
    tick: (value) => (value ? money(value) : "0"),
    narrow,
    under: narrow ? undefined : t("answers written in one step"),
  });
  drawSteps(context, cost, state, view);
  if (prices.waiting > 0) drawParts(context, cost, sizes, view, prices, narrow);
  drawMedians(context, cost, sizes, css.decode);
  /** @param {Size} size */
  const price = ({ seconds: time, size }) => money(costOf(time, size, prices));
  if (chosen !== least) drawReading(context, cost, chosen, `$${price(chosen)}`, view);
  drawReading(context, cost, least, t("least: ${price} at {size}", { price: price(least), size: least.size }), view, {
    ring: true,
  });
  const { left, width, top } = cost.plot;
  label(context, turnWords(sizes, least), left + width, top - (narrow ? 24 : 44), {
    size: narrow ? 11 : 13,
    align: "right",
    color: css.muted,
    width,
  });
}

/** Whether the curve has turned, in words. @param {Size[]} sizes @param {Size} least */
export function turnWords(sizes, least) {
  if (sizes.length < 2) return t("one batch size is no curve");
  if (least === sizes.at(-1)) return t("still falling at {size}, the largest batch measured", { size: least.size });
  return t("it turns at {size}", { size: least.size });
}

/** What the sum is made of: the machine's share, which falls, and the waiting, which rises. @param {CanvasRenderingContext2D} context @param {Panel} panel @param {Size[]} sizes @param {View} view @param {Prices} prices @param {boolean} narrow */
function drawParts(context, panel, sizes, { palette: { css } }, prices, narrow) {
  const parts = [
    { words: t("machine"), prices: { ...prices, waiting: 0 }, dash: [6, 4], first: true },
    { words: t("waiting"), prices: { ...prices, machine: 0 }, dash: [2, 4], first: false },
  ];
  for (const { words, prices: part, dash, first } of parts) {
    context.strokeStyle = css.muted;
    context.lineWidth = 1.5;
    context.setLineDash(dash);
    context.beginPath();
    sizes.forEach(({ size, seconds: time }, i) => {
      const at = /** @type {const} */ ([sizeX(panel, size), valueY(panel, costOf(time, size, part))]);
      if (i) context.lineTo(...at);
      else context.moveTo(...at);
    });
    context.stroke();
    context.setLineDash([]);
    const at = sizes[sizes.length - 1];
    const y = valueY(panel, costOf(at.seconds, at.size, part));
    label(context, words, sizeX(panel, at.size) - 4, y + (first ? 16 : -8), {
      size: narrow ? 11 : 12,
      align: "right",
      color: css.muted,
    });
  }
}
