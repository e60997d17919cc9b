// 05 kv-hall: the reader walks the hall. Keys on the left wall, values on the right, one texel a cell.

import { bytes, significant } from "../state/format.js";
import { t } from "../ui/messages.js";
import { cameraOf, cellAt, lengthAt, scaleAt, seats } from "./hall.js";
import { drawSlice, mountSlice } from "./hall_slice.js";
import { firstAgainstRow, placeTable, wordOf, wordsAt } from "./hall_words.js";
import { clamp, room, smooth } from "./room.js";
import { Walls } from "./walls.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./hall.js").Camera} Camera */
/** @typedef {{ walls: Walls, legend: HTMLElement, scale: HTMLElement, cached: HTMLElement, meter: HTMLElement, formula: HTMLElement, sign: HTMLElement, slice: import("./hall_slice.js").Slice, floors: HTMLElement[], firsts: HTMLElement[] }} Surfaces */

/** The playhead of the frame being drawn: `places` and `hit` must use the camera that `draw` used. */
let playhead = 0;

/** Signs along the near edge of the left wall. */
const NUM_FLOOR_SIGNS = 4;

/** A sign beside a dot: how far from its middle, how far from the edge of the picture, and half its height with air. */
const SIGN_ASIDE = 18;
const SIGN_EDGE = 10;
const SIGN_HEIGHT = 16;

/** Places in sight in front of the first one, at the end of the walk. */
const BEFORE_FIRST = 11;

/**
 * @param {HTMLElement} parent
 * @param {string} tag
 * @param {string} className
 */
function add(parent, tag, className) {
  const element = document.createElement(tag);
  element.className = className;
  parent.append(element);
  return element;
}

/** @param {HTMLElement} element @param {string} text */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {View} view */
const walkOf = (view) => clamp((view.data.walk ?? 0) * Number(view.controls.walk ?? 1));

/** @param {State} state @param {View} view */
const camera = (state, view) => cameraOf(room(view), lengthAt(state, playhead), walkOf(view), BEFORE_FIRST);

/**
 * The layer and head that are lit: the reader's choice, where the step lets them choose.
 * @param {State} state
 * @param {View} view
 */
function lookOf(state, view) {
  const { layers, heads } = state.cache.norms;
  const chosen = (view.data.focus ?? 0) > 0.5;
  /** @param {unknown} value @param {number} most */
  const pick = (value, most) => (chosen ? Math.min(most, Math.round(Number(value ?? 0))) - 1 : -1);
  return {
    focus: { layer: pick(view.controls.layer, layers), head: pick(view.controls.head, heads) },
    raw: view.controls.raw ? clamp(view.data.walk ?? 0) : 0,
    fog: 0.84,
    frame: smooth(0.85, 1, walkOf(view)),
  };
}

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount(layer) {
    const walls = new Walls(layer);
    const legend = add(layer, "div", "hall-legend");
    const keys = add(legend, "p", "hall-side");
    add(keys, "b", "").textContent = t("Keys");
    keys.append(` ${t("left wall")}`);
    const values = add(legend, "p", "hall-side");
    add(values, "b", "").textContent = t("Values");
    values.append(` ${t("right wall")}`);
    const scale = add(legend, "p", "hall-note");
    const reading = add(layer, "div", "hall-meter");
    write(add(reading, "p", "hall-note"), t("the hall weighs"));
    const meter = add(reading, "p", "hall-bytes");
    const formula = add(reading, "p", "hall-note");
    const slice = mountSlice(layer);
    const sign = add(layer, "p", "hall-sign");
    const floors = Array.from({ length: NUM_FLOOR_SIGNS }, () => add(layer, "p", "hall-floor-sign"));
    const firsts = ["keys", "values"].map((which) => add(layer, "p", `hall-first hall-first-${which}`));
    const cached = add(legend, "p", "hall-note hall-cached");
    return { walls, legend, scale, cached, meter, formula, sign, slice, floors, firsts };
  },

  places(state, view) {
    const { narrow, words } = room(view);
    return seats(camera(state, view), state.tokens.length, narrow ? 5 : 7, words);
  },

  draw(surfaces, [state], view, time) {
    playhead = view.reduced ? Number.POSITIVE_INFINITY : time;
    const at = camera(state, view);
    const look = lookOf(state, view);
    surfaces.walls.draw(state, view, at, look, time);
    const { left } = room(view);
    surfaces.legend.style.left = `${left}px`;
    const shared = t("brightness: length of the vector, one scale for all rows");
    const own = t("brightness: length of the vector, each row on its own scale");
    const told = state.opened?.provides.includes("probe.kv") && (!state.cache.numTokens || state.cache.norms.length);
    const unknown = t("dark walls: this run does not tell how long its vectors are");
    write(surfaces.scale, state.opened && !told ? unknown : look.raw > 0.5 ? shared : own);
    const { cachedTokens } = state.request;
    surfaces.cached.hidden = cachedTokens === 0;
    if (cachedTokens)
      write(
        surfaces.cached,
        t("teal: {count} places found in the cache, computed before this run", { count: cachedTokens }),
      );
    write(surfaces.meter, bytes(state.cache.bytes));
    write(
      surfaces.formula,
      t("{places} places × {each} each, modelled", {
        places: state.cache.numTokens,
        each: bytes(state.opened?.model?.kv_bytes_per_token ?? 0),
      }),
    );
    drawSign(surfaces.sign, state, room(view), at, walkOf(view));
    const plain = walkOf(view) < 0.03 && (view.data.focus ?? 0) < 0.5;
    drawSlice(surfaces.slice, state, room(view), at, plain);
    drawFloors(surfaces.floors, state, view, at, look.focus.layer);
    drawFirst(surfaces.firsts, state, at, walkOf(view));
  },

  hit: (x, y, state, view) => wordsAt(cellAt(camera(state, view), x, y), state),

  describe(state) {
    const { numTokens } = state.cache;
    const { cachedTokens, numPromptTokens } = state.request;
    const filled = Math.min(numTokens, numPromptTokens);
    if (!numTokens) return t("The hall is dark: nothing has been computed yet.");
    const values = {
      places: numTokens,
      found: cachedTokens,
      read: filled - cachedTokens,
      written: numTokens - filled,
      bytes: bytes(state.cache.bytes),
    };
    return cachedTokens
      ? t(
          "The hall holds {places} places, {found} teal found in the cache, {read} blue from the prompt and {written} gold from the answer: {bytes} of keys and values.",
          values,
        )
      : t(
          "The hall holds {places} places, {read} blue from the prompt and {written} gold from the answer: {bytes} of keys and values.",
          values,
        );
  },

  table: placeTable,
};

