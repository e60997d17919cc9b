// 03 loop: score every token, reshape, draw one, append it, and again. The token drawn last is followed through it.

import { chipText, label } from "../stage/text.js";
import { measured, modelled } from "../state/fact.js";
import { count, percent, significant } from "../state/format.js";
import { drawAt, reshape } from "../state/sampling.js";
import { t } from "../ui/messages.js";
import { barOf, drawCurve, drawLine, drawRows, rowAt } from "./loop_bars.js";
import { drawField, fieldOf } from "./loop_field.js";
import { bindDraws, choiceOf, Futures, forkOf } from "./loop_fork.js";
import { capacityOf, layoutOf, seatsIn } from "./loop_layout.js";
import { drawsOf, logitsAt, newestOf, rowsOf, scoresOf, settingsOf } from "./loop_scores.js";
import { drawTrack, drawTurns, turnAt } from "./loop_turns.js";
import { clamp, lerp, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./loop_layout.js").Layout} Layout */
/** @typedef {{ field: number, shape: number, stair: number, seat: number, fork: number }} Mix what the step shows */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D, futures: Futures }} Surfaces */

/** @param {View} view @returns {Mix} */
function mixOf({ data }) {
  const { field = 0, shape = 0, stair = 0, seat = 0, fork = 0 } = data;
  return { field, shape, stair, seat, fork };
}

/** @param {State} state @param {View} view */
function pictureOf(state, view) {
  const layout = layoutOf(view);
  const mix = mixOf(view);
  const scores = scoresOf(state, view);
  const shape = scores.shaped ? mix.shape : 0;
  return {
    layout,
    mix: { ...mix, shape, field: scores.plain ? mix.field : 0 },
    scores,
    all: rowsOf(scores, layout.numRows, shape > 0.5),
  };
}

/**
 * Where the token in question stands before it has a seat: its window, the end of its bar, where the coin fell.
 * @param {ReturnType<typeof pictureOf>} picture
 * @param {View} view
 * @returns {[number, number] | null}
 */
function beforeSeat({ layout, mix, scores, all }, view) {
  const i = all.rows.findIndex(({ id }) => id === scores.token?.id);
  if (i < 0) return null;
  const [from, to] = barOf(layout, all.rows[i], mix);
  const { coin } = scores;
  const share = coin?.uniform != null ? (coin.uniform - coin.from) / Math.max(1e-12, coin.to - coin.from) : 0.5;
  const [x, y] = [lerp(to, from + (to - from) * share, mix.stair), rowAt(layout, i)];
  if (mix.field <= 0) return [x, y];
  const [u, v] = fieldOf(layout, scores, view).at(all.rows[i].id);
  return [lerp(x, u, mix.field), lerp(y, v, mix.field)];
}

/** How often the browser's draws fell on each row; the last is all others. @param {ReturnType<typeof pictureOf>} picture @param {number[]} draws */
function tallyOf({ scores: { shaped }, all }, draws) {
  const tally = new Array(all.rows.length + 1).fill(0);
  if (!shaped) return tally;
  for (const draw of draws) {
    const id = shaped.ids[drawAt(shaped.mass, draw)];
    const row = all.rows.findIndex((one) => one.id === id);
    tally[row < 0 ? all.rows.length : row] += 1;
  }
  return tally;
}

/** @param {View} view */
const drawsFrom = ({ controls }) => drawsOf(clamp(Math.round(Number(controls.loop_draws) || 0), 0, 1000));

