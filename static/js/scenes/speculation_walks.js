// One run as the walks to the pantry that it took, in reading order: an arch a walk, and at its end what it brought.

import { toCss } from "../stage/palette.js";
import { label, visible } from "../stage/text.js";
import { bytes, count } from "../state/format.js";
import { numWalks, numWritten, walksOf } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { frame, walkGrid } from "./speculation_layout.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */

/** Words stand under the arches where a cell is at least this wide. */
const WORDS = 52;

/** Bytes of weights that the walks of a run fetched. @param {State} state */
export const fetched = (state) =>
  state.steps.reduce((sum, { ownStart, weightBytes }) => sum + (ownStart === null ? 0 : (weightBytes ?? 0)), 0);

/**
 * @param {CanvasRenderingContext2D} context
 * @param {State} state
 * @param {View} view
 * @param {number} alpha
 */
export function drawWalks(context, state, view, alpha) {
  const { css } = view.palette;
  const walks = walksOf(state);
  const grid = walkGrid(view, walks.length);
  const { width, height } = grid.cell;
  const base = 0.62 * height;
  context.save();
  context.globalAlpha = alpha;
  drawCount(context, state, view);
  context.lineWidth = width > 20 ? 1.5 : 1;
  walks.forEach((walk, i) => {
    const cell = grid.cellAt(grid.first + i);
    const wide = walk.phase === "prefill";
    if (wide) return;
    const newest = i === walks.length - 1 && state.request.status !== "finished";
    context.strokeStyle = newest ? css.decode : toCss(view.palette.rgb.muted, 0.42);
    context.beginPath();
    const [left, right] = [cell.x + 0.12 * width, cell.x + 0.8 * width];
    const foot = cell.y + base;
    const crown = cell.y + 0.08 * height;
    context.moveTo(left, foot);
    context.bezierCurveTo(left, crown, right, crown, right, foot);
    context.stroke();
  });
  if (width >= WORDS)
    walks.forEach((walk, i) => {
      const cell = grid.cellAt(grid.first + i);
      const text = walk.positions.map((position) => visible(state.tokens[position].text)).join("");
      label(context, text.replace(/^·/, ""), cell.x + 0.86 * width, cell.y + base + 19, {
        size: 11,
        face: "mono",
        color: css.muted,
        align: "right",
        width: 0.84 * width,
      });
    });
  context.restore();
}

/** @param {CanvasRenderingContext2D} context @param {State} state @param {View} view */
function drawCount(context, state, view) {
  const { css } = view.palette;
  const { x, y, width, narrow } = frame(view);
  const size = narrow ? 22 : 40;
  const line = y + (narrow ? 16 : 34);
  const number = count(numWalks(state));
  label(context, number, x, line, { size, weight: 500, face: "mono", color: css.ink });
  const after = x + context.measureText(number).width + 10;
  const small = { size: narrow ? 11 : 13, color: css.muted };
  label(
    context,
    t("walks to the pantry, for {tokens} tokens", { tokens: count(numWritten(state)) }),
    after,
    line,
    small,
  );
  const weights = fetched(state);
  const fetchedWords = narrow ? bytes(weights) : t("{size} of weights fetched", { size: bytes(weights) });
  if (weights) label(context, fetchedWords, x + width, line, { ...small, align: "right" });
}
