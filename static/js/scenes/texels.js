// The texels of the hall: real K/V norms, one texel a cell. On a wall columns are places and rows are (layer, KV head) with
// layer 0 at the floor; the floor shows the light that both walls throw on it. Only what is new is painted, until the scale
// changes.

import { CellGrid } from "../stage/cell_grid.js";
import { mix, pack } from "../stage/palette.js";
import { percentiles, scaleLength } from "../state/norms.js";
import { smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Norms} Norms */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../stage/cell_grid.js").Painter} Painter */
/** @typedef {{ layer: number, head: number }} Focus -1: all of them */
/** @typedef {"shared" | "prefill" | "decode"} Kind */
/** @typedef {{ kind: Kind, from: number, to: number }} Stretch of places of one kind */
/** @typedef {Record<Kind, Uint32Array>} Ramps from dark to bright */
/** @typedef {{ low: Float32Array, scale: Float64Array, whole: number, raw: number }} Scale of the rows of a wall */

const LEVELS = 48;
const TOP = LEVELS - 1;
const FLOOR_WIDTH = 28;
const RAW_STAGES = 10;
/** @type {readonly ("keys" | "values")[]} */
const WHICH = ["keys", "values"];
/** How the light of a wall falls off across the floor. */
const FALL = Float64Array.from({ length: FLOOR_WIDTH }, (_, row) => Math.exp((-7 * (row + 0.5)) / FLOOR_WIDTH));

/**
 * Colours from dark to bright of one kind of place.
 * @param {import("../stage/types.d.ts").Rgb} hue
 * @param {View} view
 * @param {number} dim 1 full, 0 gone
 */
function ramp(hue, view, dim) {
  const { ground, ink } = view.palette.rgb;
  const night = view.theme === "dark";
  return Uint32Array.from({ length: LEVELS }, (_, level) => {
    const v = level / (LEVELS - 1);
    const strength = (0.07 + 0.93 * v ** 1.5) * dim;
    const body = mix(ground, hue, night ? strength : 0.9 * strength);
    return pack(roundRgb(mix(body, night ? ink : hue, night ? 0.22 * dim * smooth(0.82, 1, v) : 0)));
  });
}

/** @param {import("../stage/types.d.ts").Rgb} rgb @returns {import("../stage/types.d.ts").Rgb} */
const roundRgb = ([r, g, b]) => [Math.round(r), Math.round(g), Math.round(b)];

export class Texels {
  walls = WHICH.map(() => new CellGrid());
  floor = new CellGrid();
  /** Sum of the levels of each column of each wall: the light that it throws on the floor. */
  #glow = WHICH.map(() => new Float64Array(0));
  #lit = 0;
  #painted = "";
  #colorsKey = "";
  /** @type {{ bright: Ramps, dim: Ramps, floor: Ramps, unlit: number, dark: number } | null} */
  #colors = null;

