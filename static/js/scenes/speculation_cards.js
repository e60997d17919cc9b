// The apprentice's row: what it guessed (q), what the chef would have said (p), the coin between them, the verdict.

import { toCss } from "../stage/palette.js";
import { fitEnd, label, visible } from "../stage/text.js";
import { percent, significant } from "../state/format.js";
import { acceptance, walksOf } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { clamp } from "./room.js";
import { cardRow } from "./speculation_layout.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Round} Round */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./speculation_layout.js").Box} Box */
/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {"waiting" | "kept" | "rejected" | "untasted"} Verdict */

/** Words before the guesses that are shown. */
const WORDS_BEFORE = 14;

/**
 * What became of the guess at a place.
 * @param {Round} round
 * @param {number} place
 * @returns {Verdict}
 */
export function verdictOf({ verdict }, place) {
  if (!verdict) return "waiting";
  if (place < verdict.kept) return "kept";
  return place < verdict.judged ? "rejected" : "untasted";
}

/** Two digits, and no nought that is none. @param {number} value */
export const probability = (value) => (value > 0 && value < 0.005 ? "<0.01" : value.toFixed(2));

/** The round on stage: the newest that the playhead knows. @param {State} state @returns {Round | null} */
export const roundOf = (state) => state.speculation.at(-1) ?? null;

/** Tokens a walk brought that tasted guesses, on average; null before the first. @param {State} state */
export function tokensPerWalk(state) {
  // What has been judged counts, though its tokens are not written yet; of the last walk only what was written.
  const judged = new Map(state.speculation.map(({ step, verdict }) => [step, verdict]));
  const brought = walksOf(state)
    .map(({ step, positions }) => (judged.get(step) ? positions.length || (judged.get(step)?.kept ?? 0) + 1 : 0))
    .filter(Boolean);
  return brought.length ? brought.reduce((sum, each) => sum + each, 0) / brought.length : null;
}

/**
 * A tick or a cross, drawn: no face of the page's own has them.
 * @param {Context} context
 * @param {boolean} good
 * @param {number} x centre
 * @param {number} y
 * @param {number} size half of it
 * @param {string} color
 */
export function sign(context, good, x, y, size, color) {
  context.beginPath();
  if (good) {
    context.moveTo(x - size, y);
    context.lineTo(x - 0.25 * size, y + 0.75 * size);
    context.lineTo(x + size, y - 0.8 * size);
  } else {
    context.moveTo(x - 0.8 * size, y - 0.8 * size);
    context.lineTo(x + 0.8 * size, y + 0.8 * size);
    context.moveTo(x + 0.8 * size, y - 0.8 * size);
    context.lineTo(x - 0.8 * size, y + 0.8 * size);
  }
  context.lineWidth = Math.max(1.6, 0.36 * size);
  context.lineCap = "round";
  context.lineJoin = "round";
  context.strokeStyle = color;
  context.stroke();
}

/**
 * @param {Context} context
 * @param {State} state
 * @param {View} view
 * @param {number} alpha
 */
export function drawCards(context, state, view, alpha) {
  const round = roundOf(state);
  if (!round) return;
  const narrow = view.width < 900;
  const row = cardRow(view, round.ids.length);
  context.save();
  context.globalAlpha = alpha;
  drawBefore(context, state, round, row.words, view, narrow);
  const tight = narrow || row.last.height < 230;
  row.cards.forEach((box, place) => {
    drawGuess(context, round, place, box, view, tight);
  });
  drawOwnWord(context, round, row, view, narrow);
  drawTally(context, state, row, view, narrow);
  context.restore();
}

/**
 * The words that the guesses go on from.
 * @param {Context} context @param {State} state @param {Round} round @param {Box} box @param {View} view @param {boolean} narrow
 */
