// The walls of the hall: `texels.js` paints the norms, `corridor.js` casts them into the picture when the camera, the light
// or a texel changed: coarsely while things move, in full sharpness when they rest.

import { Corridor } from "./corridor.js";
import { Texels } from "./texels.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./hall.js").Camera} Camera */
/** @typedef {{ focus: import("./texels.js").Focus, raw: number, fog: number, frame: number }} Look `raw` 0: each row by its own 2nd and 98th percentile, 1: one scale for the whole wall; `frame`: how plainly the first place is framed */

/** Most pixels cast while things move, on a machine that falls behind, and at rest. */
const MOVING_PIXELS = 340_000;
const HURRIED_PIXELS = 100_000;
const RESTING_PIXELS = 1_800_000;
/** Milliseconds without a change after which things rest; on a machine that falls behind, a pause in the stream is none. */
const REST = 350;
const HURRIED_REST = 1200;
/** Milliseconds from one slice of the sharp picture to the next: a frame has room for one. */
const BETWEEN_SLICES = 20;
/** Seconds for which places that were just written stay lit up. */
const FLASH = 0.5;

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
  #texels = new Texels();
  /** What the picture shows. */
  #cast = "";
  #size = "";
  #resting = 0;

  /**
   * @param {State} state
   * @param {View} view
   * @param {Camera} camera
   * @param {Look} look
   * @param {number} t log seconds
   */
  draw(state, view, camera, look, t) {
    const { walls, floor } = this.#texels;
    const painted = this.#texels.paint(state, view, look.focus, look.raw);
    const flash = flashOf(state, view, t);
    const { palette } = view;
    const light = {
      ground: palette.rgb.ground,
      fog: look.fog,
      flash,
      frame: { alpha: look.frame, color: palette.css.ink },
    };
    const key = [painted, look.fog, look.frame, flash.alpha, flash.start, ...Object.values(camera)].join();
    const { width, height } = view;
    const sharp = pixelFor(view, RESTING_PIXELS);
    const coarse = Math.max(sharp, pixelFor(view, view.hurried ? HURRIED_PIXELS : MOVING_PIXELS));
    if (key === this.#cast && this.#size === `${width}x${height}`) return;
    this.#cast = key;
    this.#size = `${width}x${height}`;
    clearTimeout(this.#resting);
    const pixel = view.reduced ? sharp : coarse;
    this.#corridor.draw(walls, floor, camera, light, { width, height, pixel });
    if (pixel === sharp) return;
    const slices = this.#corridor.slices(walls, floor, camera, light, { width, height, pixel: sharp });
    this.#resting = setTimeout(() => this.#sharpen(slices), view.hurried ? HURRIED_REST : REST);
  }

  /** @param {Generator<void, void, void>} slices */
  #sharpen(slices) {
    if (!slices.next().done) this.#resting = setTimeout(() => this.#sharpen(slices), BETWEEN_SLICES);
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
