// One run beside a neighbour whose long prompt goes in at once, or in pieces: two lanes under one clock. A block is a
// step, as wide as its seconds and as tall as the tokens that it computes; below it are the run's own tokens, each where it
// came.

import { label } from "../stage/text.js";
import { guestReading, longestGap, othersRead } from "../state/chunks.js";
import { measured, set } from "../state/fact.js";
import { count, seconds } from "../state/format.js";
import { t } from "../ui/messages.js";
import { clamp, room } from "./room.js";
import { heap } from "./speculation_layout.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Step} Step */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/fact.js").Runs} Runs */
/** @typedef {{ state: State, left: number, width: number, top: number, floor: number, tall: number, origin: number, scale: number, most: number, narrow: boolean }} Lane `floor`: where blocks stand; `tall`: height of the tallest; `most`: its tokens; `origin`: log seconds at the left edge, `scale` pixels a second */

/** Tokens of a step that a block shows. @param {Step} step */
const tokensIn = (step) => step.items.reduce((sum, { start, stop }) => sum + stop - start, 0);

/** @param {State} state */
const startOf = (state) => state.request.admittedAt ?? state.steps[0]?.startedAt ?? 0;

/** Seconds until the run's own last token, or the neighbour's last step before it. @param {State} state */
const endOf = (state) =>
  Math.max(
    0.2,
    (state.steps.at(-1)?.finishedAt ?? state.t) - startOf(state),
    (state.request.lastTokenAt ?? 0) - startOf(state),
  );

/**
 * The run on stage above, the other below.
 * @param {State} state
 * @param {View} view
 * @returns {Lane[]}
 */
export function lanesOf(state, view) {
  const states = [state, ...view.cast.lanes.flatMap((lane) => (lane.state?.opened ? [lane.state] : []))];
  const area = room(view);
  const side = area.narrow ? 14 : Math.min(80, 0.06 * area.width);
  const [left, width] = [area.left + side, area.width - 2 * side];
  const top = area.narrow ? 46 : 92;
  const each = (area.height - top - (area.narrow ? 12 : 70)) / Math.max(2, states.length);
  const span = Math.max(...states.map(endOf));
  const most = Math.max(1, ...states.flatMap((one) => one.steps.map(tokensIn)));
  const head = area.narrow ? 34 : 74;
  const foot = area.narrow ? 34 : 62;
  return states.map((one, i) => {
    const tall = Math.max(20, each - head - foot);
    return {
      state: one,
      left,
      width,
      top: top + i * each,
      floor: top + i * each + head + tall,
      tall,
      origin: startOf(one),
      scale: width / span,
      most,
      narrow: area.narrow,
    };
  });
}

/** @param {Lane} lane @param {number} at log seconds */
const xAt = ({ left, width, origin, scale }, at) => left + clamp((at - origin) * scale, 0, width);

/** Where the run's own tokens stand: each at its moment, the prompt in the block that read it. @param {State} state @param {View} view */
export function chunkSeats(state, view) {
  const [lane] = lanesOf(state, view);
  const out = new Float32Array(3 * state.tokens.length);
  const prompt = state.request.numPromptTokens;
  const first = state.steps.find((step) => step.ownPhase !== null);
  const x = first ? xAt(lane, first.startedAt) : lane.left;
  const right = first?.finishedAt ? xAt(lane, first.finishedAt) : x;
  const high = lane.narrow ? 30 : 56;
  heap(out, 0, prompt, { x, y: lane.floor - high - 2, width: Math.max(16, right - x), height: high }, 4);
  const y = lane.floor + (lane.narrow ? 9 : 15);
  for (let i = prompt; i < state.tokens.length; i++) out.set([xAt(lane, state.tokens[i].t), y, dotIn(lane)], 3 * i);
  return out;
}

/** Radius of a token: half of the usual way to the next one, at most. @param {Lane} lane */
function dotIn({ state, scale, narrow }) {
  const gaps = [...state.interTokenSeconds].sort((a, b) => a - b);
  return clamp(0.42 * scale * (gaps[gaps.length >> 1] ?? 1), 1.2, narrow ? 3.5 : 6);
}

