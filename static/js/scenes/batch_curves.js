// What a batch size costs, as curves over the sizes that were measured: tokens a second of all together, time a token
// of each, money a million tokens. Every point is a decode step of the log; the line goes through the medians.

import { toCss } from "../stage/palette.js";
import { ends, font } from "../stage/text.js";
import { cheapest, costOf, isDecode } from "../state/batch_sizes.js";
import { count, seconds, significant } from "../state/format.js";
import { t } from "../ui/messages.js";
import { clamp } from "./room.js";
import { ticksOf } from "./step_labels.js";

/** @typedef {import("./brush.js").Brush} Brush */
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
  const panel = (of, where) => {
    // One slow step must not flatten the rest.
    const values = sizes.flatMap(({ high, seconds: median, size }) =>
      [median, Math.min(high, 2 * median)].map((time) => of(time, size)),
    );
    return { plot: where, most, of, tallest: 1.1 * Math.max(1e-12, ...values) };
  };
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

/** Where a step of so many seconds stands in a panel. @param {Panel} panel @param {number} time @param {number} size @returns {[number, number]} */
export const pointIn = (panel, time, size) => [sizeX(panel, size), valueY(panel, panel.of(time, size))];

/** Dashes of what is worked out. */
const BEST = [2, 5];
const MACHINE = [7, 4];
const WAITING = [2, 4];

/**
 * @typedef {object} Words
 * @property {string} title
 * @property {string} figure
 * @property {string} [note]
 * @property {(value: number) => string} tick
 * @property {{ name: string, dash: number[] }[]} [dashes] what each kind of dash stands for
 * @property {boolean} [under] there is room for that below
 */

/** Title, figure, grid and both axes. @param {Brush} brush @param {Panel} panel @param {Words} said */
function drawAxes(brush, panel, { title, figure, note = "", tick, dashes = [], under = true }) {
  const { context, words, box, css, narrow } = brush;
  const { plot, most, tallest } = panel;
  const { left, top, width } = plot;
  const bottom = top + plot.height;
  const ink = { weight: 600, color: css.ink };
  if (narrow) {
    const style = { ...ink, size: 12 };
    ends(context, [title, figure], { x: left, y: top - 10, width }, [style, { ...style, face: "mono" }]);
    words(note, left, top + 6);
  } else {
    words(title, left, top - 58, { ...ink, size: 15 });
    words(figure, left, top - 28, { ...ink, size: 24, face: "mono" });
    const beside = left + context.measureText(figure).width + 16;
    context.font = font({ size: 13 });
    if (beside + context.measureText(note).width <= left + width) words(note, beside, top - 28, { size: 13 });
  }
  for (const value of ticksOf(tallest, narrow ? 2 : 4)) {
    const y = Math.round(valueY(panel, value));
    box(css.line, left, y, width, 1);
    if (value || !narrow)
      words(value ? tick(value) : "0", left - 8, y, { size: 11, face: "mono", align: "right", baseline: "middle" });
  }
  const every = Math.max(1, Math.ceil(most / (width < 260 ? 8 : 16)));
  for (let size = 1; size <= most; size++)
    if (size === 1 || size === most || (size % every === 0 && most - size >= every)) drawSize(brush, panel, size);
  if (!under) return;
  const named = !narrow || !dashes.length;
  if (named) words(t("answers written in one step"), left, bottom + 36);
  const low = named && width < 400 ? bottom + 54 : bottom + 36; // no room for both on one line
  let x = left + width;
  for (const { name, dash } of dashes.toReversed()) {
    words(name, x, low, { align: "right" });
    x -= context.measureText(name).width + 8;
    const y = low - 4;
    const stroke = [
      [x - 26, y],
      [x, y],
    ];
    brush.line(stroke, css.muted, { dash });
    x -= 46;
  }
}

/** A size's number on the axis. @param {Brush} brush @param {Panel} panel @param {number} size @param {object} [style] */
function drawSize({ words }, panel, size, style = {}) {
  const y = panel.plot.top + panel.plot.height + 15;
  words(String(size), sizeX(panel, size), y, { size: 11, face: "mono", align: "center", ...style });
}

/** The steps as they were, one faint point each. @param {Brush} brush @param {Panel} panel @param {State} state */
function drawSteps({ box, rgb }, panel, state) {
  const faint = toCss(rgb.muted, 0.6);
  for (const step of state.steps) {
    if (!isDecode(step)) continue;
    const [x, y] = pointIn(panel, step.seconds ?? 0, step.items.length);
    box(faint, x - 1, y - 1, 2, 2);
  }
}

/** The medians, joined; where a size was seen more than thrice, the middle half of its steps as a bar. @param {Brush} brush @param {Panel} panel @param {Size[]} sizes @param {string} color */
function drawMedians({ box, line, dots }, panel, sizes, color) {
  const points = sizes.map(({ size, seconds: time }) => pointIn(panel, time, size));
  line(points, color, { width: 2 });
  dots(
    points.map(([x, y]) => [x, y, 3]),
    color,
  );
  for (const { size, low, high, steps } of sizes) {
    const [[x, a], [, b]] = [pointIn(panel, low, size), pointIn(panel, high, size)];
    if (steps > 3) box(color, x - 0.5, Math.min(a, b), 1, Math.abs(a - b));
  }
}

