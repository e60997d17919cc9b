// Runs as lanes under one clock. A walk to the pantry is as wide as its seconds; on its tray stand the tokens it brought,
// one above the other, and above them the guesses that came back unused.

import { toCss } from "../stage/palette.js";
import { label } from "../stage/text.js";
import { bytes, count, percent, seconds, significant } from "../state/format.js";
import { acceptance, drafted, numWalks, numWritten, secondsPerToken, walksOf } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { laneSeats, scaleOf, spanOf, startOf } from "./speculation_layout.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./speculation_layout.js").Box} Box */
/** @typedef {import("./speculation_layout.js").Scale} Scale */
/** @typedef {{ key: string, state: State | null, status: string }} Runner */
/** @typedef {CanvasRenderingContext2D} Context */

/** Who runs in a lane, by the key of the take. @type {Record<string, () => string>} */
const NAMES = {
  standard: () => t("chef alone"),
  "speculative-sampled": () => t("with the apprentice"),
  speculative: () => t("trained apprentice"),
  "look-up": () => t("prompt look-up"),
  mismatched: () => t("badly matched"),
  "standard-fp32": () => t("chef alone"),
  "speculative-fp32": () => t("trained apprentice"),
};

/** @param {string} key */
export const nameOf = (key) => NAMES[key]?.() ?? t("this run");

/** What the drafter of a run occupies; null where its log does not say, or nobody drafts. @param {State} state */
export function drafterBytes({ opened, speculation }) {
  const name = speculation[0]?.drafter ?? opened?.engine?.drafter;
  return name ? (opened?.engine?.drafter_bytes?.[name] ?? null) : null;
}

/**
 * Tokens a second of one run over those of another; null before both have some.
 * @param {State} state
 * @param {State | null | undefined} beside
 */
export function speedBeside(state, beside) {
  const own = secondsPerToken(state);
  const other = beside ? secondsPerToken(beside) : null;
  return own && other ? other / own : null;
}

/**
 * @param {Context} context
 * @param {State} state
 * @param {Box} lane
 * @param {Scale} scale
 * @param {View} view
 * @param {{ alpha: number, dots: boolean }} style `dots`: draw the tokens too (the run on stage brings its own)
 */
export function drawLane(context, state, lane, scale, { palette }, { alpha, dots }) {
  const { css, rgb } = palette;
  const slot = lane.height / scale.rows;
  const floor = lane.y + lane.height;
  const rim = slot > 6 ? 1 : 0;
  context.globalAlpha = alpha;
  context.fillStyle = css.line;
  context.fillRect(lane.x, floor, lane.width, 1);
  const rounds = new Map(state.speculation.map((round) => [round.step, round]));
  for (const walk of walksOf(state)) {
    const { x, right, drafting } = spanOf(state, walk, lane, scale);
    const width = Math.max(0.75, right - x - (right - x > 4 ? 1 : 0));
    const at = (/** @type {number} */ place) => floor - (place + 1) * slot;
    if (walk.phase === "prefill") {
      context.fillStyle = toCss(rgb.prefill, 0.2);
      context.fillRect(x, lane.y, width, lane.height);
    }
    if (drafting < x) {
      context.fillStyle = toCss(rgb.draft, 0.9);
      context.fillRect(drafting, lane.y, Math.max(0.5, x - drafting), lane.height);
    }
    const kept = rounds.get(walk.step)?.verdict?.kept ?? 0;
    walk.positions.forEach((position, place) => {
      const draft = state.tokens[position].origin === "draft";
      context.fillStyle = toCss(rgb[draft ? "accepted" : "decode"], right - x < 5 ? 0.62 : 0.3);
      context.fillRect(x, at(place) + rim, width, slot - rim);
      if (draft && slot > 5) {
        context.fillStyle = css.accepted;
        context.fillRect(x, at(place) + rim, width, Math.min(2, 0.2 * slot));
      }
    });
    for (let place = Math.max(kept, walk.positions.length - 1); place < walk.drafts; place++) {
      const tasted = place < walk.judged;
      const y = at(place + 1) + rim;
      context.fillStyle = toCss(rgb[tasted ? "rejected" : "draft"], tasted ? 0.5 : 0.15);
      const inset = tasted ? 0.3 * (slot - rim) : 0;
      context.fillRect(x, y + inset, width, slot - rim - 2 * inset);
    }
  }
  if (dots) drawDots(context, state, laneSeats(state, lane, scale), css);
  const over = state.request.status === "finished";
  const now =
    lane.x + (lane.width * Math.min(scale.seconds, Math.max(0, lastAt(state) - startOf(state)))) / scale.seconds;
  context.fillStyle = css[over ? "ink" : "decode"];
  context.fillRect(now, lane.y, over ? 2 : 1, lane.height + 1);
  context.globalAlpha = 1;
}

/** @param {State} state */
const lastAt = (state) => state.request.finishedAt ?? state.t;

