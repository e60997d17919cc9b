// What the room of attention shows at a moment: whose query, through which head, where everything stands. Worked out once
// for dots, drawing, words and table alike.

import {
  chosenFor,
  columnOf,
  lookOf,
  meanRow,
  mostLookedAt,
  nearestTo,
  positionsOf,
  rowOf,
  scoresOf,
  summaryNear,
  widest,
} from "../state/attention.js";
import { dotOn, pageOf } from "./attention_page.js";
import { clamp, crossed, lerp, room, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/attention.js").Look} Look */
/** @typedef {import("../state/attention.js").Head} Head */
/** @typedef {import("./attention_page.js").Page} Page */
/** @typedef {import("./attention_page.js").Box} Box */
/** @typedef {{ chart: number, softmax: number, blend: number, map: number, mean: number, column: number, seat: number }} Mix each 0 to 1 */

/**
 * @typedef {object} Picture
 * @property {import("./room.js").Area} area
 * @property {Mix} mix
 * @property {Look} look
 * @property {number} asker the token whose query it is; in a column, the word that is looked at; -1: nobody
 * @property {Head | null} head
 * @property {Float32Array} weights a token, NaN where no probe says
 * @property {Float32Array | null} scores a token, while the chart shows them
 * @property {number} heads of the mean, where it is one
 * @property {import("../types/events.d.ts").ProbeAttentionSummary | null} summary
 * @property {Page} page
 * @property {Box} plot of the chart
 * @property {Box} map
 * @property {{ x: number, y: number, size: number }} lamp where the asker stands
 * @property {Float32Array} dots x, y, r of each token of the text
 */

/** Scores this far below the best are at the foot of the chart: their shares are nothing. */
export const DEEPEST = 12;

/** @param {View} view @returns {Mix} */
function mixOf({ data }) {
  const { chart = 0, softmax = 0, blend = 0, map = 0, mean = 0, column = 0, seat = 0 } = data;
  return { chart, softmax, blend, map, mean, column, seat };
}

/**
 * Whose query it is, through which head, and where it looks.
 * @param {Look} look
 * @param {View} view
 * @param {Mix} mix
 */
function gazeOf(look, view, mix) {
  const wanted = look.tokens.length - 1;
  if (mix.column > 0.5) return columnGaze(look, view);
  if (mix.mean > 0.5) {
    const asker = nearestTo(positionsOf(look, null), wanted);
    const mean = asker < 0 ? null : meanRow(look, asker);
    return { asker, head: null, row: mean?.row ?? null, heads: mean?.heads ?? 0 };
  }
  const head = chosenFor(look, wanted, wishOf(view));
  const asker = head ? nearestTo(positionsOf(look, head), wanted) : -1;
  return {
    asker: asker < 0 ? wanted : asker,
    head,
    row: head && asker >= 0 ? rowOf(look, asker, head) : null,
    heads: 0,
  };
}

/**
 * Who looked at one word: the reader's choice, what they point at, or what was looked at most.
 * @param {Look} look
 * @param {View} view
 */
function columnGaze(look, view) {
  const wish = wishOf(view);
  const head = wish.layer < 0 && wish.head < 0 ? widest(look) : chosenFor(look, look.tokens.length - 1, wish);
  if (!head) return { asker: -1, head, row: null, heads: 0 };
  const named = Math.round(Number(view.controls.attention_word) || 0) - 1;
  const pointed = look.own ? view.hover : -1;
  const word = pointed >= 0 ? pointed : named >= 0 ? named : mostLookedAt(look, head);
  const asker = Math.min(word, look.tokens.length - 1);
  return { asker, head, row: asker < 0 ? null : columnOf(look, asker, head), heads: 0 };
}

/** The layer and head that the reader wishes, where the step lets them choose; -1: any. @param {View} view */
function wishOf({ data, controls }) {
  /** @param {unknown} value */
  const pick = (value) => ((data.choose ?? 0) > 0.5 ? Math.round(Number(value) || 0) : 0) - 1;
  return { layer: pick(controls.attention_layer), head: pick(controls.attention_head) };
}

/** @type {{ tokens: Look["tokens"], key: string, page: Page }[]} the last few: most frames move no word */
const pages = [];

/** @param {Look["tokens"]} tokens @param {Box} box */
function pageIn(tokens, box) {
  const key = [tokens.length, box.left, box.top, box.width, box.height].join();
  const known = pages.find((entry) => entry.tokens === tokens && entry.key === key);
  if (known) return known.page;
  const page = pageOf(tokens, box);
  pages.unshift({ tokens, key, page });
  pages.length = Math.min(pages.length, 4);
  return page;
}

/** @type {{ state: State, view: View, seq: number, picture: Picture } | null} a frame asks several times */
let last = null;

/**
 * @param {State} state of the run on stage
 * @param {View} view
 * @returns {Picture}
 */
export function pictureOf(state, view) {
  if (last && last.state === state && last.view === view && last.seq === state.seq) return last.picture;
  const mix = mixOf(view);
  const look = lookOf(
    state,
    view.cast.lanes.map((lane) => lane.state),
  );
  const { asker, head, row, heads } = gazeOf(look, view, mix);
  const count = look.tokens.length;
  const weights = new Float32Array(count).fill(row ? 0 : Number.NaN);
  if (row) weights.set(row.subarray(0, count));
  const area = room(view);
  const boxes = boxesOf(area);
  const page = between(pageIn(look.tokens, boxes.page), pageIn(look.tokens, boxes.low), smooth(0, 1, mix.map));
  const scores = row && mix.chart > 0 && mix.column < 0.5 ? scoresOf(weights) : null;
  const summary = summaryNear(look, asker);
  const { plot, map, lamp } = boxes;
  const rest = { area, mix, look, asker, head, weights, scores, heads, summary, page, plot, map, lamp };
  const picture = { ...rest, dots: dotsOf(rest) };
  last = { state, view, seq: state.seq, picture };
  return picture;
}

/** @param {import("./room.js").Area} area */
function boxesOf(area) {
  const { narrow } = area;
  const side = narrow ? 14 : Math.max(48, 0.07 * area.width);
  const left = area.left + side;
  const width = area.width - 2 * side;
  const top = narrow ? 62 : 104;
  const size = narrow ? 19 : clamp(0.038 * area.height, 24, 46); // of the lamp's word
  const foot = narrow ? area.height - 76 : area.words - 4.2 * size;
  const mapHeight = narrow ? 74 : Math.min(172, 0.22 * area.height);
  const under = top + mapHeight + (narrow ? 10 : 50);
  return {
    page: { left, top, width, height: foot - top },
    low: { left, top: under, width, height: foot - under },
    map: { left, top, width, height: mapHeight },
    plot: { left: left + (narrow ? 0 : 34), top: top + 14, width: width - (narrow ? 0 : 34), height: foot - top - 20 },
    lamp: { x: area.left + area.width / 2, y: narrow ? area.height - 44 : area.words - 2.4 * size, size },
  };
}

/**
 * A page on its way from one place to another.
 * @param {Page} a
 * @param {Page} b
 * @param {number} amount
 * @returns {Page}
 */
function between(a, b, amount) {
  if (amount <= 0) return a;
  if (amount >= 1) return b;
  /** @param {Float32Array} from @param {Float32Array} to */
  const mid = (from, to) => from.map((value, i) => lerp(value, to[i], amount));
  const near = amount < 0.5 ? a : b;
  return {
    size: lerp(a.size, b.size, amount),
    line: lerp(a.line, b.line, amount),
    x: mid(a.x, b.x),
    y: mid(a.y, b.y),
    width: mid(a.width, b.width),
    left: near.left,
  };
}

/**
 * Where the lamp's own light is.
 * @param {Picture["lamp"]} lamp
 * @returns {[number, number]}
 */
export const lightOf = ({ x, y, size }) => [x, y - 1.15 * size];

/**
 * Place of a token along the chart, and its height: scores first, shares then.
 * @param {Omit<Picture, "dots">} picture
 * @param {number} i
 * @returns {[number, number]}
 */
export function chartAt({ plot, weights, scores, mix }, i) {
  const x = plot.left + ((i + 0.5) / Math.max(1, weights.length)) * plot.width;
  const share = Number.isNaN(weights[i]) ? 0 : weights[i];
  const score = scores ? clamp(1 + scores[i] / DEEPEST) : 0;
  return [x, plot.top + plot.height * (1 - lerp(score, share, smooth(0, 1, mix.softmax)))];
}

/**
 * @param {Omit<Picture, "dots">} picture
 * @returns {Float32Array}
 */
function dotsOf(picture) {
  const { look, page, mix, weights, asker, lamp, plot } = picture;
  const out = new Float32Array(3 * look.tokens.length);
  const [lx, ly] = lightOf(lamp);
  const chart = crossed(mix.chart);
  const thin = Math.min(4, 0.42 * (plot.width / Math.max(1, look.tokens.length)));
  for (let i = 0; i < look.tokens.length; i++) {
    const weight = Number.isNaN(weights[i]) ? 0 : weights[i];
    let [x, y] = dotOn(page, i);
    let r = page.width[i] > 0 ? page.size * (0.11 + 0.36 * Math.sqrt(weight)) : 1 + 3 * Math.sqrt(weight);
    const up = i === asker ? (1 - mix.seat) * (1 - mix.column) : 0;
    [x, y, r] = [lerp(x, lx, up), lerp(y, ly, up), lerp(r, 0.28 * lamp.size, up)];
    if (chart > 0) {
      const [cx, cy] = chartAt(picture, i);
      const cr = Math.max(1.2, thin * (i <= asker ? 1 : 0.5));
      [x, y, r] = [lerp(x, cx, chart), lerp(y, cy, chart), lerp(r, cr, chart)];
    }
    out.set([x, y, r], 3 * i);
  }
  return out;
}