function drawBefore(context, state, round, box, { palette: { css } }, narrow) {
  const y = box.y + (narrow ? 6 : 8);
  const small = { size: narrow ? 11 : 12, color: css.muted };
  const before = state.tokens.slice(
    Math.max(state.request.numPromptTokens, round.position - WORDS_BEFORE),
    round.position,
  );
  const greedy = round.verdict !== null && round.verdict.draws === null;
  const note = greedy && !narrow ? t("temperature 0: no coin, the likeliest word or none") : "";
  label(context, note, box.x + box.width, y, { ...small, align: "right" });
  const room = box.width - context.measureText(note).width - 90;
  const lead = t("so far");
  label(context, lead, box.x, y, small);
  const left = box.x + context.measureText(lead).width + 10;
  const style = { size: narrow ? 12 : 15, face: /** @type {const} */ ("mono"), color: css.ink };
  label(context, "", 0, 0, style);
  const text = before
    .map((token) => visible(token.text).replaceAll("·", " "))
    .join("")
    .trimStart();
  // The newest words matter: the line is cut on its left.
  const end = fitEnd(context, text, room - context.measureText("…").width);
  const whole = round.position - before.length === state.request.numPromptTokens && end === text;
  const line = whole ? text : `…${end}`;
  label(context, line, left, y, style);
  context.fillStyle = css.decode;
  context.fillRect(left + context.measureText(line).width + 4, y - (narrow ? 10 : 13), 2, narrow ? 13 : 17);
}

/**
 * @param {Context} context @param {Box} box @param {View} view @param {import("../stage/types.d.ts").ColorName} color @param {number} strength @param {boolean} [dashed]
 */
function drawBox(context, { x, y, width, height }, { palette }, color, strength, dashed = false) {
  context.beginPath();
  context.roundRect(x, y, width, height, 9);
  context.fillStyle = toCss(palette.rgb[color], 0.09 * strength);
  context.fill();
  context.lineWidth = 1.25;
  context.setLineDash(dashed ? [4, 4] : []);
  context.strokeStyle = toCss(palette.rgb[color], 0.3 + 0.55 * strength);
  context.stroke();
  context.setLineDash([]);
}

/** Of a verdict: its colour and its word. @type {Record<Verdict, { color: import("../stage/types.d.ts").ColorName, word: () => string }>} */
const VERDICTS = {
  waiting: { color: "draft", word: () => t("guessed") },
  kept: { color: "accepted", word: () => t("kept") },
  rejected: { color: "rejected", word: () => t("rejected") },
  untasted: { color: "idle", word: () => t("not tasted") },
};

/** @param {Context} context @param {Round} round @param {number} place @param {Box} box @param {View} view @param {boolean} narrow */
function drawGuess(context, round, place, box, view, narrow) {
  const { css } = view.palette;
  const verdict = verdictOf(round, place);
  const { color, word } = VERDICTS[verdict];
  const dim = verdict === "untasted";
  const shade = context.globalAlpha;
  const pad = narrow ? 7 : 14;
  drawBox(context, box, view, color, dim ? 0.2 : 1);
  if (dim) context.globalAlpha = 0.55 * shade;
  label(context, visible(round.texts[place]), box.x + pad, box.y + (narrow ? 19 : 32), {
    size: narrow ? 13 : 18,
    weight: 600,
    face: "mono",
    color: css[dim ? "muted" : "draft"],
    width: box.width - 2 * pad,
  });
  drawBars(context, round, place, box, view, narrow);
  const foot = box.y + box.height;
  if (verdict !== "waiting" && !dim) {
    sign(context, verdict === "kept", box.x + pad + 4, foot - (narrow ? 11 : 18), narrow ? 4.5 : 6, css[color]);
  }
  const signed = verdict !== "waiting" && !dim;
  const indent = signed ? (narrow ? 13 : 18) : 0;
  label(context, word(), box.x + pad + indent, foot - (narrow ? 7 : 13), {
    size: narrow ? 11 : 13,
    weight: 600,
    color: css[verdict === "waiting" ? "draft" : dim ? "muted" : color],
    width: box.width - pad - indent - 2,
  });
  context.globalAlpha = shade;
}

