// The proof: two answers to one prompt, held against each other token by token; and where they part, why.

import { label, visible } from "../stage/text.js";
import { count, significant } from "../state/format.js";
import { compare } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { sign } from "./speculation_cards.js";
import { nameOf } from "./speculation_lanes.js";
import { proofPlace, proofRows } from "./speculation_layout.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Token} Token */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./speculation_layout.js").Box} Box */
/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {{ key: string, alone: State, with: State, common: number, parted: boolean, lengths: number[], comparable: boolean }} Proof */

/** Which answers are held against which, by the keys of their takes. */
export const PAIRS = [
  ["speculative-fp32", "standard-fp32"],
  ["speculative", "standard"],
  ["look-up", "standard"],
  ["mismatched", "standard"],
];
/** Below this temperature nothing is drawn: the likeliest token is taken. */
const GREEDY_BELOW = 1e-5;

/** @param {State} state */
const isGreedy = ({ opened }) => (opened?.params?.temperature ?? 1) < GREEDY_BELOW;

/** @param {State} state */
const precision = ({ opened }) => opened?.model?.dtype ?? "";

/**
 * The pairs of which both answers are there.
 * @param {(key: string) => State | null} stateOf
 * @returns {Proof[]}
 */
export function proofs(stateOf) {
  return PAIRS.flatMap(([key, other]) => {
    const [written, alone] = [stateOf(key), stateOf(other)];
    if (!written?.tokens.length || !alone?.tokens.length) return [];
    return [
      { key, alone, with: written, ...compare(alone, written), comparable: isGreedy(written) && isGreedy(alone) },
    ];
  });
}

/** The pair whose texts are shown: the first that parts, else the first. @param {Proof[]} all */
export const shownProof = (all) => all.find(({ parted, comparable }) => parted && comparable) ?? all[0] ?? null;

/** What a proof came to, in words. @param {Proof} proof */
export function outcome({ common, parted, lengths, comparable }) {
  if (!comparable) return t("drawn, not compared");
  const values = { common: count(common), all: count(Math.max(...lengths)) };
  return parted ? t("equal up to token {common}", values) : t("{common} of {all} equal", values);
}

/**
 * @param {Context} context
 * @param {Proof[]} all
 * @param {View} view
 * @param {{ alpha: number, main: State }} style `main`: the run on stage
 */
export function drawProofs(context, all, view, { alpha, main }) {
  const { css } = view.palette;
  const narrow = view.width < 900;
  const { strips, texts } = proofRows(view, Math.max(1, all.length));
  const most = Math.max(1, ...all.map(({ lengths }) => Math.max(...lengths)));
  context.save();
  context.globalAlpha = alpha;
  all.forEach((proof, i) => {
    const { row, strip } = strips[i];
    const middle = strip.y + strip.height / 2;
    const name = `${precision(proof.with)} · ${nameOf(proof.key)}`;
    if (narrow) {
      label(context, name, row.x, row.y + 11, { size: 11, color: css.muted });
      label(context, outcome(proof), row.x + row.width, row.y + 11, {
        size: 11,
        weight: 600,
        color: css.ink,
        align: "right",
      });
    } else {
      label(context, nameOf(proof.key), row.x, middle - 2, { size: 14, weight: 600, color: css.ink, width: 184 });
      label(context, precision(proof.with), row.x, middle + 14, { size: 12, face: "mono", color: css.muted });
      label(context, outcome(proof), row.x + row.width, middle + 4, {
        size: 12,
        weight: 600,
        color: css[!proof.comparable ? "muted" : proof.parted ? "rejected" : "accepted"],
        align: "right",
        width: 124,
      });
    }
    drawStrip(context, proof, strip, most, css, proof.with === main);
  });
  const shown = shownProof(all);
  if (shown) drawTexts(context, shown, texts, view, narrow);
  context.restore();
}

/**
 * Two rows of tokens, joined where they are the same.
 * @param {Context} context @param {Proof} proof @param {Box} strip @param {number} most @param {Record<string, string>} css @param {boolean} main its tokens bring their own dots
 */
function drawStrip(context, proof, strip, most, css, main) {
  const shade = context.globalAlpha;
  for (let place = 0; place < Math.max(...proof.lengths); place++) {
    const { x, r, above, below, pitch } = proofPlace(strip, most, place);
    const equal = place < proof.common;
    context.globalAlpha = shade * (equal || !proof.parted ? 1 : 0.38);
    if (equal) {
      context.fillStyle = css.accepted;
      context.fillRect(x - Math.min(1, 0.2 * pitch), above, Math.min(2, 0.4 * pitch), below - above);
    }
    context.fillStyle = css.decode;
    context.beginPath();
    if (place < proof.lengths[0]) context.arc(x, above, r, 0, 2 * Math.PI);
    if (place < proof.lengths[1] && !main) {
      context.moveTo(x + r, below);
      context.arc(x, below, r, 0, 2 * Math.PI);
    }
    context.fill();
  }
  context.globalAlpha = shade;
  if (proof.parted && proof.comparable) {
    const { x } = proofPlace(strip, most, proof.common);
    sign(context, false, x, strip.y + strip.height / 2, 6, css.rejected);
  }
}

/** @param {State} state @param {number} place @returns {Token | undefined} */
const written = (state, place) => state.tokens[state.request.numPromptTokens + place];

