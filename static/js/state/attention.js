// Who looks at whom: attention weights as probes say them, from whichever of the given logs has the row. A probe is
// usually a take of its own: the same token ids, computed once more and looked at more closely. Nothing is worked out
// here that needs the model; scores are read back from shares, since a softmax keeps their differences.

import { decodeArray } from "./arrays.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Token} Token */
/** @typedef {import("../types/events.d.ts").ProbeAttention} ProbeAttention */
/** @typedef {import("../types/events.d.ts").ProbeAttentionSummary} ProbeAttentionSummary */
/** @typedef {{ layer: number, head: number }} Head from 0 */
/** @typedef {{ first: number, between: number, near: number }} Shares of a head's look: the first token, the last few, and all in between */
/** @typedef {Head & { target: number, weight: number }} Gaze a head and what it looks at most */
/** @typedef {{ layer?: number, head?: number }} Wish of a reader; -1 or none: any */

/**
 * @typedef {object} Look
 * @property {Token[]} tokens whose text it is: those of the run on stage, up to its playhead, or where its own takes could
 *   not be had, those of the recorded run that plays in their place
 * @property {boolean} own whether the text is that of the run on stage
 * @property {number} start the first generated token
 * @property {State[]} sources where rows may be found
 */

/** Tokens this close are near, as `near_tokens` of the summaries. */
const NEAR = 8;
/** Share of all heads whose favourite is a crowd's: the first token, the newest, or another resting place. */
const CROWD = 0.1;

/** @param {State | null | undefined} state */
const isProbed = (state) => !!state && (state.probes.attention.size > 0 || state.probes.summaries.size > 0);

/**
 * Whether two runs begin with the same ids, as far as both go.
 * @param {Token[]} a
 * @param {Token[]} b
 */
export function sameText(a, b) {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) if (a[i]?.id !== b[i]?.id) return false;
  return shared > 0;
}

/**
 * @param {State} own the run on stage
 * @param {(State | null | undefined)[]} others takes that may have looked at it
 * @returns {Look}
 */
export function lookOf(own, others) {
  const probed = /** @type {State[]} */ ([own, ...others].filter(isProbed));
  const sources = probed.filter((state) => state === own || sameText(own.tokens, state.tokens));
  const { numPromptTokens } = own.request;
  const mine = { tokens: own.tokens, own: true, start: numPromptTokens, sources };
  if (sources.length || !probed.length || !own.tokens.length) return mine;
  const [first, ...rest] = probed;
  const agreeing = [first, ...rest.filter((state) => sameText(first.tokens, state.tokens))];
  const positions = agreeing.map((state) => [...state.probes.attention.keys()]);
  const start = Math.min(...positions.flat());
  // As much of it as this run has written, but never less than somebody looked at.
  const written = start + own.tokens.length - numPromptTokens;
  const count = Math.max(written, ...positions.map((some) => Math.min(...some) + 1));
  return { tokens: beginning(first.tokens, count), own: false, start, sources: agreeing };
}

/** @type {WeakMap<Token[], Token[]>} one text and its last beginning: a frame asks several times */
const beginnings = new WeakMap();

/** @param {Token[]} tokens @param {number} count */
function beginning(tokens, count) {
  const known = beginnings.get(tokens);
  if (known?.length === Math.min(count, tokens.length)) return known;
  const part = tokens.slice(0, count);
  beginnings.set(tokens, part);
  return part;
}

/**
 * Events of a look that have weights at a position, those with the most heads first.
 * @param {Look} look
 * @param {number} position
 */
function eventsAt({ sources }, position) {
  const found = [];
  for (const { probes } of sources) {
    const event = probes.attention.get(position);
    if (event) found.push(event);
  }
  return found.sort((a, b) => b.layers.length * b.heads.length - a.layers.length * a.heads.length);
}

/**
 * One row of an event: shares over the keys 0 to its position.
 * @param {ProbeAttention} event
 * @param {number} layer index in `event.layers`
 * @param {number} head index in `event.heads`
 */
