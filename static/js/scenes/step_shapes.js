// The steps of a run as rectangles, in three ways that turn into each other:
//
//   stream  x time, thickness tokens          the slab and the thread
//   cost    x tokens, height time per token   the area is the time of the step
//   gaps    x tokens of the answer, height the time until each came; the first one is the time to first token
//
// Pure geometry in CSS pixels; x, y, width, height, four numbers a step.

import { quantile } from "../state/norms.js";
import { clamp, lerp } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Step} Step */
/** @typedef {{ left: number, top: number, width: number, height: number }} Plot */
/** @typedef {{ zoom: number, cost: number, gaps: number, roof: number, guess: number }} Mix how much of each view, 0 to 1; what is left is stream */
/** @typedef {{ x: number, y: number, width: number, height: number }} Rect */

/** In the close view of the stream the prefill takes this share of the width. */
const CLOSE = 0.3;

/** To the right of the gaps this much is left for the names of their percentiles. */
export const PERCENTILES = 68;

/** @param {Step} step */
export const tokensOf = (step) => (step.ownStop ?? 0) - (step.ownStart ?? 0);

/**
 * Steps that computed something for this run and are over.
 * @param {State} state
 */
export const ownSteps = (state) => state.steps.filter((step) => step.ownStart !== null && step.seconds !== null);

/**
 * Everything that the three views share: measured once a frame.
 * @param {State} state
 */
export function measure(state) {
  const steps = ownSteps(state);
  const start = steps[0]?.startedAt ?? 0;
  let end = steps.at(-1)?.finishedAt ?? start;
  let tokens = 0;
  let widest = 1;
  let tallest = 0;
  let prefillSteps = 0;
  let prefillTokens = 0;
  let prefillSeconds = 0;
  let decodeTokens = 0;
  let decodeSeconds = 0;
  for (const step of steps) {
    const count = tokensOf(step);
    tokens += count;
    widest = Math.max(widest, count);
    // By a log whose clock stood still the steps still have lengths, and the longest is to fit.
    end = Math.max(end, start + (step.seconds ?? 0));
    if (step.ownAgain !== null) continue;
    if (step.ownPhase === "prefill") {
      prefillSteps += 1;
      prefillTokens += count;
      prefillSeconds += step.seconds ?? 0;
    } else {
      decodeTokens += count;
      decodeSeconds += step.seconds ?? 0;
    }
  }
  const perToken = steps.map((step) => (step.seconds ?? 0) / Math.max(1, tokensOf(step))).sort((a, b) => a - b);
  // One slow step must not flatten the rest: the tallest of the picture is the 98th percentile and a little.
  // (By a clock that stood still they are of no height.)
  tallest = 1.12 * Math.max(quantile(perToken, 0.98), perToken[perToken.length >> 1]) || 1;
  const gaps = state.interTokenSeconds;
  const ttft = state.request.firstTokenAt ?? 0;
  return {
    steps,
    start,
    end,
    tokens,
    widest,
    tallest,
    prefill: { steps: prefillSteps, tokens: prefillTokens, seconds: prefillSeconds },
    decode: { tokens: decodeTokens, seconds: decodeSeconds },
    p50: gaps.length ? quantile(gaps, 0.5) : 0,
    p99: gaps.length ? quantile(gaps, 0.99) : 0,
    ttft,
    longest: 1.08 * Math.max(ttft, gaps.length ? quantile(gaps, 0.99) : 0, 1e-6),
  };
}

/** @typedef {ReturnType<typeof measure>} Measures */
/** @typedef {{ all: Measures, plot: Plot, mix: Mix, rects: Float32Array }} Picture the rectangles and what they follow from */

/**
 * Seconds across the stream's width.
 * @param {Measures} all
 * @param {number} zoom 1: close to the prefill, 0: the whole run
 */
export function windowOf(all, zoom) {
  const whole = Math.max(all.end - all.start, 1e-6);
  const close = Math.min(whole, Math.max(all.prefill.seconds, 1e-6) / CLOSE);
  return Math.exp(
    lerp(
      Math.log(Math.max(whole, close)),
      Math.log(all.prefill.seconds > 0 ? Math.max(all.prefill.seconds, 1e-6) / CLOSE : whole),
      zoom,
    ),
  );
}

