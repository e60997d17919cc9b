// The numbers that the prose of this room says.

import { measured, modelled, set } from "../state/fact.js";
import { bytes, count, percent } from "../state/format.js";
import { mostShared, preemptions, sequencesOf, tally, tellsBlocks } from "../state/paging.js";
import { emptyShare } from "./paging_words.js";

/** @typedef {import("../state/types.d.ts").State} State */

const CONFIGURED = "from the engine's configuration";
const COUNTED = "counted in the log of the take";
const EMPTY = "empty places over held places at this moment, counted from the block tables in the log of the take";

/**
 * Read a take as it ended, or so far while it is cooked.
 * @param {string} key
 * @param {(state: State) => number | null | undefined} read
 * @returns {import("../state/fact.js").Reading}
 */
const ofTake =
  (key, read) =>
  (_, { ended, at }) => {
    const state = ended(key) ?? at[key];
    return state && tellsBlocks(state) ? read(state) : null;
  };

/**
 * Empty places among the held ones of a take, where it stands.
 * @param {string} key
 * @returns {import("../state/fact.js").Reading}
 */
const emptyNow =
  (key) =>
  (_, { at }) => {
    const state = at[key];
    return state && tellsBlocks(state) && tally(state).places ? emptyShare(tally(state)) : null;
  };

/** Pages in the table of this run, also after it let go of them. @param {State} state */
const ownPages = (state) => (tellsBlocks(state) ? sequencesOf(state)[0].table.length : 0);

/** @param {State} state */
const pageBytes = ({ opened }) => (opened?.engine?.block_size ?? 0) * (opened?.model?.kv_bytes_per_token ?? 0) || null;

/** @param {State} state */
function lastEmpty(state) {
  const pages = ownPages(state);
  return pages ? pages * (state.opened?.engine?.block_size ?? 0) - state.cache.numTokens : null;
}

/** @type {Record<string, import("../state/fact.js").Rule>} */
export default {
  "paging.pages": measured((s) => ownPages(s) || null, count, "pages in this run's block table"),
  "paging.blockSize": set((s) => s.opened?.engine?.block_size, count, CONFIGURED),
  "paging.numBlocks": set((s) => s.opened?.engine?.num_blocks, count, CONFIGURED),
  "paging.pageBytes": modelled(pageBytes, bytes, "places of a page × bytes that one token's keys and values take"),
  "paging.lastEmpty": measured(lastEmpty, count, "places of the last page in which nothing stands"),
  "paging.slabWaste": measured(emptyNow("slab"), percent, EMPTY, "slab"),
  "paging.pagedWaste": measured(emptyNow("paged"), percent, EMPTY, "paged"),
  "paging.holders": measured(
    (_, { at: { paged } }) => (paged && tally(paged).shared ? mostShared(tally(paged)).holders : null),
    count,
    "block tables that name the page",
    "paged",
  ),
  "paging.copies": measured(
    ofTake("samples", (s) => s.pool.copies.length || null),
    count,
    COUNTED,
    "samples",
  ),
  "paging.evictions": measured(
    ofTake("starved", (s) => s.pool.evictions.length),
    count,
    COUNTED,
    "starved",
  ),
  "paging.preemptions": measured(ofTake("starved", preemptions), count, COUNTED, "starved"),
  "paging.starvedPool": set(
    ofTake("starved", (s) => s.opened?.engine?.num_blocks),
    count,
    CONFIGURED,
    "starved",
  ),
};
