// Runs as lanes under one clock. A walk to the pantry is as wide as its seconds; on its tray stand the tokens it brought,
// one above the other, and above them the guesses that came back unused.

import { toCss } from "../stage/palette.js";
import { ends, label } from "../stage/text.js";
import { bytes, count, seconds, significant } from "../state/format.js";
import { acceptance, drafted, expected, numWalks, numWritten, secondsPerToken, walksOf } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { NARROW } from "./room.js";
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
export function drawLane(context, state, lane, scale, view, { alpha, dots }) {
  const { palette } = view;
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
    if (walk.phase === "prefill") {
      context.fillStyle = toCss(rgb.prefill, 0.2);
      context.fillRect(x, lane.y, width, lane.height);
    }
    context.fillStyle = css.draft;
    if (drafting < x) context.fillRect(drafting, floor + 2, Math.max(0.5, x - drafting), 4);
    drawTray(context, walk, rounds.get(walk.step)?.verdict ?? null, state, { x, width, floor, slot, rim }, palette);
  }
  if (dots) drawDots(context, state, laneSeats(state, lane, scale), css);
  const over = state.request.status === "finished";
  const now =
    lane.x + (lane.width * Math.min(scale.seconds, Math.max(0, lastAt(state) - startOf(state)))) / scale.seconds;
  context.fillStyle = css[over ? "ink" : "decode"];
  context.fillRect(now, lane.y, over ? 2 : 1, lane.height + 1);
  if (over && view.width >= NARROW)
    label(context, seconds(lastAt(state) - startOf(state)), now, lane.y - 6, {
      size: 11,
      color: css.muted,
      align: "right",
    });
  context.globalAlpha = 1;
}

/**
 * What came back on the tray of a walk: guesses that were kept, the chef's own word, and above them what was in vain.
 * @param {Context} context
 * @param {import("../state/speculation.js").Walk} walk
 * @param {import("../state/types.d.ts").Round["verdict"]} verdict
 * @param {State} state
 * @param {{ x: number, width: number, floor: number, slot: number, rim: number }} tray
 * @param {import("../stage/types.d.ts").Palette} palette
 */
