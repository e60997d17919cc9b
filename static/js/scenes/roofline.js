// The roofline of one machine: what a step reached (FLOP/s) against how much it computed for each byte it fetched.
// Roofs and seconds are measured; FLOPs and bytes follow from the shapes.

import { toCss } from "../stage/palette.js";
import { label } from "../stage/text.js";
import { si } from "../state/format.js";
import { t } from "../ui/messages.js";

/** @typedef {import("../state/types.d.ts").Step} Step */
/** @typedef {import("./step_shapes.js").Plot} Plot */
/** @typedef {{ intensity: number, rate: number }} Point FLOPs a byte, FLOP/s */
/** @typedef {{ peak: number, bandwidth: number, x: (intensity: number) => number, y: (rate: number) => number, plot: Plot, low: number, high: number }} Chart */

/** @param {Step} step @returns {Point} */
export function pointOf(step) {
  const bytes = (step.weightBytes ?? 0) + (step.kvReadBytes ?? 0) + (step.kvWrittenBytes ?? 0);
  const flops = step.flops ?? 0;
  return { intensity: bytes > 0 ? flops / bytes : 0, rate: step.seconds ? flops / step.seconds : 0 };
}

/**
 * Log-log axes that hold both roofs and every step.
 * @param {{ peak_flops: number, memory_bandwidth: number }} hardware
 * @param {Point[]} points
 * @param {Plot} plot
 * @returns {Chart}
 */
export function chartOf({ peak_flops: peak, memory_bandwidth: bandwidth }, points, plot) {
  const ridge = peak / bandwidth;
  const known = points.filter(({ intensity, rate }) => intensity > 0 && rate > 0);
  const low = Math.min(0.35, ...known.map(({ intensity }) => intensity / 3));
  const high = Math.max(4 * ridge, ...known.map(({ intensity }) => intensity * 3));
  const floor = Math.min(bandwidth * low, ...known.map(({ rate }) => rate / 3));
  const ceiling = 2.2 * peak;
  /** @param {number} value @param {number} from @param {number} to */
  const log = (value, from, to) => Math.log(value / from) / Math.log(to / from);
  return {
    peak,
    bandwidth,
    plot,
    low,
    high,
    x: (intensity) => plot.left + plot.width * log(intensity, low, high),
    y: (rate) => plot.top + plot.height * (1 - log(rate, floor, ceiling)),
  };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Chart} chart
 * @param {import("../stage/types.d.ts").Palette} palette
 * @param {number} alpha
 */
export function drawRoofs(context, chart, palette, alpha) {
  const { peak, bandwidth, x, y, plot, low, high } = chart;
  const ridge = peak / bandwidth;
  const [bottom, flat] = [plot.top + plot.height, y(peak)];
  context.globalAlpha = alpha;
  context.beginPath();
  context.moveTo(x(low), bottom);
  context.lineTo(x(low), y(low * bandwidth));
  context.lineTo(x(ridge), flat);
  context.lineTo(x(ridge), bottom);
  context.fillStyle = toCss(palette.rgb.decode, 0.07);
  context.fill();
  context.fillStyle = toCss(palette.rgb.prefill, 0.07);
  context.fillRect(x(ridge), flat, x(high) - x(ridge), bottom - flat);
  drawAxis(context, chart, palette);
  context.beginPath();
  context.moveTo(x(low), y(low * bandwidth));
  context.lineTo(x(ridge), flat);
  context.lineTo(x(high), flat);
  context.lineWidth = 2.5;
  context.lineJoin = "round";
  context.strokeStyle = palette.css.ink;
  context.stroke();
  const narrow = plot.width < 460;
  const size = narrow ? 11 : 13;
  label(context, t("arithmetic: {rate}", { rate: si(peak, "FLOP/s") }), x(high), flat - 10, {
    size,
    align: "right",
    color: palette.css.ink,
    weight: 600,
  });
  context.save();
  context.translate(x(low), y(low * bandwidth));
  context.rotate(Math.atan2(flat - y(low * bandwidth), x(ridge) - x(low)));
  label(context, t("memory: {rate}", { rate: si(bandwidth, "B/s") }), 12, -10, {
    size,
    color: palette.css.ink,
    weight: 600,
  });
  context.restore();
  if (!narrow) nameRegions(context, chart, palette);
  context.globalAlpha = 1;
}

