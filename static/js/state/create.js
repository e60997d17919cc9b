// A state that knows nothing yet.

import { createNorms } from "./norms.js";

/** @typedef {import("./types.d.ts").State} State */

/** @returns {import("./types.d.ts").Request} */
const createRequest = () => ({
  status: "none",
  position: null,
  numWaiting: null,
  queuedAt: null,
  tokenizedAt: null,
  tokenizeSeconds: null,
  admittedAt: null,
  queueSeconds: null,
  slot: null,
  numPromptTokens: 0,
  cachedTokens: 0,
  numPreemptions: 0,
  numReached: 0,
  firstTokenAt: null,
  lastTokenAt: null,
  finishedAt: null,
  reason: null,
  stop: null,
  text: null,
  usage: null,
  detail: "",
});

/** @returns {State} */
export function createState() {
  return {
    seq: 0,
    t: 0,
    opened: null,
    closed: null,
    snapshot: null,
    ownId: null,
    request: createRequest(),
    tokens: [],
    answer: "",
    steps: [],
    cache: { numTokens: 0, bytes: 0, blockTable: [], lastTable: [], sharedCount: 0, norms: createNorms() },
    pool: {
      numBlocks: 0,
      refCounts: new Map(),
      cached: new Set(),
      owners: new Map(),
      copies: [],
      evictions: [],
      losing: null,
    },
    probes: { logits: new Map(), attention: new Map(), summaries: new Map(), tiles: null },
    speculation: [],
    others: new Map(),
    interTokenSeconds: [],
    gapOfStep: new Map(),
  };
}
