// The walls of the hall: real K/V norms, one texel a cell, placed with CSS 3D so that walking is a transform. Columns
// are places, rows are (layer, KV head) with layer 0 at the floor. The texels change when places are written; a step of
// the camera paints nothing. Distance is a fog in front of the walls, since on both of them depth follows from x alone.

import { CellGrid } from "../stage/cell_grid.js";
import { mix, pack, toCss } from "../stage/palette.js";
import { percentiles, scaleLength } from "../state/norms.js";
import { clamp, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../stage/types.d.ts").Palette} Palette */
/** @typedef {import("./hall.js").Camera} Camera */
/** @typedef {{ layer: number, head: number }} Focus -1: all of them */
/** @typedef {{ focus: Focus, raw: number, fog: number, frame: number }} Look `raw` 0: each row by its own 2nd and 98th percentile, 1: one scale for the whole wall; `frame`: how plainly the first place is framed */

const LEVELS = 48;
const FLOOR_WIDTH = 28;
/** CSS pixels of a cell before perspective: enlarged there without smoothing, so that cells keep their edges. */
const CELL_WIDTH = 12;
const CELL_HEIGHT = 9;
/** No wall is rastered wider than this; a very long hall gets narrower cells instead. */
const MOST_WIDTH = 6144;
const RAW_STAGES = 10;
/** Seconds for which places that were just written stay lit up. */
const FLASH = 0.5;
/** @type {readonly ("keys" | "values")[]} */
const WHICH = ["keys", "values"];

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

/** @param {string} className @param {HTMLElement} parent */
function add(className, parent) {
  const element = document.createElement("div");
  element.className = className;
  parent.append(element);
  return element;
}

export class Walls {
  /** @param {HTMLElement} layer */
  constructor(layer) {
    this.root = add("hall", layer);
    this.root.setAttribute("aria-hidden", "true");
    this.#world = add("hall-world", this.root);
    this.#walls = WHICH.map((which) => {
      const canvas = document.createElement("canvas");
      canvas.className = `hall-wall hall-${which}`;
      this.#world.append(canvas);
      return { which, canvas, grid: new CellGrid(canvas) };
    });
    const floor = document.createElement("canvas");
    floor.className = "hall-floor";
    this.#world.append(floor);
    this.#floor = { canvas: floor, grid: new CellGrid(floor) };
    this.#flashes = WHICH.map(() => add("hall-flash", this.#world));
    this.#frames = WHICH.map(() => add("hall-frame", this.#world));
    this.#fog = add("hall-fog", this.root);
  }

  #world;
  #walls;
  #floor;
  #flashes;
  #frames;
  #fog;
  #lit = 0;
  #cell = CELL_WIDTH;
  #drawn = "";
  #fogKey = "";
  #rampKey = "";
  /** @type {Record<string, Uint32Array>} */
  #ramps = {};

  /**
   * @param {State} state
   * @param {View} view
   * @param {Camera} camera
   * @param {Look} look
   * @param {number} t log seconds
   */
  draw(state, view, camera, look, t) {
    this.#paint(state, view, look);
    this.#place(camera);
    this.#light(state, view, camera, t);
    this.#frame(camera, look.frame);
    this.#mist(view, camera, look.fog);
  }

  /** @param {State} state @param {View} view @param {Look} look */
  #paint(state, view, look) {
    const { norms } = state.cache;
    const rows = norms.layers * norms.heads;
    const count = rows ? state.tokens.length : 0;
    const columns = Math.max(64, 2 ** Math.ceil(Math.log2(Math.max(1, count))));
    const raw = Math.round(look.raw * RAW_STAGES) / RAW_STAGES;
    const scaled = scaleLength(norms.length);
    const lit = Math.min(norms.length, state.cache.numTokens);
    const prompt = state.request.numPromptTokens;
    const cached = state.request.cachedTokens;
    const { layer, head } = look.focus;
    const run = state.opened?.run_id ?? "";
    const key = [view.theme, rows, norms.heads, norms.revision, scaled, raw, layer, head, prompt, cached, run].join();
    const drawn = `${key}|${columns}|${count}|${lit}`;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#mix(view);
    this.#size(columns, Math.max(1, rows));
    const before = this.#lit;
    this.#lit = lit;
    const { unlit, floor, floorPrefill, floorDecode, floorShared, ...full } = this.#ramps;
    const { shared } = full;
    const levels = WHICH.map((which) => levelsOf(norms, which, scaled, raw));
    const on = Array.from({ length: rows }, (_, line) => isOn(line, norms.heads, look.focus));
    this.#walls.forEach(({ which, grid }, wall) => {
      grid.resize(columns, Math.max(1, rows));
      const levelOf = levels[wall];
      const measured = norms[which];
      repaintLit(grid, count, key, before, lit, (column, row) => {
        if (column >= lit) return unlit[0];
        const line = rows - 1 - row;
        const level = levelOf(line, measured[line * norms.capacity + column]);
        if (level < 0) return shared[(LEVELS * 0.45) | 0];
        if (column < cached) return (on[line] ? full.shared : full.dimShared)[level];
        if (column < prompt) return (on[line] ? full.prefill : full.dimPrefill)[level];
        return (on[line] ? full.decode : full.dimDecode)[level];
      });
    });
    this.#floor.grid.resize(columns, FLOOR_WIDTH);
    const glow = glowOf(norms, levels);
    repaintLit(this.#floor.grid, count, key, before, lit, (column, row) => {
      if (column >= lit) return floor[0];
      const fall = FALL[row] * glow(0, column) + FALL[FLOOR_WIDTH - 1 - row] * glow(1, column);
      const hue = column < cached ? floorShared : column < prompt ? floorPrefill : floorDecode;
      return hue[Math.min(LEVELS - 1, fall | 0)];
    });
  }

  /**
   * @param {number} columns
   * @param {number} rows
   */
  #size(columns, rows) {
    if (this.#walls[0].grid.columns === columns && this.#walls[0].grid.rows === rows) return;
    this.#cell = Math.min(CELL_WIDTH, MOST_WIDTH / columns);
    for (const { canvas } of [...this.#walls, this.#floor]) canvas.style.width = `${columns * this.#cell}px`;
    for (const { canvas } of this.#walls) canvas.style.height = `${rows * CELL_HEIGHT}px`;
    this.#floor.canvas.style.height = `${FLOOR_WIDTH}px`;
  }

  /** @param {View} view */
  #mix(view) {
    const key = `${view.theme}${view.palette.css.prefill}`;
    if (key === this.#rampKey) return;
    this.#rampKey = key;
    const { prefill, decode, shared, ground, idle } = view.palette.rgb;
    this.#ramps = {
      prefill: ramp(prefill, view, 1),
      decode: ramp(decode, view, 1),
      shared: ramp(shared, view, 1),
      dimPrefill: ramp(prefill, view, 0.2),
      dimDecode: ramp(decode, view, 0.2),
      dimShared: ramp(shared, view, 0.2),
      floorShared: ramp(shared, view, 0.42),
      floorPrefill: ramp(prefill, view, 0.42),
      floorDecode: ramp(decode, view, 0.42),
      unlit: Uint32Array.of(pack(roundRgb(mix(ground, idle, 0.3)))),
      floor: Uint32Array.of(pack(roundRgb(mix(ground, idle, 0.12)))),
    };
  }

  /** @param {Camera} camera */
  #place(camera) {
    const { half, rise, cell, edge } = camera;
    this.root.style.perspective = `${camera.perspective}px`;
    this.root.style.perspectiveOrigin = `${camera.x}px ${camera.y}px`;
    this.#world.style.transform = `translate3d(${camera.x}px, ${camera.y}px, ${-edge * cell}px)`;
    // Canvas x (places) becomes depth towards the reader; canvas y stays height.
    const tall = (2 * rise) / Math.max(1, this.#walls[0].grid.rows);
    this.#walls.forEach(({ canvas }, wall) => {
      const x = wall ? half : -half;
      canvas.style.transform = `translate3d(${x}px, ${-rise}px, 0) rotateY(-90deg) scale(${cell / this.#cell}, ${tall / CELL_HEIGHT})`;
    });
    // On the floor canvas y becomes the hall's width: local axes x, y, z go to world z, x, y.
    const wide = (2 * half) / FLOOR_WIDTH;
    this.#floor.canvas.style.transform = `matrix3d(0,0,${cell / this.#cell},0,${wide},0,0,0,0,1,0,0,${-half},${rise},0,1)`;
  }

  /**
   * Light on the places that the last step wrote.
   * @param {State} state
   * @param {View} view
   * @param {Camera} camera
   * @param {number} t
   */
  #light(state, view, camera, t) {
    const step = state.steps.at(-1);
    const done = step?.finishedAt == null ? state.steps.at(-2) : step;
    const since = done?.finishedAt == null || done.ownStop === null ? 1 : (t - done.finishedAt) / FLASH;
    const alpha = view.reduced || since < 0 || since >= 1 ? 0 : (1 - since) ** 2;
    const [start, stop] = [done?.ownStart ?? 0, done?.ownStop ?? 0];
    const hue = view.palette.css[start < state.request.numPromptTokens ? "prefill" : "decode"];
    this.#flashes.forEach((flash, wall) => {
      flash.style.opacity = String(0.4 * alpha);
      if (alpha === 0) return;
      const x = (wall ? 1 : -1) * (camera.half - 0.5);
      const { cell, rise } = camera;
      flash.style.backgroundColor = hue;
      flash.style.transform = `translate3d(${x}px, ${-rise}px, ${start * cell}px) rotateY(-90deg) scale(${(stop - start) * cell}, ${2 * rise})`;
    });
  }

  /**
   * Around the first place on both walls.
   * @param {Camera} camera
   * @param {number} alpha
   */
  #frame({ half, rise, cell }, alpha) {
    this.#frames.forEach((frame, wall) => {
      frame.style.opacity = String(alpha);
      if (alpha === 0) return;
      frame.style.width = `${cell}px`;
      frame.style.height = `${2 * rise}px`;
      frame.style.transform = `translate3d(${(wall ? 1 : -1) * (half - 1)}px, ${-rise}px, 0) rotateY(-90deg)`;
    });
  }

  /**
   * @param {View} view
   * @param {Camera} camera
   * @param {number} strength
   */
  #mist(view, camera, strength) {
    const key = [view.theme, view.width, view.height, camera.x, camera.y, camera.half, camera.rise, strength].join();
    if (key === this.#fogKey) return;
    this.#fogKey = key;
    const ground = view.palette.rgb.ground;
    const stops = [0, 0.1, 0.2, 0.34, 0.52, 0.75, 1].map((scale) => {
      const alpha = strength * (1 - smooth(0.02, 0.9, scale)) ** 1.5;
      return `${toCss(ground, Math.round(alpha * 1000) / 1000)} ${Math.round(scale * 100)}%`;
    });
    const { x, y, half, rise } = camera;
    this.#fog.style.background = `radial-gradient(${half}px ${1.15 * rise}px at ${x}px ${y}px, ${stops.join(", ")})`;
  }
}

