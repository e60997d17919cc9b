// The log's own events: opened, snapshot, closed.

import { nameOf } from "../log/whose.js";

/** @typedef {import("./types.d.ts").State} State */

/** @param {State} state @param {import("../types/events.d.ts").LogOpened} event */
export function onOpened(state, event) {
  state.opened = event;
  state.ownId = event.run_id;
  state.pool.numBlocks = event.engine?.num_blocks ?? 0;
  const { norms } = state.cache;
  norms.layers = event.model?.num_layers ?? 0;
  norms.heads = event.model?.num_kv_heads ?? 0;
  norms.log = event;
}

/** @param {State} state @param {import("../types/events.d.ts").Snapshot} event */
export function onSnapshot(state, event) {
  state.snapshot = event;
  state.pool.numBlocks = event.num_blocks;
  for (const id of event.cached_block_ids) {
    state.pool.cached.add(id);
    state.pool.refCounts.set(id, 0);
  }
  for (const request of event.requests) {
    state.others.set(nameOf(request), {
      slot: request.slot,
      status: request.slot === null ? "queued" : "admitted",
      numTokens: request.num_tokens,
      numComputedTokens: request.num_computed_tokens,
      numPreemptions: 0,
      blockTable: [...request.block_ids],
    });
    for (const id of request.block_ids) {
      state.pool.refCounts.set(id, (state.pool.refCounts.get(id) ?? 0) + 1);
      state.pool.owners.set(id, nameOf(request));
    }
  }
}

/** @param {State} state @param {import("../types/events.d.ts").LogClosed} event */
export function onClosed(state, event) {
  state.closed = event;
}
