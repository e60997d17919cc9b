// Where the seats stand: one board a lane, a row a slot, time to the right. All boards share one clock, which starts
// when the run itself is given a seat. Pure geometry in CSS pixels.

import { endOf, raceStart, seatsOf } from "../state/seats.js";
import { clamp } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/seats.js").Seats} Seats */
/** @typedef {import("./room.js").Area} Area */
/** @typedef {{ left: number, top: number, width: number, height: number }} Plot */
/**
 * @typedef {object} Board
 * @property {State} state
 * @property {Seats} seats
 * @property {number} left
 * @property {number} top of its head
 * @property {number} head height of the words above the rows
 * @property {number} width
 * @property {number} pitch from row to row
 * @property {number} row height of a seat
 * @property {number} origin log seconds at its left edge
 * @property {number} scale pixels a second
 */

/** Rows are no taller than this, and what a board leaves over is calm. @param {Area} area */
const tallest = ({ narrow, height }) => (narrow ? 26 : clamp(0.058 * height, 40, 76));

/** Where boards and curves stand. @param {Area} area @returns {Plot} */
export function plotOf(area) {
  if (area.narrow) return { left: 34, top: 48, width: area.width - 48, height: area.height - 48 - 30 };
  const side = clamp(0.07 * area.width, 56, 110);
  return { left: area.left + side, top: 84, width: area.width - 2 * side, height: area.height - 84 - 92 };
}

/** Seconds of a lane before the clock of the race starts: steps that others had by then. @param {State} state */
const lead = (state) => Math.max(0, raceStart(state) - (state.steps[0]?.startedAt ?? raceStart(state)));

/**
 * @param {State[]} states
 * @param {Area} area
 * @returns {Board[]}
 */
export function boardsOf(states, area) {
  const plot = plotOf(area);
  const before = Math.max(...states.map(lead));
  const span = Math.max(1e-3, ...states.map((state) => before + reached(state)));
  const between = area.narrow ? 12 : 40;
  const head = area.narrow ? 30 : 62;
  const most = (plot.height - between * (states.length - 1)) / states.length - head;
  /** @param {Seats} seats */
  const pitchOf = (seats) => Math.min(tallest(area), most / Math.max(1, seats.slots));
  const all = states.map(seatsOf);
  const heights = all.map((seats) => head + pitchOf(seats) * seats.slots);
  const used = heights.reduce((sum, height) => sum + height, between * (states.length - 1));
  let top = plot.top + 0.4 * (plot.height - used);
  return states.map((state, i) => {
    const pitch = pitchOf(all[i]);
    const board = {
      state,
      seats: all[i],
      left: plot.left,
      top,
      head,
      width: plot.width,
      pitch,
      row: pitch * (pitch > 12 ? 0.8 : 0.9),
      origin: raceStart(state) - before,
      scale: plot.width / span,
    };
    top += heights[i] + between;
    return board;
  });
}

/** How far a lane's last step is, from the start of the clock. @param {State} state */
function reached(state) {
  const last = state.steps.at(-1);
  return last ? Math.max(0, endOf(last, state) - raceStart(state)) : 0;
}

/** @param {Board} board @param {number} t log seconds */
export const xOf = (board, t) => board.left + (t - board.origin) * board.scale;

/** @param {Board} board @param {number} slot */
export const yOf = (board, slot) => board.top + board.head + slot * board.pitch;

/** Left edge and width of steps `from` to `to`. @param {Board} board @param {number} from @param {number} to @returns {[number, number]} */
export function across({ seats, state, ...board }, from, to) {
  const left = board.left + (seats.steps[from].startedAt - board.origin) * board.scale;
  const next = seats.steps[to + 1];
  const end = endOf(seats.steps[to], state);
  // Between two steps of an engine that does not rest there is nothing to be seen.
  const right = next && next.startedAt - end < 0.005 ? next.startedAt : end;
  return [left, (right - board.origin) * board.scale + board.left - left];
}

/** Under the last row. @param {Board} board */
export const footOf = (board) => yOf(board, board.seats.slots);

/** Pixels a step, about. @param {Board} board */
export function stepWidth({ seats, state, scale }) {
  const { steps } = seats;
  return steps.length ? ((endOf(steps[steps.length - 1], state) - steps[0].startedAt) * scale) / steps.length : 0;
}

/**
 * Where tokens of this lane's own run sit: those that one step computed side by side in its cell, those that no step
 * has computed yet before the door.
 * @param {Board} board
 * @returns {Float32Array} x, y, r a token
 */
export function seatedTokens(board) {
  const { state } = board;
  const out = new Float32Array(3 * state.tokens.length);
  const seated = new Uint8Array(state.tokens.length);
  board.seats.steps.forEach((step, i) => {
    if (step.ownStart === null || step.ownStop === null) return;
    const own = step.items.find((item) => item.request_id === state.ownId && !item.sample);
    const [left, width] = across(board, i, i);
    const many = Math.min(step.ownStop, state.tokens.length) - step.ownStart;
    const cell = cells(left, yOf(board, own?.slot ?? 0), width, board.row, many);
    for (let k = 0; k < many; k++) {
      out.set(cell(k), 3 * (step.ownStart + k));
      seated[step.ownStart + k] = 1;
    }
  });
  const first = seated.indexOf(0);
  if (first >= 0) outside(out, board, first);
  return out;
}

/**
 * Places of `many` tokens in one cell.
 * @param {number} left @param {number} top @param {number} width @param {number} height @param {number} many
 * @returns {(k: number) => [number, number, number]}
 */
function cells(left, top, width, height, many) {
  const middle = top + height / 2;
  if (many === 1) {
    const r = clamp(0.46 * width, Math.min(2.2, 0.2 * height), Math.min(4, 0.2 * height));
    return () => [left + width / 2, middle, r];
  }
  const rows = clamp(Math.round(Math.sqrt((many * height) / Math.max(width, 1))), 1, Math.min(many, 9));
  const columns = Math.ceil(many / rows);
  const [dx, dy] = [width / (columns + 0.4), height / (rows + 0.6)];
  const r = clamp(0.4 * Math.min(dx, dy), 0.9, 4);
  return (k) => [
    left + (Math.floor(k / rows) + 0.7) * dx,
    middle + ((k % rows) - (Math.min(rows, many) - 1) / 2) * dy,
    r,
  ];
}

/**
 * The newest word stands behind the one before it; a prompt that no step has read yet waits before its row.
 * @param {Float32Array} out
 * @param {Board} board
 * @param {number} first
 */
function outside(out, board, first) {
  const { state } = board;
  const many = state.tokens.length - first;
  const before = first > 0 ? out.slice(3 * first - 3, 3 * first) : null;
  const rows = Math.min(many, 8);
  const [dx, dy] = [Math.min(4, 20 / Math.ceil(many / rows)), Math.min(4, board.row / rows)];
  const y = yOf(board, state.request.slot ?? 0) + board.row / 2;
  for (let k = 0; k < many; k++) {
    const place = before?.[2]
      ? [Math.min(before[0] + 7, board.left + board.width + 6), before[1], 0.9 * before[2]]
      : [board.left - 8 - dx * Math.floor(k / rows), y + ((k % rows) - (rows - 1) / 2) * dy, 1.6];
    out.set(place, 3 * (first + k));
  }
}
