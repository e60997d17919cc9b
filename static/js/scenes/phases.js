// 04 phases: the steps of the run, a slab and a thread; then what each token cost, how long the reader waited, and how
// far the machine was from its own roofs.

import { mountCanvas, wipe } from "../stage/canvas.js";
import { label, visible } from "../stage/text.js";
import { count, seconds, si } from "../state/format.js";
import { quantile } from "../state/norms.js";
import { t } from "../ui/messages.js";
import { chunkSeats, describeChunks, drawChunks, facts, tableOfChunks, takes } from "./phases_chunks.js";
import { chartOf, drawGroup, drawRoofs, pointOf } from "./roofline.js";
import { clamp, crossed, lerp, room, smooth } from "./room.js";
import { drawCost, drawGaps, drawGuess, drawStream, shapeOf } from "./step_labels.js";
import { measure, rectangles, thicknessOf, tokensOf } from "./step_shapes.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./step_shapes.js").Plot} Plot */
/** @typedef {import("./step_shapes.js").Mix} Mix */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D }} Surfaces */
/** @typedef {import("./step_shapes.js").Picture} Picture */

/** Spread of the dots of one step on the roofline, in pixels. */
const PILE = 4.2;

/** @param {View} view @returns {Mix} */
function mixOf({ data }) {
  const { zoom = 1, cost = 0, gaps = 0, roof = 0, guess = 0 } = data;
  return { zoom, cost, gaps, roof, guess };
}

/** How much of the picture is the two lanes of a long prompt beside the run. @param {View} view */
const chunksIn = ({ data }) => clamp(data.chunk ?? 0);

/** @param {View} view @returns {Plot} */
function plotOf(view) {
  const area = room(view);
  if (area.narrow) return { left: 20, top: 96, width: area.width - 40, height: area.height - 142 };
  const side = Math.min(96, 0.08 * area.width);
  return { left: area.left + side, top: 120, width: area.width - 2 * side, height: area.height - 120 - 92 };
}

/** What was measured last: dots and steps of a frame ask for the same. @type {{ state: State, seq: number, all: ReturnType<typeof measure> } | null} */
let last = null;