/** The last words before a place. @param {State} state @param {number} place @param {number} most */
const contextBefore = (state, place, most) =>
  state.tokens
    .slice(Math.max(0, place - most), place)
    .map(chipText)
    .join("");

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
    if (bars > 0 && scores.token) {
      const draws = drawsFrom(view);
      const stairs = smooth(0.4, 1, mix.stair);
      const tally = stairs > 0.5 && mix.seat < 0.5 ? tallyOf(picture, draws) : [];
      drawRows(context, layout, scores, all, mix, view, bars * (1 - 0.45 * mix.seat), tally);
      drawCurve(context, layout, scores, mix, view, bars * (1 - smooth(0, 0.6, mix.stair)));
      drawLine(context, layout, scores, draws, view, bars * stairs * (1 - smooth(0, 0.4, mix.seat)));
      drawStatus(context, picture, view, bars * (1 - smooth(0, 0.4, mix.seat)));
      drawTurns(context, layout, state, view, bars * smooth(0.3, 1, mix.seat));
    }
    if (mix.field > 0.02) drawField(context, layout, scores, all.rows, view, here * smooth(0.3, 0.9, mix.field));
    drawSeats(context, layout, state, view);
    drawTrack(context, layout, state, view, here * smooth(0.3, 1, mix.seat));
    if (mix.fork > 0.5) drawParting(context, layout, state, view, smooth(0.5, 1, mix.fork));
    futures.update(state, view, layout, smooth(0.5, 1, mix.fork));
  },

  hit(x, y, state, view) {
    const { layout, mix, scores, all } = pictureOf(state, view);
    if (mix.fork > 0.5 || !scores.token) return null;
    if (mix.field > 0.5 && scores.plain) {
      const id = fieldOf(layout, scores, view).under(x, y);
      if (id < 0) return null;
      const rank = scores.plain.ids.indexOf(id);
      return {
        text: t("{token}: score {score}, {share}, place {rank} of {all}", {
          token: quote(scores.name(id)),
          score: significant(scores.plain.scores[rank]),
          share: percent(scores.plain.mass[rank]),
          rank: count(rank + 1),
          all: count(scores.plain.ids.length),
        }),
        seq: null,
      };
    }
    if (mix.seat > 0.5 && y > layout.curve.top - 8) return turnUnder(x, layout, state);
    const row = all.rows[Math.floor((y - layout.bars.top) / layout.rowHeight)];
    if (!row || x < layout.curve.left || x > layout.track) return null;
    const values = { token: quote(row.name), plain: percent(row.plain), shaped: percent(row.shaped) };
    return {
      text: scores.shaped
        ? t("{token}: {plain} by the model, {shaped} after reshaping", values)
        : t("{token}: {plain} by the model", values),
      seq: null,
    };
  },

  describe(state, view) {
    const picture = pictureOf(state, view);
    const { mix, scores, all } = picture;
    const { token } = scores;
    if (!token) return t("Nothing has been drawn yet.");
    const word = quote(chipText(token));
    if (mix.fork > 0.5) return describeFork(state, view);
    if (mix.seat > 0.5)
      return t("{count} tokens drawn one after the other, a turn of the loop for each; the last is {word}.", {
        count: count(state.tokens.length - state.request.numPromptTokens),
        word,
      });
    if (mix.stair > 0.5) return describeDraw(picture, view, word);
    const best = quote(all.rows[0]?.name ?? "");
    if (mix.shape > 0.5 && scores.shaped)
      return t("{left} of {all} tokens are left after the cuts; the likeliest is {best} with {share}.", {
        left: count(scores.shaped.mass.length),
        all: count(scores.shaped.ids.length),
        best,
        share: percent(scores.shaped.mass[0]),
      });
    const values = {
      all: count(scores.vocabulary),
      best,
      share: percent(all.rows[0]?.plain ?? 0),
      rest: percent(all.others.plain),
      named: count(all.rows.length),
      word,
    };
    return scores.plain
      ? t(
          "{all} tokens have a score; the likeliest is {best} with {share}, all but {named} together have {rest}; {word} was drawn.",
          values,
        )
      : t(
          "Of {all} tokens this log names the {named} likeliest: first {best} with {share}; all others together have {rest}; {word} was drawn.",
          values,
        );
  },

  table(state, view) {
    const { scores, all } = pictureOf(state, view);
    /** @param {import("./loop_scores.js").Row} row */
    const cells = (row) => [
      row.name || "…",
      row.id,
      Number.isFinite(row.logit) ? row.logit.toFixed(3) : "—",
      percent(row.plain),
      scores.shaped ? percent(row.shaped) : "—",
      row.id === scores.token?.id ? t("drawn") : "",
    ];
    const others = all.others.count
      ? [
          [
            t("{count} others", { count: count(all.others.count) }),
            "",
            "",
            percent(all.others.plain),
            scores.shaped ? percent(all.others.shaped) : "—",
            "",
          ],
        ]
      : [];
    return {
      caption: t("What the token at place {place} was drawn from", { place: count(scores.place + 1) }),
      columns: [t("Token"), t("Id"), t("Score"), t("By the model"), t("After reshaping"), ""],
      rows: [...all.rows.map(cells), ...others],
    };
  },

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

  facts: {
    "loop.vocabulary": modelled((s) => s.opened?.model?.vocab_size, count, "the model's own configuration"),
    "loop.best": measured(
      (s) => newestOf(s)?.candidates[0]?.probability,
      percent,
      "the model's own probability of the likeliest token here",
    ),
    "loop.chosen": measured(
      (s) => newestOf(s)?.probability,
      percent,
      "the model's own probability of the token that was drawn here",
    ),
    "loop.rest": measured((s) => newestOf(s)?.rest, percent, "probability of all but the eight likeliest"),
    "loop.kept": modelled(
      (s, runs) => keptIn(s, runs.at.logits),
      count,
      "worked out in this page from the engine's logits, with the engine's own rule",
    ),
    "loop.temperature": measured((s) => s.opened?.params.temperature, String, "as this run was asked for"),
    "loop.top_p": measured((s) => s.opened?.params.top_p, String, "as this run was asked for"),
    "loop.penalty": measured((s) => s.opened?.params.repetition_penalty, String, "as this run was asked for"),
    "loop.turns": measured((s) => s.tokens.length - s.request.numPromptTokens || null, count, "counted in this run"),
  },
};

