// A request's life: this run's own in full, the others' as slots and lengths.

import { isOwn, nameOf } from "../log/whose.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Other} Other */

/**
 * The entry of another sequence, made on first sight.
 * @param {State} state
 * @param {import("../log/whose.js").Named} named
 * @returns {Other}
 */
export function otherOf(state, named) {
  const id = nameOf(named);
  let other = state.others.get(id);
  if (!other) {
    other = { slot: null, status: "queued", numTokens: 0, numComputedTokens: 0, numPreemptions: 0, blockTable: [] };
    state.others.set(id, other);
  }
  return other;
}

/** @param {State} state @param {import("../types/events.d.ts").RequestQueued} event */
export function onQueued(state, event) {
  if (!isOwn(state, event)) {
    otherOf(state, event).status = "queued";
    return;
  }
  const { request } = state;
  if (request.status === "none") request.status = "queued";
  request.queuedAt ??= event.t;
  request.position = event.position;
  request.numWaiting = event.num_waiting;
}

/**
 * Which places lie in any of the pairs, in one walk over both.
 * @param {[number, number][]} pairs `[start, stop)`, in any order
 * @param {number} length
 */
function insideOf(pairs, length) {
  // How many more begin at a place than end there.
  const turns = new Int32Array(length + 1);
  for (const [start, stop] of pairs) {
    if (start >= stop || start >= length) continue;
    turns[start] += 1;
    turns[Math.min(stop, length)] -= 1;
  }
  let open = 0;
  return Array.from({ length }, (_, position) => {
    open += turns[position];
    return open > 0;
  });
}

/** @param {State} state @param {import("../types/events.d.ts").RequestTokenized} event */
export function onTokenized(state, event) {
  if (!isOwn(state, event)) return;
  state.request.tokenizedAt = event.t;
  state.request.tokenizeSeconds = event.seconds;
  state.request.numPromptTokens = event.token_ids.length;
  const own = insideOf(event.own, event.token_ids.length);
  state.tokens = event.token_ids.map((id, position) => {
    const text = event.pieces[position] ?? "";
    return {
      position,
      id,
      text,
      kind: "prompt",
      own: own[position],
      special: /^<\|.*\|>$/.test(text),
      t: event.t,
      seq: event.seq,
      step: null,
      logprob: null,
      probability: null,
      candidates: [],
      rest: 0,
      origin: null,
    };
  });
}

/** @param {State} state @param {import("../types/events.d.ts").RequestAdmitted} event */
export function onAdmitted(state, event) {
  if (!isOwn(state, event)) {
    const other = otherOf(state, event);
    other.status = "admitted";
    other.slot = event.slot;
    other.numTokens = event.num_tokens;
    other.numComputedTokens = event.cached_tokens;
    return;
  }
  const { request } = state;
  request.status = "admitted";
  request.slot = event.slot;
  request.position = null;
  if (request.admittedAt === null) {
    request.admittedAt = event.t;
    request.queueSeconds = event.queue_seconds;
    request.cachedTokens = event.cached_tokens;
  }
  // What was found in the prefix cache already stands.
  setCached(state, event.cached_tokens);
}

/** @param {State} state @param {import("../types/events.d.ts").RequestPreempted} event */
export function onPreempted(state, event) {
  state.pool.losing = nameOf(event);
  if (!isOwn(state, event)) {
    const other = otherOf(state, event);
    other.status = "preempted";
    other.slot = null;
    other.numComputedTokens = 0;
    other.numPreemptions += 1;
    return;
  }
  state.request.status = "preempted";
  state.request.slot = null;
  state.request.numPreemptions += 1;
  setCached(state, 0);
}

/** @param {State} state @param {import("../types/events.d.ts").RequestFinished} event */
export function onFinished(state, event) {
  if (!isOwn(state, event)) {
    const other = otherOf(state, event);
    other.status = "finished";
    other.slot = null;
    return;
  }
  const { request } = state;
  request.status = "finished";
  request.slot = null;
  request.position = null;
  request.finishedAt = event.t;
  request.reason = event.reason;
  request.stop = event.stop;
  request.text = event.text;
  request.usage = event.usage;
  request.detail = event.detail;
  if (event.text !== null) state.answer = event.text;
}

/** @param {State} state @param {number} numTokens */
function setCached(state, numTokens) {
  state.cache.numTokens = numTokens;
  state.cache.bytes = numTokens * (state.opened?.model?.kv_bytes_per_token ?? 0);
}
