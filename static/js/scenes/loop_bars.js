// The likeliest tokens as bars, all others as one more; laid end to end they are the line from 0 to 1 that the coin falls
// on. Below, the whole vocabulary as a curve, with the place of every cut.

import { label } from "../stage/text.js";
import { count, percent, significant } from "../state/format.js";
import { t } from "../ui/messages.js";
import { atRank, DECADES, depthOf, ROWS, rankAt } from "./loop_layout.js";
import { clamp, lerp } from "./room.js";

/** @typedef {import("./loop_scores.js").Scores} Scores */
/** @typedef {import("./loop_scores.js").Row} Row */
/** @typedef {import("./loop_layout.js").Layout} Layout */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ rows: Row[], others: { count: number, plain: number, shaped: number } }} Rows */
/** @typedef {{ shape: number, stair: number }} Mix how far reshaped, how far laid end to end */

/** Room for the dot of the drawn token, which stands at the end of its bar. */
const DOT = 9;

/** Middle of a row. @param {Layout} layout @param {number} index */
export const rowAt = ({ bars, rowHeight }, index) => bars.top + rowHeight * (index + 0.5);

/**
 * Where a row's bar begins and ends.
 * @param {Layout} layout @param {Row} row @param {Mix} mix
 * @returns {[number, number]}
 */
export function barOf({ bars }, row, { shape, stair }) {
  const from = bars.left + bars.width * row.from * stair;
  return [from, from + bars.width * lerp(row.plain, row.shaped, shape)];
}

/**
 * @param {CanvasRenderingContext2D} context @param {Layout} layout @param {Scores} scores @param {Rows} all
 * @param {Mix} mix @param {View} view @param {number} alpha @param {number[]} tally draws of the browser, by row; the last is that of all others
 */
export function drawRows(context, layout, scores, { rows, others }, mix, view, alpha, tally) {
  const { css } = view.palette;
  const { bars, rowHeight, narrow } = layout;
  const size = narrow ? 11 : clamp(0.45 * rowHeight, 12, 18);
  const thick = Math.round(rowHeight * (narrow ? 0.62 : 0.58));
  const gone = scores.shaped ? mix.shape : 0;
  rows.forEach((row, i) => {
    const y = rowAt(layout, i);
    const drawn = row.id === scores.token?.id;
    const cut = gone > 0.5 && row.shaped === 0;
    const [from, to] = barOf(layout, row, mix);
    context.globalAlpha = alpha * (cut ? 0.55 : 1);
    label(context, row.name || "…", layout.words, y + 0.5, {
      size,
      weight: drawn ? 700 : 500,
      face: "mono",
      align: "right",
      baseline: "middle",
      color: drawn ? css.decode : css.ink,
      width: layout.words - layout.curve.left + 4,
    });
    context.globalAlpha = alpha;
    context.fillStyle = drawn ? css.decode : css.ink;
    if (to > from) context.fillRect(from, y - thick / 2, Math.max(1, to - from), thick);
    drawBefore(context, bars.left + bars.width * row.plain, to, y, thick, css, alpha * gone * (1 - mix.stair));
    context.globalAlpha = alpha;
    const text = cut ? t("cut") : percent(lerp(row.plain, row.shaped, Math.round(gone)));
    // Behind the outline, as long as there is one.
    const end = bars.left + bars.width * row.plain;
    const behind = cut
      ? mix.stair < 0.5
        ? end
        : bars.left
      : lerp(Math.max(to, gone * end) + (drawn ? DOT : 0), to, mix.stair);
    const style = { size, color: drawn ? css.decode : css.muted, backed: mix.stair > 0.5 };
    told(context, layout, cut ? bars.left : from, behind, y, text, style, css.ground);
    if (tally[i]) tallied(context, layout, y, tally[i], size, css.ink);
  });
  drawOthers(context, layout, others, mix, gone, view, alpha, size, thick);
  if (tally[rows.length]) tallied(context, layout, rowAt(layout, rows.length), tally[rows.length], size, css.ink);
  context.globalAlpha = 1;
}