/** @param {State} state @param {View} view @returns {Picture} */
function pictureOf(state, view) {
  if (last?.state !== state || last.seq !== state.seq) last = { state, seq: state.seq, all: measure(state) };
  const { all } = last;
  const plot = plotOf(view);
  const mix = mixOf(view);
  return { all, plot, mix, rects: rectangles(state, all, plot, mix) };
}

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount: mountCanvas,

  places(state, view) {
    const picture = pictureOf(state, view);
    const out = new Float32Array(3 * state.tokens.length);
    const chart = chartFor(state, picture);
    picture.all.steps.forEach((step, i) => {
      const seat = seatsIn(picture, i, tokensOf(step));
      const point = chart ? pointOf(step) : null;
      // A step that verifies drafts sets out for more places than there are tokens.
      const stop = Math.min(step.ownStop ?? 0, state.tokens.length);
      for (let place = step.ownStart ?? 0; place < stop; place++) {
        const [x, y, r] = seat(place - (step.ownStart ?? 0));
        const at =
          // Where a log tells of no work there is no place on axes that count by tens.
          point && chart && point.intensity > 0 && point.rate > 0
            ? pile(chart.x(point.intensity), chart.y(point.rate), place - (step.ownStart ?? 0))
            : [x, y, r];
        const w = crossed(picture.mix.roof);
        out.set([x + (at[0] - x) * w, y + (at[1] - y) * w, r + (at[2] - r) * w], 3 * place);
      }
    });
    waiting(out, picture, state);
    if (picture.mix.guess > 0) seatInGuess(out, picture, state, view);
    const chunks = crossed(chunksIn(view));
    if (chunks > 0)
      chunkSeats(state, view).forEach((value, i) => {
        out[i] = lerp(out[i], value, chunks);
      });
    return out;
  },

  draw({ canvas, context }, [state], view) {
    wipe({ canvas, context }, view);
    const picture = pictureOf(state, view);
    const { mix } = picture;
    const chunks = chunksIn(view);
    if (chunks > 0.4) drawChunks(context, state, view, smooth(0.4, 1, chunks));
    if (chunks > 0.5) return;
    const stream = clamp(1 - mix.cost - mix.gaps - mix.roof) * (1 - 2 * chunks);
    const steps = (1 - smooth(0, 0.7, mix.roof)) * (1 - smooth(0, 0.6, mix.guess)) * (1 - 2 * chunks);
    drawSteps(context, picture, state, view, steps);
    // Words of two pictures are not read through one another: half-way, none is.
    const said = (/** @type {number} */ share) => smooth(0.5, 0.85, share);
    if (stream > 0.5) drawStream(context, picture, view, said(stream));
    if (mix.cost > 0.5) drawCost(context, picture, view, said(mix.cost) * (1 - smooth(0, 0.5, mix.guess)));
    if (mix.gaps > 0.5) drawGaps(context, picture, state, view, said(mix.gaps));
    if (mix.guess > 0.02) drawGuess(context, picture, view, mix.guess);
    const chart = mix.roof > 0.02 ? chartFor(state, picture) : null;
    if (chart) drawRoofline(context, chart, picture, view, smooth(0.4, 0.85, mix.roof));
    else if (mix.roof > 0.5 && !state.opened?.hardware)
      label(context, t("This source does not say what its machine can do."), picture.plot.left, picture.plot.top, {
        size: 14,
        color: view.palette.css.muted,
      });
  },

  hit(x, y, state, view) {
    const { all, rects, mix } = pictureOf(state, view);
    if (mix.roof > 0.5 || mix.guess > 0.5 || chunksIn(view) > 0.5) return null;
    const i = all.steps.findIndex(
      (_, k) =>
        x >= rects[4 * k] &&
        x < rects[4 * k] + Math.max(3, rects[4 * k + 2]) &&
        y >= rects[4 * k + 1] - 8 &&
        y <= rects[4 * k + 1] + rects[4 * k + 3] + 8,
    );
    const step = all.steps[i];
    if (!step) return null;
    const values = { step: count(step.step), tokens: count(tokensOf(step)), time: seconds(step.seconds ?? 0) };
    const text =
      step.ownPhase === "prefill"
        ? t("Step {step}, prefill: {tokens} tokens in {time}.", values)
        : t("Step {step}, decode: {tokens} token in {time}.", values);
    return { text, seq: state.tokens[step.ownStop ?? 0]?.seq ?? null };
  },

  takes,

  facts,

  describe(state, view) {
    if (view && chunksIn(view) > 0.5) return describeChunks(state, view);
    const { prefill, decode, steps } = measure(state);
    if (!steps.length) return t("Nothing has been computed yet.");
    if (!decode.tokens)
      return t("Prefill read {read} tokens, {reading}.", {
        read: count(prefill.tokens),
        reading: seconds(prefill.seconds),
      });
    const values = {
      read: count(prefill.tokens),
      reading: seconds(prefill.seconds),
      written: count(decode.tokens),
      writing: seconds(decode.seconds),
    };
    return t(
      "Prefill read {read} tokens in {reading}; decode then took {written} steps of one token, {writing} in all.",
      values,
    );
  },

  table(state, view) {
    if (view && chunksIn(view) > 0.5) return tableOfChunks(state, view);
    return {
      caption: t("The steps of this run: seconds are measured, FLOPs and bytes follow from the shapes"),
      columns: [t("Step"), t("Phase"), t("Tokens"), t("Time"), t("Time a token"), t("FLOP/s"), t("Bytes/s")],
      rows: measure(state).steps.map((step) => {
        const point = pointOf(step);
        const each = (step.seconds ?? 0) / Math.max(1, tokensOf(step));
        const bandwidth = point.intensity > 0 ? point.rate / point.intensity : 0;
        const phase = step.ownPhase === "prefill" ? t("prefill") : t("decode");
        return [
          step.step,
          phase,
          tokensOf(step),
          seconds(step.seconds ?? 0),
          seconds(each),
          si(point.rate, "FLOP/s"),
          si(bandwidth, "B/s"),
        ];
      }),
    };
  },
};

