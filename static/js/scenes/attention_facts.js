// The numbers that the prose of the room says: of the newest token at the playhead and the head with the sharpest look,
// whatever the reader lights in the picture.

import {
  argmax,
  chosenFor,
  enough,
  lookOf,
  nearestTo,
  positionsOf,
  rowOf,
  sharesOf,
  summaryNear,
} from "../state/attention.js";
import { measured, modelled } from "../state/fact.js";
import { count, percent, significant } from "../state/format.js";
import { wordOn } from "./attention_page.js";
import { firstAgainstRow } from "./hall_words.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/fact.js").Runs} Runs */

const WEIGHTS = "attention weights, from a probe of these token ids";
const SUMMARY = "where each head looks, from a probe of these token ids";
const CARD = "from the model's own configuration";

/** @param {State} state @param {Runs} runs */
const lookFrom = (state, { at }) => lookOf(state, [at.attention, at.gaze]);

/** @param {State} state @param {Runs} runs */
function wantedIn(state, runs) {
  const look = lookFrom(state, runs);
  return { look, wanted: look.tokens.length - 1 };
}

/**
 * The look that the first steps are about.
 * @param {State} state
 * @param {Runs} runs
 */
function sharpLook(state, runs) {
  const { look, wanted } = wantedIn(state, runs);
  const head = chosenFor(look, wanted);
  const position = head ? nearestTo(positionsOf(look, head), wanted) : -1;
  const row = head && position >= 0 ? rowOf(look, position, head) : null;
  if (!row) return null;
  const target = argmax(row);
  return {
    word: wordOf(look.tokens[position]),
    places: row.length,
    target: wordOf(look.tokens[target]),
    share: row[target],
    most: enough(row, 0.9),
  };
}

/** @param {import("../state/types.d.ts").Token} token */
const wordOf = (token) => `“${wordOn(token).word}”`;

/**
 * How many heads look mostly at the first token, at the last few, or between.
 * @param {State} state
 * @param {Runs} runs
 */
function tally(state, runs) {
  const { look, wanted } = wantedIn(state, runs);
  const summary = summaryNear(look, wanted);
  if (!summary) return null;
  const [layers, heads] = summary.first.shape;
  const found = { first: 0, near: 0, between: 0, mean: 0 };
  for (let layer = 0; layer < layers; layer++)
    for (let head = 0; head < heads; head++) {
      const shares = sharesOf(summary, { layer, head });
      found.mean += shares.first / (layers * heads);
      for (const where of /** @type {const} */ (["first", "near", "between"]))
        if (shares[where] > 0.5) found[where] += 1;
    }
  return found;
}

/** @param {string} text */
const words = (text) => text;
/** @param {number} ratio */
const times = (ratio) => `${significant(ratio)}×`;

/** @type {Record<string, import("../state/fact.js").Rule>} */
export const facts = {
  "attention.word": measured((s, runs) => sharpLook(s, runs)?.word, words, WEIGHTS, "attention"),
  "attention.places": measured((s, runs) => sharpLook(s, runs)?.places, count, WEIGHTS, "attention"),
  "attention.target": measured((s, runs) => sharpLook(s, runs)?.target, words, WEIGHTS, "attention"),
  "attention.share": measured((s, runs) => sharpLook(s, runs)?.share, percent, WEIGHTS, "attention"),
  "attention.most": measured((s, runs) => sharpLook(s, runs)?.most, count, WEIGHTS, "attention"),
  "attention.heads": modelled(
    ({ opened }) => (opened?.model ? opened.model.num_layers * opened.model.num_heads : null),
    count,
    CARD,
  ),
  "attention.headDim": modelled(({ opened }) => opened?.model?.head_dim, count, CARD),
  "attention.firstHeads": measured((s, runs) => tally(s, runs)?.first, count, SUMMARY, "attention"),
  "attention.nearHeads": measured((s, runs) => tally(s, runs)?.near, count, SUMMARY, "attention"),
  "attention.betweenHeads": measured((s, runs) => tally(s, runs)?.between, count, SUMMARY, "attention"),
  "attention.firstMean": measured((s, runs) => tally(s, runs)?.mean, percent, SUMMARY, "attention"),
  "attention.firstValue": measured(
    (s) => firstAgainstRow(s, "values"),
    times,
    "lengths of values, against the middle of their rows",
  ),
  "attention.looks": modelled(
    ({ cache }) => (cache.numTokens * (cache.numTokens + 1)) / 2 || null,
    count,
    "places × (places + 1) / 2: each looks at all before it and at itself",
  ),
};