/**
 * How far the bar reached before reshaping: a dashed outline where it was longer, a notch where it was shorter.
 * @param {CanvasRenderingContext2D} context @param {number} end @param {number} to @param {number} y @param {number} thick
 * @param {import("../stage/types.d.ts").Palette["css"]} css @param {number} alpha
 */
function drawBefore(context, end, to, y, thick, css, alpha) {
  context.globalAlpha = alpha;
  context.fillStyle = css.ground;
  if (end < to - 3) context.fillRect(end - 1, y - thick / 2, 2, thick);
  if (end <= to + 1) return;
  context.strokeStyle = css.muted;
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  context.strokeRect(to + 0.5, y - thick / 2 + 0.5, end - to - 1, thick - 1);
  context.setLineDash([]);
}

/**
 * The word behind the end of a bar; before its beginning where no room is left; else in it.
 * @param {CanvasRenderingContext2D} context @param {Layout} layout @param {number} from @param {number} to @param {number} y
 * @param {string} text @param {{ size: number, color: string, backed?: boolean }} style `backed`: the line of the coin must not cross it @param {string} ground
 */
function told(context, { bars, narrow }, from, to, y, text, style, ground) {
  const width = 8 + 0.62 * style.size * text.length;
  const behind = to + width <= bars.left + bars.width + (narrow ? 4 : 40);
  const before = from - width >= bars.left;
  const at = behind ? to + 8 : before ? from - 8 : to - 8;
  if (style.backed && (behind || before)) {
    context.save();
    context.globalAlpha *= 0.8;
    context.fillStyle = ground;
    context.fillRect(behind ? at - 3 : at - width + 6, y - style.size / 2 - 3, width - 4, style.size + 6);
    context.restore();
  }
  label(context, text, at, y + 0.5, {
    size: style.size - 1,
    color: behind || before ? style.color : ground,
    weight: behind || before ? 400 : 650,
    face: "mono",
    align: behind ? "left" : "right",
    baseline: "middle",
  });
}

/** @param {CanvasRenderingContext2D} context @param {Layout} layout @param {number} y @param {number} times @param {number} size @param {string} color */
function tallied(context, { track, narrow }, y, times, size, color) {
  label(context, `×${count(times)}`, track - (narrow ? 12 : 24), y + 0.5, {
    size,
    weight: 600,
    face: "mono",
    align: "right",
    baseline: "middle",
    color,
  });
}

/** @param {CanvasRenderingContext2D} context @param {Layout} layout @param {Rows["others"]} others @param {Mix} mix @param {number} gone @param {View} view @param {number} alpha @param {number} size @param {number} thick */
function drawOthers(context, layout, others, mix, gone, view, alpha, size, thick) {
  if (others.count <= 0) return;
  const { css } = view.palette;
  const { bars } = layout;
  const y = rowAt(layout, ROWS);
  const mass = lerp(others.plain, others.shaped, gone);
  const from = bars.left + bars.width * (1 - mass) * mix.stair;
  const to = from + bars.width * mass;
  context.globalAlpha = alpha;
  label(context, t("{count} others", { count: count(others.count) }), layout.words, y + 0.5, {
    size: Math.max(11, size - 2),
    align: "right",
    baseline: "middle",
    color: css.muted,
    width: layout.words - layout.curve.left + 4,
  });
  // Many thin ones, not one thick one.
  context.fillStyle = css.muted;
  context.globalAlpha = alpha * 0.75;
  for (let x = from; x < to - 0.5; x += 3) context.fillRect(x, y - thick / 2, Math.min(2, to - x), thick);
  context.globalAlpha = alpha;
  const words = mass === 0 ? t("cut") : percent(mass);
  told(context, layout, from, to, y, words, { size, color: css.muted }, css.ground);
}

