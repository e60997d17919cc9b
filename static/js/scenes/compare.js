// Two runs under one clock: their words side by side, what each took, and both strips of steps on one scale of seconds.
// The token dots are those of the run on stage, each over the step that brought it; the other run's are hollow.

import { mountCanvas, wipe } from "../stage/canvas.js";
import { label } from "../stage/text.js";
import { agreement, blocks, elapsed, firstToken, nameOf, rate, steps, whereOf, written } from "../state/comparison.js";
import { measured } from "../state/fact.js";
import { count, seconds, significant } from "../state/format.js";
import { t } from "../ui/messages.js";
import { inSight, linesOf } from "./compare_text.js";
import { clamp, room } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../stage/canvas.js").Sheet} Sheet */
/** @typedef {{ x: number, y: number, width: number, height: number }} Box */
/** @typedef {{ narrow: boolean, heads: Box[], texts: Box[], figures: Box, lanes: Box[], axis: number }} Layout */

const OTHER = "with";
const LETTERS = ["A", "B"];

/** What is told of both, each with how it is written and whether more of it is a longer bar. */
const FIGURES = [
  { says: () => t("first token"), of: firstToken, text: seconds },
  { says: () => t("tokens a second"), short: () => t("tokens/s"), of: rate, text: significant },
  { says: () => t("tokens"), of: written, text: count },
  { says: () => t("steps"), of: steps, text: count },
  { says: () => t("blocks"), of: blocks, text: count },
];

/** @param {View} view @returns {Layout} */
function layoutOf(view) {
  const { left, top, width, height, narrow } = room(view);
  const margin = narrow ? 14 : 40;
  const gap = narrow ? 0 : 36;
  const inner = width - 2 * margin;
  const half = (inner - gap) / 2;
  const x = left + margin;
  if (narrow) {
    const text = Math.max(36, Math.floor((height - 260) / 36) * 18);
    const first = top + 50;
    const second = first + 22 + text + 8;
    const figures = { x, y: second + 22 + text + 4, width: inner, height: 62 };
    const lane = figures.y + figures.height + 6;
    return {
      narrow,
      heads: [first, second].map((y) => ({ x, y, width: inner, height: 20 })),
      texts: [first, second].map((y) => ({ x, y: y + 22, width: inner, height: text })),
      figures,
      lanes: [0, 1].map((i) => ({ x: x + 18, y: lane + i * 36, width: inner - 18, height: 30 })),
      axis: lane + 68,
    };
  }
  const lanes = top + height - 184;
  const figures = { x, y: lanes - 176, width: inner, height: 150 };
  const head = top + 64;
  const columns = [x, x + half + gap];
  return {
    narrow,
    heads: columns.map((at) => ({ x: at, y: head, width: half, height: 44 })),
    texts: columns.map((at) => ({ x: at, y: head + 60, width: half, height: figures.y - head - 84 })),
    figures,
    lanes: [0, 1].map((i) => ({ x: x + 24, y: lanes + i * 56, width: inner - 24, height: 48 })),
    axis: lanes + 106,
  };
}

/** Seconds that the scale shows. @param {(State | null)[]} states @param {View} view */
const spanOf = (states, { cast }) =>
  Math.max(0.001, cast.span ?? 0, ...states.map((state) => (state ? (elapsed(state) ?? 0) : 0)));

/**
 * @param {State} state
 * @param {Box} lane
 * @param {number} span
 */
function laneOf(state, lane, span) {
  const start = state.request.admittedAt ?? 0;
  /** @param {number} at log seconds */
  const x = (at) => lane.x + lane.width * clamp((at - start) / span);
  const size = Math.min(3, lane.height / 14);
  const base = lane.y + lane.height - 7;
  return { x, size, base };
}

/**
 * Where each token stands in its lane: over the end of the step that brought it, several of one step in a pile; those of
 * the prompt along the sweep that read them.
 * @param {State} state
 * @param {Box} lane
 * @param {number} span
 */