/** @param {State} state @param {Picture} picture */
function chartFor(state, { all, plot, mix }) {
  const hardware = state.opened?.hardware;
  if (!hardware || mix.roof < 0.01) return null;
  return chartOf(hardware, all.steps.map(pointOf), plot);
}

/**
 * Where the tokens of one step sit in its rectangle.
 * @param {Picture} picture
 * @param {number} i
 * @param {number} tokens
 * @returns {(k: number) => [number, number, number]}
 */
function seatsIn({ rects, mix, all, plot }, i, tokens) {
  const [x, y, width, height] = rects.subarray(4 * i, 4 * i + 4);
  const stack = Math.min(6.5, 0.46 * thicknessOf(all, plot));
  const shown = x < plot.left + plot.width ? 1 : 0;
  // In the stream tokens are stacked across the flow; turned to face the bill they stand side by side on its edge.
  const turned = clamp(mix.cost + mix.gaps);
  return (k) => {
    const u = (k + 0.5) / tokens;
    // At the front of their lanes.
    const [ax, ay] = [Math.min(x + width, plot.left + plot.width), y + u * height];
    const [bx, by] = [x + (mix.gaps > 0.5 ? 0.5 : u) * width, y - 5];
    const r = tokens > 1 ? stack : Math.min(stack + 1.5, Math.max(1.4, 0.42 * width));
    const flat = Math.min(3.4, Math.max(1.1, (0.42 * width) / tokens));
    return [ax + (bx - ax) * turned, ay + (by - ay) * turned, (r + (flat - r) * turned) * shown];
  };
}

/**
 * Many dots at one point, as a disc: its area is their number.
 * @param {number} x @param {number} y @param {number} k
 */
function pile(x, y, k) {
  const angle = 2.399963 * k;
  const radius = PILE * Math.sqrt(k);
  return [x + radius * Math.cos(angle), y + radius * Math.sin(angle), k ? 2.6 : 4];
}

/**
 * Tokens that no step has computed: a prompt before its prefill waits at the mouth, the newest word at the end.
 * @param {Float32Array} out
 * @param {Picture} picture
 * @param {State} state
 */
function waiting(out, { all, plot, mix }, state) {
  const computed = state.cache.numTokens;
  const last = computed > 0 ? out.subarray(3 * (computed - 1), 3 * computed) : null;
  for (let place = computed; place < state.tokens.length; place++) {
    const k = place - computed;
    const many = state.tokens.length - computed;
    if (last) out.set([last[0] + 8 * (1 - mix.roof), last[1], mix.roof > 0 ? 0 : last[2]], 3 * place);
    else
      out.set(
        [
          plot.left - 14,
          plot.top + (plot.height * (k + 0.5)) / many,
          Math.min(5.5, (0.36 * plot.height) / Math.max(all.widest, many)),
        ],
        3 * place,
      );
  }
}

/**
 * In the request that is imagined, this run's tokens stand on the ground line where they would be read and written: the
 * measure for how much larger it is.
 * @param {Float32Array} out
 * @param {Picture} picture
 * @param {State} state
 * @param {View} view
 */
function seatInGuess(out, { plot, mix }, state, { controls }) {
  const { prompt, output } = shapeOf(controls);
  const unit = plot.width / (prompt + output);
  const r = clamp(0.42 * unit, 1.2, 3);
  for (let place = 0; place < state.tokens.length; place++) {
    const written = place - state.request.numPromptTokens;
    const at = written < 0 ? Math.min(place, prompt - 1) : prompt + Math.min(written, output - 1);
    const seat = [plot.left + (at + 0.5) * unit, plot.top + plot.height, r];
    seat.forEach((value, k) => {
      out[3 * place + k] = lerp(out[3 * place + k], value, mix.guess);
    });
  }
}

