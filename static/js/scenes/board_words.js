// What is drawn of the boards: windows, lit where a seat works and dark where it does not, and the words around them.

import { toCss } from "../stage/palette.js";
import { label } from "../stage/text.js";
import { count, percent, seconds } from "../state/format.js";
import { raceSeconds } from "../state/seats.js";
import { t } from "../ui/messages.js";
import { clamp } from "./room.js";
import { across, footOf, seatedTokens, stepWidth, xOf, yOf } from "./seat_boards.js";
import { niceStep } from "./step_labels.js";

/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../stage/types.d.ts").ColorName} ColorName */
/** @typedef {import("./seat_boards.js").Board} Board */
/** @typedef {import("../state/seats.js").Sitting} Sitting */

/** @type {Record<string, ColorName>} */
const COLORS = { prefill: "prefill", decode: "decode", verify: "draft" };

/** The light of a guest's window. */
const GUEST = 0.5;
/** How far an empty window stands out: one that nobody wants, and one that somebody waits for. */
const EMPTY = 0.42;
const WASTED = 0.85;

/** @param {string} phase @returns {ColorName} */
const colorOf = (phase) => COLORS[phase] ?? "decode";

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Board} board
 * @param {View} view
 * @param {{ narrow: boolean, raced: boolean }} style `raced`: one of several lanes
 */
export function drawBoard(context, board, view, { narrow, raced }) {
  drawTracks(context, board, view);
  drawGaps(context, board, view);
  for (const sitting of board.seats.sittings) drawSitting(context, board, sitting, view);
  drawWindows(context, board, view);
  for (const sitting of board.seats.sittings) if (sitting.own) drawFrame(context, board, sitting, view);
  drawNames(context, board, view, narrow);
  drawHead(context, board, view, narrow);
  if (raced) drawEnd(context, board, view, narrow);
}

/** Every seat, whether a step has come to it or not. @param {CanvasRenderingContext2D} context @param {Board} board @param {View} view */
function drawTracks(context, board, { palette: { css } }) {
  context.fillStyle = css.line;
  for (let slot = 0; slot < board.seats.slots; slot++)
    context.fillRect(board.left, Math.round(yOf(board, slot) + board.row) - 1, board.width, 1);
}

/**
 * Dark windows. Those for which somebody stood in line are hatched: these are the wasted ones.
 * @param {CanvasRenderingContext2D} context @param {Board} board @param {View} view
 */
function drawGaps(context, board, { palette: { css, rgb } }) {
  const wanted = new Path2D();
  const free = new Path2D();
  for (const gap of board.seats.gaps) {
    const [x, width] = across(board, gap.from, gap.to);
    (gap.wanted ? wanted : free).rect(x, yOf(board, gap.slot), width, board.row);
  }
  context.fillStyle = toCss(rgb.idle, EMPTY);
  context.fill(free);
  context.fillStyle = toCss(rgb.idle, WASTED);
  context.fill(wanted);
  context.save();
  context.clip(wanted);
  context.beginPath();
  const [top, bottom] = [yOf(board, 0), footOf(board)];
  const slant = bottom - top;
  for (let x = board.left - slant; x < board.left + board.width; x += 8) {
    context.moveTo(x, bottom);
    context.lineTo(x + slant, top);
  }
  context.strokeStyle = css.muted;
  context.globalAlpha *= 0.55;
  context.lineWidth = 1;
  context.stroke();
  context.restore();
}

/** @param {CanvasRenderingContext2D} context @param {Board} board @param {Sitting} sitting @param {View} view */
function drawSitting(context, board, sitting, { palette: { rgb } }) {
  for (const { phase, from, to } of sitting.stretches) {
    const [x, width] = across(board, from, to);
    const guest = phase === "prefill" ? GUEST + 0.15 : GUEST;
    context.fillStyle = toCss(rgb[colorOf(phase)], sitting.own ? 0.16 : guest);
    context.fillRect(x, yOf(board, sitting.slot), width, board.row);
  }
}

