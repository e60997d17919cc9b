// One step of one room as it stands, drawn once: the same scene and dots as on the stage, without its clock.

import { Marks } from "./marks.js";
import { readPalette } from "./palette.js";
import { viewAtRest } from "./view.js";

/** @typedef {import("./types.d.ts").Scene} Scene */
/** @typedef {import("./types.d.ts").View} View */
/** @typedef {import("../log/cast.js").Cast} Cast */

/**
 * What a still is drawn with: a view in which everything has come to rest.
 * @param {HTMLElement} element in whose colours
 * @param {Partial<View>} part
 * @returns {View}
 */
export const viewOfStill = (element, part) => ({
  ...viewAtRest(readPalette(element)),
  dpr: Math.min(2, devicePixelRatio || 1),
  reduced: true,
  ...part,
});

/**
 * Dots at rest.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} places
 * @param {import("../state/types.d.ts").State} state
 * @param {View} view
 */
export function drawDots(canvas, places, state, view) {
  const marks = new Marks(canvas);
  marks.resize(view.width, view.height, view.dpr);
  marks.draw(places, state, view, { t: Number.POSITIVE_INFINITY, speed: 1, moving: false, elapsed: 1 });
}

/**
 * @param {HTMLElement} stage empty; gets the room's layer and the dots above it
 * @param {Scene} scene
 * @param {Cast} cast who is on stage, at their moment
 * @param {View} view
 */
export function drawStill(stage, scene, cast, view) {
  stage.style.width = `${view.width}px`;
  stage.style.height = `${view.height}px`;
  const layer = document.createElement("div");
  layer.className = "layer";
  layer.dataset.scene = view.chapter;
  const dots = document.createElement("canvas");
  stage.append(layer, dots);
  const { player } = cast.main;
  const states = /** @type {[any, ...any[]]} */ (cast.states());
  scene.draw(scene.mount(layer), states, view, player.t);
  drawDots(dots, scene.places(player.state, view), player.state, view);
}