function spots(state, lane, span) {
  const { x, size, base } = laneOf(state, lane, span);
  const places = new Float32Array(3 * state.tokens.length);
  const reading = state.steps.filter(({ ownPhase }) => ownPhase === "prefill");
  const from = x(reading[0]?.startedAt ?? state.request.admittedAt ?? 0);
  const to = x(reading.at(-1)?.finishedAt ?? state.t);
  const prompt = state.request.numPromptTokens;
  const rows = Math.max(1, Math.floor((lane.height - 10) / (2 * size + 1)));
  const columns = Math.ceil(prompt / rows);
  let pile = 0;
  state.tokens.forEach((token, i) => {
    if (i < prompt) {
      const column = columns > 1 ? Math.floor(i / rows) / (columns - 1) : 0;
      places.set(
        [from + (Math.max(to, from + 2) - from) * column, base - (i % rows) * (2 * size + 1), size * 0.8],
        3 * i,
      );
      return;
    }
    pile = i > prompt && state.tokens[i - 1].step === token.step ? pile + 1 : 0;
    places.set([x(token.t), base - Math.min(pile, rows) * (2 * size + 1), size], 3 * i);
  });
  return places;
}

const COLORS = { prefill: "prefill", decode: "decode", verify: "draft" };

/**
 * @param {CanvasRenderingContext2D} context
 * @param {State | null} state
 * @param {Box} lane
 * @param {number} which 0: the run on stage, whose dots the stage draws
 * @param {number} span
 * @param {View["palette"]} palette
 */
function drawLane(context, state, lane, which, span, { css }) {
  label(context, LETTERS[which], lane.x - 10, lane.y + lane.height / 2 + 5, {
    size: 13,
    weight: 700,
    align: "right",
    color: css.ink,
  });
  context.fillStyle = css.line;
  context.fillRect(lane.x, lane.y + lane.height, lane.width, 1);
  if (!state) return;
  const { x } = laneOf(state, lane, span);
  for (const { ownPhase, startedAt, finishedAt } of state.steps) {
    if (ownPhase === null) continue;
    const from = x(startedAt);
    const to = x(finishedAt ?? state.t);
    context.fillStyle = css[/** @type {"decode"} */ (COLORS[/** @type {"decode"} */ (ownPhase)] ?? "idle")];
    context.globalAlpha = 0.75;
    context.fillRect(from, lane.y + lane.height - 3, Math.max(0.6, to - from - 0.6), 3);
  }
  context.globalAlpha = 1;
  const now = x(state.t);
  context.fillStyle = css.muted;
  context.fillRect(now, lane.y, 1, lane.height);
  if (which === 0) return;
  const places = spots(state, lane, span);
  context.lineWidth = 1;
  for (let i = 0; i < state.tokens.length; i++) {
    const [at, y, r] = places.subarray(3 * i, 3 * i + 3);
    context.strokeStyle = css[state.tokens[i].kind === "prompt" ? "prefill" : "decode"];
    context.beginPath();
    context.arc(at, y, Math.max(0.6, r - 0.5), 0, 2 * Math.PI);
    context.stroke();
  }
}

