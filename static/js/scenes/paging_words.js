// The pool in words: a sentence, a table, and what is under the pointer.

import { count, percent, significant } from "../state/format.js";
import { isSlab, lengthsOf, mostShared, preemptions, tally, tellsBlocks, wanted, wasteOver } from "../state/paging.js";
import { t } from "../ui/messages.js";
import { chosenPool, chosenSize, emptyEach } from "./paging_charts.js";
import { nameOf } from "./paging_pool.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/paging.js").Tally} Tally */

/** What a room without facts says. @param {State} state */
export function missing(state) {
  if (!state.opened) return t("No run is on stage yet.");
  if (!state.opened.engine) return t("This run never reached an engine: it holds no pages.");
  return t("This engine does not say where its pages lie.");
}

/** Empty places among the held ones, as a share. @param {Tally} counted */
export const emptyShare = ({ unused, places }) => (places ? unused / places : 0);

/**
 * @param {State} state
 * @param {View | undefined} view
 * @param {(State | null)[]} states
 */
export function describe(state, view, states) {
  if (!tellsBlocks(state)) return missing(state);
  const counted = tally(state);
  const own = counted.sequences[0];
  const values = {
    own: count(own.held ? own.table.length : 0),
    total: count(counted.total),
    size: count(counted.blockSize),
    held: count(counted.held),
    kept: count(counted.kept),
    free: count(counted.free),
    unused: count(counted.unused),
    places: count(counted.places),
  };
  const all = isSlab(state)
    ? t(
        "In slabs: this run holds {own} of {total} pages of {size} tokens; {held} are held in all, and {unused} of their {places} places are empty.",
        values,
      )
    : t(
        "This run holds {own} of {total} pages of {size} tokens; {held} are held in all, {kept} kept for later, {free} free, and {unused} of the {places} held places are empty.",
        values,
      );
  return [all, ...news(state, counted), ...asked(counted, view, states)].join(" ");
}

/** What has happened so far beside holding. @param {State} state @param {Tally} counted */
function news(state, counted) {
  const said = [];
  const { holders } = mostShared(counted);
  if (counted.shared)
    said.push(
      t("Shared pages: {shared}, the most shared by {holders}.", {
        shared: count(counted.shared),
        holders: count(holders),
      }),
    );
  if (state.pool.copies.length) said.push(t("Copies at a first write: {n}.", { n: count(state.pool.copies.length) }));
  if (state.pool.evictions.length) said.push(t("Evictions: {n}.", { n: count(state.pool.evictions.length) }));
  const times = preemptions(state);
  if (times) said.push(t("Preemptions: {n}.", { n: count(times) }));
  return said;
}

/** What the step's own picture shows. @param {Tally} counted @param {View | undefined} view @param {(State | null)[]} states */
function asked(counted, view, states) {
  /** @type {string[]} */
  const said = [];
  if (!view) return said;
  if ((view.data.split ?? 0) > 0.5) {
    const other = states[1] && tellsBlocks(states[1]) ? tally(states[1]) : null;
    if (other)
      said.push(
        t("In slabs the same requests hold {held} pages, {unused} of {places} places empty.", {
          held: count(other.held),
          unused: count(other.unused),
          places: count(other.places),
        }),
      );
    const size = chosenSize(view, counted.blockSize);
    if (other)
      said.push(
        t("With {size} tokens a page {each} places a guest would be empty.", {
          size: count(size),
          each: significant(emptyEach(lengthsOf(counted), size)),
        }),
      );
  }
  if ((view.data.demand ?? 0) > 0.5) {
    const pool = chosenPool(view, counted.total);
    said.push(
      t("{need} pages are wanted at once; a pool of {pool} would be {short} short.", {
        need: count(wanted(counted)),
        pool: count(pool),
        short: count(Math.max(0, wanted(counted) - pool)),
      }),
    );
  }
  return said;
}

/** Their status, for the table. @param {string} status */
function standing(status) {
  /** @type {Record<string, string>} */
  const words = {
    queued: t("in line"),
    admitted: t("running"),
    preempted: t("preempted"),
    finished: t("ended"),
    none: "—",
  };
  return words[status] ?? status;
}

/** @param {State} state @returns {import("../stage/types.d.ts").Table} */
export function pageTable(state) {
  const columns = [
    t("Request"),
    t("Status"),
    t("Tokens stored"),
    t("Pages"),
    t("Empty places"),
    t("Its pages in order"),
  ];
  if (!tellsBlocks(state)) return { caption: missing(state), columns, rows: [] };
  const counted = tally(state);
  const several = counted.sequences.some(({ sample }) => sample > 0);
  const waste = wasteOver(state);
  const caption =
    waste === null
      ? t("Block tables at this moment")
      : t("Block tables at this moment; over all steps so far {share} of what was held was empty", {
          share: percent(waste),
        });
  return {
    caption,
    columns,
    rows: counted.sequences.map((sequence) => {
      const table = sequence.held ? sequence.table : [];
      const stored = table.length ? sequence.numComputed : 0;
      return [
        nameOf(sequence, several),
        standing(sequence.status),
        stored,
        table.length,
        table.length * counted.blockSize - stored,
        table.join(" "),
      ];
    }),
  };
}

/**
 * A page under the pointer.
 * @param {State} state
 * @param {Tally} counted
 * @param {number} id
 * @returns {import("../stage/types.d.ts").Hit | null}
 */
export function pageWords(state, counted, id) {
  const page = counted.pages.get(id);
  if (!page) {
    const kept = state.pool.cached.has(id);
    return {
      text: kept ? t("Page {id}: held by nobody, kept for what is in it.", { id }) : t("Page {id}: free.", { id }),
      seq: null,
    };
  }
  const several = counted.sequences.some(({ sample }) => sample > 0);
  const names = page.holders.map((holder) => nameOf(counted.sequences[holder], several));
  const from = page.index * counted.blockSize;
  const values = { id, who: names.join(", "), filled: page.filled, size: counted.blockSize, place: page.index + 1 };
  const where = t("Page {id}: number {place} of {who}, {filled} of {size} places filled.", values);
  if (!page.holders.includes(0)) return { text: where, seq: null };
  const words = state.tokens
    .slice(from, from + page.filled)
    .map(({ text }) => text)
    .join("")
    .trim();
  return { text: words ? `${where} “${words}”` : where, seq: state.tokens[from]?.seq ?? null };
}
