// The hall of keys and values as geometry: one camera that the walls (`corridor.js`) and the dots share.
//
// Places lie along the hall's depth, the oldest farthest away. A point at depth d behind the front plane is drawn at
//   screen = centre + world * perspective / (perspective + d)
// and d < 0 is nearer than the front plane.

import { clamp, lerp } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("./room.js").Area} Area */

/**
 * @typedef {object} Camera
 * @property {number} x vanishing point, CSS pixels of the stage
 * @property {number} y
 * @property {number} perspective
 * @property {number} half half the hall's width, CSS pixels at the front plane
 * @property {number} rise half its height
 * @property {number} cell depth of one place
 * @property {number} edge places up to the front plane: place i lies at depth `(edge - i - 1) * cell` to `(edge - i) * cell`
 * @property {number} length places in the hall
 */

/** The hall is this many perspectives deep once it holds more than `FULL` places; they grow narrower from there on. */
const DEPTH = 3.4;
const FULL = 120;
/** Seconds in which a new place takes its seat. */
const ARRIVE = 0.18;

/**
 * Places in the hall at time `t`: whole numbers, but while the newest token takes its seat.
 * @param {State} state
 * @param {number} t log seconds
 */
export function lengthAt(state, t) {
  const count = state.tokens.length;
  const newest = state.tokens[count - 1];
  if (!newest || newest.kind === "prompt") return count;
  return count - (1 - clamp((t - newest.t) / ARRIVE)) ** 3;
}

/**
 * @param {Area} area
 * @param {number} length places, from `lengthAt`
 * @param {number} walk 0: at the newest place, 1: at the first one
 * @param {number} [before] places that stay in sight in front of the first one at the end of the walk
 * @returns {Camera}
 */
export function cameraOf(area, length, walk, before = 16) {
  const half = area.reach * area.width;
  const y = area.top + 0.465 * area.height;
  const rise = Math.min(area.floor - y, Math.max(0.76 * half, 0.46 * area.height));
  const perspective = 1.44 * Math.max(half, 0.55 * rise);
  const cell = (DEPTH * perspective) / Math.max(FULL, length);
  const walked = lerp(length, Math.min(length, before), clamp(walk));
  return {
    x: area.left + area.width / 2,
    y,
    perspective,
    half,
    rise,
    cell: lerp(cell, (DEPTH * perspective) / FULL, clamp(walk)),
    edge: walked,
    length,
  };
}

/**
 * How large things at a place are drawn; 0 behind the reader's back.
 * @param {Camera} camera
 * @param {number} place its middle is `index + 0.5`
 */
export function scaleAt(camera, place) {
  const distance = camera.perspective + (camera.edge - place) * camera.cell;
  return distance > 0.2 * camera.perspective ? camera.perspective / distance : 0;
}

/**
 * The dots, seated on the floor down the middle.
 * @param {Camera} camera
 * @param {number} count
 * @param {number} [size] radius at the front plane, CSS pixels
 * @returns {Float32Array} x, y, r
 */
export function seats(camera, count, size = 7) {
  const out = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    const scale = scaleAt(camera, i + 0.5);
    out[3 * i] = camera.x;
    out[3 * i + 1] = camera.y + camera.rise * scale;
    // Far dots lie closer than they are wide: they thin out into a line.
    out[3 * i + 2] = Math.min(size * scale, Math.max(0.8, 0.9 * camera.cell * scale * scale + 1));
  }
  return out;
}

/**
 * The cell under a point of the stage: which wall, which place, and how high (0 floor, 1 ceiling).
 * @param {Camera} camera
 * @param {number} x
 * @param {number} y
 * @returns {{ which: "keys" | "values", place: number, height: number } | null}
 */
export function cellAt(camera, x, y) {
  const scale = Math.abs(x - camera.x) / camera.half;
  if (scale < 0.02) return null;
  const height = 0.5 - (y - camera.y) / scale / camera.rise / 2;
  if (height <= 0 || height >= 1) return null;
  const place = Math.floor(camera.edge - (camera.perspective / scale - camera.perspective) / camera.cell);
  if (place < 0 || place >= camera.length) return null;
  return { which: x < camera.x ? "keys" : "values", place, height };
}
