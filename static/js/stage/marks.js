// The token dots: one canvas above all rooms. A dot is where the room puts it; between two rooms it is on its way from
// its place in one to its place in the other; a token that just came grows; the newest one glows while it is computed.

import { toCss } from "./palette.js";
import { travel } from "./travel.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("./types.d.ts").View} View */
/** @typedef {import("./types.d.ts").ColorName} ColorName */

/** Seconds in which a token grows to its size. */
const GROW_SECONDS = 0.18;
const STRIDE = 3;

/** @param {number} x 0 to 1 */
export const easeOut = (x) => 1 - (1 - Math.min(1, Math.max(0, x))) ** 3;

/**
 * Size of a token at time `t`, 0 to 1.
 * @param {number} born log seconds
 * @param {number} t log seconds
 * @param {number} speed of the clock
 */
export function grown(born, t, speed) {
  return easeOut((t - born) / (GROW_SECONDS * speed));
}

/**
 * @param {Float32Array} a
 * @param {Float32Array} b
 */
function same(a, b) {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * @param {State["tokens"][number]} token
 * @returns {ColorName}
 */
const colorOf = (token) => (token.kind === "prompt" ? "prefill" : "decode");

export class Marks {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no 2d context");
    this.#context = context;
    /** Where each dot was drawn last: x, y, r. @type {Float32Array} */
    this.places = new Float32Array(0);
  }

  #context;
  /** Where the dots started when the room changed. @type {Float32Array | null} */
  #from = null;
  /** @type {Map<string, HTMLCanvasElement>} */
  #glows = new Map();
  #buffer = new Float32Array(0);
  #drawn = new Float32Array(0);
  #key = "";

  /** The room changes, or the run in it: dots set out from where they are now. */
  depart() {
    this.#from = this.places.slice();
  }

  /** Another run: nothing to travel from. */
  reset() {
    this.#from = null;
    this.#key = "";
    this.places = new Float32Array(0);
  }

  /**
   * @param {number} width CSS pixels
   * @param {number} height
   * @param {number} dpr
   */
  resize(width, height, dpr) {
    this.canvas.width = Math.max(1, Math.round(width * dpr));
    this.canvas.height = Math.max(1, Math.round(height * dpr));
    this.#key = "";
  }

  /** The theme changed. */
  recolor() {
    this.#glows.clear();
    this.#key = "";
  }

  /**
   * @param {Float32Array} target places in the room on stage
   * @param {State} state
   * @param {View} view
   * @param {{ t: number, speed: number, moving: boolean, elapsed: number }} time `moving`: tokens are arriving now;
   *   `elapsed`: share of the change of rooms that has passed, 1 when none is under way
   */
  draw(target, state, view, { t, speed, moving, elapsed }) {
    const count = Math.min(state.tokens.length, Math.floor(target.length / STRIDE));
    if (this.#buffer.length < count * STRIDE) this.#buffer = new Float32Array(Math.max(192, 2 * count * STRIDE));
    const places = this.#buffer.subarray(0, count * STRIDE);
    if (elapsed >= 1) this.#from = null;
    travel(this.#from, target.subarray(0, count * STRIDE), elapsed, places, view);
    this.places = places;

    const newest = state.request.status === "admitted" ? count - 1 : -1;
    const growing = moving && count > 0 && grown(state.tokens[count - 1].t, t, speed) < 1;
    const key = [count, newest, view.hover, view.width, view.height, view.dpr, view.theme, growing ? t : ""].join();
    if (key === this.#key && same(places, this.#drawn)) return;
    this.#key = key;
    this.#drawn = places.slice();

    const context = this.#context;
    context.setTransform(view.dpr, 0, 0, view.dpr, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    let at = 0;
    while (at < count) at = this.#run(at, count, state, view, moving ? t : Number.POSITIVE_INFINITY, speed);
    if (newest >= 0 && state.tokens[newest].kind === "generated")
      this.#glow(newest, colorOf(state.tokens[newest]), view);
    if (view.hover >= 0 && view.hover < count) this.#ring(view.hover, view);
  }

  /**
   * Draw the tokens of one colour from `start` on as one path; the next start is returned.
   * @param {number} start
   * @param {number} count
   * @param {State} state
   * @param {View} view
   * @param {number} t
   * @param {number} speed
   */
  #run(start, count, state, view, t, speed) {
    const context = this.#context;
    const color = colorOf(state.tokens[start]);
    let i = start;
    context.beginPath();
    for (; i < count && colorOf(state.tokens[i]) === color; i++) {
      const x = this.places[i * STRIDE];
      const y = this.places[i * STRIDE + 1];
      const r = this.places[i * STRIDE + 2] * grown(state.tokens[i].t, t, speed);
      if (!(r > 0.05) || x < -r || y < -r || x > view.width + r || y > view.height + r) continue;
      if (r < 1) context.rect(x - r, y - r, 2 * r, 2 * r);
      else {
        context.moveTo(x + r, y);
        context.arc(x, y, r, 0, 2 * Math.PI);
      }
    }
    context.fillStyle = view.palette.css[color];
    context.fill();
    return i;
  }

  /**
   * @param {number} position
   * @param {ColorName} color
   * @param {View} view
   */
  #glow(position, color, view) {
    const [x, y, r] = this.places.subarray(position * STRIDE, position * STRIDE + 3);
    if (!(r > 0.05)) return;
    let sprite = this.#glows.get(color);
    if (!sprite) {
      sprite = glowSprite(view.palette.rgb[color]);
      this.#glows.set(color, sprite);
    }
    const size = Math.max(10, r * 4);
    this.#context.drawImage(sprite, x - size, y - size, 2 * size, 2 * size);
  }

  /**
   * @param {number} position
   * @param {View} view
   */
  #ring(position, view) {
    const [x, y, r] = this.places.subarray(position * STRIDE, position * STRIDE + 3);
    if (!(r > 0)) return;
    const context = this.#context;
    context.beginPath();
    context.arc(x, y, r + 3, 0, 2 * Math.PI);
    context.lineWidth = 1.5;
    context.strokeStyle = view.palette.css.ink;
    context.stroke();
  }

  /**
   * The dot at a point, nearest first, -1 for none.
   * @param {number} x
   * @param {number} y
   */
  hit(x, y) {
    let best = -1;
    let nearest = Number.POSITIVE_INFINITY;
    for (let i = 0; i * STRIDE < this.places.length; i++) {
      const r = this.places[i * STRIDE + 2];
      if (!(r > 0.5)) continue;
      const distance = Math.hypot(this.places[i * STRIDE] - x, this.places[i * STRIDE + 1] - y);
      if (distance <= r + 4 && distance < nearest) {
        best = i;
        nearest = distance;
      }
    }
    return best;
  }
}

/**
 * @param {import("./types.d.ts").Rgb} rgb
 */
function glowSprite(rgb) {
  const sprite = document.createElement("canvas");
  sprite.width = 64;
  sprite.height = 64;
  const context = sprite.getContext("2d");
  if (!context) return sprite;
  const gradient = context.createRadialGradient(32, 32, 0, 32, 32, 32);
  gradient.addColorStop(0, toCss(rgb, 0.9));
  gradient.addColorStop(0.25, toCss(rgb, 0.45));
  gradient.addColorStop(1, toCss(rgb, 0));
  context.fillStyle = gradient;
  context.fillRect(0, 0, 64, 64);
  return sprite;
}
