// What is drawn of the boards: windows, lit where a seat works and dark where it does not, and the words around them.

import { toCss } from "../stage/palette.js";
import { ends, font } from "../stage/text.js";
import { count, percent, seconds } from "../state/format.js";
import { raceSeconds } from "../state/seats.js";
import { t } from "../ui/messages.js";
import { clamp } from "./room.js";
import { across, footOf, seatedTokens, stepWidth, xOf, yOf } from "./seat_boards.js";
import { ticksOf } from "./step_labels.js";

/** @typedef {import("./brush.js").Brush} Brush */
/** @typedef {import("./seat_boards.js").Board} Board */
/** @typedef {import("../state/seats.js").Sitting} Sitting */

/** @type {Record<string, import("../stage/types.d.ts").ColorName>} */
const COLORS = { prefill: "prefill", decode: "decode", verify: "draft" };
/** The light of a guest's window. */
const GUEST = { prefill: 0.65, other: 0.5 };
/** How far an empty window stands out: one that nobody wants, and one that somebody waits for. */
const EMPTY = 0.42;
const WASTED = 0.85;

/** @param {string} phase */
const colorOf = (phase) => COLORS[phase] ?? "decode";

/** @param {Brush} brush @param {Board} board @param {boolean} raced it is one of several lanes */
export function drawBoard(brush, board, raced) {
  for (let slot = 0; slot < board.seats.slots; slot++)
    brush.box(brush.css.line, board.left, Math.round(yOf(board, slot) + board.row) - 1, board.width, 1);
  drawGaps(brush, board);
  for (const sitting of board.seats.sittings) drawSitting(brush, board, sitting);
  drawWindows(brush, board);
  for (const sitting of board.seats.sittings) if (sitting.own) drawFrame(brush, board, sitting);
  drawNames(brush, board);
  const end = raced && board.state.closed ? (board.state.steps.at(-1)?.finishedAt ?? null) : null;
  drawHead(brush, board, end !== null);
  if (end !== null) drawEnd(brush, board, xOf(board, end));
}

/** Dark windows. Those for which somebody stood in line are hatched: these are the wasted ones. @param {Brush} brush @param {Board} board */
function drawGaps({ context, css, rgb }, board) {
  const wanted = new Path2D();
  const free = new Path2D();
  for (const gap of board.seats.gaps) {
    const [x, width] = across(board, gap.from, gap.to);
    (gap.wanted ? wanted : free).rect(x, yOf(board, gap.slot), width, board.row);
  }
  context.fillStyle = toCss(rgb.idle, EMPTY);
  context.fill(free);
  context.fillStyle = toCss(rgb.idle, WASTED);
  context.fill(wanted);
  context.save();
  context.clip(wanted);
  context.beginPath();
  const [top, bottom] = [yOf(board, 0), footOf(board)];
  for (let x = board.left - (bottom - top); x < board.left + board.width; x += 8) {
    context.moveTo(x, bottom);
    context.lineTo(x + bottom - top, top);
  }
  context.strokeStyle = css.muted;
  context.globalAlpha *= 0.55;
  context.lineWidth = 1;
  context.stroke();
  context.restore();
}

/** @param {Brush} brush @param {Board} board @param {Sitting} sitting */
function drawSitting({ box, rgb }, board, { own, slot, stretches }) {
  for (const { phase, from, to } of stretches) {
    const [x, width] = across(board, from, to);
    const light = own ? 0.16 : phase === "prefill" ? GUEST.prefill : GUEST.other;
    box(toCss(rgb[colorOf(phase)], light), x, yOf(board, slot), width, board.row);
  }
}

/** Our own lane is a lit frame: what shines in it are our tokens. @param {Brush} brush @param {Board} board @param {Sitting} sitting */
function drawFrame({ box, css }, board, { slot, stretches }) {
  const y = yOf(board, slot);
  const edge = board.row > 12 ? 1.5 : 1;
  for (const { phase, from, to } of stretches) {
    const [x, width] = across(board, from, to);
    box(css[colorOf(phase)], x, y, width, edge);
    box(css[colorOf(phase)], x, y + board.row - edge, width, edge);
  }
}

/** A step is a column of windows, where there is room to tell them apart. @param {Brush} brush @param {Board} board */
function drawWindows({ context, box, css }, board) {
  const clear = clamp((stepWidth(board) - 3) / 6);
  if (!clear) return;
  const alpha = context.globalAlpha;
  context.globalAlpha = alpha * clear;
  const [top, bottom] = [yOf(board, 0), footOf(board)];
  for (const step of board.seats.steps) box(css.ground, xOf(board, step.startedAt) - 0.5, top, 1, bottom - top);
  context.globalAlpha = alpha;
}