function rowAt(event, layer, head) {
  const width = event.position + 1;
  const from = (layer * event.heads.length + head) * width;
  return decodeArray(event.weights).subarray(from, from + width);
}

/**
 * How the token at `position` shares its attention out; null where no probe looked.
 * @param {Look} look
 * @param {number} position
 * @param {Head} head
 * @returns {Float32Array | null}
 */
export function rowOf(look, position, { layer, head }) {
  for (const event of eventsAt(look, position)) {
    const [l, h] = [event.layers.indexOf(layer), event.heads.indexOf(head)];
    if (l >= 0 && h >= 0) return rowAt(event, l, h);
  }
  return null;
}

/**
 * The run whose log has that row; without a head, the one with the most heads there.
 * @param {Look} look
 * @param {number} position
 * @param {Head | null} head
 */
export function sourceOf(look, position, head) {
  const event = eventsAt(look, position).find(
    ({ layers, heads }) => !head || (layers.includes(head.layer) && heads.includes(head.head)),
  );
  return look.sources.find(({ probes }) => probes.attention.get(position) === event && event) ?? null;
}

/**
 * How many places a token at `position` can see in a layer: a sliding window hides the rest. Null where the card says
 * that some layers have one, and not which.
 * @param {import("../types/events.d.ts").ModelCard | null | undefined} model
 * @param {number} layer
 * @param {number} position
 */
export function placesSeen(model, layer, position) {
  const { sliding_window: window, num_sliding_layers: sliding = 0, sliding_layers: which = [] } = model ?? {};
  if (!window || !sliding || window > position) return position + 1;
  if (sliding < (model?.num_layers ?? 0) && !which.length) return null;
  return sliding === model?.num_layers || which.includes(layer) ? window : position + 1;
}

/**
 * Positions at which a head's row is known, in order; without a head, those at which the most heads are.
 * @param {Look} look
 * @param {Head | null} head
 */
export function positionsOf(look, head) {
  /** @type {Map<number, number>} */
  const heads = new Map();
  for (const { probes } of look.sources)
    for (const [position, event] of probes.attention) {
      const named = !head || (event.layers.includes(head.layer) && event.heads.includes(head.head));
      const size = event.layers.length * event.heads.length;
      if (named && position < look.tokens.length) heads.set(position, Math.max(size, heads.get(position) ?? 0));
    }
  const most = Math.max(0, ...heads.values());
  return [...heads]
    .filter(([, size]) => head || size === most)
    .map(([position]) => position)
    .sort((a, b) => a - b);
}

/**
 * The last of `positions` that is not after `wanted`; the first where all are after it, -1 of none.
 * @param {number[]} positions in order
 * @param {number} wanted
 */
export const nearestTo = (positions, wanted) =>
  positions.findLast((position) => position <= wanted) ?? positions[0] ?? -1;

/**
 * The summary that stands nearest before a position.
 * @param {Look} look
 * @param {number} wanted
 * @returns {ProbeAttentionSummary | null}
 */
export function summaryNear({ sources, tokens }, wanted) {
  const all = sources.flatMap(({ probes }) => [...probes.summaries.values()]);
  const known = all.filter(({ position }) => position < tokens.length).sort((a, b) => a.position - b.position);
  const position = nearestTo(
    known.map((event) => event.position),
    wanted,
  );
  return known.find((event) => event.position === position) ?? null;
}

/**
 * @param {ProbeAttentionSummary} event
 * @param {Head} head
 * @returns {Shares}
 */
export function sharesOf(event, { layer, head }) {
  const at = layer * event.first.shape[1] + head;
  const first = decodeArray(event.first)[at];
  const near = decodeArray(event.near)[at];
  return { first, between: Math.max(0, 1 - first - near), near };
}

/** @type {WeakMap<object, Float32Array>} by event: it never changes */
const means = new WeakMap();

