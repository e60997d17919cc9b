// The numbers in the prose of room 11.

import { measured, modelled } from "../state/fact.js";
import { bytes, count, percent, significant } from "../state/format.js";
import { compare, drafted, numWalks, numWritten } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { costs } from "./speculation_bill.js";
import { roundOf } from "./speculation_cards.js";
import { drafterBytes, speedBeside } from "./speculation_lanes.js";
import { fetched } from "./speculation_walks.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/fact.js").Runs} Runs */

/** A take as it ended, or as far as it is. @param {Runs} runs @param {string} key @returns {State | null} */
const take = (runs, key) => runs.ended(key) ?? runs.at[key] ?? null;

/** @param {Runs} runs @param {string} key */
function speed(runs, key) {
  const state = take(runs, key);
  return state && speedBeside(state, take(runs, "standard"));
}

/** @param {Runs} runs @param {string} key */
function kept(runs, key) {
  const sums = drafted(take(runs, key)?.speculation ?? []);
  return sums.judged ? sums.kept / sums.judged : null;
}

/** @param {Runs} runs */
const bill = (runs) => costs(take(runs, "standard"), take(runs, "speculative"));

/** What a pass that tastes takes, where it is less than a plain one. @param {Runs} runs */
function narrow(runs) {
  const tasting = bill(runs)?.tasting;
  return tasting && tasting < 1 ? tasting : null;
}

/** @param {Runs} runs */
function equal(runs) {
  const [alone, beside] = [take(runs, "standard-fp32"), take(runs, "speculative-fp32")];
  if (!alone?.tokens.length || !beside?.tokens.length) return null;
  const { common, lengths } = compare(alone, beside);
  return t("{common} of {all}", { common: count(common), all: count(Math.max(...lengths)) });
}

/** @param {number} value */
const times = (value) => `${significant(value)} ×`;
/** @param {string} value */
const words = (value) => value;

const SAMPLED = "speculative-sampled";
const COUNTED = "passes of the model, counted in the log";
const BESIDE = "tokens a second, beside those of the run without an apprentice";
const KEPT = "guesses kept, of those that were tasted";
const MEDIAN = "medians, beside the median pass over one token";

/** @type {Record<string, import("../state/fact.js").Rule>} */
export const FACTS = {
  "speculation.own.walks": measured((_, { own }) => numWalks(own) || null, count, COUNTED),
  "speculation.own.tokens": measured((_, { own }) => numWritten(own) || null, count, "counted in the log"),
  "speculation.own.fetched": modelled(
    (_, { own }) => fetched(own) || null,
    bytes,
    "weights read, summed over the steps",
  ),
  "speculation.guesses": measured(
    (_, { at }) => (at[SAMPLED] && roundOf(at[SAMPLED])?.ids.length) ?? null,
    count,
    "of the row on stage",
    SAMPLED,
  ),
  "speculation.alone.walks": measured((_, runs) => walks(runs, "standard"), count, COUNTED, "standard"),
  "speculation.trained.walks": measured((_, runs) => walks(runs, "speculative"), count, COUNTED, "speculative"),
  "speculation.trained.speed": measured((_, runs) => speed(runs, "speculative"), times, BESIDE, "speculative"),
  "speculation.mismatched.speed": measured((_, runs) => speed(runs, "mismatched"), times, BESIDE, "mismatched"),
  "speculation.mismatched.kept": measured((_, runs) => kept(runs, "mismatched"), percent, KEPT, "mismatched"),
  "speculation.equal": measured((_, runs) => equal(runs), words, "compared id by id", "speculative-fp32"),
  "speculation.drafter.bytes": modelled(
    (_, runs) => {
      const state = take(runs, "speculative");
      return state && drafterBytes(state);
    },
    bytes,
    "weights and tables of the drafter, as loaded",
    "speculative",
  ),
  "speculation.wide": measured((_, runs) => bill(runs)?.tasting, times, MEDIAN, "speculative"),
  // A processor may be quicker with several rows than with one: then that has to be said.
  "speculation.narrow": measured((_, runs) => narrow(runs), times, MEDIAN, "speculative"),
  "speculation.drafting": measured((_, runs) => bill(runs)?.guessing, times, MEDIAN, "speculative"),
};

/** @param {Runs} runs @param {string} key */
function walks(runs, key) {
  const state = take(runs, key);
  return state && numWalks(state);
}