/** @param {CanvasRenderingContext2D} context @param {Picture} picture @param {State} state @param {View} view @param {number} alpha */
function drawSteps(context, { all, rects, plot, mix }, state, { palette }, alpha) {
  if (alpha <= 0) return;
  const right = plot.left + plot.width + 1;
  const stream = 1 - smooth(0, 0.25, mix.cost + mix.gaps + mix.roof);
  all.steps.forEach((step, i) => {
    const [x, y, width, height] = rects.subarray(4 * i, 4 * i + 4);
    if (x > right) return;
    const prefill = step.ownPhase === "prefill";
    const gap = width > 3 ? 1 : width > 1.6 ? 0.5 : 0;
    context.globalAlpha = alpha * lerp(prefill ? 0.66 : 0.74, 1, stream);
    context.fillStyle = palette.css[prefill ? "prefill" : "decode"];
    context.fillRect(x, y, Math.max(0.6, Math.min(width, right - x) - gap), height);
    if (stream > 0 && width > 20)
      drawLanes(context, { x, y, width: Math.min(width, right - x), height }, step, state, palette, alpha * stream);
  });
  context.globalAlpha = 1;
}

/**
 * The tokens of a step as lanes of the stream, each with its word where there is room for one.
 * @param {CanvasRenderingContext2D} context
 * @param {import("./step_shapes.js").Rect} rect
 * @param {import("../state/types.d.ts").Step} step
 * @param {State} state
 * @param {import("../stage/types.d.ts").Palette} palette
 * @param {number} alpha
 */
function drawLanes(context, { x, y, width, height }, step, state, { css }, alpha) {
  const tokens = tokensOf(step);
  const lane = height / tokens;
  if (lane < 3) return;
  context.globalAlpha = alpha;
  context.fillStyle = css.ground;
  for (let k = 1; k < tokens; k++) context.fillRect(x, y + k * lane - 0.5, width, 1);
  if (lane < 11.5) return;
  // Any letter spacing turns the ligatures of the face off: a token is shown as it is spelt.
  context.letterSpacing = "0.01px";
  // A single lane begins under the dot of the token before it.
  const indent = tokens > 1 ? 7 : 7 + 0.6 * lane;
  for (let k = 0; k < tokens; k++) {
    const token = state.tokens[(step.ownStart ?? 0) + k];
    if (!token) continue;
    const own = token.own || token.kind === "generated";
    const size = Math.min(13, Math.max(11, lane - 3));
    label(context, visible(token.text), x + indent, y + (k + 0.5) * lane + 0.5, {
      size,
      weight: own ? 700 : 450,
      face: "mono",
      baseline: "middle",
      color: css.ground,
      width: width - 19 - indent,
    });
  }
  context.letterSpacing = "0px";
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {import("./roofline.js").Chart} chart @param {Picture} picture @param {View} view @param {number} alpha */
function drawRoofline(context, chart, { all }, { palette }, alpha) {
  drawRoofs(context, chart, palette, alpha);
  for (const phase of /** @type {const} */ (["prefill", "decode"])) {
    const points = all.steps.filter((step) => (step.ownPhase === "prefill") === (phase === "prefill")).map(pointOf);
    if (!points.length) continue;
    /** @param {(point: import("./roofline.js").Point) => number} of */
    const middle = (of) => quantile(points.map(of), 0.5);
    const point = { intensity: middle(({ intensity }) => intensity), rate: middle(({ rate }) => rate) };
    const most = Math.max(
      ...all.steps.filter((step) => (step.ownPhase === "prefill") === (phase === "prefill")).map(tokensOf),
    );
    const style = { color: palette.css[phase], clear: PILE * Math.sqrt(most) + 4 };
    drawGroup(context, chart, point, phase === "prefill" ? t("prefill") : t("decode"), style, palette, alpha);
  }
}
