// The seats of the tokens: those that wait, the way of the drawn one to its own, the way back to the scores, and where
// another future parts.

import { label } from "../stage/text.js";
import { count } from "../state/format.js";
import { t } from "../ui/messages.js";
import { forkOf } from "./loop_fork.js";
import { capacityOf, seatsIn } from "./loop_layout.js";
import { beforeSeat } from "./loop_picture.js";

/** @typedef {import("./loop_picture.js").Picture} Picture */
/** @typedef {CanvasRenderingContext2D} Context */

/** @param {Picture} picture */
const seatsOf = ({ layout, state }) => seatsIn(layout.seats, capacityOf(state));

/** Seats that nobody has taken yet. @param {Context} context @param {Picture} picture */
export function drawSeats(context, picture) {
  const { at, r } = seatsOf(picture);
  const size = Math.min(2, r);
  context.fillStyle = picture.css.idle;
  for (let i = picture.scores.place; i < capacityOf(picture.state); i++) {
    const [x, y] = at(i);
    context.fillRect(x - size / 2, y - size / 2, size, size);
  }
}

/** @param {Context} context @param {Picture} picture @param {number} position @param {string} color */
function ring(context, picture, position, color) {
  const { at, r } = seatsOf(picture);
  const [x, y] = at(position);
  context.strokeStyle = color;
  context.lineWidth = 1.75;
  context.beginPath();
  context.arc(x, y, r + 3, 0, 2 * Math.PI);
  context.stroke();
  return { x, y: y - r - 6 };
}

/** The seat at which the other future parts. @param {Context} context @param {Picture} picture */
export function drawParting(context, picture) {
  const fork = forkOf(picture.state, picture.view);
  if (fork) ring(context, picture, fork.place, picture.css.ink);
}

/** Where the drawn token is going: from under the line to its seat. @param {Context} context @param {Picture} picture */
export function drawWay(context, picture) {
  const from = beforeSeat(picture)?.[0];
  if (from === undefined) return;
  const { x, y } = ring(context, picture, picture.scores.place, picture.css.decode);
  const top = picture.layout.axis + (picture.layout.narrow ? 26 : 34);
  context.setLineDash([2, 5]);
  context.beginPath();
  context.moveTo(from, top);
  context.bezierCurveTo(from, (top + y) / 2, x, (top + y) / 2, x, y);
  context.stroke();
  context.setLineDash([]);
}

/** From the newest seat back up to the scores, and how often that way was gone. @param {Context} context @param {Picture} picture */
export function drawTrack(context, picture) {
  const { layout, scores, state, css } = picture;
  if (!scores.token) return;
  const { track, context: line, curve, narrow } = layout;
  const [x, y] = seatsOf(picture).at(scores.place);
  const r = narrow ? 8 : 14;
  const end = curve.left + curve.width * 0.85;
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
  const turns = t("turn {turns}", { turns: count(scores.place + 1 - state.request.numPromptTokens) });
  label(context, turns, end - 10, line.y, {
    size: narrow ? 12 : 16,
    weight: 650,
    face: "mono",
    align: "right",
    baseline: "middle",
    color: css.decode,
  });
}