/** Pixels for a token's thickness in the stream. @param {Measures} all @param {Plot} plot */
export const thicknessOf = (all, plot) => Math.min(28, (0.86 * plot.height) / all.widest);

/** @param {Step} step @param {Measures} all @param {Plot} plot @param {number} zoom @returns {Rect} */
function inStream(step, all, plot, zoom) {
  const scale = plot.width / windowOf(all, zoom);
  const height = Math.max(2, tokensOf(step) * thicknessOf(all, plot));
  const width = (step.seconds ?? 0) * scale;
  return {
    x: plot.left + (step.startedAt - all.start) * scale,
    y: plot.top + (plot.height - height) / 2,
    width,
    height,
  };
}

/** @param {Step} step @param {number} before tokens before it @param {Measures} all @param {Plot} plot @returns {Rect} */
function inCost(step, before, all, plot) {
  const unit = plot.width / Math.max(1, all.tokens);
  const each = (step.seconds ?? 0) / Math.max(1, tokensOf(step));
  const height = plot.height * Math.min(0.99, each / all.tallest);
  return { x: plot.left + before * unit, y: plot.top + plot.height - height, width: tokensOf(step) * unit, height };
}

/** @param {Step} step @param {State} state @param {Measures} all @param {Plot} plot @returns {Rect} */
function inGaps(step, state, all, plot) {
  const first = 0.12 * plot.width;
  const count = Math.max(1, state.interTokenSeconds.length);
  const known = state.gapOfStep.get(step.step);
  // (Its token comes a moment after the step itself.)
  const at = known ?? Math.min(count - 1, state.interTokenSeconds.length);
  if (known === undefined && step.ownPhase === "prefill") {
    const height = (plot.height * all.ttft) / all.longest;
    return { x: plot.left, y: plot.top + plot.height - height, width: 0.55 * first, height };
  }
  const unit = (plot.width - first - PERCENTILES) / count;
  const gap = state.interTokenSeconds[at] ?? step.seconds ?? 0;
  const height = plot.height * Math.min(1, gap / all.longest);
  return { x: plot.left + first + at * unit, y: plot.top + plot.height - height, width: unit, height };
}

/**
 * The rectangle of every step.
 * @param {State} state
 * @param {Measures} all
 * @param {Plot} plot
 * @param {Mix} mix
 * @returns {Float32Array} x, y, width, height a step
 */
export function rectangles(state, all, plot, mix) {
  const out = new Float32Array(4 * all.steps.length);
  // The roofline has no rectangles: whatever shape they left in, they keep while they fade.
  const flat = mix.cost + mix.gaps;
  const cost = flat > 1 ? mix.cost / flat : mix.cost;
  const gaps = clamp(flat > 1 ? mix.gaps / flat : mix.gaps + (mix.roof > 0 ? Math.min(mix.roof, 1 - flat) : 0));
  const stream = clamp(1 - cost - gaps);
  let before = 0;
  all.steps.forEach((step, i) => {
    let [x, y, width, height] = [0, 0, 0, 0];
    /** @param {Rect} rect @param {number} weight */
    const take = (rect, weight) => {
      x += rect.x * weight;
      y += rect.y * weight;
      width += rect.width * weight;
      height += rect.height * weight;
    };
    if (stream > 0) take(inStream(step, all, plot, mix.zoom), stream);
    if (cost > 0) take(inCost(step, before, all, plot), cost);
    if (gaps > 0) take(inGaps(step, state, all, plot), gaps);
    out.set([x, y, width, height], 4 * i);
    before += tokensOf(step);
  });
  return out;
}

/**
 * What a request of another shape would cost at this run's two rates; null before both are known.
 * @param {Measures} all
 * @param {number} prompt tokens
 * @param {number} output tokens
 */
export function estimate(all, prompt, output) {
  if (!all.prefill.tokens || !all.decode.tokens) return null;
  const read = all.prefill.seconds / all.prefill.tokens;
  const write = all.decode.seconds / all.decode.tokens;
  // The first token of an answer comes out of the prefill.
  return { read, write, reading: prompt * read, writing: Math.max(0, output - 1) * write };
}