/** @param {CanvasRenderingContext2D} context @param {State} state @param {View} view @param {number} alpha */
export function drawChunks(context, state, view, alpha) {
  const lanes = lanesOf(state, view);
  lanes.forEach((lane, i) => {
    context.globalAlpha = alpha;
    drawLane(context, lane, view, i > 0);
  });
  if (lanes.length < 2 && view.cast.lanes.length) {
    const [{ left, top, floor }] = lanes;
    const words = view.cast.lanes[0].words || t("The other lane is not there yet.");
    label(context, words, left, floor + (floor - top) / 2, { size: 13, color: view.palette.css.muted });
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {Lane} lane @param {View} view @param {boolean} dots */
function drawLane(context, lane, { palette: { css } }, dots) {
  const { state, left, width, top, floor, tall, most, narrow } = lane;
  const alpha = context.globalAlpha;
  const gap = longestGap(state);
  label(context, titleOf(state), left, top + (narrow ? 12 : 16), {
    size: narrow ? 12 : 15,
    weight: 650,
    color: css.ink,
    width: width - (narrow ? 74 : 190),
  });
  if (!narrow)
    label(context, t("a block is a step: its seconds wide, its tokens tall"), left, top + 38, {
      size: 12,
      color: css.muted,
    });
  label(context, gap ? seconds(gap.seconds) : "—", left + width, top + (narrow ? 13 : 30), {
    size: narrow ? 15 : 32,
    weight: 500,
    face: "mono",
    align: "right",
    color: css.ink,
  });
  if (!narrow)
    label(context, t("longest wait for a token"), left + width, top + 50, {
      size: 12,
      align: "right",
      color: css.muted,
    });
  context.fillStyle = css.line;
  context.fillRect(left, floor, width, 1);
  for (const step of state.steps) {
    const x = xAt(lane, step.startedAt);
    const wide = Math.max(0.6, xAt(lane, step.finishedAt ?? state.t) - x);
    const high = Math.max(narrow ? 2 : 3, (tall * tokensIn(step)) / most);
    const reads = othersRead(state, step) > 0 || step.ownPhase === "prefill";
    context.globalAlpha = alpha * (othersRead(state, step) ? 0.8 : reads ? 0.3 : 0.55);
    context.fillStyle = css[reads ? "prefill" : "decode"];
    context.fillRect(x, floor - high, wide - (wide > 2 ? 1 : 0), high);
  }
  context.globalAlpha = alpha;
  drawGuest(context, lane, css);
  if (dots) {
    context.fillStyle = css.decode;
    const r = dotIn(lane);
    for (const token of state.tokens.slice(state.request.numPromptTokens))
      context.fillRect(xAt(lane, token.t) - r, floor + (narrow ? 9 : 15) - r, 2 * r, 2 * r);
  }
  if (gap) drawGap(context, lane, gap, css);
}

/** The neighbour's prompt, named over its tallest block. @param {CanvasRenderingContext2D} context @param {Lane} lane @param {Record<import("../stage/types.d.ts").ColorName, string>} css */
function drawGuest(context, lane, css) {
  const { state, floor, tall, most, left, width, narrow } = lane;
  const reading = guestReading(state);
  const first = state.steps.find((step) => othersRead(state, step) > 0);
  if (!reading || !first) return;
  const high = (tall * Math.max(...state.steps.map((step) => (othersRead(state, step) ? tokensIn(step) : 0)))) / most;
  const values = { tokens: count(reading.tokens), steps: count(reading.steps) };
  const words =
    reading.steps > 1
      ? narrow
        ? t("its prompt in {steps} steps", values)
        : t("a neighbour's prompt, {tokens} tokens, in {steps} steps", values)
      : narrow
        ? t("its prompt in one step", values)
        : t("a neighbour's prompt, {tokens} tokens, in one step", values);
  const size = narrow ? 11 : 13;
  label(context, "", 0, 0, { size, weight: 600 });
  const wide = context.measureText(words).width;
  const x = clamp(xAt(lane, first.startedAt), left, left + width - wide);
  label(context, words, x, floor - high - 6, { size, weight: 600, color: css.prefill });
}

/** A bracket under the longest wait. @param {CanvasRenderingContext2D} context @param {Lane} lane @param {import("../state/chunks.js").Gap} gap @param {Record<import("../stage/types.d.ts").ColorName, string>} css */
function drawGap(context, lane, { from, to, seconds: wait }, css) {
  const { floor, narrow, left, width } = lane;
  const [a, b] = [xAt(lane, from), xAt(lane, to)];
  const y = floor + (narrow ? 17 : 28);
  context.strokeStyle = css.rejected;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(a, y - 4);
  context.lineTo(a, y);
  context.lineTo(b, y);
  context.lineTo(b, y - 4);
  context.stroke();
  const words = t("{time} without a token for you", { time: seconds(wait) });
  const size = narrow ? 11 : 12;
  label(context, "", 0, 0, { size, weight: 600 });
  const half = context.measureText(words).width / 2;
  label(context, words, clamp((a + b) / 2, left + half, left + width - half), y + (narrow ? 12 : 17), {
    size,
    weight: 600,
    align: "center",
    color: css.rejected,
  });
}

/** @param {State} state */
function titleOf(state) {
  const values = { size: count(state.opened?.engine?.max_num_batched_tokens ?? 0) };
  return state.opened?.take === "chunked"
    ? t("In pieces: at most {size} tokens a step", values)
    : t("At once: up to {size} tokens a step", values);
}

/** @param {State} state */
function sentence(state) {
  const [gap, reading] = [longestGap(state), guestReading(state)];
  const values = { title: titleOf(state), gap: gap ? seconds(gap.seconds) : "—" };
  if (!reading)
    return t("{title}. The longest wait for a token was {gap}, and no neighbour's prompt was read.", values);
  const said = {
    ...values,
    tokens: count(reading.tokens),
    steps: count(reading.steps),
    time: seconds(reading.seconds),
  };
  return reading.steps === 1
    ? t(
        "{title}. A neighbour's {tokens} tokens were read in one step, {time}; the longest wait for a token was {gap}.",
        said,
      )
    : t(
        "{title}. A neighbour's {tokens} tokens were read in {steps} steps, {time}; the longest wait for a token was {gap}.",
        said,
      );
}

/** @param {State} state @param {View} view */
export const describeChunks = (state, view) =>
  lanesOf(state, view)
    .map((lane) => sentence(lane.state))
    .join(" ");

/** @param {State} state @param {View} view @returns {import("../stage/types.d.ts").Table} */
export function tableOfChunks(state, view) {
  return {
    caption: t("A run beside a neighbour's long prompt: counted and timed in the steps of each log"),
    columns: [
      t("Tokens a step, at most"),
      t("Neighbour's prompt"),
      t("Steps that read it"),
      t("Time to read it"),
      t("Longest wait for a token"),
    ],
    rows: lanesOf(state, view).map(({ state: one }) => {
      const [gap, reading] = [longestGap(one), guestReading(one)];
      return [
        one.opened?.engine?.max_num_batched_tokens ?? "—",
        reading?.tokens ?? "—",
        reading?.steps ?? "—",
        reading ? seconds(reading.seconds) : "—",
        gap ? seconds(gap.seconds) : "—",
      ];
    }),
  };
}

/** Tokens that a step may have at most, as the reader chose. @param {Record<string, any>} controls */
const chosenSize = ({ phases_chunk: value }) => (Number(value) >= 16 ? Number(value) : 64);

export const takes = {
  unchunked: () => ({ take: "unchunked" }),
  chunked: (/** @type {State} */ _, /** @type {Record<string, any>} */ controls) => ({
    take: "chunked",
    max_num_batched_tokens: chosenSize(controls),
  }),
};

/**
 * Read a take as it ended.
 * @param {string} key
 * @param {(state: State) => number | null | undefined} read
 * @returns {import("../state/fact.js").Reading}
 */
const ended = (key, read) => (_, runs) => {
  const state = runs.ended(key);
  return state ? read(state) : null;
};

const WAIT = "the longest time between two tokens of the run, in the log of the take";
const READ = "from the first step that reads the neighbour's prompt to the end of the last";

/** @type {Record<string, import("../state/fact.js").Rule>} */
export const facts = {
  "chunks.tokens": measured(
    ended("unchunked", (s) => guestReading(s)?.tokens),
    count,
    "counted in the steps",
    "unchunked",
  ),
  "chunks.wholeWait": measured(
    ended("unchunked", (s) => longestGap(s)?.seconds),
    seconds,
    WAIT,
    "unchunked",
  ),
  "chunks.wait": measured(
    ended("chunked", (s) => longestGap(s)?.seconds),
    seconds,
    WAIT,
    "chunked",
  ),
  "chunks.wholeReading": measured(
    ended("unchunked", (s) => guestReading(s)?.seconds),
    seconds,
    READ,
    "unchunked",
  ),
  "chunks.reading": measured(
    ended("chunked", (s) => guestReading(s)?.seconds),
    seconds,
    READ,
    "chunked",
  ),
  "chunks.size": set(
    ended("chunked", (s) => s.opened?.engine?.max_num_batched_tokens),
    count,
    "as the engine of the take was set up",
    "chunked",
  ),
};