/** Our own lane is a lit frame: what shines in it are our tokens. @param {CanvasRenderingContext2D} context @param {Board} board @param {Sitting} sitting @param {View} view */
function drawFrame(context, board, sitting, { palette: { css } }) {
  const y = yOf(board, sitting.slot);
  const edge = board.row > 12 ? 1.5 : 1;
  for (const { phase, from, to } of sitting.stretches) {
    const [x, width] = across(board, from, to);
    context.fillStyle = css[colorOf(phase)];
    context.fillRect(x, y, width, edge);
    context.fillRect(x, y + board.row - edge, width, edge);
  }
}

/** A step is a column of windows, where there is room to tell them apart. @param {CanvasRenderingContext2D} context @param {Board} board @param {View} view */
function drawWindows(context, board, { palette: { css } }) {
  const clear = clamp((stepWidth(board) - 3) / 6);
  if (!clear) return;
  const alpha = context.globalAlpha;
  context.globalAlpha = alpha * clear;
  context.fillStyle = css.ground;
  const [top, bottom] = [yOf(board, 0), footOf(board)];
  for (const step of board.seats.steps) context.fillRect(xOf(board, step.startedAt) - 0.5, top, 1, bottom - top);
  context.globalAlpha = alpha;
}

/** Who sits where: our own seat by its word, guests by their numbers. @param {CanvasRenderingContext2D} context @param {Board} board @param {View} view @param {boolean} narrow */
function drawNames(context, board, { palette: { css } }, narrow) {
  const own = board.seats.sittings.findLast((sitting) => sitting.own)?.slot;
  const every = Math.ceil(13 / board.pitch);
  for (let slot = 0; slot < board.seats.slots; slot++) {
    if (slot !== own && slot % every) continue;
    const mine = slot === own;
    label(context, mine ? t("you") : String(slot + 1), board.left - 10, yOf(board, slot) + board.row / 2 + 0.5, {
      size: narrow ? 11 : 12,
      weight: mine ? 700 : 400,
      align: "right",
      baseline: "middle",
      color: mine ? css.ink : css.muted,
    });
  }
  if (board.row < 12) return;
  for (const { own: mine, guest, stretches, slot } of board.seats.sittings) {
    const [x, width] = across(board, stretches[0].from, /** @type {any} */ (stretches.at(-1)).to);
    if (mine || !guest || width < 18) continue;
    const words = width > 92 && !narrow ? t("guest {guest}", { guest }) : guest;
    label(context, words, x + 6, yOf(board, slot) + board.row / 2 + 0.5, {
      size: narrow ? 11 : 12,
      weight: 600,
      baseline: "middle",
      color: css.ink,
      width: width - 8,
    });
  }
}

/** @param {Board} board what the policy is called, and its rule in one line */
function policyWords({ state }) {
  if (state.opened?.engine?.policy === "static")
    return [t("Static batching"), t("nobody sits down before the last of the batch has left")];
  return [t("Continuous batching"), t("a seat that falls free goes to the next in line")];
}

/** @param {CanvasRenderingContext2D} context @param {Board} board @param {View} view @param {boolean} narrow */
function drawHead(context, board, { palette: { css } }, narrow) {
  const { seats, left, top, width } = board;
  const [name, rule] = policyWords(board);
  const right = left + width;
  label(context, name, left, top + (narrow ? 12 : 18), { size: narrow ? 13 : 18, weight: 650, color: css.ink });
  const waiting = seats.steps.at(-1)?.numWaiting ?? 0;
  const line = waiting ? t("{waiting} in line", { waiting: count(waiting) }) : "";
  if (narrow) label(context, line, left, top + 25, { size: 11, color: css.muted });
  else
    label(context, line ? `${rule} · ${line}` : rule, left, top + 40, {
      size: 13,
      color: css.muted,
      width: 0.62 * width,
    });
  if (!seats.total) return;
  const dark = t("{share} dark", { share: percent(seats.idle / seats.total) });
  const mono = { weight: 600, face: /** @type {const} */ ("mono"), align: /** @type {const} */ ("right") };
  label(context, dark, right, top + (narrow ? 12 : 20), { ...mono, size: narrow ? 13 : 24, color: css.ink });
  const values = { idle: count(seats.idle), total: count(seats.total), wanted: count(seats.wanted) };
  const sum = narrow
    ? t("{wanted} while somebody waited", values)
    : t("{idle} of {total} seat-steps, {wanted} while somebody waited", values);
  label(context, sum, right, top + (narrow ? 25 : 42), { size: narrow ? 11 : 13, align: "right", color: css.muted });
}

