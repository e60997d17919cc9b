// The turns so far: a bar for each token that was drawn, as tall as the model's own probability of it; and the way back,
// from the newest seat to the scores.

import { label } from "../stage/text.js";
import { count } from "../state/format.js";
import { t } from "../ui/messages.js";
import { forkOf } from "./loop_fork.js";
import { capacityOf, seatsIn } from "./loop_layout.js";
import { newestOf } from "./loop_scores.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./loop_layout.js").Layout} Layout */

/** Left edge and width of a turn. @param {Layout} layout @param {State} state @param {number} turn */
export function turnAt({ curve }, state, turn) {
  const width = Math.min(14, curve.width / Math.max(1, capacityOf(state) - state.request.numPromptTokens));
  return { x: curve.left + turn * width, width };
}

/** @param {CanvasRenderingContext2D} context @param {Layout} layout @param {State} state @param {View} view @param {number} alpha */
export function drawTurns(context, layout, state, { palette: { css }, hover }, alpha) {
  if (alpha <= 0) return;
  const { curve, narrow } = layout;
  const bottom = curve.top + curve.height;
  const start = state.request.numPromptTokens;
  context.globalAlpha = alpha;
  context.fillStyle = css.line;
  context.fillRect(curve.left, bottom, curve.width, 1);
  if (!narrow) {
    const words = t("how probable the model itself found each token that was drawn");
    label(context, words, curve.left, curve.top - 14, { size: 12, color: css.muted });
    label(context, "100 %", curve.left + curve.width, curve.top - 4, { size: 11, align: "right", color: css.muted });
    context.fillRect(curve.left, curve.top, curve.width, 1);
  }
  context.fillStyle = css.decode;
  for (const { position, probability } of state.tokens.slice(start)) {
    const { x, width } = turnAt(layout, state, position - start);
    const height = curve.height * (probability ?? 0);
    const newest = position === state.tokens.length - 1 || position === hover;
    context.globalAlpha = alpha * (newest ? 1 : 0.5);
    context.fillRect(
      x,
      bottom - Math.max(1, height),
      Math.max(0.6, width - (width > 2.4 ? 1 : 0.3)),
      Math.max(1, height),
    );
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Layout} layout @param {State} state @param {View} view @param {number} alpha */
export function drawTrack(context, layout, state, { palette: { css } }, alpha) {
  const token = state.tokens.at(-1);
  if (alpha <= 0 || token?.kind !== "generated") return;
  const { seats, track, context: line, curve, narrow } = layout;
  const [x, y] = seatsIn(seats, capacityOf(state)).at(token.position);
  const r = narrow ? 8 : 14;
  const end = curve.left + curve.width * (narrow ? 0.86 : 0.84);
  context.globalAlpha = alpha;
  context.strokeStyle = css.decode;
  context.lineWidth = narrow ? 1.5 : 2;
  context.beginPath();
  context.moveTo(x + (narrow ? 5 : 9), y);
  context.arcTo(track, y, track, line.y, r);
  context.arcTo(track, line.y, end, line.y, r);
  context.lineTo(end, line.y);
  context.moveTo(end + 7, line.y - 5);
  context.lineTo(end, line.y);
  context.lineTo(end + 7, line.y + 5);
  context.stroke();
  const turns = t("turn {turns}", { turns: count(token.position + 1 - state.request.numPromptTokens) });
  label(context, turns, end - 10, line.y, {
    size: narrow ? 12 : 16,
    weight: 650,
    face: "mono",
    align: "right",
    baseline: "middle",
    color: css.decode,
  });
  context.globalAlpha = 1;
}

/** Seats that nobody has taken yet. @param {CanvasRenderingContext2D} context @param {Layout} layout @param {State} state @param {View} view */
export function drawSeats(context, { seats }, state, { palette: { css } }) {
  const capacity = capacityOf(state);
  const all = seatsIn(seats, capacity);
  context.fillStyle = css.idle;
  const newest = newestOf(state)?.position ?? state.tokens.length;
  const size = Math.min(2, all.r);
  for (let i = newest; i < capacity; i++) {
    const [x, y] = all.at(i);
    context.fillRect(x - size / 2, y - size / 2, size, size);
  }
}

/** The seat at which the other future parts. @param {CanvasRenderingContext2D} context @param {Layout} layout @param {State} state @param {View} view @param {number} alpha */
export function drawParting(context, { seats }, state, view, alpha) {
  const fork = forkOf(state, view);
  if (!fork) return;
  const { at, r } = seatsIn(seats, capacityOf(state));
  const [x, y] = at(fork.place);
  context.globalAlpha = alpha;
  context.strokeStyle = view.palette.css.ink;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, r + 3.5, 0, 2 * Math.PI);
  context.stroke();
  context.globalAlpha = 1;
}

/**
 * Where the drawn token is going: from under the line to its seat.
 * @param {CanvasRenderingContext2D} context @param {Layout} layout @param {State} state @param {number} from x on the line
 * @param {View} view @param {number} alpha
 */
export function drawWay(context, { seats, axis, narrow }, state, from, { palette: { css } }, alpha) {
  const token = newestOf(state);
  if (alpha <= 0 || !token) return;
  const { at, r } = seatsIn(seats, capacityOf(state));
  const [x, y] = at(token.position);
  const top = axis + (narrow ? 26 : 34);
  const end = y - r - 5;
  context.globalAlpha = alpha;
  context.strokeStyle = css.decode;
  context.lineWidth = 1.5;
  context.beginPath();
  context.arc(x, y, r + 2, 0, 2 * Math.PI);
  context.stroke();
  context.setLineDash([2, 5]);
  context.beginPath();
  context.moveTo(from, top);
  context.bezierCurveTo(from, (top + end) / 2, x, (top + end) / 2, x, end);
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}