/**
 * Which roof is above the points: said at the foot of each region.
 * @param {CanvasRenderingContext2D} context
 * @param {Chart} chart
 * @param {import("../stage/types.d.ts").Palette} palette
 */
function nameRegions(context, { peak, bandwidth, x, plot, low, high }, { css }) {
  const corner = x(peak / bandwidth);
  const style = { size: 13, weight: 600, align: /** @type {const} */ ("center") };
  const y = plot.top + plot.height - 12;
  const [left, right] = [x(low), x(high)];
  label(context, t("under memory's roof"), (left + corner) / 2, y, {
    ...style,
    color: css.decode,
    width: corner - left,
  });
  label(context, t("under arithmetic's roof"), (corner + right) / 2, y, {
    ...style,
    color: css.prefill,
    width: right - corner,
  });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Chart} chart
 * @param {import("../stage/types.d.ts").Palette} palette
 */
function drawAxis(context, { x, plot, low, high }, palette) {
  const bottom = plot.top + plot.height;
  context.fillStyle = palette.css.line;
  context.fillRect(plot.left, bottom, plot.width, 1);
  for (let value = 10 ** Math.ceil(Math.log10(low)); value <= high; value *= 10) {
    context.fillStyle = palette.css.line;
    context.fillRect(x(value), bottom, 1, 6);
    label(context, String(value), x(value), bottom + 20, {
      size: 11,
      face: "mono",
      align: "center",
      color: palette.css.muted,
    });
  }
  label(context, t("FLOPs for each byte fetched"), plot.left + plot.width, bottom + 38, {
    size: 12,
    align: "right",
    color: palette.css.muted,
  });
}

/** Width that a group's rate takes. */
const NAMED = 90;

/** Height of memory's roof over a place of the axis: on scales that count by tens it is straight. @param {Chart} chart @param {number} px */
function roofAt({ x, y, low, peak, bandwidth }, px) {
  const [left, right] = [x(low), x(peak / bandwidth)];
  const share = Math.min(1, Math.max(0, (px - left) / Math.max(1, right - left)));
  return y(low * bandwidth) + (y(peak) - y(low * bandwidth)) * share;
}

/**
 * A name beside a group of steps, with how far it is from its roof.
 * @param {CanvasRenderingContext2D} context
 * @param {Chart} chart
 * @param {Point} point
 * @param {string} name
 * @param {{ color: string, clear: number }} style `clear`: pixels that the group itself takes to each side
 * @param {import("../stage/types.d.ts").Palette} palette
 * @param {number} alpha
 */
export function drawGroup(context, chart, point, name, { color, clear }, palette, alpha) {
  if (!(point.rate > 0)) return;
  const roof = Math.min(chart.peak, chart.bandwidth * point.intensity);
  const [x, y, top] = [chart.x(point.intensity), chart.y(point.rate), chart.y(roof)];
  context.globalAlpha = alpha;
  context.setLineDash([2, 4]);
  context.beginPath();
  context.moveTo(x, y - clear - 4);
  context.lineTo(x, top + 3);
  context.lineWidth = 1.5;
  context.strokeStyle = color;
  context.stroke();
  context.setLineDash([]);
  const right = x > chart.plot.left + 0.62 * chart.plot.width;
  // To the left of a group near the corner the roof comes down through the words: then they stand below.
  const below = right && roofAt(chart, x - clear - 12 - NAMED) > y - 18;
  const side = { align: /** @type {CanvasTextAlign} */ (below ? "center" : right ? "right" : "left") };
  const from = below ? x : right ? x - clear - 12 : x + clear + 12;
  const line = below ? y + clear + 18 : y + 2;
  label(context, name, from, line, { size: 15, weight: 650, color, ...side });
  const rate = { size: 12, face: /** @type {const} */ ("mono"), color: palette.css.muted, ...side };
  label(context, si(point.rate, "FLOP/s"), from, line + 19, rate);
  context.globalAlpha = 1;
}
