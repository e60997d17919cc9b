// Where things stand in room 11. Pure geometry in CSS pixels of the stage.

import { quantile } from "../state/norms.js";
import { walksOf } from "../state/speculation.js";
import { clamp, lerp, room } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/speculation.js").Walk} Walk */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ x: number, y: number, width: number, height: number }} Box */
/** @typedef {{ from: number, seconds: number, rows: number }} Scale of lanes: seconds shown, and guesses plus one stacked */

/** A race is never drawn closer than this many seconds across. */
const LEAST_SECONDS = 1;
/** Walks that a page of the grid is made for: it is laid out anew a few times in a run, not with every token. */
const PAGES = [24, 48, 96, 160, 320, 640, 1280, 2560, 5120];

/** What the room may use, without its margins. @param {View} view @returns {Box & { narrow: boolean }} */
export function frame(view) {
  const area = room(view);
  if (area.narrow) return { x: 14, y: 48, width: area.width - 28, height: area.height - 60, narrow: true };
  const side = clamp(0.05 * area.width, 32, 96);
  const top = 84;
  return {
    x: area.left + side,
    y: top,
    width: area.width - 2 * side,
    height: Math.max(240, area.words - 24 - top),
    narrow: false,
  };
}

/**
 * One scale for all lanes, so that they can be compared: from everybody's own admission to the slowest one's present.
 * @param {(State | null)[]} states
 * @returns {Scale}
 */
export function scaleOf(states) {
  let seconds = LEAST_SECONDS;
  let rows = 1;
  for (const state of states) {
    if (!state) continue;
    const from = startOf(state);
    for (const walk of walksOf(state)) {
      seconds = Math.max(seconds, (walk.finishedAt ?? Math.max(state.t, walk.startedAt)) - from);
      rows = Math.max(rows, walk.positions.length);
    }
    for (const { ids } of state.speculation) rows = Math.max(rows, ids.length + 1);
  }
  return { from: 0, seconds, rows };
}

/** @param {State} state */
export const startOf = (state) => state.request.admittedAt ?? state.steps[0]?.startedAt ?? 0;

/**
 * A walk in its lane: width is its seconds.
 * @param {State} state
 * @param {Walk} walk
 * @param {Box} lane
 * @param {Scale} scale
 */
export function spanOf(state, walk, lane, { seconds }) {
  const from = startOf(state);
  const at = (/** @type {number} */ t) => lane.x + (lane.width * clamp(t - from, 0, seconds)) / seconds;
  const x = at(walk.startedAt);
  return { x, drafting: at(walk.startedAt - walk.draftSeconds), right: Math.max(x, at(walk.finishedAt ?? state.t)) };
}

/**
 * The walk of a run at a point of its lane.
 * @param {State} state @param {Box} lane @param {Scale} scale @param {number} x @param {number} y
 */
export function walkInLane(state, lane, scale, x, y) {
  if (y < lane.y || y > lane.y + lane.height + 6) return null;
  return (
    walksOf(state).find((walk) => {
      const { drafting, right } = spanOf(state, walk, lane, scale);
      return x >= drafting && x < Math.max(right, drafting + 3);
    }) ?? null
  );
}

/**
 * Where the tokens of a run sit in its lane: on the tray of the walk that brought them, one above the other.
 * @param {State} state
 * @param {Box} lane
 * @param {Scale} scale
 * @returns {Float32Array} x, y, r a token
 */
export function laneSeats(state, lane, scale) {
  const out = new Float32Array(3 * state.tokens.length);
  const slot = lane.height / scale.rows;
  const walks = walksOf(state);
  let read = 0;
  // One size for all: a walk that took long brought no larger word.
  const widths = walks.filter(({ seconds }) => seconds > 0).map((walk) => walk.seconds);
  const pitch = widths.length ? (lane.width * quantile(widths, 0.5)) / scale.seconds : lane.width;
  const r = clamp(0.42 * pitch, 0.7, Math.min(6, 0.34 * slot));
  for (const walk of walks) {
    const { x, right } = spanOf(state, walk, lane, scale);
    walk.positions.forEach((position, i) => {
      out.set([(x + right) / 2, lane.y + lane.height - (i + 0.5) * slot, r], 3 * position);
    });
    if (walk.phase === "prefill") {
      const step = state.steps.find((each) => each.step === walk.step);
      const stop = Math.min(step?.ownStop ?? 0, state.request.numPromptTokens);
      const start = Math.max(read, step?.ownStart ?? 0);
      // What the prefix cache had was not carried: it comes with the first walk.
      heap(out, read === 0 ? 0 : start, stop, {
        x,
        y: lane.y,
        width: right - x,
        height: lane.height - (walk.positions.length ? slot : 0),
      });
      read = Math.max(read, stop);
    }
  }
  // Not read yet: in line before the lane.
  heap(out, read, state.request.numPromptTokens, { x: lane.x - 10, y: lane.y, width: 8, height: lane.height });
  return out;
}