/**
 * The line from 0 to 1, and what falls on it.
 * @param {CanvasRenderingContext2D} context @param {Layout} layout @param {Scores} scores @param {number[]} draws uniform numbers of the browser's
 * @param {View} view @param {number} alpha
 */
export function drawLine(context, layout, scores, draws, view, alpha) {
  if (alpha <= 0) return;
  const { css } = view.palette;
  const { bars, axis, narrow } = layout;
  /** @param {number} share */
  const at = (share) => bars.left + bars.width * share;
  context.globalAlpha = alpha;
  context.fillStyle = css.line;
  context.fillRect(bars.left, axis, bars.width, 1);
  for (const end of [0, 1]) {
    context.fillRect(at(end) - 0.5, axis - 3, 1, 7);
    label(context, String(end), at(end), axis + 16, { size: 11, face: "mono", align: "center", color: css.muted });
  }
  context.fillStyle = css.ink;
  for (const draw of draws.slice(0, -1)) context.fillRect(at(draw) - 0.5, axis - 4, 1, 8);
  const last = draws.at(-1);
  const { coin } = scores;
  if (coin) {
    context.globalAlpha = alpha * (last === undefined ? 1 : 0.4);
    const where = coin.uniform ?? (coin.from + coin.to) / 2;
    if (coin.uniform === null) {
      context.globalAlpha *= 0.22;
      context.fillStyle = css.decode;
      context.fillRect(at(coin.from), bars.top, Math.max(2, at(coin.to) - at(coin.from)), axis - bars.top);
      context.globalAlpha = alpha * (last === undefined ? 1 : 0.4);
    } else fall(context, at(where), bars.top, axis, css.decode);
    const words =
      coin.uniform === null ? t("it fell somewhere in here") : t("the coin: {draw}", { draw: coin.uniform.toFixed(3) });
    if (last === undefined) beside(context, layout, at(where), words, css.decode);
  }
  if (last !== undefined) {
    context.globalAlpha = alpha;
    fall(context, at(last), bars.top, axis, css.ink);
    beside(
      context,
      layout,
      at(last),
      t("draw {number}: {draw}", { number: count(draws.length), draw: last.toFixed(3) }),
      css.ink,
    );
  }
  context.globalAlpha = 1;
  if (!narrow && !coin && last === undefined && scores.shaped && !scores.own)
    beside(context, layout, at(0.5), t("other settings than this run's: draw from them"), css.muted);
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} top @param {number} axis @param {string} color */
function fall(context, x, top, axis, color) {
  context.strokeStyle = context.fillStyle = color;
  context.lineWidth = 1.5;
  context.setLineDash([4, 4]);
  context.beginPath();
  context.moveTo(x, top - 6);
  context.lineTo(x, axis);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.moveTo(x, axis - 2);
  context.lineTo(x - 5, axis + 7);
  context.lineTo(x + 5, axis + 7);
  context.fill();
}

/** Words under the line, within it. @param {CanvasRenderingContext2D} context @param {Layout} layout @param {number} x @param {string} text @param {string} color */
function beside(context, { bars, axis, narrow }, x, text, color) {
  const half = 0.31 * 12 * text.length;
  const middle = clamp(x, bars.left + half + 14, bars.left + bars.width - half - 14);
  label(context, text, middle, axis + (narrow ? 18 : 22), {
    size: narrow ? 11 : 13,
    weight: 600,
    face: "mono",
    align: "center",
    color,
  });
}

/**
 * The whole vocabulary, likeliest first, both scales logarithmic; what the cuts leave is filled.
 * @param {CanvasRenderingContext2D} context @param {Layout} layout @param {Scores} scores @param {Mix} mix @param {View} view @param {number} alpha
 */