/**
 * The word that the reader stands before, to the right of its dot and within the picture.
 * @param {HTMLElement} sign
 * @param {State} state
 * @param {import("./room.js").Area} area
 * @param {Camera} at
 * @param {number} walk
 */
function drawSign(sign, state, area, at, walk) {
  const place = clamp(Math.floor(at.edge) - 1, 0, state.tokens.length - 1);
  const target = walk > 0.97 ? 0 : place;
  const token = state.tokens[target];
  sign.hidden = !token;
  if (!token) return;
  write(sign, t("place {place} “{word}”", { place: target + 1, word: wordOf(state, target) }));
  sign.dataset.kind = token.kind;
  const scale = scaleAt(at, target + 0.5);
  const y = Math.min(at.y + at.rise * scale, area.words - SIGN_HEIGHT);
  sign.style.maxWidth = `${area.left + area.width - SIGN_EDGE - at.x - SIGN_ASIDE}px`;
  sign.style.transform = `translate(${at.x + SIGN_ASIDE}px, ${y}px) translateY(-50%)`;
}

/**
 * Which layer is at which height, along the near edge of the left wall.
 * @param {HTMLElement[]} signs
 * @param {State} state
 * @param {View} view
 * @param {Camera} at
 * @param {number} chosen
 */
function drawFloors(signs, state, view, at, chosen) {
  const { layers } = state.cache.norms;
  const area = room(view);
  signs.forEach((sign, i) => {
    const layer = chosen >= 0 ? chosen : Math.round((i * (layers - 1)) / (signs.length - 1));
    const y = at.y + at.rise - (2 * at.rise * (layer + 0.5)) / Math.max(1, layers);
    const hidden =
      layers === 0 || (chosen >= 0 && i > 0) || y < 96 || y > area.height - 24 || (view.data.focus ?? 0) < 0.5;
    sign.hidden = hidden;
    if (hidden) return;
    write(sign, t("layer {layer}", { layer: layer + 1 }));
    sign.style.transform = `translate(${area.left + 14}px, ${y}px) translateY(-50%)`;
  });
}

/**
 * What is odd about the first place, on both walls, once the reader stands before it.
 * @param {HTMLElement[]} signs keys, values
 * @param {State} state
 * @param {Camera} at
 * @param {number} walk
 */
function drawFirst(signs, state, at, walk) {
  /** @type {const} */ (["keys", "values"]).forEach((which, wall) => {
    const sign = signs[wall];
    const ratio = walk > 0.97 && state.cache.numTokens > 1 ? firstAgainstRow(state, which) : Number.NaN;
    sign.hidden = Number.isNaN(ratio);
    if (sign.hidden) return;
    const values = { ratio: significant(ratio) };
    write(sign, which === "keys" ? t("keys {ratio}×", values) : t("values {ratio}×", values));
    // Beside the far edge of the wall, where the first place is.
    const x = at.x + (wall ? 1 : -1) * at.half * scaleAt(at, 0.5);
    sign.style.transform = `translate(${x}px, ${at.y - 30}px) translate(${wall ? "calc(-100% - 10px)" : "10px"}, -50%)`;
  });
}