/**
 * Dots `start <= position < stop` as an even heap in a box.
 * @param {Float32Array} out
 * @param {number} start
 * @param {number} stop
 * @param {Box} box
 * @param {number} [most] largest radius
 */
export function heap(out, start, stop, box, most = 5) {
  const count = stop - start;
  if (count <= 0) return;
  const width = Math.max(2, box.width);
  const columns = clamp(Math.round(Math.sqrt((count * width) / Math.max(1, box.height))), 1, count);
  const rows = Math.ceil(count / columns);
  const [dx, dy] = [width / columns, box.height / rows];
  const r = clamp(0.4 * Math.min(dx, dy), 0.5, most);
  for (let k = 0; k < count; k++) {
    const x = box.x + (Math.floor(k / rows) + 0.5) * dx;
    out.set([x, box.y + ((k % rows) + 0.5) * dy, r], 3 * (start + k));
  }
}

/**
 * The lanes of a race, one under the other, with room for words beside (or, on a phone, above) each.
 * @param {View} view
 * @param {number} count
 * @returns {{ row: Box, lane: Box }[]}
 */
export function raceLanes(view, count) {
  const { narrow, ...all } = frame(view);
  const each = Math.min(narrow ? 96 : 280, (all.height - (narrow ? 14 : 18)) / Math.max(1, count));
  const top = all.y + (narrow ? 0 : Math.min(40, (all.height - each * count) / 2));
  return Array.from({ length: count }, (_, i) => {
    const row = { x: all.x, y: top + i * each, width: all.width, height: each };
    const lane = narrow
      ? { x: row.x, y: row.y + 19, width: row.width, height: each - 30 }
      : { x: row.x + 196, y: row.y + 0.12 * each, width: row.width - 196 - 132, height: 0.62 * each };
    return { row, lane };
  });
}

/**
 * The apprentice's row: a card a guess and one for the chef's own word, what was kept at each place so far below them,
 * and the run's lane at the foot.
 * @param {View} view
 * @param {number} guesses
 */
export function cardRow(view, guesses) {
  const { x, y, width, height, narrow } = frame(view);
  const most = narrow ? 5 : clamp(Math.floor(width / 84), 4, 10);
  const shown = Math.min(guesses, most - 1);
  const gap = narrow ? 5 : 14;
  const each = Math.min(narrow ? 96 : clamp(0.13 * width, 168, 260), (width + gap) / (shown + 1) - gap);
  const top = y + (narrow ? 18 : 44);
  const cardHeight = narrow ? clamp(0.46 * height, 110, 170) : clamp(0.42 * height, 180, 420);
  const at = (/** @type {number} */ i) => ({ x: x + i * (each + gap), y: top, width: each, height: cardHeight });
  const tally = top + cardHeight + (narrow ? 6 : 26);
  const tallyHeight = narrow ? 34 : 64;
  const laneTop = tally + tallyHeight + (narrow ? 10 : 44);
  return {
    words: { x, y, width, height: top - y },
    cards: Array.from({ length: shown }, (_, i) => at(i)),
    /** Guesses that have no card. */
    hidden: guesses - shown,
    last: at(shown),
    tally: { x, y: tally, width, height: tallyHeight },
    lane: { x, y: laneTop, width, height: clamp(y + height - laneTop - (narrow ? 4 : 10), 24, 340) },
  };
}

/** Below it stands the bill. @param {View} view */
export function billTop(view) {
  const { y, height, narrow } = frame(view);
  return y + (narrow ? 0.4 : 0.56) * height;
}