export function drawCurve(context, layout, { plain, shaped, settings, token }, { shape }, view, alpha) {
  if (!plain || !shaped || alpha <= 0) return;
  const { css } = view.palette;
  const { curve, narrow } = layout;
  const all = plain.ids.length;
  const bottom = curve.top + curve.height;
  context.globalAlpha = alpha;
  const filled = shape < 0.5 ? plain : shaped;
  context.fillStyle = css.ink;
  context.globalAlpha = alpha * 0.5;
  for (let x = 0; x < curve.width; x++) {
    const rank = Math.floor(atRank(curve, curve.left + x + 0.5, all));
    const part = filled.mass[rank - 1] ?? 0;
    const y = depthOf(curve, part);
    if (part > 0 && y < bottom) context.fillRect(curve.left + x, y, 1, bottom - y);
  }
  context.globalAlpha = alpha;
  const rank = token ? filled.ids.indexOf(token.id) : -1;
  if (rank >= 0 && filled.mass[rank] > 0) {
    const x = rankAt(curve, rank + 1, all);
    const y = depthOf(curve, filled.mass[rank]);
    context.fillStyle = css.decode;
    context.fillRect(x, y, Math.max(2, rankAt(curve, rank + 2, all) - x), bottom - y);
  }
  context.strokeStyle = css.muted;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = 0; x < curve.width; x += 2) {
    const y = depthOf(curve, plain.mass[Math.floor(atRank(curve, curve.left + x, all)) - 1] ?? 0);
    if (x) context.lineTo(curve.left + x, y);
    else context.moveTo(curve.left + x, y);
  }
  context.stroke();
  context.fillStyle = css.line;
  context.fillRect(curve.left, bottom, curve.width, 1);
  for (const rank of [1, 10, 100, 1000, 10000, all]) {
    const x = rankAt(curve, rank, all);
    if (rank !== all && rankAt(curve, all, all) - x < (narrow ? 72 : 60)) continue;
    label(context, count(rank), x, bottom + 15, {
      size: 11,
      face: "mono",
      align: rank === 1 ? "left" : rank === all ? "right" : "center",
      color: css.muted,
    });
  }
  if (!narrow) {
    for (const [decade, words] of /** @type {[number, string][]} */ ([
      [2, "1 %"],
      [6, `1 / ${count(1e6)}`],
    ]))
      label(context, words, curve.left + curve.width, curve.top + (curve.height * decade) / DECADES - 4, {
        size: 11,
        align: "right",
        color: css.muted,
      });
    label(context, t("all {count} tokens, likeliest first", { count: count(all) }), curve.left, curve.top - 14, {
      size: 12,
      color: css.muted,
    });
  }
  if (shape > 0.02) drawCuts(context, layout, shaped, settings, view, alpha * shape);
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Layout} layout @param {import("../state/sampling.js").Distribution} shaped @param {import("../state/sampling.js").Settings} settings @param {View} view @param {number} alpha */
function drawCuts(context, { curve, narrow }, { ids, kept, mass }, settings, view, alpha) {
  const { css } = view.palette;
  const all = ids.length;
  context.globalAlpha = alpha;
  /** @type {[boolean, string, number][]} */
  const cuts = [
    [settings.top_k > 0, `top-k ${count(settings.top_k)}`, kept.topK],
    [settings.top_p < 1, `top-p ${significant(settings.top_p)}`, kept.topP],
    [settings.min_p > 0, `min-p ${significant(settings.min_p)}`, kept.minP],
  ];
  const line = narrow ? 12 : 15;
  const shown = cuts.filter(([on]) => on);
  shown.forEach(([, words, left], i) => {
    const x = rankAt(curve, left + 0.5, all);
    const y = curve.top + i * line;
    const last = left === mass.length;
    context.fillStyle = last ? css.ink : css.muted;
    context.fillRect(x - 0.5, y - 8, last ? 2 : 1, curve.top + curve.height - y + 8);
    const text = t("{cut} leaves {left}", { cut: words, left: count(left) });
    const beyond = x + 10 + 6.6 * text.length > curve.left + curve.width;
    label(context, text, beyond ? x - 6 : x + 7, y + 2, {
      size: 11,
      weight: last ? 650 : 450,
      face: "mono",
      align: beyond ? "right" : "left",
      color: last ? css.ink : css.muted,
    });
  });
}