/** @param {string} text */
const quote = (text) => `“${text}”`;

/** @param {number} x @param {Layout} layout @param {State} state */
function turnUnder(x, layout, state) {
  const start = state.request.numPromptTokens;
  const token = state.tokens[start + Math.floor((x - layout.curve.left) / turnAt(layout, state, 0).width)];
  if (!token || token.position < start) return null;
  const values = {
    turn: count(token.position + 1 - start),
    word: quote(chipText(token)),
    share: percent(token.probability ?? 0),
  };
  return { text: t("Turn {turn}: {word}, {share}", values), seq: token.seq };
}

/** How many tokens this run's own cuts left at the playhead. @param {State} state @param {State | undefined} look */
function keptIn(state, look) {
  const token = newestOf(state);
  const logits = token && logitsAt(state, [look], token.position);
  if (!logits) return null;
  return reshape(
    logits,
    settingsOf(state),
    state.tokens.slice(0, token.position).map(({ id }) => id),
  ).mass.length;
}

/** @param {State} state @param {View} view */
function describeFork(state, view) {
  const fork = forkOf(state, view);
  if (!fork) return t("There is no other road in this answer.");
  const values = {
    place: count(fork.place + 1),
    word: quote(chipText(fork.token)),
    other: quote(fork.other.text.trim()),
    share: percent(fork.other.probability),
  };
  return fork.future
    ? t(
        "At place {place} the run drew {word}; with {other}, to which the model gave {share}, it goes on otherwise.",
        values,
      )
    : t("At place {place} the run drew {word}; the model gave {other} {share}.", values);
}

/** @param {ReturnType<typeof pictureOf>} picture @param {View} view @param {string} word */
function describeDraw(picture, view, word) {
  const { scores } = picture;
  const draws = drawsFrom(view);
  if (draws.length && scores.shaped) {
    const id = scores.shaped.ids[drawAt(scores.shaped.mass, draws[draws.length - 1])];
    return t("Draw {number} of this page fell at {draw} of the line: {word}.", {
      number: count(draws.length),
      draw: draws[draws.length - 1].toFixed(3),
      word: quote(scores.name(id)),
    });
  }
  if (!scores.coin) return t("{word} was drawn; where its coin fell cannot be told from this log.", { word });
  const { from, to, uniform } = scores.coin;
  return uniform === null
    ? t("The coin fell between {from} and {to} of the line, on {word}.", {
        from: from.toFixed(3),
        to: to.toFixed(3),
        word,
      })
    : t("The coin fell at {draw} of the line, on {word}, whose part goes from {from} to {to}.", {
        draw: uniform.toFixed(3),
        from: from.toFixed(3),
        to: to.toFixed(3),
        word,
      });
}