/**
 * The walks of one run as cells of a page, in reading order. The first cells are the prompt's.
 * @param {View} view
 * @param {number} walks
 */
export function walkGrid(view, walks) {
  const { x, y, width, height, narrow } = frame(view);
  const head = narrow ? 30 : 76;
  const { bill = 0 } = view.data;
  const box = { x, y: y + head, width, height: lerp(height, billTop(view) - y - 28, bill) - head };
  const page = PAGES.find((size) => size >= walks + 3) ?? walks + 3;
  const aspect = page <= 320 && !narrow ? 1.25 : 1;
  const columns = Math.max(4, Math.ceil(Math.sqrt((page * box.width) / (box.height * aspect))));
  const rows = Math.ceil(page / columns);
  const cell = { width: box.width / columns, height: Math.min(box.height / rows, 1.1 * (box.width / columns)) };
  /** @param {number} i */
  const cellAt = (i) => ({
    x: box.x + (i % columns) * cell.width,
    y: box.y + Math.floor(i / columns) * cell.height,
    ...cell,
  });
  return { box, cell, columns, cellAt, prompt: { ...cellAt(0), width: 3 * cell.width }, first: 2 };
}

/**
 * Where the tokens of a run sit on the page of its walks.
 * @param {State} state
 * @param {View} view
 */
export function gridSeats(state, view) {
  const out = new Float32Array(3 * state.tokens.length);
  const walks = walksOf(state);
  const grid = walkGrid(view, walks.length);
  const { cell } = grid;
  const base = 0.62 * cell.height;
  heap(out, 0, state.request.numPromptTokens, { ...grid.prompt, width: 2.7 * cell.width, height: base + 4 }, 4);
  walks.forEach((walk, i) => {
    const at = grid.cellAt(grid.first + i);
    const many = walk.positions.length;
    const r = Math.min(5.5, 0.17 * Math.min(cell.width, cell.height), (0.42 * base) / Math.max(1, many));
    walk.positions.forEach((position, k) => {
      out.set([at.x + 0.8 * cell.width, at.y + base - k * 2.2 * r, r], 3 * position);
    });
  });
  return out;
}

/**
 * Two answers as a strip each, one place a token, above each other.
 * @param {Box} box
 * @param {number} count places
 * @param {number} place
 */
export function proofPlace(box, count, place) {
  const pitch = Math.min(14, box.width / Math.max(1, count));
  const x = box.x + (place + 0.5) * pitch;
  const r = Math.min(4, Math.max(0.8, 0.36 * pitch));
  return { x, r, pitch, above: box.y + 0.24 * box.height, below: box.y + 0.76 * box.height };
}

/**
 * The proofs, one under the other, and the two texts below.
 * @param {View} view
 * @param {number} count of proofs
 */
export function proofRows(view, count) {
  const { x, y, width, height, narrow } = frame(view);
  const each = narrow ? 38 : clamp(0.34 * height, 150, 260) / Math.max(2, count);
  const top = y + (narrow ? 0 : 20);
  const strips = Array.from({ length: count }, (_, i) => {
    const row = { x, y: top + i * each, width, height: each };
    const strip = narrow
      ? { x, y: row.y + 15, width, height: each - 20 }
      : { x: x + 196, y: row.y + 8, width: width - 196 - 128, height: each - 22 };
    return { row, strip };
  });
  const below = top + count * each + (narrow ? 6 : 36);
  return { strips, texts: { x, y: below, width, height: y + height - below } };
}

/**
 * @param {State} state
 * @param {Box} strip
 * @param {number} count
 * @param {boolean} hidden it has no strip
 */
export function proofSeats(state, strip, count, hidden = false) {
  const out = new Float32Array(3 * state.tokens.length);
  const prompt = state.request.numPromptTokens;
  heap(out, 0, prompt, { x: strip.x - 14, y: strip.y, width: 9, height: strip.height }, 1.6);
  for (let place = 0; place < state.tokens.length - prompt; place++) {
    const { x, r, below } = proofPlace(strip, count, place);
    out.set([x, below, hidden ? 0 : r], 3 * (prompt + place));
  }
  return out;
}
