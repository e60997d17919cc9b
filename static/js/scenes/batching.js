// 08 batching: seats over time, where a dark window is a seat that a step found empty; static against continuous under
// one clock; then what a step costs at every batch size.

import { mountCanvas, wipe } from "../stage/canvas.js";
import { cheapest, costOf, isTimed, isUntimed, sizesOf } from "../state/batch_sizes.js";
import { count, percent, seconds, significant } from "../state/format.js";
import { idleIn, seatsOf } from "../state/seats.js";
import { t } from "../ui/messages.js";
import { drawCost, drawRates, money, nearest, panelsOf, pointIn, priceOf, sizeX, turnWords } from "./batch_curves.js";
import { batchingFacts } from "./batching_facts.js";
import { drawBoard, drawClock, drawLegend, drawTokens } from "./board_words.js";
import { brushOf } from "./brush.js";
import { clamp, crossed, lerp, room, smooth } from "./room.js";
import { across, boardsOf, footOf, plotOf, seatedTokens, yOf } from "./seat_boards.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./brush.js").Brush} Brush */
/** @typedef {import("./seat_boards.js").Board} Board */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D }} Surfaces */

/** Neighbours of the two lanes, and seats in the crowd whose lengths all differ: what the recorded takes had too. */
const NEIGHBOURS = 7;
const CROWD = 16;

/** How much of each picture. @param {View} view */
function mixOf({ data }) {
  const { curves = 0, cost = 0, wait = 0 } = data;
  return { curves, cost, wait };
}

/** Everybody under the clock: the run on stage first. @param {State} state @param {View} view @returns {State[]} */
const lanesOf = (state, view) => [
  state,
  ...(view.cast?.lanes ?? []).flatMap((lane) => (lane.state?.opened ? [lane.state] : [])),
];

/** What an hour of the machine and of waiting cost: the reader says both. @param {View} view */
function pricesOf({ controls, data }) {
  /** @param {unknown} value */
  const price = (value) => (Number.isFinite(value) ? Math.max(0, Number(value)) : 0);
  return { machine: price(controls.batching_price), waiting: price(controls.batching_waiting) * clamp(data.wait ?? 0) };
}

/** A batch size that the reader wants to compare. @param {View} view */
const comparedWith = ({ controls }) => Number(controls.batching_size ?? 1);

/** @param {State} state @param {View} view */
function curvesOf(state, view) {
  const area = room(view);
  const sizes = sizesOf(state);
  return { sizes, area, panels: panelsOf(sizes, plotOf(area), area.narrow, pricesOf(view)) };
}

/** @param {Record<string, any>} controls @param {string} take */
const policyTake = (controls, take) => ({
  take,
  neighbours: NEIGHBOURS,
  spread: Number(controls.batching_spread ?? 1),
  max_num_seqs: Number(controls.batching_seats ?? 4),
  arrival_steps: Number(controls.batching_arrivals ?? 0),
});

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount: mountCanvas,

  takes: {
    static: (_state, controls) => policyTake(controls, "static"),
    continuous: (_state, controls) => policyTake(controls, "continuous"),
    batch: () => ({ take: "batch", max_num_seqs: CROWD }),
  },

  facts: batchingFacts,

  places(state, view) {
    const mix = mixOf(view);
    const [board] = boardsOf(lanesOf(state, view), room(view));
    const out = seatedTokens(board);
    if (mix.curves > 0) inCurves(out, state, view, mix);
    return out;
  },

  draw({ canvas, context }, states, view) {
    wipe({ canvas, context }, view);
    const mix = mixOf(view);
    const boards = 1 - smooth(0, 0.5, mix.curves);
    const brush = brushOf(context, view);
    if (boards > 0.02) drawBoards(brush, states[0], view, boards);
    if (mix.curves > 0.3) drawCurves(brush, states[0], view, smooth(0.3, 1, mix.curves), mix.cost);
    context.globalAlpha = 1;
  },

  hit(x, y, state, view) {
    return mixOf(view).curves > 0.5 ? hitCurve(x, state, view) : hitBoard(x, y, state, view);
  },

  describe(state, view) {
    if (!state.steps.length) return t("Nobody has a seat yet.");
    if (view && mixOf(view).curves > 0.5) return describeCurves(state, view);
    const lanes = view ? lanesOf(state, view) : [state];
    return lanes.map(describeSeats).join(" ");
  },

  table(state, view) {
    if (view && mixOf(view).curves > 0.5) return tableOfSizes(state, pricesOf(view));
    return tableOfSeats(view ? lanesOf(state, view) : [state]);
  },
};

