// What the room says: of the thing under the pointer, of the whole picture in a sentence and as rows, and the numbers of
// its prose.

import { chipText } from "../stage/text.js";
import { measured, modelled, set } from "../state/fact.js";
import { count, percent, significant } from "../state/format.js";
import { drawAt } from "../state/sampling.js";
import { t } from "../ui/messages.js";
import { turnWidth } from "./loop_curve.js";
import { fieldOf } from "./loop_field.js";
import { forkOf } from "./loop_fork.js";
import { ROWS } from "./loop_layout.js";
import { pictureOf } from "./loop_picture.js";
import { newestOf, rowsOf, scoresOf } from "./loop_scores.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./loop_layout.js").Layout} Layout */

/** @param {number} x @param {number} y @param {State} state @param {View} view @returns {import("../stage/types.d.ts").Hit | null} */
export function hit(x, y, state, view) {
  const picture = pictureOf(state, view);
  const { layout, mix, scores, all } = picture;
  if (mix.fork > 0.5 || !scores.token) return null;
  if (mix.field > 0.5 && scores.plain) {
    const id = fieldOf(picture).under(x, y);
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
}

/** @param {State} state @param {View} view @returns {string} */
export function describe(state, view) {
  const picture = pictureOf(state, view);
  const { mix, scores, all } = picture;
  const { token } = scores;
  if (!token) return t("Nothing has been drawn yet.");
  const word = quote(chipText(token));
  if (mix.fork > 0.5) return describeFork(state, view);
  if (mix.seat > 0.5 && token.position === state.request.numPromptTokens)
    return t("One token drawn so far: {word}.", { word });
  if (mix.seat > 0.5)
    return t("{count} tokens drawn one after the other, a turn of the loop for each; the last is {word}.", {
      count: count(state.tokens.length - state.request.numPromptTokens),
      word,
    });
  if (!all.rows.length) return t("{word} was drawn; this source does not tell what else could have been.", { word });
  if (mix.stair > 0.5) return describeDraw(picture, word);
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
}

/** @param {State} state @param {View} view @returns {import("../stage/types.d.ts").Table} */
export function table(state, view) {
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
}

const ASKED = "as this run was asked for";
const MODELS_OWN = "the model's own probability, before anything is reshaped";

/** @type {Record<string, import("../state/fact.js").Rule>} */
export const facts = {
  "loop.vocabulary": modelled((s) => s.opened?.model?.vocab_size, count, "the model's own configuration"),
  "loop.best": measured((s, runs) => rowsHere(s, runs)?.rows[0].plain, percent, MODELS_OWN),
  "loop.chosen": measured((s, runs) => drawnHere(s, runs)?.plain, percent, MODELS_OWN),
  "loop.rest": measured((s, runs) => rowsHere(s, runs)?.others.plain, percent, MODELS_OWN),
  "loop.kept": modelled(
    (s, runs) => scoresHere(s, runs).shaped?.mass.length,
    count,
    "the engine's rule over its logits",
  ),
  "loop.temperature": set((s) => s.opened?.params.temperature, String, ASKED),
  "loop.top_p": set((s) => s.opened?.params.top_p, String, ASKED),
  "loop.penalty": set((s) => s.opened?.params.repetition_penalty, String, ASKED),
  "loop.turns": measured((s) => s.tokens.length - s.request.numPromptTokens || null, count, "counted in this run"),
};

/** As the run itself was asked for, whatever the sliders say. @param {State} state @param {import("../state/fact.js").Runs} runs */
const scoresHere = (state, runs) => scoresOf(state, [runs.at.logits], {});

/** @param {State} state @param {import("../state/fact.js").Runs} runs */
function rowsHere(state, runs) {
  const all = rowsOf(scoresHere(state, runs), ROWS, false);
  return all.rows.length ? all : null;
}

/** @param {State} state @param {import("../state/fact.js").Runs} runs */
const drawnHere = (state, runs) => rowsHere(state, runs)?.rows.find(({ id }) => id === newestOf(state)?.id);

/** @param {string} text */
const quote = (text) => `“${text}”`;

/** @param {number} x @param {Layout} layout @param {State} state */
function turnUnder(x, layout, state) {
  const start = state.request.numPromptTokens;
  const token = state.tokens[start + Math.floor((x - layout.curve.left) / turnWidth(layout, state))];
  if (!token || token.position < start) return null;
  const values = {
    turn: count(token.position + 1 - start),
    word: quote(chipText(token)),
    share: percent(token.probability ?? 0),
  };
  return { text: t("Turn {turn}: {word}, {share}", values), seq: token.seq };
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

/** @param {import("./loop_picture.js").Picture} picture @param {string} word */
function describeDraw({ scores, draws }, word) {
  const { shaped, coin, own, name } = scores;
  const last = draws.at(-1);
  if (last !== undefined && shaped) {
    const values = { number: count(draws.length), draw: last.toFixed(3) };
    const fell = quote(name(shaped.ids[drawAt(shaped.mass, last)]));
    return t("Draw {number} of this page fell at {draw} of the line: {word}.", { ...values, word: fell });
  }
  if (!own && shaped) return t("{word} was drawn with other settings than the sliders have now.", { word });
  if (!coin) return t("{word} was taken; where a coin fell, if any did, cannot be told from this log.", { word });
  const values = { from: coin.from.toFixed(3), to: coin.to.toFixed(3), word };
  return coin.uniform === null
    ? t("The coin fell between {from} and {to} of the line, on {word}.", values)
    : t("The coin fell at {draw} of the line, on {word}, whose part goes from {from} to {to}.", {
        ...values,
        draw: coin.uniform.toFixed(3),
      });
}