  /**
   * @param {State} state
   * @param {View} view
   * @param {Focus} focus
   * @param {number} raw 0: each row by its own percentiles, 1: one scale for the whole wall
   * @returns {string} what stands painted: another string where a texel is another
   */
  paint(state, view, focus, raw) {
    const { norms } = state.cache;
    const rows = norms.layers * norms.heads;
    const count = rows ? state.tokens.length : 0;
    const columns = Math.max(64, 2 ** Math.ceil(Math.log2(Math.max(1, count))));
    const stage = Math.round(raw * RAW_STAGES) / RAW_STAGES;
    const scaled = scaleLength(norms.length);
    const lit = Math.min(norms.length, state.cache.numTokens);
    const { numPromptTokens: prompt, cachedTokens: cached } = state.request;
    const run = state.opened?.run_id ?? "";
    const { layer, head } = focus;
    const key = [view.theme, rows, norms.heads, norms.revision, scaled, stage, layer, head, prompt, cached, run].join();
    const painted = `${key}|${columns}|${count}|${lit}`;
    if (painted === this.#painted) return painted;
    this.#painted = painted;
    const before = this.#lit;
    this.#lit = lit;
    const { bright, dim, floor, unlit, dark } = this.#mix(view);
    const ramps = Array.from({ length: rows }, (_, line) => (isOn(line, norms.heads, focus) ? bright : dim));
    const stretches = stretchesOf(cached, prompt, lit);
    this.walls.forEach((grid, wall) => {
      grid.resize(columns, Math.max(1, rows));
      if (this.#glow[wall].length !== columns) this.#glow[wall] = new Float64Array(columns);
      const scale = scaleOf(norms, WHICH[wall], scaled, stage);
      const painter = wallPainter(norms, WHICH[wall], { scale, ramps, stretches, lit, unlit, glow: this.#glow[wall] });
      repaintLit(grid, count, key, before, lit, painter);
    });
    this.floor.resize(columns, FLOOR_WIDTH);
    const painter = floorPainter(this.#glow, { ramps: floor, stretches, lit, dark, share: 1 / Math.max(1, rows) });
    repaintLit(this.floor, count, key, before, lit, painter);
    return painted;
  }

  /** @param {View} view */
  #mix(view) {
    const key = `${view.theme}${view.palette.css.prefill}`;
    if (this.#colors && key === this.#colorsKey) return this.#colors;
    this.#colorsKey = key;
    const { prefill, decode, shared, ground, idle } = view.palette.rgb;
    const ramps = (/** @type {number} */ dim) => ({
      prefill: ramp(prefill, view, dim),
      decode: ramp(decode, view, dim),
      shared: ramp(shared, view, dim),
    });
    this.#colors = {
      bright: ramps(1),
      dim: ramps(0.2),
      floor: ramps(0.42),
      unlit: pack(roundRgb(mix(ground, idle, 0.3))),
      dark: pack(roundRgb(mix(ground, idle, 0.12))),
    };
    return this.#colors;
  }
}

/**
 * Lit places by what wrote them: found in the cache, read, written.
 * @param {number} cached
 * @param {number} prompt
 * @param {number} lit
 * @returns {Stretch[]}
 */
function stretchesOf(cached, prompt, lit) {
  const read = Math.max(cached, prompt);
  return [
    { kind: "shared", from: 0, to: Math.min(cached, lit) },
    { kind: "prefill", from: cached, to: Math.min(read, lit) },
    { kind: "decode", from: read, to: lit },
  ];
}

/**
 * Paint what is new, and the places that went dark or lit since the last time.
 * @param {CellGrid} grid
 * @param {number} count
 * @param {string} key
 * @param {number} before lit places then
 * @param {number} lit lit places now
 * @param {Painter} painter
 */
function repaintLit(grid, count, key, before, lit, painter) {
  const stood = grid.painted;
  grid.update(count, key, painter);
  if (before !== lit)
    grid.repaint(Math.min(before, lit, stood), Math.min(Math.max(before, lit), grid.painted), painter);
}

/**
 * @param {number} line layer * heads + head
 * @param {number} heads
 * @param {Focus} focus
 */
const isOn = (line, heads, { layer, head }) =>
  (layer < 0 || Math.floor(line / heads) === layer) && (head < 0 || line % heads === head);

/**
 * How a norm becomes a level: its place between its own row's percentiles, moving towards one scale for all rows as `raw`
 * goes to 1.
 * @param {Norms} norms
 * @param {"keys" | "values"} which
 * @param {number} length
 * @param {number} raw
 * @returns {Scale}
 */
function scaleOf(norms, which, length, raw) {
  const { low, high } = percentiles(norms, which, length);
  const whole = TOP / Math.max(1e-9, ...high.filter(Number.isFinite));
  return {
    low,
    scale: Float64Array.from(high, (top, line) => (top > low[line] ? TOP / (top - low[line]) : 0)),
    whole,
    raw,
  };
}

/**
 * A wall, row by row in tight loops: a new scale repaints hundreds of thousands of texels between two frames.
 * @param {Norms} norms
 * @param {"keys" | "values"} which
 * @param {{ scale: Scale, ramps: Ramps[], stretches: Stretch[], lit: number, unlit: number, glow: Float64Array }} how
 * @returns {Painter}
 */
function wallPainter(norms, which, { scale, ramps, stretches, lit, unlit, glow }) {
  const measured = norms[which];
  const { raw, whole } = scale;
  return (words, columns, from, to) => {
    glow.fill(0, from, to);
    for (let line = 0; line < ramps.length; line++) {
      const row = (ramps.length - 1 - line) * columns;
      const source = line * norms.capacity;
      const low = scale.low[line];
      const own = (1 - raw) * scale.scale[line];
      const blank = ramps[line].shared[(0.45 * LEVELS) | 0]; // nobody measured it
      for (const stretch of stretches) {
        const ramp = ramps[line][stretch.kind];
        const stop = Math.min(to, stretch.to);
        for (let column = Math.max(from, stretch.from); column < stop; column++) {
          const norm = measured[source + column];
          if (Number.isNaN(norm)) {
            words[row + column] = blank;
            continue;
          }
          const level = levelOf((norm - low) * own, (1 - raw) * TOP) + levelOf(raw * norm * whole, raw * TOP);
          words[row + column] = ramp[level | 0];
          glow[column] += level | 0;
        }
      }
      if (lit < to) words.fill(unlit, row + Math.max(from, lit), row + to);
    }
  };
}

/**
 * @param {number} level
 * @param {number} most
 */
const levelOf = (level, most) => Math.max(0, Math.min(most, level));

/**
 * @param {Float64Array[]} glow of both walls, once these are painted
 * @param {{ ramps: Ramps, stretches: Stretch[], lit: number, dark: number, share: number }} how
 * @returns {Painter}
 */
function floorPainter([left, right], { ramps, stretches, lit, dark, share }) {
  return (words, columns, from, to) => {
    for (let row = 0; row < FLOOR_WIDTH; row++) {
      const line = row * columns;
      for (const { kind, from: start, to: end } of stretches) {
        const ramp = ramps[kind];
        const stop = Math.min(to, end);
        for (let column = Math.max(from, start); column < stop; column++) {
          const fall = share * (FALL[row] * left[column] + FALL[FLOOR_WIDTH - 1 - row] * right[column]);
          words[line + column] = ramp[Math.min(TOP, fall | 0)];
        }
      }
      if (lit < to) words.fill(dark, line + Math.max(from, lit), line + to);
    }
  };
}