function drawTray(context, walk, verdict, state, { x, width, floor, slot, rim }, { css, rgb }) {
  // Judged and not yet said: the verdict comes a moment before the words.
  const coming = verdict && walk.positions.length === 0 ? verdict.kept + 1 : 0;
  const said = Math.max(walk.positions.length, coming);
  for (let place = 0; place < said; place++) {
    const position = walk.positions[place];
    const kept = position === undefined ? place < (verdict?.kept ?? 0) : state.tokens[position].origin === "draft";
    const y = floor - (place + 1) * slot + rim;
    context.fillStyle = toCss(rgb[kept ? "accepted" : "decode"], width < 4 ? 0.55 : 0.28);
    context.fillRect(x, y, width, slot - rim);
    if (!kept || slot <= 5) continue;
    context.fillStyle = css.accepted;
    context.fillRect(x, y, width, Math.min(2, 0.2 * slot));
  }
  if (!verdict || verdict.kept >= walk.drafts || slot <= 5) return;
  const inset = 0.36 * slot;
  context.fillStyle = toCss(rgb.rejected, 0.55);
  context.fillRect(x, floor - (said + 1) * slot + inset, width, slot - 2 * inset);
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
 * @param {{ alpha: number, main: State, lit: string, foot: string }} style `main`: the run on stage; `lit`: the one the reader picked; `foot`: what the controls would change
 */
export function drawRace(context, runners, lanes, view, { alpha, main, lit, foot }) {
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
  if (!lanes.length) return;
  const { row, lane } = lanes[lanes.length - 1];
  const narrow = view.width < NARROW;
  const y = narrow ? row.y + row.height + 8 : lane.y + lane.height + 24;
  const style = { size: narrow ? 11 : 12, color: view.palette.css.muted };
  if (!narrow) drawLegend(context, lane.width < LEGEND ? row.x : lane.x, y, view, alpha);
  context.globalAlpha = alpha;
  label(context, foot, row.x, narrow ? y : y + 22, { ...style, width: row.width });
  context.globalAlpha = 1;
}

/** Width of the legend, about. */
const LEGEND = 380;

/** What the colours of the lanes say. @param {Context} context @param {number} left @param {number} y @param {View} view @param {number} alpha */
export function drawLegend(context, left, y, { palette: { css } }, alpha) {
  const signs = /** @type {const} */ ([
    ["draft", t("guessing")],
    ["accepted", t("guess kept")],
    ["rejected", t("guess rejected")],
    ["decode", t("the chef's own word")],
  ]);
  context.globalAlpha = alpha;
  let x = left;
  for (const [color, words] of signs) {
    context.fillStyle = css[color];
    context.fillRect(x, y - (color === "draft" ? 5 : 8), 9, color === "accepted" || color === "decode" ? 9 : 4);
    label(context, words, x + 14, y, { size: 11, color: css.muted });
    x += 30 + context.measureText(words).width;
  }
  context.globalAlpha = 1;
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
  if (view.width < NARROW) {
    // Where there is no room for all, the speed beside the first lane says as much as tokens a second.
    const said = [t("{walks} walks", { walks: count(walks) }), row.width < 320 && times ? "" : speed, times];
    ends(context, [nameOf(key), said.filter(Boolean).join(" · ")], { ...row, y: row.y + 12 }, [
      { size: 12, weight: 600, color: css.ink },
      { size: 11, face: "mono", color: css.ink },
    ]);
  } else {
    const { judged } = drafted(state.speculation);
    const bill = drafterBytes(state);
    const middle = lane.y + lane.height / 2;
    label(context, nameOf(key), row.x, middle - 14, { size: 15, weight: 600, color: css.ink, width: 180 });
    const small = { size: 12, color: css.muted, width: 184 };
    const second = judged ? t("kept {shares} %, by place", { shares: sharesOf(state) }) : t("one token a walk");
    label(context, second, row.x, middle + 5, small);
    const weights = bill ? t("its weights: {size}", { size: bytes(bill) }) : t("no weights at all");
    if (bill !== null) label(context, weights, row.x, middle + 23, small);
    const right = row.x + row.width;
    const big = { size: 32, weight: 500, face: /** @type {const} */ ("mono"), color: css.ink };
    label(context, count(walks), right, middle - 6, { ...big, align: "right" });
    const tokens = t("walks for {tokens} tokens", { tokens: count(numWritten(state)) });
    label(context, tokens, right, middle + 11, { size: 11, color: css.muted, align: "right" });
    label(context, speed, right, middle + 28, { size: 12, face: "mono", color: css.muted, align: "right" });
    label(context, times && t("{times} as fast", { times }), right, middle + 46, {
      size: 13,
      weight: 600,
      color: css[ratio === null || ratio >= 1 ? "accepted" : "rejected"],
      align: "right",
    });
  }
  context.globalAlpha = 1;
}

/**
 * What the controls say of the runs on stage, and would change in them.
 * @param {State} state of a run that speculates
 * @param {Record<string, any>} controls
 */
export function outlook({ opened, speculation }, { speculation_k: k, speculation_temperature: temperature }) {
  const there = opened?.params?.temperature;
  if (typeof there === "number" && typeof temperature === "number" && Math.abs(there - temperature) > 0.001)
    return t("These ran at temperature {there}. Race again to see them at {here}.", { there, here: temperature });
  if (!k || !speculation.length) return "";
  const tokens = expected(acceptance(speculation), k);
  if (tokens === null) return t("{k} guesses a walk were not tasted here. Race again to see them.", { k });
  const mean = significant(tokens);
  return t("Modelled from what was kept: guesses {k}, tokens a walk {mean}.", { k, mean });
}

/** Hundredths kept at each place. @param {State} state */
const sharesOf = (state) =>
  acceptance(state.speculation)
    .map(({ kept, judged }) => (judged ? Math.round((100 * kept) / judged) : "–"))
    .join(" · ");
