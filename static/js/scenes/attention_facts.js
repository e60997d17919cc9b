// The numbers that the prose of the room says: of the newest token at the playhead and the head with the sharpest look,
// whatever the reader lights in the picture.

import {
  argmax,
  chosenFor,
  enough,
  lookOf,
  nearestTo,
  placesSeen,
  positionsOf,
  rowOf,
  sharesOf,
  sourceOf,
  summaryNear,
} from "../state/attention.js";
import { measured, modelled, set } from "../state/fact.js";
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
    places: placesSeen(look.sources[0]?.opened?.model, head?.layer ?? 0, position),
    source: sourceOf(look, position, head),
    target: wordOf(look.tokens[target]),
    share: row[target],
    most: enough(row, 0.9),
  };
}

/** The log that the look of the first steps was read from. @param {State} state @param {Runs} runs */
const sharpSource = (state, runs) => sharpLook(state, runs)?.source;

/** The log that the summary was read from. @param {State} state @param {Runs} runs */
function summarySource(state, runs) {
  const { look, wanted } = wantedIn(state, runs);
  const summary = summaryNear(look, wanted);
  return look.sources.find(({ probes }) => summary && probes.summaries.get(summary.position) === summary);
}

/** Scores of a head in a layer that sees everything; where every layer has a window, in one of those. @param {State} state */
function scores({ cache: { numTokens: n }, opened }) {
  const { num_layers: layers = 0, num_sliding_layers: sliding = 0, sliding_window: window } = opened?.model ?? {};
  const beyond = window && sliding > 0 && sliding === layers ? Math.max(0, n - window) : 0;
  return (n * (n + 1) - beyond * (beyond + 1)) / 2 || null;
}

/** @param {State} state */
const cardOf = ({ opened }) => opened?.model;

/** Layers that look back over a window only. @param {State} state */
const windowed = (state) => (cardOf(state)?.sliding_window && cardOf(state)?.num_sliding_layers) || null;

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
  "attention.word": measured((s, runs) => sharpLook(s, runs)?.word, words, WEIGHTS, sharpSource),
  "attention.places": measured((s, runs) => sharpLook(s, runs)?.places, count, WEIGHTS, sharpSource),
  "attention.target": measured((s, runs) => sharpLook(s, runs)?.target, words, WEIGHTS, sharpSource),
  "attention.share": measured((s, runs) => sharpLook(s, runs)?.share, percent, WEIGHTS, sharpSource),
  "attention.most": measured((s, runs) => sharpLook(s, runs)?.most, count, WEIGHTS, sharpSource),
  "attention.heads": modelled(
    ({ opened }) => (opened?.model ? opened.model.num_layers * opened.model.num_heads : null),
    count,
    CARD,
  ),
  "attention.headDim": modelled(({ opened }) => opened?.model?.head_dim, count, CARD),
  "attention.firstHeads": measured((s, runs) => tally(s, runs)?.first, count, SUMMARY, summarySource),
  "attention.nearHeads": measured((s, runs) => tally(s, runs)?.near, count, SUMMARY, summarySource),
  "attention.betweenHeads": measured((s, runs) => tally(s, runs)?.between, count, SUMMARY, summarySource),
  "attention.firstMean": measured((s, runs) => tally(s, runs)?.mean, percent, SUMMARY, summarySource),
  "attention.firstValue": measured(
    (s) => firstAgainstRow(s, "values"),
    times,
    "lengths of values, against the middle of their rows",
  ),
  "attention.looks": modelled(
    scores,
    count,
    "places × (places + 1) / 2: each looks at all before it and at itself; where all layers have a window, less those beyond it",
  ),
  "attention.window": set((s) => (windowed(s) ? cardOf(s)?.sliding_window : null), count, CARD),
  "attention.windowLayers": set(windowed, count, CARD),
  "attention.unbounded": set((s) => (!cardOf(s) || windowed(s) === cardOf(s)?.num_layers ? null : 1), count, CARD),
  "attention.sinks": set((s) => (cardOf(s)?.attention_sinks ? 1 : null), count, CARD),
  "attention.whole": set((s) => (cardOf(s)?.attention_sinks ? null : 1), count, CARD),
};
