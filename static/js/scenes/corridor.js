// The hall as a picture: two walls and a floor of texels in one-point perspective, cast into one ImageData. On a wall
// depth follows from a pixel's column alone, on the floor from its row alone, so each is a copy of one line of texels,
// stretched: a frame is one pass over the pixels. (The same planes in CSS 3D kept a software renderer busy for 25 ms a
// frame; this takes one or two.) Perspective and numbers are those of `hall.js`.

import { pack } from "../stage/palette.js";
import { scaleAt } from "./hall.js";
import { smooth } from "./room.js";

/** @typedef {import("./hall.js").Camera} Camera */
/** @typedef {import("../stage/cell_grid.js").CellGrid} CellGrid */
/** @typedef {import("../stage/types.d.ts").Rgb} Rgb */
/**
 * @typedef {object} Light
 * @property {Rgb} ground what distance fades into
 * @property {number} fog 0 clear, 1 the far end is gone
 * @property {{ start: number, stop: number, alpha: number, hue: Rgb }} flash places that were just written
 * @property {{ alpha: number, color: string }} frame around the first place on both walls
 */
/** @typedef {{ glow: number, hue: number, mist: number, dark: number }} Shade how a place is lit: `glow` of `hue`, then `mist` of `dark` over it, in 256ths */

/** @typedef {{ width: number, height: number, pixel: number }} Size of the stage in CSS pixels, and of a pixel */

/** Pixels of a slice. */
const SLICE = 120_000;
/** Things farther than this are smaller than a pixel. */
const FARTHEST = 0.004;

/**
 * Two packed colours (alpha 255), the second weighing `part` 256ths.
 * @param {number} a
 * @param {number} b
 * @param {number} part 0 to 256
 */
function blend(a, b, part) {
  const rest = 256 - part;
  const even = (((a & 0xff00ff) * rest + (b & 0xff00ff) * part) >>> 8) & 0xff00ff;
  const odd = ((((a >>> 8) & 0xff) * rest + ((b >>> 8) & 0xff) * part) >>> 8) & 0xff;
  return (0xff000000 | even | (odd << 8)) >>> 0;
}

/**
 * How much of the ground lies over what is drawn at `scale`, in 256ths.
 * @param {number} scale
 * @param {number} strength
 */
const fogAt = (scale, strength) => Math.round(256 * strength * (1 - smooth(0.02, 0.9, scale)) ** 1.5);

/**
 * The light of a place.
 * @param {number} place
 * @param {Camera} camera
 * @param {Light} light
 * @returns {Shade}
 */
function shadeOf(place, camera, { ground, fog, flash }) {
  const glow = place >= flash.start && place < flash.stop ? Math.round(256 * flash.alpha) : 0;
  return { glow, hue: pack(flash.hue), mist: fogAt(scaleAt(camera, place + 0.5), fog), dark: pack(ground) };
}

/**
 * A texel in the light of its place.
 * @param {number} texel
 * @param {Shade} shade
 */
function lit(texel, { glow, hue, mist, dark }) {
  const shone = glow > 0 ? blend(texel, hue, glow) : texel;
  return mist > 0 ? blend(shone, dark, mist) : shone;
}

export class Corridor {
  /** @param {HTMLCanvasElement} canvas covers the stage */
  constructor(canvas) {
    this.canvas = canvas;
    // Opaque: what lies behind need not be drawn, nor blended with.
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("no 2d context");
    this.#context = context;
  }

  #context;
  #image = new ImageData(1, 1);
  #words = new Uint32Array(this.#image.data.buffer);
  #line = new Uint32Array(0);
  /** @type {{ grid: CellGrid | null, place: number }} whose line it is */
  #lineOf = { grid: null, place: -1 };

  /**
   * @param {CellGrid[]} walls left and right: columns are places, row 0 is at the ceiling
   * @param {CellGrid} floor columns are places, rows go from left to right
   * @param {Camera} camera
   * @param {Light} light
   * @param {Size} size
   */
  draw(walls, floor, camera, light, size) {
    const slices = this.slices(walls, floor, camera, light, size);
    while (!slices.next().done);
  }