/** @param {Context} context @param {Proof} proof @param {Box} box @param {View} view @param {boolean} narrow */
function drawTexts(context, proof, box, view, narrow) {
  const { css } = view.palette;
  const marks = proof.parted && proof.comparable;
  const tie = marks ? (narrow ? 0 : 92) : 0;
  const gap = narrow ? 12 : 40;
  const width = (box.width - gap) / 2;
  const height = box.height - tie;
  [proof.alone, proof.with].forEach((state, side) => {
    const column = { x: box.x + side * (width + gap), y: box.y, width, height };
    const head = side === 0 ? nameOf("standard") : nameOf(proof.key);
    label(context, head, column.x, column.y + 4, { size: narrow ? 11 : 12, weight: 600, color: css.muted, width });
    drawText(
      context,
      state,
      marks ? proof.common : -1,
      { ...column, y: column.y + (narrow ? 18 : 28), height: height - 30 },
      css,
      narrow,
    );
  });
  if (marks && !narrow) drawTie(context, proof, { ...box, y: box.y + box.height - tie, height: tie }, css);
}

/**
 * An answer as it reads, from a few words before it parts where it is too long for its place.
 * @param {Context} context @param {State} state @param {number} parting -1: nowhere @param {Box} box @param {Record<string, string>} css @param {boolean} narrow
 */
function drawText(context, state, parting, box, css, narrow) {
  const size = narrow ? 11 : 13;
  const line = narrow ? 15 : 20;
  label(context, "", 0, 0, { size, face: "mono" });
  const each = context.measureText("m").width;
  const tokens = state.tokens.slice(state.request.numPromptTokens).filter(Boolean);
  const lines = Math.max(1, Math.floor(box.height / line));
  const columns = Math.max(8, Math.floor(box.width / each));
  const rows = flow(tokens, columns);
  const at = parting < 0 ? rows.length - 1 : rows.findIndex((row) => row.some(({ place }) => place === parting));
  // With the parting in sight, or the newest words.
  const from = Math.max(0, Math.min(rows.length - lines, at - Math.floor(lines / 2)));
  rows.slice(from, from + lines).forEach((row, i) => {
    for (const { text, column, place } of row) {
      const x = box.x + column * each;
      const y = box.y + i * line;
      const parts = place === parting;
      if (parts) {
        context.strokeStyle = css.rejected;
        context.lineWidth = 1.5;
        context.strokeRect(x - 2, y - size, text.length * each + 4, size + 6);
      }
      const kept = tokens[place].origin === "draft";
      label(context, text, x, y, {
        size,
        face: "mono",
        weight: parts ? 700 : 450,
        color: css[parts ? "ink" : parting >= 0 && place < parting ? "muted" : kept ? "accepted" : "ink"],
      });
      if (kept) {
        context.fillStyle = css.accepted;
        context.fillRect(x + (text.startsWith(" ") ? each : 0), y + 3, text.trim().length * each, 1);
      }
    }
  });
}

/**
 * Tokens broken into rows of so many characters.
 * @param {Token[]} tokens
 * @param {number} columns
 * @returns {{ text: string, column: number, place: number }[][]}
 */
export function flow(tokens, columns) {
  /** @type {{ text: string, column: number, place: number }[][]} */
  const rows = [[]];
  let column = 0;
  tokens.forEach((token, place) => {
    const ends = /\n/.test(token.text);
    const text = visible(token.text.replaceAll("\n", "")).replaceAll("·", " ") + (ends ? "⏎" : "");
    if (column > 0 && column + text.length > columns && text !== "⏎") {
      rows.push([]);
      column = 0;
    }
    rows[rows.length - 1].push({ text: text.slice(0, columns), column, place });
    column += text.length;
    if (ends) {
      rows.push([]);
      column = 0;
    }
  });
  return rows.filter((row) => row.length > 0);
}

/**
 * The two favourites where the answers part, as each run scored them.
 * @param {Proof} proof
 * @returns {{ text: string, alone: number | null, with: number | null }[]}
 */
export function tie(proof) {
  const [a, b] = [written(proof.alone, proof.common), written(proof.with, proof.common)];
  if (!a || !b) return [];
  /** @param {Token} token @param {number} id */
  const logit = (token, id) => token.candidates.find((each) => each.id === id)?.logit ?? null;
  /** @param {Token} token */
  const name = (token) => token.candidates.find(({ id }) => id === token.id)?.text ?? token.text;
  return [a, b].map((chosen) => ({
    text: visible(name(chosen)),
    alone: logit(a, chosen.id),
    with: logit(b, chosen.id),
  }));
}

/** @param {Context} context @param {Proof} proof @param {Box} box @param {Record<string, string>} css */
function drawTie(context, proof, box, css) {
  const rows = tie(proof);
  if (!rows.length) return;
  const score = (/** @type {number | null} */ value) =>
    value === null ? t("not among the first") : significant4(value);
  context.fillStyle = css.line;
  context.fillRect(box.x, box.y, box.width, 1);
  const words = t(
    "Where they part, the chef's scores (logits) of the two words nearly tie, and bfloat16 rounds a pass over one token and a pass over five apart:",
  );
  label(context, words, box.x, box.y + 24, { size: 12, color: css.muted, width: box.width });
  const half = (box.width - 40) / 2;
  rows.forEach(({ text, alone, with: beside }, i) => {
    const y = box.y + 50 + 20 * i;
    const mono = { size: 13, face: /** @type {const} */ ("mono"), color: css.ink };
    [alone, beside].forEach((value, side) => {
      const x = box.x + side * (half + 40);
      const chosen = side === i;
      label(context, `“${text}” ${score(value)}`, x + 18, y, {
        ...mono,
        weight: chosen ? 700 : 400,
        color: css[chosen ? "ink" : "muted"],
      });
      if (chosen) sign(context, true, x + 6, y - 4, 5, css.decode);
    });
  });
}

/** @param {number} value */
const significant4 = (value) => (Number.isInteger(value * 1000) ? value.toFixed(3) : significant(value));
