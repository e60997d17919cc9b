// This run's keys and values: how many stand, and how large they are where a probe looked.

import { isOwn } from "../log/whose.js";
import { decodeArray } from "./arrays.js";
import { writeNorms } from "./norms.js";

/** @typedef {import("./types.d.ts").State} State */

/** @param {State} state @param {import("../types/events.d.ts").KVWritten} event */
export function onKvWritten(state, event) {
  if (!isOwn(state, event)) return;
  state.cache.numTokens = event.stop;
  state.cache.bytes = event.stop * (state.opened?.model?.kv_bytes_per_token ?? 0);
  // A step that verifies drafts set out to compute all of them; what was rejected does not stay.
  const step = state.steps.at(-1);
  if (step && step.finishedAt === null && step.ownStop !== null) step.ownStop = event.stop;
}

/** @param {State} state @param {import("../types/events.d.ts").ProbeKV} event */
export function onProbeKv(state, event) {
  if (!isOwn(state, event)) return;
  const [layers, heads] = event.keys.shape;
  const { norms } = state.cache;
  norms.layers = layers;
  norms.heads = heads;
  writeNorms(norms, event.start, event.stop, decodeArray(event.keys), decodeArray(event.values));
}
