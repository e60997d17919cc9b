// The walls of the hall: real K/V norms, one texel a cell. Columns are places, rows are (layer, KV head) with layer 0 at
// the floor. Texels are painted when places are written; `corridor.js` casts them into the picture when the camera, the
// light or a texel changed: coarsely while things move, in full sharpness when they rest.

import { CellGrid } from "../stage/cell_grid.js";
import { mix, pack } from "../stage/palette.js";
import { percentiles, scaleLength } from "../state/norms.js";
import { Corridor } from "./corridor.js";
import { clamp, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../stage/types.d.ts").Palette} Palette */
/** @typedef {import("./hall.js").Camera} Camera */
/** @typedef {{ layer: number, head: number }} Focus -1: all of them */
/** @typedef {{ focus: Focus, raw: number, fog: number, frame: number }} Look `raw` 0: each row by its own 2nd and 98th percentile, 1: one scale for the whole wall; `frame`: how plainly the first place is framed */

const LEVELS = 48;
const FLOOR_WIDTH = 28;
/** Most pixels cast while things move, on a machine that falls behind, and at rest. */
const MOVING_PIXELS = 340_000;
const HURRIED_PIXELS = 100_000;
const RESTING_PIXELS = 1_800_000;
/** Milliseconds without a change after which things rest. */
const REST = 350;
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

export class Walls {
  /** @param {HTMLElement} layer */
  constructor(layer) {
    const canvas = document.createElement("canvas");
    canvas.className = "hall";
    canvas.setAttribute("aria-hidden", "true");
    const veil = document.createElement("div");
    veil.className = "hall-veil";
    layer.append(canvas, veil);
    this.#corridor = new Corridor(canvas);
  }

  #corridor;
  #walls = WHICH.map(() => new CellGrid());
  #floor = new CellGrid();
  #lit = 0;
  #drawn = "";
  #rampKey = "";
  /** What the picture shows, and how large its pixels are. */
  #cast = { key: "", pixel: 0 };
  #size = "";
  #resting = 0;
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
    const flash = flashOf(state, view, t);
    const { palette } = view;
    const light = {
      ground: palette.rgb.ground,
      fog: look.fog,
      flash,
      frame: { alpha: look.frame, color: palette.css.ink },
    };
    const key = [this.#drawn, look.fog, look.frame, flash.alpha, flash.start, ...Object.values(camera)].join();
    const { width, height } = view;
    const cast = (/** @type {number} */ pixel) => {
      this.#cast = { key, pixel };
      this.#corridor.draw(this.#walls, this.#floor, camera, light, { width, height, pixel });
    };
    const sharp = pixelFor(view, RESTING_PIXELS);
    const coarse = pixelFor(view, view.hurried ? HURRIED_PIXELS : MOVING_PIXELS);
    if (key === this.#cast.key && this.#size === `${width}x${height}`) return;
    this.#size = `${width}x${height}`;
    clearTimeout(this.#resting);
    cast(view.reduced ? sharp : coarse);
    if (this.#cast.pixel > sharp) this.#resting = setTimeout(() => cast(sharp), REST);
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
    const before = this.#lit;
    this.#lit = lit;
    const { unlit, floor, floorPrefill, floorDecode, floorShared, ...full } = this.#ramps;
    const { shared } = full;
    const levels = WHICH.map((which) => levelsOf(norms, which, scaled, raw));
    const on = Array.from({ length: rows }, (_, line) => isOn(line, norms.heads, look.focus));
    this.#walls.forEach((grid, wall) => {
      grid.resize(columns, Math.max(1, rows));
      const levelOf = levels[wall];
      const measured = norms[WHICH[wall]];
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
    this.#floor.resize(columns, FLOOR_WIDTH);
    const glow = glowOf(norms, levels);
    repaintLit(this.#floor, count, key, before, lit, (column, row) => {
      if (column >= lit) return floor[0];
      const fall = FALL[row] * glow(0, column) + FALL[FLOOR_WIDTH - 1 - row] * glow(1, column);
      const hue = column < cached ? floorShared : column < prompt ? floorPrefill : floorDecode;
      return hue[Math.min(LEVELS - 1, fall | 0)];
    });
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
}

/**
 * CSS pixels of a pixel of the picture, a whole number on the screen, so that at most `most` cover the stage.
 * @param {View} view
 * @param {number} most
 */
const pixelFor = ({ width, height, dpr }, most) =>
  Math.max(1, Math.ceil(dpr * Math.sqrt((width * height) / most) - 0.01)) / dpr;

/**
 * Light on the places that the last step wrote.
 * @param {State} state
 * @param {View} view
 * @param {number} t
 */
function flashOf(state, view, t) {
  const step = state.steps.at(-1);
  const done = step?.finishedAt == null ? state.steps.at(-2) : step;
  const since = done?.finishedAt == null || done.ownStop === null ? 1 : (t - done.finishedAt) / FLASH;
  const alpha = view.reduced || since < 0 || since >= 1 ? 0 : 0.4 * (1 - since) ** 2;
  const [start, stop] = [done?.ownStart ?? 0, done?.ownStop ?? 0];
  return { alpha, start, stop, hue: view.palette.rgb[start < state.request.numPromptTokens ? "prefill" : "decode"] };
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
