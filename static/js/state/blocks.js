// The pool and the block tables.

import { otherOf } from "./requests.js";

/** @typedef {import("./types.d.ts").State} State */

/**
 * The block table of a request, ours or somebody else's.
 * @param {State} state
 * @param {string} id
 */
const tableOf = (state, id) => (id === state.ownId ? state.cache.blockTable : otherOf(state, id).blockTable);

/**
 * @param {State} state
 * @param {string} requestId
 * @param {number[]} blockIds
 * @param {number} start
 */
function enter(state, requestId, blockIds, start) {
  const table = tableOf(state, requestId);
  blockIds.forEach((id, i) => {
    table[start + i] = id;
    state.pool.owners.set(id, requestId);
    state.pool.cached.delete(id);
  });
}

/** @param {State} state @param {import("../types/events.d.ts").BlockAllocated} event */
export function onAllocated(state, event) {
  enter(state, event.request_id, event.block_ids, event.start);
  for (const id of event.block_ids) state.pool.refCounts.set(id, 1);
}

/** @param {State} state @param {import("../types/events.d.ts").BlockShared} event */
export function onShared(state, event) {
  enter(state, event.request_id, event.block_ids, event.start);
  event.block_ids.forEach((id, i) => {
    state.pool.refCounts.set(id, event.ref_counts[i]);
  });
  if (event.request_id === state.ownId) state.cache.sharedCount += event.block_ids.length;
}

/** @param {State} state @param {import("../types/events.d.ts").BlockCopied} event */
export function onCopied(state, event) {
  const { refCounts } = state.pool;
  refCounts.set(event.source_block_id, Math.max(0, (refCounts.get(event.source_block_id) ?? 1) - 1));
  enter(state, event.request_id, [event.block_id], event.index);
  refCounts.set(event.block_id, 1);
}

/** @param {State} state @param {import("../types/events.d.ts").BlockReleased} event */
export function onReleased(state, event) {
  const { refCounts, cached, owners } = state.pool;
  const gone = new Set(event.block_ids);
  event.block_ids.forEach((id, i) => {
    const count = event.ref_counts[i];
    refCounts.set(id, count);
    if (count > 0) return;
    owners.delete(id);
    if (event.cached[i]) cached.add(id);
    else refCounts.delete(id);
  });
  const kept = tableOf(state, event.request_id).filter((id) => !gone.has(id));
  if (event.request_id === state.ownId) state.cache.blockTable = kept;
  else otherOf(state, event.request_id).blockTable = kept;
}

/** @param {State} state @param {import("../types/events.d.ts").BlockEvicted} event */
export function onEvicted(state, event) {
  state.pool.cached.delete(event.block_id);
  state.pool.refCounts.delete(event.block_id);
}
