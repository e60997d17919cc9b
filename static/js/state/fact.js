// What a number in the prose is made of: a rule that reads it from the run, and where it comes from.
//
// `measured` and `set` become `recorded` when the log was made elsewhere. `set` was decided before the run began, by who
// asked or by who set the engine up: the log's first event says it. `modelled` follows from shapes (the events' own FLOPs
// and bytes are counted by inference/costs.py, never here).

import { fileOf } from "../log/from_file.js";
import { t } from "../ui/messages.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {"measured" | "modelled" | "set" | "recorded"} Provenance */
/** @typedef {{ value: number | string, text: string, provenance: Provenance, source: string }} Fact */

/**
 * The runs that a number may be about: the reader's own, and the takes of it by their keys; where the playhead stands in
 * each, and (`ended`) as they ended. A take that is not there, or has not ended, is undefined.
 * @typedef {{ own: State, at: Record<string, State | undefined>, ended: (key: string) => State | undefined }} Runs
 */

/** @typedef {(state: State, runs: Runs) => number | string | null | undefined} Reading */
/** @typedef {string | ((own: State, runs: Runs) => State | null | undefined)} Whose the log that a number is read from, where it is a take's: its key, or the state itself */
/** @typedef {{ kind: "measured" | "modelled" | "set", says: string, of: Reading, text: (value: any) => string, take?: Whose }} Rule */

/** @param {Reading} of @param {Rule["text"]} text @param {string} says @param {Whose} [take] @returns {Rule} */
export const measured = (of, text, says, take) => ({ kind: "measured", of, text, says, take });
/** @param {Reading} of @param {Rule["text"]} text @param {string} says @param {Whose} [take] @returns {Rule} */
export const set = (of, text, says, take) => ({ kind: "set", of, text, says, take });
/** @param {Reading} of @param {Rule["text"]} text @param {string} says @param {Whose} [take] @returns {Rule} */
export const modelled = (of, text, says, take) => ({ kind: "modelled", of, text, says, take });

/** @type {Map<number, string>} */
const days = new Map();

/** @param {number} unixSeconds */
function day(unixSeconds) {
  const known = days.get(unixSeconds) ?? new Date(unixSeconds * 1000).toISOString().slice(0, 10);
  days.set(unixSeconds, known);
  return known;
}

/** The log that a rule reads. @param {Rule} rule @param {State} own @param {Runs} runs */
function logOf({ take }, own, runs) {
  const state = typeof take === "function" ? take(own, runs) : take ? (runs.ended(take) ?? runs.at[take]) : null;
  return state ?? own;
}

/** @param {State} state */
const alone = (state) => ({ own: state, at: {}, ended: () => undefined });

/**
 * @param {Rule | undefined} rule
 * @param {State} state of the run on stage
 * @param {Runs} [runs]
 * @returns {Fact | null} null where the run has not said it (or nobody knows such a key)
 */
export function factOf(rule, state, runs = alone(state)) {
  const value = rule?.of(state, runs) ?? null;
  if (!rule || value === null || Number.isNaN(value)) return null;
  const { opened } = logOf(rule, state, runs);
  const elsewhere = opened?.source === "recorded" && rule.kind !== "modelled";
  const where = elsewhere ? ` · ${opened.hardware?.name ?? "another machine"}, ${day(opened.opened_at)}` : "";
  const name = fileOf(opened);
  const file = name === null ? "" : ` · ${t("opened from a file: {name}", { name })}`;
  return {
    value,
    text: rule.text(value),
    provenance: elsewhere ? "recorded" : rule.kind,
    source: `${rule.says}${where}${file}`,
  };
}