/** The words so far, and the place that is open. @param {CanvasRenderingContext2D} context @param {ReturnType<typeof pictureOf>} picture @param {State} state @param {View} view @param {number} alpha */
function drawContext(context, { layout, scores, mix }, state, { palette: { css } }, alpha) {
  if (alpha <= 0) return;
  const { context: line, curve, narrow } = layout;
  context.globalAlpha = alpha;
  const style = /** @type {const} */ ({ size: line.size, face: "mono", baseline: "middle" });
  const said = contextBefore(state, scores.place, narrow ? 6 : 12);
  const room = curve.width * (narrow ? 0.6 : 0.7);
  label(context, "", 0, 0, style); // sets the font
  let shown = `… ${said}`;
  while (shown.length > 4 && context.measureText(shown).width > room) shown = `… ${[...shown].slice(4).join("")}`;
  label(context, shown, curve.left, line.y, { ...style, color: css.muted });
  const x = curve.left + context.measureText(shown).width + 6;
  const word = scores.token && mix.stair > 0.5 ? chipText(scores.token) : "";
  const width = Math.max(26, word ? context.measureText(word).width + 12 : 0);
  context.strokeStyle = css.decode;
  context.lineWidth = 1.5;
  context.strokeRect(x, line.y - line.size * 0.8, width, line.size * 1.6);
  if (word) label(context, word, x + 6, line.y + 0.5, { ...style, weight: 700, color: css.decode });
  context.globalAlpha = 1;
}

/** What this log cannot say, where it cannot. @param {CanvasRenderingContext2D} context @param {ReturnType<typeof pictureOf>} picture @param {View} view @param {number} alpha */
function drawStatus(context, { layout, scores }, { palette: { css } }, alpha) {
  if (scores.plain) return;
  context.globalAlpha = alpha;
  const { curve, narrow } = layout;
  const lines = narrow
    ? [t("Only the likeliest few of this token were kept:"), t("the sliders need all scores.")]
    : [
        t("Of this token the log has only the likeliest few, as the model had them."),
        t("Reshaping needs the scores of the whole vocabulary."),
      ];
  lines.forEach((text, i) => {
    label(context, text, curve.left, curve.top + 14 + i * (narrow ? 15 : 20), {
      size: narrow ? 11 : 13,
      color: css.muted,
      width: curve.width,
    });
  });
  context.globalAlpha = 1;
}

/** Seats that nobody has taken yet. @param {CanvasRenderingContext2D} context @param {Layout} layout @param {State} state @param {View} view */
function drawSeats(context, { seats }, state, { palette: { css } }) {
  const capacity = capacityOf(state);
  const all = seatsIn(seats, capacity);
  context.fillStyle = css.idle;
  const newest = newestOf(state)?.position ?? state.tokens.length;
  const size = Math.min(2, all.r);
  for (let i = newest; i < capacity; i++) {
    const [x, y] = all.at(i);
    context.fillRect(x - size / 2, y - size / 2, size, size);
  }
}

/** The seat at which the other future parts. @param {CanvasRenderingContext2D} context @param {Layout} layout @param {State} state @param {View} view @param {number} alpha */
function drawParting(context, { seats }, state, view, alpha) {
  const fork = forkOf(state, view);
  if (!fork) return;
  const { at, r } = seatsIn(seats, capacityOf(state));
  const [x, y] = at(fork.place);
  context.globalAlpha = alpha;
  context.strokeStyle = view.palette.css.ink;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, r + 3.5, 0, 2 * Math.PI);
  context.stroke();
  context.globalAlpha = 1;
}
