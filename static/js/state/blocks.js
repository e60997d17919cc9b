// The pool and the block tables.

import { isOwn, nameOf } from "../log/whose.js";
import { otherOf } from "./requests.js";

/** @typedef {import("./types.d.ts").State} State */

/**
 * The block table of a sequence, ours or another's.
 * @param {State} state
 * @param {import("../log/whose.js").Named} named
 */
const tableOf = (state, named) => (isOwn(state, named) ? state.cache.blockTable : otherOf(state, named).blockTable);

/** Where each block came to lie in our own table: `lastTable` is what that was, so no search goes through it. @type {WeakMap<State["cache"], Map<number, number>>} */
const places = new WeakMap();

/** @param {State["cache"]} cache */
function placesOf(cache) {
  let known = places.get(cache);
  if (!known) {
    known = new Map();
    places.set(cache, known);
  }
  return known;
}

/**
 * @param {State} state
 * @param {import("../log/whose.js").Named} named
 * @param {number[]} blockIds
 * @param {number} start
 */
function enter(state, named, blockIds, start) {
  const table = tableOf(state, named);
  const name = nameOf(named);
  const own = isOwn(state, named) ? placesOf(state.cache) : null;
  blockIds.forEach((id, i) => {
    table[start + i] = id;
    own?.set(id, start + i);
    state.pool.owners.set(id, name);
    state.pool.cached.delete(id);
  });
}

/** What this run left in a block is written over. @param {State} state @param {number} id */
function overwrite({ cache }, id) {
  const { lastTable } = cache;
  if (!lastTable.length) return;
  const index = placesOf(cache).get(id);
  if (index !== undefined && lastTable[index] === id) lastTable[index] = -1;
}

/** @param {State} state @param {import("../types/events.d.ts").BlockAllocated} event */
export function onAllocated(state, event) {
  // Before they have their new places.
  for (const id of event.block_ids) overwrite(state, id);
  enter(state, event, event.block_ids, event.start);
  for (const id of event.block_ids) state.pool.refCounts.set(id, 1);
}

/** @param {State} state @param {import("../types/events.d.ts").BlockShared} event */
export function onShared(state, event) {
  enter(state, event, event.block_ids, event.start);
  event.block_ids.forEach((id, i) => {
    state.pool.refCounts.set(id, event.ref_counts[i]);
  });
  if (isOwn(state, event)) state.cache.sharedCount += event.block_ids.length;
}

/** @param {State} state @param {import("../types/events.d.ts").BlockCopied} event */
export function onCopied(state, event) {
  const { refCounts } = state.pool;
  refCounts.set(event.source_block_id, Math.max(0, (refCounts.get(event.source_block_id) ?? 1) - 1));
  const { source_block_id: source, block_id: id, index, t } = event;
  overwrite(state, id);
  enter(state, event, [id], index);
  refCounts.set(id, 1);
  state.pool.copies.push({ source, id, index, owner: nameOf(event), t });
}

/** @param {State} state @param {import("../types/events.d.ts").BlockReleased} event */
export function onReleased(state, event) {
  const { refCounts, cached, owners } = state.pool;
  const gone = new Set(event.block_ids);
  state.pool.losing = null;
  event.block_ids.forEach((id, i) => {
    const count = event.ref_counts[i];
    refCounts.set(id, count);
    if (count > 0) return;
    owners.delete(id);
    if (event.cached[i]) cached.add(id);
    else refCounts.delete(id);
  });
  const table = tableOf(state, event);
  const kept = without(table, gone);
  if (isOwn(state, event)) {
    state.cache.lastTable = table;
    state.cache.blockTable = kept;
    // Where some went from the middle, those behind them moved up.
    if (kept.at(-1) !== table[kept.length - 1]) for (const [i, id] of kept.entries()) placesOf(state.cache).set(id, i);
  } else otherOf(state, event).blockTable = kept;
}

/**
 * Another table, of what is left. The blocks that go are the last ones, or all: only of others is the table searched.
 * @param {number[]} table
 * @param {Set<number>} gone
 */
function without(table, gone) {
  let length = table.length;
  while (length > 0 && gone.has(table[length - 1])) length -= 1;
  if (table.length - length >= gone.size) return table.slice(0, length);
  return table.filter((id) => !gone.has(id));
}

/** @param {State} state @param {import("../types/events.d.ts").BlockEvicted} event */
export function onEvicted(state, event) {
  state.pool.cached.delete(event.block_id);
  state.pool.refCounts.delete(event.block_id);
  overwrite(state, event.block_id);
  state.pool.evictions.push({ id: event.block_id, t: event.t });
}