/** @param {Brush} brush @param {State} state @param {View} view @param {number} alpha */
function drawBoards(brush, state, view, alpha) {
  const area = room(view);
  brush.context.globalAlpha = alpha;
  if (!state.steps.length) {
    drawMissing(brush, area, t("Nobody has a seat yet."));
    return;
  }
  const boards = boardsOf(lanesOf(state, view), area);
  boards.forEach((board, i) => {
    drawBoard(brush, board, boards.length > 1);
    if (i) drawTokens(brush, board);
  });
  const lowest = boards[boards.length - 1];
  drawClock(brush, lowest);
  const under = footOf(lowest) + (area.narrow ? 37 : 52);
  if (under < area.words - 4) drawLegend(brush, lowest.left, under, lowest.width);
}

/** @param {Brush} brush @param {State} state @param {View} view @param {number} alpha @param {number} cost */
function drawCurves(brush, state, view, alpha, cost) {
  const { sizes, area, panels } = curvesOf(state, view);
  const { context } = brush;
  context.globalAlpha = alpha;
  if (!sizes.length) {
    drawMissing(brush, area, whyNone(state));
    return;
  }
  const [x, y] = heapAt((cost > 0.5 ? panels.cost : panels.rate).plot, area.narrow);
  context.globalAlpha = alpha * Math.abs(1 - 2 * cost);
  const read = area.narrow ? t("prompt") : t("prompt: {count} tokens", { count: count(state.request.numPromptTokens) });
  brush.words(read, area.narrow ? 12 : Math.max(area.left + 10, x - 70), y + (area.narrow ? 21 : 28), {
    size: 11,
    color: brush.css.prefill,
  });
  context.globalAlpha = alpha * (1 - smooth(0, 0.5, cost));
  if (context.globalAlpha > 0.02) drawRates(brush, panels, sizes, state);
  context.globalAlpha = alpha * smooth(0.5, 1, cost);
  if (context.globalAlpha > 0.02) drawCost(brush, panels, sizes, state, pricesOf(view), comparedWith(view));
}

/** Why there is no curve. @param {State} state */
const whyNone = (state) =>
  isUntimed(state) ? t("By this log its steps took no time: there is no rate.") : t("No step of this run only wrote.");

/** @param {Brush} brush @param {import("./room.js").Area} area @param {string} said */
function drawMissing({ words }, area, said) {
  const { left, top } = plotOf(area);
  words(said, left, top + 20, { size: 14 });
}

/**
 * The dots among the points: each token that was written stands at the step that computed it. What was read is on no
 * curve and waits in a heap beside the axis.
 * @param {Float32Array} out places on the board, overwritten
 * @param {State} state @param {View} view @param {{ curves: number, cost: number }} mix
 */
