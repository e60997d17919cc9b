// The hall in words: what is under the pointer, and its cells as rows.

import { visible } from "../stage/text.js";
import { normAt, quantile } from "../state/norms.js";
import { t } from "../ui/messages.js";

/** @typedef {import("../state/types.d.ts").State} State */

/** @param {State} state @param {number} place */
export const wordOf = (state, place) => visible(state.tokens[place]?.text ?? "");

/**
 * @param {{ which: "keys" | "values", place: number, height: number } | null} cell
 * @param {State} state
 * @returns {import("../stage/types.d.ts").Hit | null}
 */
export function wordsAt(cell, state) {
  const { norms } = state.cache;
  const rows = norms.layers * norms.heads;
  const token = cell && state.tokens[cell.place];
  if (!cell || !token || !rows) return null;
  const row = Math.min(rows - 1, Math.floor(cell.height * rows));
  const norm = normAt(norms, cell.which, row, cell.place);
  const values = {
    place: cell.place + 1,
    word: wordOf(state, cell.place),
    layer: Math.floor(row / norms.heads) + 1,
    head: (row % norms.heads) + 1,
    norm: Number.isNaN(norm) ? "" : norm.toPrecision(3),
  };
  if (cell.place >= state.cache.numTokens)
    return { text: t("Place {place}, “{word}”: not written yet.", values), seq: token.seq };
  if (Number.isNaN(norm) && cell.place >= state.request.cachedTokens)
    return { text: t("Place {place}, “{word}”: nobody measured its vectors.", values), seq: token.seq };
  if (Number.isNaN(norm))
    return {
      text: t("Place {place}, “{word}”: found in the cache, computed before this run.", values),
      seq: token.seq,
    };
  const text =
    cell.which === "keys"
      ? t("Place {place}, “{word}”: key of layer {layer}, head {head}, length {norm}.", values)
      : t("Place {place}, “{word}”: value of layer {layer}, head {head}, length {norm}.", values);
  return { text, seq: token.seq };
}

/**
 * The middle norm of a place over all rows. NaN where nobody measured.
 * @param {State} state
 * @param {"keys" | "values"} which
 * @param {number} place
 */
function middle(state, which, place) {
  const { norms } = state.cache;
  const rows = Array.from({ length: norms.layers * norms.heads }, (_, row) => normAt(norms, which, row, place));
  return quantile(
    rows.filter((norm) => !Number.isNaN(norm)).sort((a, b) => a - b),
    0.5,
  );
}

/** @type {WeakMap<import("../state/types.d.ts").Norms, Map<string, number>>} beside the state, since it follows from it */
const ratios = new WeakMap();

/**
 * How the first place compares with its row: the middle over all rows of (its norm / the row's middle norm).
 * @param {State} state
 * @param {"keys" | "values"} which
 */
export function firstAgainstRow({ cache: { norms } }, which) {
  const known = ratios.get(norms) ?? new Map();
  ratios.set(norms, known);
  const key = `${which}:${norms.length}:${norms.revision}`;
  if (!known.has(key)) known.set(key, measureFirst(norms, which));
  return known.get(key) ?? Number.NaN;
}

/**
 * @param {import("../state/types.d.ts").Norms} norms
 * @param {"keys" | "values"} which
 */
function measureFirst(norms, which) {
  const found = [];
  for (let row = 0; row < norms.layers * norms.heads; row++) {
    const from = row * norms.capacity;
    const line = norms[which]
      .subarray(from, from + norms.length)
      .filter((norm) => !Number.isNaN(norm))
      .sort();
    const ratio = normAt(norms, which, row, 0) / quantile(line, 0.5);
    if (Number.isFinite(ratio)) found.push(ratio);
  }
  return quantile(
    found.sort((a, b) => a - b),
    0.5,
  );
}

/**
 * @param {State} state
 * @returns {import("../stage/types.d.ts").Table}
 */
export function placeTable(state) {
  const { numTokens } = state.cache;
  /** @param {number} norm */
  const show = (norm) => (Number.isNaN(norm) ? t("not measured") : norm.toFixed(2));
  return {
    caption: t("The places of the hall: middle length over all layers and heads of their key and value vectors"),
    columns: [t("Place"), t("Token"), t("Kind"), t("Key length"), t("Value length")],
    rows: state.tokens.map((token, place) => [
      place + 1,
      visible(token.text),
      token.kind === "prompt" ? t("prompt") : t("generated"),
      place < numTokens ? show(middle(state, "keys", place)) : t("not written yet"),
      place < numTokens ? show(middle(state, "values", place)) : t("not written yet"),
    ]),
  };
}