/** A size that is spoken of: a ring at its point and a line down to its number. @param {Brush} brush @param {Panel} panel @param {Size} spoken @param {number} [radius] */
function drawReading(brush, panel, { size, seconds: time }, radius = 6) {
  const { context, css } = brush;
  const [x, y] = pointIn(panel, time, size);
  const down = [
    [x, y + radius + 2],
    [x, panel.plot.top + panel.plot.height],
  ];
  brush.line(down, css.ink, { width: 1, dash: [3, 4] });
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
  drawSize(brush, panel, size, { weight: 700, color: css.ink });
}

/** The measured size next to the one asked for. @param {Size[]} sizes @param {number} wanted */
export const nearest = (sizes, wanted) =>
  sizes.reduce(
    (best, size) => (best === null || Math.abs(size.size - wanted) < Math.abs(best.size - wanted) ? size : best),
    /** @type {Size | null} */ (null),
  );

/** Throughput and latency. @param {Brush} brush @param {Panels} panels @param {Size[]} sizes @param {State} state */
export function drawRates(brush, { rate, wait }, sizes, state) {
  const { css } = brush;
  const [first, last] = [sizes[0], sizes[sizes.length - 1]];
  const spoken = first === last ? [first] : [first, last];
  // No step was quicker than this: with it throughout, the rate would be a straight line.
  const best = sizes.reduce((least, size) => (size.seconds < least.seconds ? size : least));
  const straight = t("if every step took {time}", { time: seconds(best.seconds) });
  drawAxes(brush, rate, {
    title: t("tokens a second, all together"),
    figure: spoken.map((size) => significant(size.rate)).join(" → "),
    tick: significant,
    dashes: first === last ? [] : [{ name: straight, dash: BEST }],
    under: !brush.narrow,
  });
  drawLine(brush, rate, spoken, (_, size) => size / best.seconds, BEST);
  drawAxes(brush, wait, {
    title: t("time a token, for each reader"),
    figure: spoken.map((size) => seconds(size.seconds)).join(" → "),
    note: spoken.includes(best) ? "" : t("quickest at {size}", { size: best.size }),
    tick: seconds,
  });
  for (const panel of [rate, wait]) {
    drawSteps(brush, panel, state);
    drawMedians(brush, panel, sizes, panel === rate ? css.decode : css.ink);
    for (const size of spoken) drawReading(brush, panel, size);
  }
}

/**
 * Money a million tokens, at the prices that the reader says.
 * @param {Brush} brush @param {Panels} panels @param {Size[]} sizes @param {State} state
 * @param {Prices} prices @param {number} wanted a size to compare the least with
 */
export function drawCost(brush, { cost }, sizes, state, prices, wanted) {
  const least = /** @type {Size} */ (cheapest(sizes, prices));
  const chosen = nearest(sizes, wanted) ?? least;
  drawAxes(brush, cost, {
    title: t("$ a million tokens"),
    figure: [...new Set([chosen, least])].map((size) => priceOf(size, prices)).join(" → "),
    note: turnWords(sizes, least),
    tick: (value) => `$${significant(value)}`,
    dashes: prices.waiting
      ? [
          { name: t("the machine's part"), dash: MACHINE },
          { name: t("waiting"), dash: WAITING },
        ]
      : [],
  });
  drawSteps(brush, cost, state);
  if (prices.waiting) {
    drawLine(brush, cost, sizes, (time, size) => costOf(time, size, { ...prices, waiting: 0 }), MACHINE);
    drawLine(brush, cost, sizes, (time, size) => costOf(time, size, { ...prices, machine: 0 }), WAITING);
  }
  drawMedians(brush, cost, sizes, brush.css.decode);
  drawReading(brush, cost, chosen);
  drawReading(brush, cost, least, 9);
}

/** What a million tokens cost in batches of a size, in words. @param {Size} size @param {Prices} prices */
export const priceOf = ({ seconds: time, size }, prices) => `$${money(costOf(time, size, prices))}`;

/** Whether the curve has turned, in words. @param {Size[]} sizes @param {Size} least */
export function turnWords(sizes, least) {
  if (sizes.length < 2) return t("one batch size is no curve");
  if (least === sizes.at(-1)) return t("still falling at {size}, the largest batch measured", { size: least.size });
  return t("least at {size}", { size: least.size });
}

/**
 * A line that is worked out, not measured.
 * @param {Brush} brush @param {Panel} panel @param {Size[]} sizes @param {Panel["of"]} of @param {number[]} dash
 */
function drawLine({ context, line, css }, panel, sizes, of, dash) {
  const { left, top, width, height } = panel.plot;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  const points = sizes.map(({ size, seconds: time }) => [
    sizeX(panel, size),
    top + height * (1 - of(time, size) / panel.tallest),
  ]);
  line(points, css.muted, { dash });
  context.restore();
}