/**
 * q above p, and below them the coin: it falls between nought and one, on the green up to p ÷ q or on the red behind it.
 * @param {Context} context @param {Round} round @param {number} place @param {Box} box @param {View} view @param {boolean} narrow
 */
function drawBars(context, { q, verdict }, place, box, { palette }, narrow) {
  const { css } = palette;
  const pad = narrow ? 7 : 14;
  const [left, width] = [box.x + pad, box.width - 2 * pad];
  const top = box.y + (narrow ? 36 : 64);
  const step = (box.height - (narrow ? 36 + 24 : 64 + 46)) / 3;
  const p = verdict?.p[place];
  const u = verdict && place < verdict.judged ? verdict.draws?.[place] : undefined;
  const size = narrow ? 11 : 12;
  const thick = clamp(0.3 * step, 5, 18);
  /** @param {number} row @param {string} name @param {string} who @param {string} value @param {string} color */
  const head = (row, name, who, value, color) => {
    const y = top + row * step;
    label(context, narrow ? name : `${name}  ${who}`, left, y, { size, color, width: width - 34 });
    label(context, value, left + width, y, { size, face: "mono", weight: 600, color, align: "right" });
    return y + 6;
  };
  /** @param {number} y @param {number} share @param {string} color */
  const bar = (y, share, color) => {
    context.fillStyle = css.idle;
    context.fillRect(left, y, width, thick);
    context.fillStyle = color;
    context.fillRect(left, y, Math.max(1.5, width * share), thick);
  };
  bar(head(0, "q", t("apprentice"), probability(q[place]), css.draft), q[place], css.draft);
  if (p === undefined) return;
  bar(head(1, "p", t("chef"), probability(p), css.ink), p, css.ink);
  if (u === undefined) return;
  const y = head(2, "u", t("coin"), probability(u), css.decode);
  drawCoin(
    context,
    { x: left, y, width, height: thick },
    { u, most: q[place] > 0 ? clamp(p / q[place]) : 1 },
    palette,
    narrow,
  );
}

/**
 * Where the coin fell: kept below `most`, rejected above.
 * @param {Context} context @param {Box} box @param {{ u: number, most: number }} coin @param {View["palette"]} palette @param {boolean} narrow
 */
function drawCoin(context, { x, y, width, height }, { u, most }, { css }, narrow) {
  const split = x + width * most;
  context.fillStyle = css.accepted;
  context.fillRect(x, y, width * most, height);
  context.save();
  context.beginPath();
  context.rect(split, y, width * (1 - most), height);
  context.clip();
  context.strokeStyle = css.rejected;
  context.lineWidth = 1.5;
  context.beginPath();
  // Hatched, so that the two are told apart without their colours.
  for (let at = split - height; at < x + width; at += 5) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
  const middle = y + height / 2;
  const at = x + width * clamp(u);
  context.beginPath();
  context.arc(at, middle, height / 2 + (narrow ? 2 : 3), 0, 2 * Math.PI);
  context.fillStyle = css.ground;
  context.fill();
  context.lineWidth = narrow ? 2 : 2.5;
  context.strokeStyle = css.decode;
  context.stroke();
  context.beginPath();
  context.arc(at, middle, narrow ? 1.6 : 2.5, 0, 2 * Math.PI);
  context.fillStyle = css.decode;
  context.fill();
  if (narrow) return;
  const words = most >= 1 ? t("p ≥ q: any coin keeps it") : t("kept below p ÷ q = {most}", { most: probability(most) });
  label(context, words, x, y + height + 17, { size: 11, color: css.muted, width: width + 8 });
}

/**
 * The chef's own word, which follows what was kept.
 * @param {Context} context @param {Round} round @param {ReturnType<typeof cardRow>} row @param {View} view @param {boolean} narrow
 */