function inCurves(out, state, view, mix) {
  const { sizes, panels } = curvesOf(state, view);
  const far = crossed(mix.curves);
  const turned = crossed(mix.cost);
  const { plot } = panels.rate;
  const { plot: whole } = panels.cost;
  /** @param {number} i @param {[number, number]} a @param {[number, number]} b @param {number} r */
  const move = (i, a, b, r) => {
    const [x, y] = [lerp(a[0], b[0], turned), lerp(a[1], b[1], turned)];
    out.set([lerp(out[3 * i], x, far), lerp(out[3 * i + 1], y, far), lerp(out[3 * i + 2], r, far)], 3 * i);
  };
  const { narrow } = room(view);
  const stands = new Uint8Array(state.tokens.length);
  for (const step of sizes.length ? state.steps : []) {
    if (step.ownStart === null || step.ownStop === null || step.ownPhase === "prefill" || !isTimed(step)) continue;
    const [a, b] = [panels.rate, panels.cost].map((panel) => pointIn(panel, step.seconds ?? 0, step.items.length));
    for (let i = step.ownStart; i < Math.min(step.ownStop, stands.length); i++) {
      move(i, a, b, 2.8);
      stands[i] = 1;
    }
  }
  for (let i = 0, k = 0; i < stands.length; i++) {
    if (stands[i]) continue;
    const angle = 2.399963 * k;
    const radius = Math.min(2.5, 14 / Math.sqrt(stands.length)) * Math.sqrt(k++);
    const [dx, dy] = [radius * Math.cos(angle), radius * Math.sin(angle)];
    const [a, b] = [heapAt(plot, narrow), heapAt(whole, narrow)];
    move(i, [a[0] + dx, a[1] + dy], [b[0] + dx, b[1] + dy], 1.5);
  }
}

/**
 * Where tokens lie that are on no curve.
 * @param {import("./seat_boards.js").Plot} plot
 * @param {boolean} narrow
 * @returns {[number, number]}
 */
const heapAt = ({ left, top, height }, narrow) =>
  narrow ? [left - 20, top + height + 8] : [left - 26, top + height + 22];

/** @param {number} x @param {State} state @param {View} view */
function hitCurve(x, state, view) {
  const { sizes, panels } = curvesOf(state, view);
  const shown = mixOf(view).cost > 0.5 ? [panels.cost] : [panels.rate, panels.wait];
  for (const panel of shown) {
    if (x < panel.plot.left || x > panel.plot.left + panel.plot.width) continue;
    const size = sizes.find((each) => Math.abs(sizeX(panel, each.size) - x) < panel.plot.width / panel.most / 2);
    if (!size) continue;
    const values = {
      size: count(size.size),
      steps: count(size.steps),
      time: seconds(size.seconds),
      rate: significant(size.rate),
    };
    return {
      text: t("Batch of {size}: {time} a step (median of {steps}), {rate} tokens a second.", values),
      seq: null,
    };
  }
  return null;
}

/** @param {number} x @param {number} y @param {State} state @param {View} view */
function hitBoard(x, y, state, view) {
  for (const board of boardsOf(lanesOf(state, view), room(view))) {
    const slot = Math.floor((y - yOf(board, 0)) / board.pitch);
    if (slot < 0 || slot >= board.seats.slots) continue;
    const steps = board.seats.steps.findIndex((_, i) => {
      const [left, width] = across(board, i, i);
      return x >= left && x < left + width;
    });
    if (steps < 0) return null;
    return { text: seatWords(board, slot, steps), seq: null };
  }
  return null;
}

/** Who sat there in that step, in words. @param {Board} board @param {number} slot @param {number} i */
function seatWords({ seats }, slot, i) {
  const values = { seat: slot + 1, step: seats.steps[i].step };
  const sitting = seats.sittings.find(
    (each) => each.slot === slot && each.stretches.some(({ from, to }) => from <= i && i <= to),
  );
  if (sitting) {
    const words = { ...values, guest: sitting.guest, read: count(sitting.read), steps: count(sitting.written) };
    return sitting.own
      ? t("You, in seat {seat}: {read} tokens read, then {steps} steps of writing.", words)
      : t("Guest {guest}, in seat {seat}: {read} tokens read, then {steps} steps of writing.", words);
  }
  return seats.gaps.some((gap) => gap.slot === slot && gap.from <= i && i <= gap.to && gap.wanted)
    ? t("Seat {seat} is empty in step {step}, and somebody waits.", values)
    : t("Seat {seat} is empty in step {step}, and nobody waits.", values);
}