/** @param {Context} context @param {State} state @param {Float32Array} seats @param {Record<string, string>} css */
export function drawDots(context, state, seats, css) {
  for (const kind of /** @type {const} */ (["prompt", "generated"])) {
    context.beginPath();
    for (const token of state.tokens) {
      if (token?.kind !== kind) continue;
      const [x, y, r] = seats.subarray(3 * token.position, 3 * token.position + 3);
      if (r < 1) context.rect(x - r, y - r, 2 * r, 2 * r);
      else {
        context.moveTo(x + r, y);
        context.arc(x, y, r, 0, 2 * Math.PI);
      }
    }
    context.fillStyle = css[kind === "prompt" ? "prefill" : "decode"];
    context.fill();
  }
}

/**
 * @param {Context} context
 * @param {Runner[]} runners in the order of the lanes
 * @param {{ row: Box, lane: Box }[]} lanes
 * @param {View} view
 * @param {{ alpha: number, main: State, lit: string }} style `main`: the run on stage; `lit`: the one the reader picked
 */
export function drawRace(context, runners, lanes, view, { alpha, main, lit }) {
  const scale = scaleOf(runners.map(({ state }) => state));
  const alone = runners.find(({ key }) => key === "standard")?.state ?? null;
  runners.forEach(({ key, state, status }, i) => {
    const { row, lane } = lanes[i];
    const shade = alpha * (lit === "" || key === lit || key === "standard" ? 1 : 0.5);
    if (state) drawLane(context, state, lane, scale, view, { alpha: shade, dots: state !== main });
    drawWords(context, { key, state, status }, row, lane, view, {
      alpha: shade,
      beside: key === "standard" ? null : alone,
    });
  });
  if (lanes.length && view.width >= 900) {
    const { lane } = lanes[lanes.length - 1];
    const y = lane.y + lane.height + 20;
    const style = { size: 11, color: view.palette.css.muted };
    context.globalAlpha = alpha;
    label(context, t("admitted"), lane.x, y, style);
    label(context, seconds(scale.seconds), lane.x + lane.width, y, { ...style, align: "right" });
    context.globalAlpha = 1;
  }
}

/**
 * @param {Context} context @param {Runner} runner @param {Box} row @param {Box} lane @param {View} view @param {{ alpha: number, beside: State | null }} style
 */
function drawWords(context, { key, state, status }, row, lane, view, { alpha, beside }) {
  const { css } = view.palette;
  context.globalAlpha = alpha;
  if (!state) {
    label(context, nameOf(key), row.x, lane.y + 14, { size: 13, weight: 600, color: css.ink });
    label(context, status === "missing" ? t("not recorded") : t("not there yet"), lane.x, lane.y + lane.height / 2, {
      size: 12,
      color: css.muted,
    });
    context.globalAlpha = 1;
    return;
  }
  const walks = numWalks(state);
  const pace = secondsPerToken(state);
  const ratio = beside ? speedBeside(state, beside) : null;
  const speed = pace ? t("{rate} tokens/s", { rate: significant(1 / pace) }) : "";
  const times = ratio ? `${significant(ratio)} ×` : "";
  if (view.width < 900) {
    label(context, nameOf(key), row.x, row.y + 12, { size: 12, weight: 600, color: css.ink });
    const words = [t("{walks} walks", { walks: count(walks) }), speed, times].filter(Boolean).join(" · ");
    label(context, words, row.x + row.width, row.y + 12, { size: 11, face: "mono", color: css.ink, align: "right" });
  } else {
    const { kept, judged } = drafted(state.speculation);
    const bill = drafterBytes(state);
    const middle = lane.y + lane.height / 2;
    label(context, nameOf(key), row.x, middle - 14, { size: 15, weight: 600, color: css.ink, width: 180 });
    const small = { size: 12, color: css.muted, width: 184 };
    const second = judged
      ? t("kept {share} of what was tasted", { share: percent(kept / judged) })
      : t("one token a walk");
    label(context, second, row.x, middle + 5, small);
    if (bill !== null)
      label(
        context,
        bill ? t("its weights: {size}", { size: bytes(bill) }) : t("no weights at all"),
        row.x,
        middle + 23,
        small,
      );
    const right = row.x + row.width;
    label(context, count(walks), right, middle + 2, {
      size: 32,
      weight: 500,
      face: "mono",
      color: css.ink,
      align: "right",
    });
    label(context, t("walks for {tokens} tokens", { tokens: count(numWritten(state)) }), right, middle + 19, {
      size: 11,
      color: css.muted,
      align: "right",
    });
    label(context, [speed, times].filter(Boolean).join(" · "), right, middle + 36, {
      size: 12,
      face: "mono",
      weight: times ? 600 : 400,
      color: css[ratio === null ? "muted" : ratio >= 1 ? "accepted" : "rejected"],
      align: "right",
    });
  }
  context.globalAlpha = 1;
}

/** Shares kept at each place, in words. @param {State} state */
export function placesInWords(state) {
  return acceptance(state.speculation)
    .map(({ kept, judged }) => (judged ? percent(kept / judged) : "–"))
    .join(", ");
}