/** @param {CanvasRenderingContext2D} context @param {Layout} layout @param {number} span @param {View["palette"]} palette */
function drawAxis(context, { lanes: [lane], axis, narrow }, span, { css }) {
  const each = 10 ** Math.floor(Math.log10(span));
  const every = [0.1, 0.2, 0.5, 1, 2, 5].map((factor) => factor * each).find((step) => span / step <= (narrow ? 4 : 8));
  const step = every ?? span;
  for (let i = 0; i * step <= span * 1.0001 && i < 20; i++) {
    const x = lane.x + (lane.width * i * step) / span;
    const align = i === 0 ? "left" : x > lane.x + lane.width - 24 ? "right" : "center";
    label(context, i === 0 ? "0" : seconds(i * step), x, axis + 14, { size: 11, align, color: css.muted });
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {State | null} state
 * @param {Box} box
 * @param {number} which
 * @param {string} words where there is no run
 * @param {Layout} layout
 * @param {View["palette"]} palette
 */
function drawHead(context, state, box, which, words, { narrow }, { css }) {
  context.beginPath();
  context.roundRect(box.x, box.y, 20, 20, 5);
  context.fillStyle = css.ink;
  context.fill();
  label(context, LETTERS[which], box.x + 10, box.y + 14.5, {
    size: 13,
    weight: 700,
    align: "center",
    color: css.ground,
  });
  const name = state?.opened ? nameOf(state) : words;
  const where = state?.opened ? whereOf(state) : "";
  const at = box.x + 30;
  const inner = box.width - 30;
  if (narrow) {
    label(context, [name, where].filter(Boolean).join(" · "), at, box.y + 14, {
      size: 12,
      weight: 500,
      color: css.ink,
      width: inner,
    });
    return;
  }
  label(context, name, at, box.y + 15, { size: 15, weight: 600, color: css.ink, width: inner });
  label(context, where, at, box.y + 35, { size: 12, color: css.muted, width: inner });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {State} state
 * @param {ReturnType<typeof agreement>} agreed
 * @param {Box} box
 * @param {boolean} narrow
 * @param {View["palette"]} palette
 */
function drawText(context, state, agreed, box, narrow, { css }) {
  const size = narrow ? 13 : 18;
  const high = narrow ? 18 : 28;
  const { lines, gaps } = inSight(linesOf(context, state, agreed, size, box.width), Math.floor(box.height / high));
  // Lines are left out here.
  context.fillStyle = css.muted;
  for (const gap of gaps) for (const y of [-5, 0, 5]) context.fillRect(box.x - 9, box.y + high * gap + y, 2, 2);
  lines.forEach((line, i) => {
    const y = box.y + high * (i + 0.72);
    for (const { text, x, width, tone } of line) {
      if (tone === "parting") {
        context.fillStyle = css.decode;
        context.beginPath();
        context.roundRect(box.x + x - 1, y - high * 0.66, width + 2, high * 0.9, 3);
        context.fill();
      }
      const color = tone === "same" ? css.muted : tone === "parting" ? css.ground : css.ink;
      label(context, text, box.x + x, y, { size, face: "serif", color });
    }
  });
}

/**
 * The figures back to back: A's bars to the left, B's to the right.
 * @param {CanvasRenderingContext2D} context
 * @param {(State | null)[]} states
 * @param {Box} box
 * @param {boolean} narrow
 * @param {View["palette"]} palette
 */
function drawFigures(context, states, box, narrow, { css }) {
  if (narrow) {
    const wide = box.width / FIGURES.length;
    FIGURES.forEach(({ says, short = says, of, text }, i) => {
      const x = box.x + wide * (i + 0.5);
      label(context, short(), x, box.y + 12, { size: 11, align: "center", color: css.muted, width: wide - 4 });
      states.forEach((state, which) => {
        const value = state ? of(state) : null;
        const words = `${LETTERS[which]} ${value === null ? "—" : text(value)}`;
        label(context, words, x, box.y + 30 + 18 * which, { size: 12, face: "mono", align: "center", color: css.ink });
      });
    });
    return;
  }
  const middle = box.x + box.width / 2;
  const gutter = 66;
  const most = box.width / 2 - gutter - 80;
  FIGURES.forEach(({ says, of, text }, i) => {
    const y = box.y + 30 * i + 15;
    label(context, says(), middle, y + 4, { size: 12, align: "center", color: css.muted });
    const values = states.map((state) => (state ? of(state) : null));
    const highest = Math.max(1e-12, ...values.map((value) => value ?? 0));
    values.forEach((value, which) => {
      const side = which === 0 ? -1 : 1;
      const wide = value === null ? 0 : Math.max(1, (most * value) / highest);
      const edge = middle + side * gutter;
      context.fillStyle = css.idle;
      context.fillRect(side < 0 ? edge - wide : edge, y - 8, wide, 16);
      label(context, value === null ? "—" : text(value), edge + side * (wide + 8), y + 5, {
        size: 14,
        face: "mono",
        weight: 500,
        align: side < 0 ? "right" : "left",
        color: css.ink,
      });
    });
  });
}

/** Words of the lane that has no run yet, or none. @param {View} view */
const absent = ({ cast }) => cast.lanes[0]?.words || t("no run chosen yet");

/** @param {State} state @param {(State | null)[]} states @returns {State | null} */
const otherOf = (state, states) => (states[1] && states[1] !== state ? states[1] : null);

/** @type {import("../stage/types.d.ts").Scene<Sheet>} */
export default {
  mount: mountCanvas,

  places(state, view) {
    const { lanes } = layoutOf(view);
    return spots(state, lanes[0], spanOf([state, view.cast.lanes[0]?.state ?? null], view));
  },

  draw(sheet, states, view) {
    wipe(sheet, view);
    const { context } = sheet;
    const { palette } = view;
    const [a] = states;
    const b = otherOf(a, states);
    const layout = layoutOf(view);
    const span = spanOf([a, b], view);
    const agreed = b ? agreement(a, b) : { samePrompt: true, common: 0, parted: false };
    const shown = agreed.samePrompt ? agreed : { ...agreed, common: 0, parted: false };
    for (const [which, state] of [a, b].entries()) {
      drawHead(context, state, layout.heads[which], which, which ? absent(view) : t("no run"), layout, palette);
      if (state) drawText(context, state, shown, layout.texts[which], layout.narrow, palette);
      drawLane(context, state, layout.lanes[which], which, span, palette);
    }
    drawFigures(context, [a, b], layout.figures, layout.narrow, palette);
    drawAxis(context, layout, span, palette);
  },

  hit: () => null,

  describe(state, view, states) {
    const b = otherOf(state, states);
    if (!b) return t("One run waits for another to be compared with: {why}.", { why: absent(view) });
    const values = {
      seconds: elapsed(state) ? seconds(elapsed(state) ?? 0) : t("No time"),
      a: nameOf(state),
      b: nameOf(b),
      x: written(state),
      y: written(b),
    };
    const both = t("{seconds} after both were given a seat, A ({a}) has written {x} tokens and B ({b}) {y}.", values);
    return `${both} ${partingWords(state, b)}`.trim();
  },

  table(state, _view, states) {
    const b = otherOf(state, states);
    const pair = [state, b];
    const rows = FIGURES.map(({ says, of, text }) => [
      says(),
      ...pair.map((run) => {
        const value = run ? of(run) : null;
        return value === null ? "—" : text(value);
      }),
    ]);
    const texts = pair.map((run) => run?.answer ?? "");
    return {
      caption: b ? partingWords(state, b) : t("There is no second run."),
      columns: ["", ...pair.map((run, i) => `${LETTERS[i]}: ${run ? nameOf(run) : "—"}`)],
      rows: [[t("made"), ...pair.map((run) => (run ? whereOf(run) : "—"))], ...rows, [t("text"), ...texts]],
    };
  },

  facts: {
    "compare.common": measured((s, { at }) => both(s, at[OTHER])?.common, count, "tokens that both begin with", OTHER),
    "compare.first.a": measured(firstToken, seconds, "from the seat to the first token"),
    "compare.first.b": measured((_, { at }) => of(firstToken, at), seconds, "from the seat to the first token", OTHER),
    "compare.rate.a": measured(rate, significant, "tokens a second, first token to newest"),
    "compare.rate.b": measured(
      (_, { at }) => of(rate, at),
      significant,
      "tokens a second, first token to newest",
      OTHER,
    ),
  },
};

/** @param {(state: State) => number | null} figure @param {Record<string, State | undefined>} at */
const of = (figure, { [OTHER]: state }) => (state ? figure(state) : null);

/** @param {State} a @param {State | undefined} b */
function both(a, b) {
  if (!b) return null;
  const agreed = agreement(a, b);
  return agreed.samePrompt ? agreed : null;
}

/** Where two answers part, in a sentence. @param {State} a @param {State} b */
function partingWords(a, b) {
  const { samePrompt, common, parted } = agreement(a, b);
  if (!samePrompt) return t("They answer different prompts.");
  if (!common && !parted) return "";
  if (!parted) return t("So far they agree in all of {common} tokens.", { common });
  return t("They part after {common} tokens that both have.", { common });
}
