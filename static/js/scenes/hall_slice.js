// One slice of the hall, named: the keys and the values that a single token left, and on the floor which part of the
// conversation was read and which was written.

import { count } from "../state/format.js";
import { t } from "../ui/messages.js";
import { scaleAt } from "./hall.js";
import { clamp } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("./room.js").Area} Area */
/** @typedef {import("./hall.js").Camera} Camera */
/** @typedef {{ frame: SVGSVGElement, walls: SVGPolygonElement[], signs: HTMLElement[], parts: HTMLElement[] }} Slice */

const SVG = "http://www.w3.org/2000/svg";
/** The slice stands where things are drawn at this share of their size: near, and yet with some of the wall before it. */
const NEAR = 0.74;
/** It is this many pixels wide at least, or nobody sees it. */
const WIDE = 5;
/** The words at the top of the picture are not crossed. */
const HEAD = 158;
const HEAD_NARROW = 84;

/** @param {HTMLElement} layer @returns {Slice} */
export function mountSlice(layer) {
  const frame = document.createElementNS(SVG, "svg");
  frame.setAttribute("class", "hall-slice");
  frame.setAttribute("aria-hidden", "true");
  const walls = [0, 1].map(() => frame.appendChild(document.createElementNS(SVG, "polygon")));
  layer.append(frame);
  const sign = (/** @type {string} */ name) => {
    const element = document.createElement("p");
    element.className = `hall-part ${name}`;
    layer.append(element);
    return element;
  };
  return {
    frame,
    walls,
    signs: ["keys", "values"].map((which) => sign(`hall-part-${which}`)),
    parts: ["prompt", "answer"].map((kind) => sign(`hall-part-${kind}`)),
  };
}

/**
 * Which place is pointed out: the one that stands at `NEAR`, of those that are there.
 * @param {Camera} at
 * @param {number} places with keys and values
 */
export function slicePlace(at, places) {
  const behind = ((1 / NEAR - 1) * at.perspective) / at.cell;
  return Math.round(clamp(at.edge - behind, 0, places - 1));
}

/** @param {HTMLElement} element @param {string} text @param {string} transform */
function put(element, text, transform) {
  element.hidden = false;
  if (element.textContent !== text) element.textContent = text;
  element.style.transform = transform;
}

/**
 * @param {Slice} slice
 * @param {State} state
 * @param {Area} area
 * @param {Camera} at
 * @param {boolean} shown
 */
export function drawSlice({ frame, walls, signs, parts }, state, area, at, shown) {
  const { numTokens } = state.cache;
  const visible = shown && numTokens > 1;
  frame.style.display = visible ? "" : "none";
  for (const element of [...signs, ...parts]) element.hidden = !visible;
  if (!visible) return;
  const place = slicePlace(at, numTokens);
  const far = scaleAt(at, place);
  let near = scaleAt(at, place + 1);
  near = Math.max(near, far + WIDE / at.half);
  const { layers, heads } = state.cache.norms;
  walls.forEach((wall, i) => {
    const side = i ? 1 : -1;
    const corner = (/** @type {number} */ scale, /** @type {number} */ up) =>
      `${at.x + side * at.half * scale},${Math.max(area.narrow ? HEAD_NARROW : HEAD, at.y + up * at.rise * scale)}`;
    wall.setAttribute("points", [corner(far, -1), corner(near, -1), corner(near, 1), corner(far, 1)].join(" "));
    const x = at.x + side * at.half * near;
    const y = Math.min(at.y + at.rise * near + 8, area.words - 22);
    const values = { n: count(layers * heads) };
    const many = layers * heads > 0 && !area.narrow;
    const short = area.width < 360; // two words meet in the middle of a narrow hall
    const words = short
      ? i
        ? t("values")
        : t("keys")
      : i
        ? many
          ? t("one token's values: {n} vectors", values)
          : t("one token's values")
        : many
          ? t("one token's keys: {n} vectors", values)
          : t("one token's keys");
    put(signs[i], words, `translate(${x}px, ${y}px) translateX(${i ? "-100%" : "0"})`);
  });
  const read = Math.min(numTokens, state.request.numPromptTokens);
  const written = numTokens - read;
  const [prompt, answer] = area.narrow
    ? [t("prompt {n}", { n: count(read) }), t("answer {n}", { n: count(written) })]
    : [t("prompt, {n} tokens", { n: count(read) }), t("answer, {n} tokens", { n: count(written) })];
  floorSign(parts[0], prompt, at, read / 2, read > 0);
  // Where most of the answer is in sight: nearer than its middle.
  floorSign(parts[1], answer, at, read + 0.72 * written, written > 2);
}

/** Beside the dots, on the left. @param {HTMLElement} sign @param {string} words @param {Camera} at @param {number} place @param {boolean} shown */
function floorSign(sign, words, at, place, shown) {
  const scale = scaleAt(at, place);
  sign.hidden = !shown || scale === 0;
  if (sign.hidden) return;
  put(sign, words, `translate(${at.x - 14}px, ${at.y + at.rise * scale}px) translate(-100%, -50%)`);
}