/** Where a lane was over, when it is. @param {CanvasRenderingContext2D} context @param {Board} board @param {View} view @param {boolean} narrow */
function drawEnd(context, board, { palette: { css } }, narrow) {
  const { state } = board;
  const last = state.steps.at(-1);
  if (!state.closed || !last?.finishedAt) return;
  const x = xOf(board, last.finishedAt);
  const [top, bottom] = [yOf(board, 0) - 4, footOf(board)];
  context.fillStyle = css.accepted;
  context.fillRect(x, top, 2, bottom - top);
  const words = t("all served after {time}", { time: seconds(raceSeconds(state) ?? 0) });
  const room = board.left + board.width - x;
  const size = narrow ? 11 : 13;
  if (room < (narrow ? 130 : 170)) return;
  label(context, `✓ ${words}`, x + 10, (top + bottom) / 2, {
    size,
    weight: 600,
    baseline: "middle",
    color: css.accepted,
    width: room - 12,
  });
}

/** The tokens of a lane that the run on stage is not: its own run was the same request. @param {CanvasRenderingContext2D} context @param {Board} board @param {View} view */
export function drawTokens(context, board, { palette: { css } }) {
  const places = seatedTokens(board);
  for (const kind of /** @type {const} */ (["prompt", "generated"])) {
    context.beginPath();
    board.state.tokens.forEach((token, i) => {
      if (token.kind !== kind) return;
      const [x, y, r] = places.subarray(3 * i, 3 * i + 3);
      context.moveTo(x + r, y);
      context.arc(x, y, r, 0, 2 * Math.PI);
    });
    context.fillStyle = css[kind === "prompt" ? "prefill" : "decode"];
    context.fill();
  }
}

/** The clock that all boards share. @param {CanvasRenderingContext2D} context @param {Board[]} boards @param {View} view @param {boolean} narrow */
export function drawClock(context, boards, { palette: { css } }, narrow) {
  const last = boards[boards.length - 1];
  const y = footOf(last) + (narrow ? 4 : 10);
  const span = last.width / last.scale;
  const step = niceStep(span, narrow ? 3 : 6);
  const size = 11;
  for (let k = 0; k * step <= span * 1.001; k++) {
    const x = last.left + k * step * last.scale;
    context.fillStyle = css.line;
    context.fillRect(x, y, 1, 5);
    label(context, k ? seconds(k * step) : "0", x, y + 17, {
      size,
      face: "mono",
      align: k ? (x > last.left + last.width - 24 ? "right" : "center") : "left",
      color: css.muted,
    });
  }
}

/** What light and dark mean; where there is little room, what dark does. @param {CanvasRenderingContext2D} context @param {number} left @param {number} y @param {View} view @param {boolean} narrow */
export function drawLegend(context, left, y, { palette: { css, rgb } }, narrow) {
  const entries = [
    { words: t("reading"), fill: toCss(rgb.prefill, GUEST + 0.15), hatch: false },
    { words: t("writing"), fill: toCss(rgb.decode, GUEST), hatch: false },
    { words: t("dark while somebody waits"), fill: toCss(rgb.idle, WASTED), hatch: true },
    { words: t("dark, nobody waits"), fill: toCss(rgb.idle, EMPTY), hatch: false },
  ];
  let x = left;
  for (const { words, fill, hatch } of narrow ? entries.slice(2) : entries) {
    context.fillStyle = fill;
    context.fillRect(x, y - 9, 12, 11);
    if (hatch) {
      context.beginPath();
      for (const d of [0, 6]) {
        context.moveTo(x + d, y + 2);
        context.lineTo(x + d + 6, y - 9);
      }
      context.strokeStyle = css.muted;
      context.lineWidth = 1;
      context.stroke();
    }
    label(context, words, x + 18, y, { size: narrow ? 11 : 12, color: css.muted });
    x += 18 + context.measureText(words).width + (narrow ? 12 : 22);
  }
}
