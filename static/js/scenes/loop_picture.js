// What the room shows at a step: where the reader is in it, what is known of the token in question, and its rows.

import { drawAt } from "../state/sampling.js";
import { barOf, rowAt } from "./loop_bars.js";
import { fieldOf } from "./loop_field.js";
import { layoutOf, ROWS } from "./loop_layout.js";
import { drawsOf, rowsOf, scoresOf } from "./loop_scores.js";
import { clamp, lerp } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ field: number, shape: number, stair: number, seat: number, fork: number }} Mix what the step shows */

/** @param {View} view @returns {Mix} */
export function mixOf({ data }) {
  const { field = 0, shape = 0, stair = 0, seat = 0, fork = 0 } = data;
  return { field, shape, stair, seat, fork };
}

/** @param {State} state @param {View} view */
export function pictureOf(state, view) {
  const layout = layoutOf(view);
  const mix = mixOf(view);
  const looks = view.cast.lanes.filter(({ key }) => key === "logits").map((lane) => lane.state);
  const scores = scoresOf(state, looks, view.controls);
  const shape = scores.shaped ? mix.shape : 0;
  return {
    layout,
    mix: { ...mix, shape, field: scores.plain ? mix.field : 0 },
    scores,
    all: rowsOf(scores, ROWS, shape > 0.5),
  };
}

/**
 * Where the token in question stands before it has a seat: its window, the end of its bar, where the coin fell.
 * @param {ReturnType<typeof pictureOf>} picture
 * @param {View} view
 * @returns {[number, number] | null}
 */
export function beforeSeat({ layout, mix, scores, all }, view) {
  const i = all.rows.findIndex(({ id }) => id === scores.token?.id);
  if (i < 0) return null;
  const [from, to] = barOf(layout, all.rows[i], mix);
  const { coin } = scores;
  const share = coin?.uniform != null ? (coin.uniform - coin.from) / Math.max(1e-12, coin.to - coin.from) : 0.5;
  const [x, y] = [lerp(to, from + (to - from) * share, mix.stair), rowAt(layout, i)];
  if (mix.field <= 0) return [x, y];
  const [u, v] = fieldOf(layout, scores, view).at(all.rows[i].id);
  return [lerp(x, u, mix.field), lerp(y, v, mix.field)];
}

/** How often the browser's draws fell on each row; the last is all others. @param {ReturnType<typeof pictureOf>} picture @param {number[]} draws */
export function tallyOf({ scores: { shaped }, all }, draws) {
  const tally = new Array(all.rows.length + 1).fill(0);
  if (!shaped) return tally;
  for (const draw of draws) {
    const id = shaped.ids[drawAt(shaped.mass, draw)];
    const row = all.rows.findIndex((one) => one.id === id);
    tally[row < 0 ? all.rows.length : row] += 1;
  }
  return tally;
}

/** @param {View} view */
export const drawsFrom = ({ controls }) => drawsOf(clamp(Math.round(Number(controls.loop_draws) || 0), 0, 1000));
/** @typedef {ReturnType<typeof pictureOf>} Picture */