/**
 * The mean over all heads that an event has.
 * @param {ProbeAttention} event
 */
function meanOf(event) {
  let mean = means.get(event);
  if (!mean) {
    mean = new Float32Array(event.position + 1);
    const rows = event.layers.length * event.heads.length;
    const all = decodeArray(event.weights);
    for (let i = 0; i < all.length; i++) mean[i % mean.length] += all[i] / rows;
    means.set(event, mean);
  }
  return mean;
}

/**
 * The mean of every head's row at a position, and how many heads that were.
 * @param {Look} look
 * @param {number} position
 */
export function meanRow(look, position) {
  const [event] = eventsAt(look, position);
  return event ? { row: meanOf(event), heads: event.layers.length * event.heads.length } : null;
}

/** @param {ArrayLike<number>} row */
export function argmax(row) {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i] > row[best]) best = i;
  return best;
}

/** Marks, line ends and the template's own words are looked at for rest. @param {Token | undefined} token */
const isWord = (token) => !!token && /\p{L}/u.test(token.text) && !/^<\|/.test(token.text);

/** @type {WeakMap<object, Gaze[]>} by event */
const gazes = new WeakMap();

/**
 * What each head of an event looks at most, the sharpest first; of those that look alike, the lower layer.
 * @param {ProbeAttention} event
 */
function gazesOf(event) {
  let all = gazes.get(event);
  if (!all) {
    all = event.layers.flatMap((layer, l) =>
      event.heads.map((head, h) => {
        const row = rowAt(event, l, h);
        const target = argmax(row);
        return { layer, head, target, weight: row[target] };
      }),
    );
    all.sort((a, b) => b.weight - a.weight || a.layer - b.layer || a.head - b.head);
    gazes.set(event, all);
  }
  return all;
}

/**
 * The head that looks most sharply at one word some way back that is not where the crowd looks; failing that, the
 * sharpest of those that rest neither on the first token nor on the newest; failing that, the sharpest.
 * @param {ProbeAttention} event
 * @param {Token[]} tokens
 * @param {Wish} [wish]
 * @returns {Gaze | null}
 */
export function sharpest(event, tokens, { layer = -1, head = -1 } = {}) {
  const all = gazesOf(event);
  /** @type {Map<number, number>} */
  const crowd = new Map();
  for (const { target } of all) crowd.set(target, (crowd.get(target) ?? 0) + 1);
  /** @param {number} target */
  const isCrowded = (target) => (crowd.get(target) ?? 0) > Math.max(1, CROWD * all.length);
  const few = all.filter((gaze) => (layer < 0 || gaze.layer === layer) && (head < 0 || gaze.head === head));
  return (
    few.find(({ target }) => event.position - target >= NEAR && !isCrowded(target) && isWord(tokens[target])) ??
    few.find(({ target }) => target > 0 && target < event.position) ??
    few[0] ??
    null
  );
}

/**
 * The head that the room shows where the reader has not chosen one: that with the sharpest look at the token itself, or
 * where not every head of it is known, at the nearest token of which the most are.
 * @param {Look} look
 * @param {number} position
 * @param {Wish} [wish]
 * @returns {Gaze | null}
 */
export function chosenFor(look, position, wish = {}) {
  const full = nearestTo(positionsOf(look, null), position);
  const [event] = full < 0 ? [] : eventsAt(look, full);
  return event ? sharpest(event, look.tokens, wish) : null;
}

/**
 * The earlier copy of a token after which it looks: most of its look goes to what followed that copy. -1: none.
 * @param {Look} look
 * @param {number} position
 * @param {ArrayLike<number>} row
 */
export function echoOf({ tokens }, position, row) {
  const target = row.length ? argmax(row) : 0;
  const copy = target - 1;
  const isEcho = copy >= 0 && target < position && row[target] > 0.5 && tokens[copy]?.id === tokens[position]?.id;
  return isEcho ? copy : -1;
}