/**
 * Paint what is new, and the places that went dark or lit since the last time.
 * @param {CellGrid} grid
 * @param {number} count
 * @param {string} key
 * @param {number} before lit places then
 * @param {number} lit lit places now
 * @param {import("../stage/cell_grid.js").CellColor} color
 */
function repaintLit(grid, count, key, before, lit, color) {
  const stood = grid.painted;
  grid.update(count, key, color);
  if (before !== lit) grid.repaint(Math.min(before, lit, stood), Math.min(Math.max(before, lit), grid.painted), color);
}

/**
 * @param {number} line layer * heads + head
 * @param {number} heads
 * @param {Focus} focus
 */
const isOn = (line, heads, { layer, head }) =>
  (layer < 0 || Math.floor(line / heads) === layer) && (head < 0 || line % heads === head);

/**
 * Brightness of a norm as a level of the ramps, -1 where nobody measured it: its place between its own row's
 * percentiles, moving towards one scale for all rows as `raw` goes to 1.
 * @param {import("../state/types.d.ts").Norms} norms
 * @param {"keys" | "values"} which
 * @param {number} length
 * @param {number} raw
 * @returns {(line: number, value: number) => number}
 */
function levelsOf(norms, which, length, raw) {
  const { low, high } = percentiles(norms, which, length);
  const whole = raw * (LEVELS - 1) * (1 / Math.max(1e-9, ...high.filter(Number.isFinite)));
  const scale = Float64Array.from(high, (top, line) => (top > low[line] ? (LEVELS - 1) / (top - low[line]) : 0));
  return (line, value) => {
    if (Number.isNaN(value)) return -1;
    const own = clamp((value - low[line]) * scale[line], 0, LEVELS - 1);
    return raw === 0 ? own | 0 : ((1 - raw) * own + clamp(value * whole, 0, LEVELS - 1)) | 0;
  };
}

/** How the light of a wall falls off across the floor. */
const FALL = Float64Array.from({ length: FLOOR_WIDTH }, (_, row) => Math.exp((-7 * (row + 0.5)) / FLOOR_WIDTH));

/**
 * Mean level of a column: the light that it throws on the floor.
 * @param {import("../state/types.d.ts").Norms} norms
 * @param {((line: number, value: number) => number)[]} levels
 */
function glowOf(norms, levels) {
  const rows = norms.layers * norms.heads;
  const known = new Float64Array(2 * norms.length).fill(-1);
  return (/** @type {number} */ wall, /** @type {number} */ column) => {
    const key = 2 * column + wall;
    if (known[key] >= 0) return known[key];
    const measured = norms[WHICH[wall]];
    let sum = 0;
    for (let line = 0; line < rows; line++)
      sum += Math.max(0, levels[wall](line, measured[line * norms.capacity + column]));
    known[key] = sum / Math.max(1, rows);
    return known[key];
  };
}