function drawOwnWord(context, round, { last, hidden }, view, narrow) {
  const { verdict } = round;
  const { css } = view.palette;
  const pad = narrow ? 7 : 14;
  drawBox(context, last, view, "decode", verdict ? 1 : 0.2, !verdict);
  const width = last.width - 2 * pad;
  const style = { size: narrow ? 13 : 18, weight: 600, face: /** @type {const} */ ("mono"), color: css.decode, width };
  label(context, verdict ? visible(verdict.text) : "?", last.x + pad, last.y + (narrow ? 19 : 32), style);
  const why = !verdict
    ? t("the chef's own word")
    : verdict.origin === "bonus"
      ? t("all were kept, and the same walk says one word more")
      : instead(round);
  const lines = wrap(context, why, width, narrow ? 11 : 12);
  const most = Math.max(1, Math.floor((last.height - (narrow ? 52 : 78)) / (narrow ? 13 : 17)));
  lines.slice(0, most).forEach((line, i) => {
    label(context, line, last.x + pad, last.y + (narrow ? 36 : 60) + i * (narrow ? 13 : 17), {
      size: narrow ? 11 : 12,
      color: css.muted,
      width,
    });
  });
  if (verdict)
    label(
      context,
      verdict.origin === "bonus" ? t("bonus") : t("recovered"),
      last.x + pad,
      last.y + last.height - (narrow ? 7 : 13),
      { size: narrow ? 11 : 13, weight: 600, color: css.decode, width },
    );
  if (hidden > 0)
    label(context, t("{count} guesses more", { count: hidden }), last.x + last.width, last.y - 6, {
      size: 11,
      color: css.muted,
      align: "right",
    });
}

/** Why the chef's own word stands where it does. @param {Round} round */
function instead({ texts, verdict }) {
  const values = { text: visible(texts[verdict?.kept ?? 0] ?? "") };
  return verdict?.draws
    ? t("instead of “{text}”: drawn from what is left of p where q is taken off", values)
    : t("instead of “{text}”: the chef's own first choice", values);
}

/**
 * @param {Context} context
 * @param {string} text
 * @param {number} width
 * @param {number} size
 */
export function wrap(context, text, width, size) {
  label(context, "", 0, 0, { size });
  /** @type {string[]} */
  const lines = [];
  for (const word of text.split(" ")) {
    const longer = lines.length ? `${lines[lines.length - 1]} ${word}` : word;
    if (lines.length && context.measureText(longer).width <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/**
 * How often a guess was kept, by its place in the row.
 * @param {Context} context @param {State} state @param {ReturnType<typeof cardRow>} row @param {View} view @param {boolean} narrow
 */
function drawTally(context, state, { tally, cards, last }, { palette }, narrow) {
  const { css } = palette;
  if (!narrow)
    label(context, t("kept when tasted, by place, so far"), tally.x, tally.y, { size: 12, color: css.muted });
  const places = acceptance(state.speculation);
  const top = tally.y + (narrow ? 12 : 30);
  cards.forEach(({ x, width }, place) => {
    const { kept = 0, judged = 0 } = places[place] ?? {};
    context.fillStyle = css.idle;
    context.fillRect(x, top + 7, width, narrow ? 4 : 6);
    if (!judged) return;
    label(context, percent(kept / judged), x, top, {
      size: narrow ? 11 : 15,
      weight: 600,
      face: "mono",
      color: css.accepted,
    });
    if (!narrow)
      label(context, t("{kept} of {judged}", { kept, judged }), x + width, top, {
        size: 12,
        color: css.muted,
        align: "right",
      });
    context.fillStyle = css.accepted;
    context.fillRect(x, top + 7, (width * kept) / judged, narrow ? 4 : 6);
  });
  const mean = tokensPerWalk(state);
  if (mean === null) return;
  label(
    context,
    narrow ? `${significant(mean)} / walk` : t("{mean} tokens a walk", { mean: significant(mean) }),
    last.x,
    top,
    {
      size: narrow ? 11 : 13,
      weight: 600,
      color: css.decode,
      width: last.width,
    },
  );
}
