// What the room shows at a step: where the reader is in it, what is known of the token in question, its rows, and the
// draws of this page.

import { drawAt } from "../state/sampling.js";
import { barOf, rowAt } from "./loop_bars.js";
import { fieldOf } from "./loop_field.js";
import { layoutOf, ROWS } from "./loop_layout.js";
import { drawsOf, rowsOf, scoresOf } from "./loop_scores.js";
import { clamp, lerp } from "./room.js";

/** @typedef {ReturnType<typeof pictureOf>} Picture */

/** @param {import("../state/types.d.ts").State} state @param {import("../stage/types.d.ts").View} view */
export function pictureOf(state, view) {
  const { field = 0, shape = 0, stair = 0, seat = 0, fork = 0 } = view.data;
  const looks = view.cast.lanes.filter(({ key }) => key === "logits").map((lane) => lane.state);
  const scores = scoresOf(state, looks, view.controls);
  // Where only the likeliest few are known, nothing can be reshaped, and no field be lit.
  const mix = { field: scores.plain ? field : 0, shape: scores.shaped ? shape : 0, stair, seat, fork };
  const all = rowsOf(scores, ROWS, mix.shape > 0.5);
  const wanted = clamp(Math.round(Number(view.controls.loop_draws) || 0), 0, 1000);
  const draws = scores.shaped && stair > 0.5 && seat < 0.5 ? drawsOf(wanted) : [];
  return {
    state,
    view,
    css: view.palette.css,
    layout: layoutOf(view),
    mix,
    scores,
    all,
    draws,
    tally: tallyOf(scores, all, draws),
  };
}

/**
 * How often draws fell on each row; the last is all others.
 * @param {import("./loop_scores.js").Scores} scores
 * @param {ReturnType<typeof rowsOf>} all
 * @param {number[]} draws
 */
function tallyOf({ shaped }, { rows }, draws) {
  const tally = new Array(rows.length + 1).fill(0);
  for (const draw of shaped ? draws : []) {
    const row = rows.findIndex(({ id }) => id === shaped?.ids[drawAt(shaped.mass, draw)]);
    tally[row < 0 ? rows.length : row] += 1;
  }
  return tally;
}

/**
 * Where the token in question stands before it has a seat: its window, the end of its bar, where the coin fell.
 * @param {Picture} picture
 * @returns {[number, number] | null}
 */
export function beforeSeat(picture) {
  const { layout, mix, scores, all } = picture;
  const i = all.rows.findIndex(({ id }) => id === scores.token?.id);
  if (i < 0) return null;
  const [from, to] = barOf(layout, all.rows[i], mix);
  const { coin } = scores;
  const share = coin?.uniform != null ? (coin.uniform - coin.from) / Math.max(1e-12, coin.to - coin.from) : 0.5;
  const [x, y] = [lerp(to, lerp(from, to, share), mix.stair), rowAt(layout, i)];
  if (mix.field <= 0) return [x, y];
  const [u, v] = fieldOf(picture).at(all.rows[i].id);
  return [lerp(x, u, mix.field), lerp(y, v, mix.field)];
}