  /**
   * The same a little at a time, for a picture so fine that it would keep a frame waiting. Nothing is to be seen before
   * the last slice, and none is to be taken after another picture was begun.
   * @param {CellGrid[]} walls
   * @param {CellGrid} floor
   * @param {Camera} camera
   * @param {Light} light
   * @param {Size} size
   * @returns {Generator<void, void, void>}
   */
  *slices(walls, floor, camera, light, { width, height, pixel }) {
    const columns = Math.max(1, Math.ceil(width / pixel));
    const rows = Math.max(1, Math.ceil(height / pixel));
    if (this.#image.width !== columns || this.#image.height !== rows) {
      this.#image = new ImageData(columns, rows);
      this.#words = new Uint32Array(this.#image.data.buffer);
    }
    this.#words.fill(pack(light.ground));
    const longest = Math.max(floor.rows, ...walls.map((grid) => grid.rows));
    if (this.#line.length < longest) this.#line = new Uint32Array(longest);
    this.#lineOf = { grid: null, place: -1 };
    for (let row = Math.max(0, Math.floor(camera.y / pixel)); row < rows; ) {
      const stop = Math.min(rows, row + Math.ceil(SLICE / columns));
      this.#drawFloor(floor, camera, light, pixel, row, stop);
      row = stop;
      yield;
    }
    for (let column = 0; column < columns; ) {
      const stop = Math.min(columns, column + Math.ceil(SLICE / rows));
      this.#drawWalls(walls, camera, light, pixel, column, stop);
      column = stop;
      yield;
    }
    if (this.canvas.width !== columns || this.canvas.height !== rows) {
      this.canvas.width = columns;
      this.canvas.height = rows;
    }
    this.#context.putImageData(this.#image, 0, 0);
    if (light.frame.alpha > 0) this.#drawFrames(camera, light.frame, pixel);
  }

  /**
   * @param {CellGrid[]} walls
   * @param {Camera} camera
   * @param {Light} light
   * @param {number} pixel
   * @param {number} from the first of the picture's columns
   * @param {number} to
   */
  #drawWalls(walls, camera, light, pixel, from, to) {
    const { width, height } = this.#image;
    const out = this.#words;
    for (let column = from; column < to; column++) {
      const offset = (column + 0.5) * pixel - camera.x;
      const scale = Math.abs(offset) / camera.half;
      const grid = walls[offset < 0 ? 0 : 1];
      const place = placeAt(camera, scale);
      if (place < 0 || place >= grid.painted) continue;
      const shade = shadeOf(place, camera, light);
      if (shade.mist === 256) continue;
      const tall = (2 * scale * camera.rise) / pixel;
      const top = (camera.y - scale * camera.rise) / pixel;
      const first = Math.max(0, Math.ceil(top - 0.5));
      const last = Math.min(height, Math.ceil(top + tall - 0.5));
      const step = grid.rows / tall;
      let at = (first + 0.5 - top) * step;
      let index = first * width + column;
      if (last - first < grid.rows) {
        // Far away most rows fall between two pixels: no line of them.
        const { words, columns } = grid;
        for (let row = first; row < last; row++, index += width, at += step)
          out[index] = lit(words[(at | 0) * columns + place], shade);
        continue;
      }
      const texels = this.#shaded(grid, place, shade);
      for (let row = first; row < last; row++, index += width, at += step) out[index] = texels[at | 0];
    }
  }

  /**
   * @param {CellGrid} grid
   * @param {Camera} camera
   * @param {Light} light
   * @param {number} pixel
   * @param {number} from the first of the picture's rows
   * @param {number} to
   */
  #drawFloor(grid, camera, light, pixel, from, to) {
    const dim = { ...light, flash: { ...light.flash, alpha: 0 } };
    const { width } = this.#image;
    const out = this.#words;
    for (let row = from; row < to; row++) {
      const scale = ((row + 0.5) * pixel - camera.y) / camera.rise;
      const place = placeAt(camera, scale);
      if (place < 0 || place >= grid.painted) continue;
      const texels = this.#shaded(grid, place, shadeOf(place, camera, dim));
      const wide = (2 * scale * camera.half) / pixel;
      const left = (camera.x - scale * camera.half) / pixel;
      const first = Math.max(0, Math.ceil(left - 0.5));
      const last = Math.min(width, Math.ceil(left + wide - 0.5));
      const step = grid.rows / wide;
      let at = (first + 0.5 - left) * step;
      for (let index = row * width + first, column = first; column < last; column++, index++, at += step)
        out[index] = texels[at | 0];
    }
  }

  /**
   * One line of texels, with the light of its place. Near places are many pixels wide: the last line is kept.
   * @param {CellGrid} grid
   * @param {number} place
   * @param {Shade} shade
   */
  #shaded(grid, place, shade) {
    const line = this.#line;
    if (grid === this.#lineOf.grid && place === this.#lineOf.place) return line;
    this.#lineOf = { grid, place };
    const { words, columns, rows } = grid;
    for (let row = 0, at = place; row < rows; row++, at += columns) line[row] = lit(words[at], shade);
    return line;
  }

  /**
   * @param {Camera} camera
   * @param {Light["frame"]} frame
   * @param {number} pixel
   */
  #drawFrames({ x, y, half, rise, perspective, cell, edge }, { alpha, color }, pixel) {
    const context = this.#context;
    const [near, far] = [1, 0].map((place) => perspective / (perspective + Math.max(0, edge - place) * cell));
    context.save();
    context.scale(1 / pixel, 1 / pixel);
    context.globalAlpha = alpha;
    context.strokeStyle = color;
    context.lineWidth = 2;
    for (const side of [-1, 1]) {
      context.beginPath();
      context.moveTo(x + side * half * far, y - rise * far);
      context.lineTo(x + side * half * near, y - rise * near);
      context.lineTo(x + side * half * near, y + rise * near);
      context.lineTo(x + side * half * far, y + rise * far);
      context.closePath();
      context.stroke();
    }
    context.restore();
  }
}

/**
 * The place that is drawn at `scale`; -1 where there is none.
 * @param {Camera} camera
 * @param {number} scale
 */
function placeAt({ perspective, edge, cell }, scale) {
  if (scale < FARTHEST) return -1;
  return Math.floor(edge - (perspective / scale - perspective) / cell);
}