/** @param {State} state */
function describeSeats(state) {
  const seats = seatsOf(state);
  const last = seats.steps.at(-1);
  if (!last) return "";
  const values = {
    policy: state.opened?.engine?.policy === "static" ? t("Static batching") : t("Continuous batching"),
    step: count(last.step),
    busy: count(seats.slots - idleIn(last, seats.slots)),
    slots: count(seats.slots),
    idle: count(seats.idle),
    total: count(seats.total),
    share: percent(seats.total ? seats.idle / seats.total : 0),
    wanted: count(seats.wanted),
  };
  return t(
    "{policy}, step {step}: {busy} of {slots} seats work. So far {idle} of {total} seat-steps were empty ({share}), {wanted} of them while somebody waited.",
    values,
  );
}

/** @param {State} state @param {View} view */
function describeCurves(state, view) {
  const sizes = sizesOf(state);
  if (!sizes.length) return whyNone(state);
  const [first, last] = [sizes[0], sizes[sizes.length - 1]];
  if (first === last)
    return t("This run saw batches of {size} only: {rate} tokens a second, {time} each.", {
      size: first.size,
      rate: significant(first.rate),
      time: seconds(first.seconds),
    });
  if (mixOf(view).cost > 0.5) {
    const prices = pricesOf(view);
    const least = /** @type {import("../state/batch_sizes.js").Size} */ (cheapest(sizes, prices));
    const chosen = nearest(sizes, comparedWith(view)) ?? last;
    return t(
      "At the prices you say, a million tokens cost {one} in batches of {size} and least, {price}, in batches of {best}: {turn}.",
      {
        one: priceOf(chosen, prices),
        size: chosen.size,
        price: priceOf(least, prices),
        best: least.size,
        turn: turnWords(sizes, least),
      },
    );
  }
  return t(
    "In batches of {few} this machine wrote {slow} tokens a second, {soon} each; in batches of {many}, {fast} a second, {late} each.",
    {
      few: first.size,
      slow: significant(first.rate),
      soon: seconds(first.seconds),
      many: last.size,
      fast: significant(last.rate),
      late: seconds(last.seconds),
    },
  );
}

/** @param {State[]} lanes @returns {import("../stage/types.d.ts").Table} */
function tableOfSeats(lanes) {
  return {
    caption: t("Seats and the steps they stood in, counted from the steps of the log"),
    columns: [t("Policy"), t("Seat"), t("Steps at work"), t("Steps empty"), t("of them while somebody waited")],
    rows: lanes.flatMap((state) => {
      const { slots, steps, gaps } = seatsOf(state);
      const policy = state.opened?.engine?.policy ?? "";
      return Array.from({ length: slots }, (_, slot) => {
        const dark = gaps.filter((gap) => gap.slot === slot);
        /** @param {typeof gaps} all */
        const total = (all) => all.reduce((sum, { from, to }) => sum + to - from + 1, 0);
        return [policy, slot + 1, steps.length - total(dark), total(dark), total(dark.filter(({ wanted }) => wanted))];
      });
    }),
  };
}

/** @param {State} state @param {{ machine: number, waiting: number }} prices @returns {import("../stage/types.d.ts").Table} */
function tableOfSizes(state, prices) {
  return {
    caption: t("Decode steps by batch size: seconds are measured, costs are at the prices you say"),
    columns: [t("Batch"), t("Steps"), t("Time a step, median"), t("Tokens a second"), t("$ a million tokens")],
    rows: sizesOf(state).map(({ size, steps, seconds: time, rate }) => [
      size,
      steps,
      seconds(time),
      significant(rate),
      money(costOf(time, size, prices)),
    ]),
  };
}
