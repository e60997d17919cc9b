// All heads on one small map: layers from left to right, heads from top to bottom, and in each cell three lights: how
// much of its look goes to the first token, to the last few, and to all between. A cell is the hall in small: its far end
// at the left, the newest place at the right.

import { mix, pack } from "../stage/palette.js";
import { label } from "../stage/text.js";
import { sharesOf } from "../state/attention.js";
import { t } from "../ui/messages.js";
import { clamp } from "./room.js";

/** @typedef {import("./attention_picture.js").Picture} Picture */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../types/events.d.ts").ProbeAttentionSummary} Summary */
/** @typedef {import("../state/attention.js").Head} Head */

/** Lights in a cell. */
const LIGHTS = 3;

/**
 * @param {Summary} summary
 * @returns {[number, number]} layers, heads
 */
const sizeOf = ({ first }) => [first.shape[0], first.shape[1]];

/**
 * The cell of a head.
 * @param {Picture} picture
 * @param {Head} head
 */
export function cellOf({ map, summary }, { layer, head }) {
  const [layers, heads] = summary ? sizeOf(summary) : [1, 1];
  const [width, height] = [map.width / layers, map.height / heads];
  return { x: map.left + layer * width, y: map.top + head * height, width, height };
}

/**
 * The head under a point.
 * @param {Picture} picture
 * @param {number} x
 * @param {number} y
 * @returns {Head | null}
 */
export function headAt({ map, summary }, x, y) {
  if (!summary) return null;
  const [layers, heads] = sizeOf(summary);
  const layer = Math.floor(((x - map.left) / map.width) * layers);
  const head = Math.floor(((y - map.top) / map.height) * heads);
  return layer >= 0 && layer < layers && head >= 0 && head < heads ? { layer, head } : null;
}

/** The lights of all cells as a small picture, kept until they are others. */
export class HeadMap {
  constructor() {
    this.canvas = document.createElement("canvas");
    const context = this.canvas.getContext("2d");
    if (!context) throw new Error("no 2d context");
    this.#context = context;
  }

  #context;
  #key = "";
  /** @type {Summary | null} */
  #summary = null;

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Picture} picture
   * @param {View} view
   * @param {number} alpha
   * @param {number} only 1: the light of the first token alone
   */
  draw(context, picture, view, alpha, only) {
    const { map, summary, head } = picture;
    if (!summary) return;
    const stage = Math.round(only * 8) / 8;
    this.#paint(summary, view, stage);
    const [layers, heads] = sizeOf(summary);
    const [width, height] = [map.width / layers, map.height / heads];
    context.globalAlpha = alpha;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.canvas, map.left, map.top, map.width, map.height);
    context.fillStyle = view.palette.css.ground;
    const [gapX, gapY] = [Math.min(4, 0.22 * width), Math.min(3, 0.2 * height)];
    for (let layer = 0; layer <= layers; layer++)
      context.fillRect(map.left + layer * width - gapX / 2, map.top - 1, gapX, map.height + 2);
    for (let row = 0; row <= heads; row++)
      context.fillRect(map.left - 1, map.top + row * height - gapY / 2, map.width + 2, gapY);
    if (head && stage < 0.5) {
      const cell = cellOf(picture, head);
      context.strokeStyle = view.palette.css.ink;
      context.lineWidth = 2;
      context.strokeRect(cell.x, cell.y, cell.width, cell.height);
    }
    this.#words(context, picture, view, layers);
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Picture} picture
   * @param {View} view
   * @param {number} layers
   */
  #words(context, { map, area, summary }, view, layers) {
    const near = summary?.near_tokens ?? 0;
    const { css } = view.palette;
    const y = map.top + map.height + (area.narrow ? 10 : 18);
    const size = 11;
    if (area.narrow) return;
    label(context, t("layer {layer}", { layer: 1 }), map.left, y, { size, color: css.muted });
    label(context, t("layer {layer}", { layer: layers }), map.left + map.width, y, {
      size,
      color: css.muted,
      align: "right",
    });
    label(
      context,
      t("in each cell, left to right: the first token · all between · the last {near}", { near }),
      map.left + map.width / 2,
      y,
      {
        size,
        color: css.muted,
        align: "center",
        width: map.width - 160,
      },
    );
  }

  /**
   * @param {Summary} summary
   * @param {View} view
   * @param {number} only
   */
  #paint(summary, view, only) {
    const key = `${view.theme}${only}`;
    if (summary === this.#summary && key === this.#key) return;
    [this.#summary, this.#key] = [summary, key];
    const [layers, heads] = sizeOf(summary);
    [this.canvas.width, this.canvas.height] = [layers * LIGHTS, heads];
    const image = this.#context.createImageData(layers * LIGHTS, heads);
    const words = new Uint32Array(image.data.buffer);
    const { ground, idle, prefill, decode, ink } = view.palette.rgb;
    const dark = mix(ground, idle, 0.55);
    for (let layer = 0; layer < layers; layer++)
      for (let head = 0; head < heads; head++) {
        const { first, between, near } = sharesOf(summary, { layer, head });
        const lights = /** @type {const} */ ([
          [prefill, first, 1],
          [ink, between, 1 - only],
          [decode, near, 1 - only],
        ]);
        lights.forEach(([hue, share, shown], light) => {
          const rgb = mix(dark, hue, clamp(share) ** 0.8 * shown);
          words[head * layers * LIGHTS + layer * LIGHTS + light] = pack(
            /** @type {[number, number, number]} */ (rgb.map(Math.round)),
          );
        });
      }
    this.#context.putImageData(image, 0, 0);
  }
}