/** @type {WeakMap<State, { seq: number, head: Head | null }>} beside the log that it follows from */
const widests = new WeakMap();

/**
 * Of the heads whose rows are known at the most tokens, the one that looks back most: past the last few tokens, at words.
 * @param {Look} look
 * @returns {Head | null}
 */
export function widest({ sources, tokens }) {
  const count = (/** @type {State} */ { probes }) => probes.attention.size;
  const [source] = [...sources].sort((a, b) => count(b) - count(a));
  if (!source || !count(source)) return null;
  const known = widests.get(source);
  if (known?.seq === source.seq) return known.head;
  /** @type {Map<string, { head: Head, back: number }>} */
  const all = new Map();
  for (const event of source.probes.attention.values())
    for (const [l, layer] of event.layers.entries())
      for (const [h, head] of event.heads.entries()) {
        const row = rowAt(event, l, h);
        let back = 0;
        for (let i = 1; i <= event.position - NEAR; i++) if (isWord(tokens[i])) back += row[i];
        const entry = all.get(`${layer}.${head}`) ?? { head: { layer, head }, back: 0 };
        all.set(`${layer}.${head}`, { ...entry, back: entry.back + back });
      }
  const [best] = [...all.values()].sort((a, b) => b.back - a.back);
  widests.set(source, { seq: source.seq, head: best?.head ?? null });
  return best?.head ?? null;
}

/**
 * How much each later token looked at the token `word`, its own look at itself first. NaN: nobody probed that token.
 * @param {Look} look
 * @param {number} word
 * @param {Head} head
 */
export function columnOf(look, word, head) {
  const column = new Float32Array(look.tokens.length).fill(Number.NaN);
  for (const position of positionsOf(look, head))
    if (position >= word) column[position] = rowOf(look, position, head)?.[word] ?? Number.NaN;
  return column;
}

/**
 * The word that later tokens looked at most through a head.
 * @param {Look} look
 * @param {Head} head
 * @returns {number} -1 where no row is known
 */
export function mostLookedAt(look, head) {
  const total = new Float64Array(look.tokens.length);
  for (const position of positionsOf(look, head)) {
    const row = rowOf(look, position, head);
    for (let i = 1; row && i < position; i++) if (isWord(look.tokens[i])) total[i] += row[i];
  }
  return total.length > 1 ? argmax(total) : -1;
}

/**
 * Scores from shares, up to what all of them have in common: the best is 0. A share too small for its sixteen bits is
 * minus infinity.
 * @param {ArrayLike<number>} row
 */
export function scoresOf(row) {
  const best = row[argmax(row)];
  return Float32Array.from(row, (share) => Math.log(share / best));
}

/**
 * How many keys, the most looked at first, together have this much of the look.
 * @param {ArrayLike<number>} row
 * @param {number} share
 */
export function enough(row, share) {
  const sorted = Float64Array.from(row).sort().reverse();
  let sum = 0;
  for (const [i, weight] of sorted.entries()) {
    sum += weight;
    if (sum >= share) return i + 1;
  }
  return sorted.length;
}

/**
 * What each key brings to the blend of values: its share times its value's length, of all of them together. Null where
 * nobody measured the values.
 * @param {ArrayLike<number>} row
 * @param {State} state
 * @param {Head} head
 * @returns {Float32Array | null}
 */
export function brought(row, { cache: { norms }, opened }, { layer, head }) {
  const heads = opened?.model?.num_heads ?? 0;
  if (!norms.length || !heads || row.length > norms.length) return null;
  // Grouped-query attention: several query heads share the keys and values of one.
  const line = layer * norms.heads + Math.floor((head * norms.heads) / heads);
  const out = Float32Array.from(row, (share, i) => share * norms.values[line * norms.capacity + i]);
  const sum = out.reduce((total, part) => total + part, 0);
  return Number.isFinite(sum) && sum > 0 ? out.map((part) => part / sum) : null;
}
