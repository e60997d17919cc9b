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
  const [foot, head] = narrow ? [20, 22] : [44, 84];
  const gap = narrow ? 12 : 72;
  const axis = narrow ? 18 : 24;
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
        top: plot.top + head,
        height: Math.min(plot.height - head - foot, 440),
      }));
  const whole = narrow
    ? { ...inner, top: plot.top + 26, height: plot.height - 26 - foot }
    : { ...inner, top: plot.top + head, height: plot.height - head - foot };
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

/** Dashes of what is worked out. */
const FREE = [2, 5];
const MACHINE = [7, 4];
const WAITING = [2, 4];

/**
 * Title, figure, grid and both axes.
 * @param {CanvasRenderingContext2D} context
 * @param {Panel} panel
 * @param {View} view
 * @param {{ title: string, figure: string, note?: string, tick: (value: number) => string, narrow: boolean, dashes: { words: string, dash: number[] }[] }} words
 */
function drawAxes(context, panel, { palette: { css } }, { title, figure, note = "", tick, narrow, dashes }) {
  const { plot, most, tallest } = panel;
  const bottom = plot.top + plot.height;
  const right = plot.left + plot.width;
  const mono = { weight: 600, face: /** @type {const} */ ("mono"), color: css.ink };
  if (narrow) {
    label(context, title, plot.left, plot.top - 10, { size: 12, weight: 600, color: css.ink });
    label(context, figure, right, plot.top - 10, { ...mono, size: 12, align: "right" });
    label(context, note, plot.left, plot.top + 6, { size: 11, color: css.muted });
  } else {
    label(context, title, plot.left, plot.top - 58, { size: 15, weight: 600, color: css.ink });
    label(context, figure, plot.left, plot.top - 28, { ...mono, size: 24 });
    const wide = context.measureText(figure).width;
    label(context, note, plot.left + wide + 16, plot.top - 28, { size: 13, color: css.muted });
  }
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
  if (narrow) return;
  label(context, t("answers written in one step"), plot.left, bottom + 36, { size: 12, color: css.muted });
  drawDashes(context, dashes, right, bottom + 36, css.muted);
}

/** What each kind of dash stands for, from the right. @param {CanvasRenderingContext2D} context @param {{ words: string, dash: number[] }[]} dashes @param {number} right @param {number} y @param {string} color */
function drawDashes(context, dashes, right, y, color) {
  let x = right;
  for (const { words, dash } of dashes.toReversed()) {
    label(context, words, x, y, { size: 12, align: "right", color });
    x -= context.measureText(words).width + 8;
    context.setLineDash(dash);
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(x - 26, y - 4);
    context.lineTo(x, y - 4);
    context.stroke();
    context.setLineDash([]);
    x -= 26 + 20;
  }
}

/** The steps as they were, one faint point each. @param {CanvasRenderingContext2D} context @param {Panel} panel @param {State} state @param {View} view */
function drawSteps(context, panel, state, { palette: { rgb } }) {
  context.fillStyle = toCss(rgb.muted, 0.6);
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
 * A size that is spoken of: a ring at its point and a line down to its number on the axis.
 * @param {CanvasRenderingContext2D} context @param {Panel} panel @param {Size} size @param {View} view
 * @param {number} [radius]
 */
function drawReading(context, panel, size, { palette: { css } }, radius = 6) {
  const [x, y] = [sizeX(panel, size.size), valueY(panel, panel.of(size.seconds, size.size))];
  const bottom = panel.plot.top + panel.plot.height;
  context.strokeStyle = css.ink;
  context.lineWidth = 1;
  context.setLineDash([3, 4]);
  context.beginPath();
  context.moveTo(x, y + radius + 2);
  context.lineTo(x, bottom);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.lineWidth = 1.5;
  context.stroke();
  label(context, String(size.size), x, bottom + 15, {
    size: 11,
    weight: 700,
    face: "mono",
    align: "center",
    color: css.ink,
  });
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
  const spoken = first === last ? [first] : [first, last];
  /** @param {(size: Size) => string} words */
  const from = (words) => spoken.map(words).join(" → ");
  const free = first.size === 1 && last.size > 1;
  drawAxes(context, rate, view, {
    title: t("tokens a second, all together"),
    figure: from((size) => significant(size.rate)),
    tick: significant,
    narrow,
    dashes: free ? [{ words: t("if another seat were free"), dash: FREE }] : [],
  });
  if (free) drawLine(context, rate, [first, last], (_, size) => size * first.rate, FREE, view);
  drawSteps(context, rate, state, view);
  drawMedians(context, rate, sizes, css.decode);
  drawAxes(context, wait, view, {
    title: t("time a token, for each reader"),
    figure: from((size) => seconds(size.seconds)),
    tick: (value) => (value ? seconds(value) : "0"),
    narrow,
    dashes: [],
  });
  drawSteps(context, wait, state, view);
  drawMedians(context, wait, sizes, css.ink);
  for (const size of spoken) for (const panel of [rate, wait]) drawReading(context, panel, size, view);
}

/**
 * Money a million tokens, at the prices that the reader says.
 * @param {CanvasRenderingContext2D} context @param {Panels} panels @param {Size[]} sizes @param {State} state @param {View} view
 * @param {Prices} prices @param {boolean} narrow
 */
export function drawCost(context, { cost }, sizes, state, view, prices, narrow) {
  const { css } = view.palette;
  const least = /** @type {Size} */ (cheapest(sizes, prices));
  const chosen = nearest(sizes, Number(view.controls.batching_size ?? 1)) ?? least;
  /** @param {Size} size */
  const price = ({ seconds: time, size }) => `$${money(costOf(time, size, prices))}`;
  drawAxes(context, cost, view, {
    title: t("$ a million tokens"),
    figure: chosen === least ? price(least) : `${price(chosen)} → ${price(least)}`,
    note: turnWords(sizes, least),
    tick: (value) => (value ? `$${significant(value)}` : "0"),
    narrow,
    dashes: prices.waiting
      ? [
          { words: t("the machine's part"), dash: MACHINE },
          { words: t("waiting"), dash: WAITING },
        ]
      : [],
  });
  drawSteps(context, cost, state, view);
  if (prices.waiting) {
    drawLine(context, cost, sizes, (time, size) => costOf(time, size, { ...prices, waiting: 0 }), MACHINE, view);
    drawLine(context, cost, sizes, (time, size) => costOf(time, size, { ...prices, machine: 0 }), WAITING, view);
  }
  drawMedians(context, cost, sizes, css.decode);
  drawReading(context, cost, chosen, view);
  drawReading(context, cost, least, view, 9);
}

/** Whether the curve has turned, in words. @param {Size[]} sizes @param {Size} least */
export function turnWords(sizes, least) {
  if (sizes.length < 2) return t("one batch size is no curve");
  if (least === sizes.at(-1)) return t("still falling at {size}, the largest batch measured", { size: least.size });
  return t("least at {size}", { size: least.size });
}

/**
 * A line that is worked out, not measured.
 * @param {CanvasRenderingContext2D} context @param {Panel} panel @param {Size[]} sizes
 * @param {(seconds: number, size: number) => number} of @param {number[]} dash @param {View} view
 */
function drawLine(context, panel, sizes, of, dash, { palette: { css } }) {
  const { left, top, width, height } = panel.plot;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.strokeStyle = css.muted;
  context.lineWidth = 1.5;
  context.setLineDash(dash);
  context.beginPath();
  for (const { size, seconds: time } of sizes) {
    const value = of(time, size);
    context.lineTo(sizeX(panel, size), top + height * (1 - value / panel.tallest));
  }
  context.stroke();
  context.restore();
}