/** Who sits where: our own seat by its word, guests by their numbers. @param {Brush} brush @param {Board} board */
function drawNames({ words, css, narrow }, board) {
  const own = board.seats.sittings.findLast((sitting) => sitting.own)?.slot;
  const every = Math.ceil(13 / board.pitch);
  /** @param {number} slot */
  const middle = (slot) => yOf(board, slot) + board.row / 2 + 0.5;
  for (let slot = 0; slot < board.seats.slots; slot++) {
    const mine = slot === own;
    if (!mine && slot % every) continue;
    const style = mine ? { weight: 700, color: css.ink } : {};
    words(mine ? t("you") : String(slot + 1), board.left - 10, middle(slot), {
      ...style,
      align: "right",
      baseline: "middle",
    });
  }
  if (board.row < 12) return;
  for (const { guest, stretches, slot } of board.seats.sittings) {
    const [x, width] = across(board, stretches[0].from, stretches[stretches.length - 1].to);
    if (!guest || width < 18) continue;
    const name = width > 92 && !narrow ? t("guest {guest}", { guest }) : guest;
    words(name, x + 6, middle(slot), { weight: 600, baseline: "middle", color: css.ink, width: width - 8 });
  }
}

/** @param {Board} board what the policy is called, and its rule in one line */
function policyWords({ state }) {
  if (state.opened?.engine?.policy === "static")
    return [t("Static batching"), t("nobody sits down before the last of the batch has left")];
  return [t("Continuous batching"), t("a seat that falls free goes to the next in line")];
}

/** @param {Brush} brush @param {Board} board @param {boolean} served all of a race's lane */
function drawHead({ context, words, css, narrow }, board, served) {
  const { seats, left, top, width } = board;
  const right = left + width;
  const [high, low] = narrow ? [top + 12, top + 25] : [top + 19, top + 41];
  const small = { size: narrow ? 11 : 13, color: css.muted };
  const [name, rule] = policyWords(board);
  words(name, left, high, { size: narrow ? 13 : 18, weight: 650, color: css.ink });
  const waiting = seats.steps.at(-1)?.numWaiting ?? 0;
  const waits = waiting ? t("{waiting} in line", { waiting: count(waiting) }) : "";
  const time = seconds(raceSeconds(board.state) ?? 0);
  const line = served ? `✓ ${t("all served after {time}", { time })}` : waits;
  const beside = line ? `${rule} · ${line}` : rule;
  if (!seats.total) {
    words(narrow ? line : beside, left, low, { ...small, width });
    return;
  }
  const empty = t("{share} empty", { share: percent(seats.idle / seats.total) });
  words(empty, right, high, { size: narrow ? 13 : 24, weight: 600, face: "mono", align: "right", color: css.ink });
  const values = { idle: count(seats.idle), total: count(seats.total), wanted: count(seats.wanted) };
  const sum = narrow
    ? t("{wanted} while somebody waited", values)
    : t("{idle} of {total} seat-steps, {wanted} while somebody waited", values);
  ends(context, [narrow ? line : beside, sum], { x: left, y: low, width }, [small, small]);
}

/** Where a lane was over. @param {Brush} brush @param {Board} board @param {number} x */
function drawEnd({ box, css }, board, x) {
  const top = yOf(board, 0) - 4;
  box(css.accepted, x, top, 2, footOf(board) - top);
}

/** The tokens of a lane that the run on stage is not: its own run was the same request. @param {Brush} brush @param {Board} board */
export function drawTokens({ dots, css }, board) {
  const places = seatedTokens(board);
  const { tokens } = board.state;
  /** @param {string} kind */
  const of = (kind) =>
    tokens.flatMap((token, i) => (token.kind === kind ? [[...places.subarray(3 * i, 3 * i + 3)]] : []));
  dots(of("prompt"), css.prefill);
  dots(of("generated"), css.decode);
}

/** The clock that all boards share. @param {Brush} brush @param {Board} last the lowest */
export function drawClock({ box, words, css, narrow }, last) {
  const y = footOf(last) + (narrow ? 4 : 10);
  const span = last.width / last.scale;
  for (const value of ticksOf(span, narrow ? 3 : 6)) {
    const x = last.left + value * last.scale;
    box(css.line, x, y, 1, 5);
    const align = value ? (x > last.left + last.width - 24 ? "right" : "center") : "left";
    words(value ? seconds(value) : "0", x, y + 17, { size: 11, face: "mono", align });
  }
}

/** What light and dark mean; where there is little room, what the two kinds of dark do. @param {Brush} brush @param {number} left @param {number} y @param {number} width */
export function drawLegend({ context, box, line, words, css, rgb, narrow }, left, y, width) {
  const entries = [
    { name: t("reading"), fill: toCss(rgb.prefill, GUEST.prefill), hatched: false },
    { name: t("writing"), fill: toCss(rgb.decode, GUEST.other), hatched: false },
    { name: t("empty while somebody waits"), fill: toCss(rgb.idle, WASTED), hatched: true },
    { name: t("empty, nobody waits"), fill: toCss(rgb.idle, EMPTY), hatched: false },
  ];
  let x = left;
  for (const { name, fill, hatched } of narrow ? entries.slice(2) : entries) {
    context.font = font({ size: narrow ? 11 : 12 });
    const wide = 18 + context.measureText(name).width;
    if (x + wide > left + width + 4) return;
    box(fill, x, y - 9, 12, 11);
    for (const d of hatched ? [x, x + 6] : [])
      line(
        [
          [d, y + 2],
          [d + 6, y - 9],
        ],
        css.muted,
        { width: 1 },
      );
    words(name, x + 18, y);
    x += wide + (narrow ? 12 : 22);
  }
}
