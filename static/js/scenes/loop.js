// 03 loop: score every token, reshape, draw one, append it, and again. The token drawn last is followed through it.

import { mountCanvas, wipe } from "../stage/canvas.js";
import { bounded, chipText, fitEnd, label } from "../stage/text.js";
import { t } from "../ui/messages.js";
import { drawKey, drawLine, drawRows } from "./loop_bars.js";
import { drawCurve, drawTurns } from "./loop_curve.js";
import { drawField } from "./loop_field.js";
import { bindDraws, choiceOf, Futures } from "./loop_fork.js";
import { capacityOf, seatsIn } from "./loop_layout.js";
import { beforeSeat, pictureOf } from "./loop_picture.js";
import { newestOf } from "./loop_scores.js";
import { drawParting, drawSeats, drawTrack, drawWay } from "./loop_seats.js";
import { describe, facts, hit, table } from "./loop_words.js";
import { lerp, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("./loop_picture.js").Picture} Picture */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, futures: Futures }} Surfaces */

/** The last words before a place, the reader's own and the answer's. @param {State} state @param {number} place @param {number} most */
function contextBefore({ tokens }, place, most) {
  const words = tokens.slice(0, place).filter(({ own, kind }) => own || kind === "generated");
  return words
    .slice(-most)
    .map(({ text }) => bounded(text).replaceAll("\n", "⏎"))
    .join("");
}

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount(layer) {
    const { canvas, context } = mountCanvas(layer);
    bindDraws();
    return { canvas, context, futures: new Futures(layer) };
  },

  places(state, view) {
    const picture = pictureOf(state, view);
    const { layout, mix, scores } = picture;
    const seats = seatsIn(layout.seats, capacityOf(state));
    const out = new Float32Array(3 * state.tokens.length);
    for (let i = 0; i < state.tokens.length; i++) out.set([...seats.at(i), seats.r], 3 * i);
    const before = scores.token && mix.seat < 1 ? beforeSeat(picture) : null;
    if (before && scores.token) {
      const [x, y] = seats.at(scores.token.position);
      const large = layout.narrow ? 5 : 6.5;
      out.set(
        [lerp(before[0], x, mix.seat), lerp(before[1], y, mix.seat), lerp(large, seats.r, mix.seat)],
        3 * scores.token.position,
      );
    }
    return out;
  },

  draw({ canvas, context, futures }, [state], view) {
    wipe({ canvas, context }, view);
    context.letterSpacing = "0px";
    const picture = pictureOf(state, view);
    const { layout, mix } = picture;
    const here = 1 - smooth(0, 0.5, mix.fork);
    const bars = here * (1 - smooth(0.1, 0.5, mix.field));
    const rows = picture.all.rows.length ? bars : 0;
    const stairs = rows * smooth(0.4, 1, mix.stair) * (1 - smooth(0, 0.4, mix.seat));
    const seated = smooth(0.3, 1, mix.seat);
    const parted = smooth(0.5, 1, mix.fork);
    /** @type {[number, (context: CanvasRenderingContext2D, picture: Picture, alpha: number) => void][]} how lit each part is */
    const parts = [
      [here, drawContext],
      [stairs, drawLine],
      [rows * (1 - 0.45 * mix.seat), drawRows],
      [rows, drawKey],
      [rows * (1 - smooth(0, 0.6, mix.stair)) * (1 - seated), drawCurve],
      [stairs, drawWay],
      [bars * (1 - smooth(0, 0.4, mix.seat)), drawStatus],
      [bars * seated, drawTurns],
      [here * smooth(0.5, 0.9, mix.field), drawField],
      [1, drawSeats],
      [here * seated, drawTrack],
      [parted, drawParting],
    ];
    for (const [alpha, part] of parts) {
      context.globalAlpha = alpha;
      if (alpha > 0.01) part(context, picture, alpha);
    }
    futures.update(state, view, layout, parted);
  },

  hit,

  describe,

  table,

  takes: {
    logits: (state) => {
      const first = state.request.numPromptTokens - 1;
      const newest = (newestOf(state)?.position ?? 0) - 1;
      const positions = [...new Set([first, newest])].filter((position) => position >= 0);
      return positions.length ? { take: "probe", probes: { logits: positions } } : null;
    },
    fork: (state, controls) => {
      const choice = state.request.status === "finished" ? choiceOf(state, controls) : null;
      return choice && { take: "fork", position: choice.place, token_id: choice.other.id };
    },
  },

  facts,
};

/** The words so far, and the place that is open. @param {CanvasRenderingContext2D} context @param {Picture} picture */
function drawContext(context, { state, layout, scores, mix, css }) {
  const { context: line, curve, narrow } = layout;
  const style = /** @type {const} */ ({ size: line.size, face: "mono", baseline: "middle" });
  const room = curve.width * (narrow ? 0.52 : 0.7);
  label(context, "", 0, 0, style); // sets the font
  const before = contextBefore(state, scores.place, narrow ? 6 : 12);
  let said = fitEnd(context, before, room - context.measureText("… ").width);
  if (said !== before) said = said.replace(/^\S*(?=\s)/, "");
  const shown = `… ${said.trimStart()}`;
  label(context, shown, curve.left, line.y, { ...style, color: css.muted });
  const x = curve.left + context.measureText(shown).width + 6;
  const word = scores.token && mix.stair > 0.5 ? chipText(scores.token) : "";
  context.strokeStyle = css.decode;
  context.lineWidth = 1.5;
  context.strokeRect(x, line.y - line.size * 0.8, Math.max(26, context.measureText(word).width + 12), line.size * 1.6);
  label(context, word, x + 6, line.y + 0.5, { ...style, weight: 700, color: css.decode });
  const key = t("each window a token, each number its score");
  const end = x + Math.max(26, context.measureText(word).width + 12);
  label(context, "", 0, 0, { size: 12 });
  if (mix.field > 0.5 && !narrow && end + context.measureText(key).width < curve.left + curve.width - 12)
    label(context, key, curve.left + curve.width, line.y, {
      size: 12,
      align: "right",
      baseline: "middle",
      color: css.muted,
    });
}

/** What this log cannot say, where it cannot. @param {CanvasRenderingContext2D} context @param {Picture} picture */
function drawStatus(context, { layout: { curve, bars, narrow }, scores, all, css }) {
  if (scores.plain) return;
  const known = all.rows.length > 0;
  const words = !scores.token
    ? [t("Nothing has been drawn yet.")]
    : known
      ? [t("Of this token only the likeliest few were kept."), t("The sliders need the scores of all.")]
      : [t("This source does not tell what else could have been drawn.")];
  words.forEach((text, i) => {
    const y = (known ? curve.top : bars.top) + 14 + i * (narrow ? 15 : 20);
    label(context, text, curve.left, y, { size: narrow ? 11 : 13, color: css.muted, width: curve.width });
  });
}
