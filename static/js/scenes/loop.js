// 03 loop: score every token, reshape, draw one, append it, and again. The token drawn last is followed through it.

import { chipText, label } from "../stage/text.js";
import { t } from "../ui/messages.js";
import { drawCurve, drawLine, drawRows } from "./loop_bars.js";
import { drawField } from "./loop_field.js";
import { bindDraws, choiceOf, Futures } from "./loop_fork.js";
import { capacityOf, seatsIn } from "./loop_layout.js";
import { beforeSeat, drawsFrom, pictureOf, tallyOf } from "./loop_picture.js";
import { newestOf } from "./loop_scores.js";
import { drawParting, drawSeats, drawTrack, drawTurns, drawWay } from "./loop_turns.js";
import { describe, facts, hit, table } from "./loop_words.js";
import { lerp, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, futures: Futures }} Surfaces */

/** The last words before a place, the reader's own and the answer's. @param {State} state @param {number} place @param {number} most */
function contextBefore({ tokens }, place, most) {
  const words = tokens.slice(0, place).filter(({ own, kind }) => own || kind === "generated");
  return words
    .slice(-most)
    .map(({ text }) => text.replaceAll("\n", "⏎"))
    .join("");
}

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount(layer) {
    const canvas = document.createElement("canvas");
    layer.append(canvas);
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no 2d context");
    bindDraws();
    return { canvas, context, futures: new Futures(layer) };
  },

  places(state, view) {
    const picture = pictureOf(state, view);
    const { layout, mix, scores } = picture;
    const seats = seatsIn(layout.seats, capacityOf(state));
    const out = new Float32Array(3 * state.tokens.length);
    for (let i = 0; i < state.tokens.length; i++) out.set([...seats.at(i), seats.r], 3 * i);
    const before = scores.token && mix.seat < 1 ? beforeSeat(picture, view) : null;
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
    const [width, height] = [Math.round(view.width * view.dpr), Math.round(view.height * view.dpr)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.setTransform(view.dpr, 0, 0, view.dpr, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    context.letterSpacing = "0px";
    const picture = pictureOf(state, view);
    const { layout, mix, scores, all } = picture;
    const here = 1 - smooth(0, 0.5, mix.fork);
    const bars = here * (1 - smooth(0.2, 0.7, mix.field));
    drawContext(context, picture, state, view, here);
    if (bars > 0 && all.rows.length) {
      const draws = drawsFrom(view);
      const stairs = smooth(0.4, 1, mix.stair);
      const tally = stairs > 0.5 && mix.seat < 0.5 ? tallyOf(picture, draws) : [];
      drawLine(context, layout, scores, draws, view, bars * stairs * (1 - smooth(0, 0.4, mix.seat)));
      drawRows(context, layout, scores, all, mix, view, bars * (1 - 0.45 * mix.seat), tally);
      drawCurve(context, layout, scores, mix, view, bars * (1 - smooth(0, 0.6, mix.stair)));
      const from = beforeSeat(picture, view)?.[0];
      if (from !== undefined)
        drawWay(context, layout, state, from, view, bars * stairs * (1 - smooth(0, 0.5, mix.seat)));
    }
    drawStatus(context, picture, view, bars * (1 - smooth(0, 0.4, mix.seat)));
    drawTurns(context, layout, state, view, bars * smooth(0.3, 1, mix.seat));
    if (mix.field > 0.02) drawField(context, layout, scores, all.rows, view, here * smooth(0.3, 0.9, mix.field));
    drawSeats(context, layout, state, view);
    drawTrack(context, layout, state, view, here * smooth(0.3, 1, mix.seat));
    if (mix.fork > 0.5) drawParting(context, layout, state, view, smooth(0.5, 1, mix.fork));
    futures.update(state, view, layout, smooth(0.5, 1, mix.fork));
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

/** The words so far, and the place that is open. @param {CanvasRenderingContext2D} context @param {import("./loop_picture.js").Picture} picture @param {State} state @param {View} view @param {number} alpha */
function drawContext(context, { layout, scores, mix }, state, { palette: { css } }, alpha) {
  if (alpha <= 0) return;
  const { context: line, curve, narrow } = layout;
  context.globalAlpha = alpha;
  const style = /** @type {const} */ ({ size: line.size, face: "mono", baseline: "middle" });
  const said = contextBefore(state, scores.place, narrow ? 6 : 12);
  const room = curve.width * (narrow ? 0.6 : 0.7);
  label(context, "", 0, 0, style); // sets the font
  let shown = `… ${said.trimStart()}`;
  while (shown.length > 4 && context.measureText(shown).width > room)
    shown = `… ${[...shown].slice(4).join("").trimStart()}`;
  label(context, shown, curve.left, line.y, { ...style, color: css.muted });
  const x = curve.left + context.measureText(shown).width + 6;
  const word = scores.token && mix.stair > 0.5 ? chipText(scores.token) : "";
  const width = Math.max(26, word ? context.measureText(word).width + 12 : 0);
  context.strokeStyle = css.decode;
  context.lineWidth = 1.5;
  context.strokeRect(x, line.y - line.size * 0.8, width, line.size * 1.6);
  if (mix.field > 0.5 && !narrow) {
    const words = t("each window a token, each number its score");
    label(context, words, curve.left + curve.width, line.y, {
      size: 12,
      align: "right",
      baseline: "middle",
      color: css.muted,
    });
  }
  if (word) label(context, word, x + 6, line.y + 0.5, { ...style, weight: 700, color: css.decode });
  context.globalAlpha = 1;
}

/** What this log cannot say, where it cannot. @param {CanvasRenderingContext2D} context @param {import("./loop_picture.js").Picture} picture @param {View} view @param {number} alpha */
function drawStatus(context, { layout, scores, all }, { palette: { css } }, alpha) {
  if (scores.plain || alpha <= 0) return;
  const { curve, bars, narrow } = layout;
  const known = all.rows.length > 0;
  const line = narrow ? 15 : 20;
  context.globalAlpha = alpha;
  missingWords(scores, known).forEach((text, i) => {
    const y = (known ? curve.top : bars.top) + 14 + i * line;
    label(context, text, curve.left, y, { size: narrow ? 11 : 13, color: css.muted, width: curve.width });
  });
  context.globalAlpha = 1;
}

/** @param {import("./loop_scores.js").Scores} scores @param {boolean} known some candidates are */
function missingWords({ token }, known) {
  if (!token) return [t("Nothing has been drawn yet.")];
  if (!known) return [t("This source does not tell what else could have been drawn.")];
  return [t("Of this token only the likeliest few were kept."), t("The sliders need the scores of all.")];
}
