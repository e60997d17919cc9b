// 11 speculation: one walk a token; the apprentice's row and the coin; the race; the two texts.

import { mountCanvas, wipe } from "../stage/canvas.js";
import { label } from "../stage/text.js";
import { numWritten } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { crossed, smooth } from "./room.js";
import { drawBill } from "./speculation_bill.js";
import { drawCards, roundOf } from "./speculation_cards.js";
import { litOf, mixOf, PICTURES, pickedOf, pictureOf, proofsOn, racers } from "./speculation_cast.js";
import { FACTS } from "./speculation_facts.js";
import { drawLane, drawLegend, drawRace, outlook } from "./speculation_lanes.js";
import {
  cardRow,
  frame,
  gridSeats,
  laneSeats,
  proofRows,
  proofSeats,
  raceLanes,
  scaleOf,
  walkInLane,
} from "./speculation_layout.js";
import { drawProofs } from "./speculation_texts.js";
import { drawWalks } from "./speculation_walks.js";
import { DESCRIBE, guessInWords, missing, TABLE, walkInWords } from "./speculation_words.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D }} Surfaces */
/** @typedef {import("./speculation_cast.js").Picture} Picture */

/**
 * Where the tokens of the run on stage sit in one of the pictures.
 * @param {Picture} picture
 * @param {State} state
 * @param {View} view
 */
function seatsIn(picture, state, view) {
  if (picture === "walks") return gridSeats(state, view);
  const own = lanesIn(picture, state, view).find(({ runner }) => runner === state);
  if (own) return laneSeats(state, own.lane, own.scale);
  const all = proofsOn(view, state);
  const row = all.findIndex((proof) => proof.with === state);
  const most = Math.max(numWritten(state), ...all.map(({ lengths }) => Math.max(...lengths)));
  const { strips } = proofRows(view, Math.max(1, all.length));
  return proofSeats(state, strips[Math.max(0, row)].strip, most, row < 0);
}

/**
 * The lanes that a picture shows.
 * @param {Picture} picture @param {State} state @param {View} view
 */
function lanesIn(picture, state, view) {
  if (picture === "cards")
    return [{ runner: state, lane: cardRow(view, roundOf(state)?.ids.length ?? 4).lane, scale: scaleOf([state]) }];
  if (picture !== "race") return [];
  const all = racers(view, state);
  const scale = scaleOf(all.map((runner) => runner.state));
  const lanes = raceLanes(view, all.length);
  return all.flatMap((runner, i) => (runner.state ? [{ runner: runner.state, lane: lanes[i].lane, scale }] : []));
}

/** How strongly a picture shows: two are never seen at once, for between them the cast may change. @param {number} weight */
const shown = (weight) => smooth(0.5, 0.8, weight);

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount: mountCanvas,

  takes: {
    "speculative-sampled": (_, controls) => lane("speculative", controls, {}),
    standard: (_, controls) => lane("standard", controls),
    speculative: (_, controls) => lane("speculative", controls),
    "look-up": (_, controls) => lane("look-up", controls),
    mismatched: (_, controls) => lane("mismatched", controls),
    "standard-fp32": (_, controls) => lane("standard", controls, PROOF),
    "speculative-fp32": (_, controls) => lane("speculative", controls, PROOF),
  },

  facts: FACTS,

  places(state, view) {
    const mix = mixOf(view);
    const shares = PICTURES.map((name) => crossed(mix[name]));
    const sum = shares.reduce((total, share) => total + share, 0) || 1;
    const out = new Float32Array(3 * state.tokens.length);
    PICTURES.forEach((name, k) => {
      if (shares[k] === 0) return;
      const seats = seatsIn(name, state, view);
      for (let i = 0; i < out.length; i++) out[i] += (shares[k] / sum) * seats[i];
    });
    return out;
  },

  draw({ canvas, context }, [state], view) {
    wipe({ canvas, context }, view);
    const mix = mixOf(view);
    if (shown(mix.walks) > 0) drawWalks(context, state, view, shown(mix.walks));
    if (shown(view.data.bill ?? 0) > 0) {
      const beside = new Map(view.cast.lanes.map((lane) => [lane.key, lane.state]));
      const takes = { alone: beside.get("standard") ?? null, beside: beside.get("speculative") ?? null };
      drawBill(context, state, takes, view, shown(view.data.bill));
    }
    if (shown(mix.cards) > 0) drawRow(context, state, view, shown(mix.cards));
    if (shown(mix.race) > 0) {
      const all = racers(view, state);
      const foot = outlook(pickedOf(all, view, state), view.controls);
      const style = { alpha: shown(mix.race), main: state, lit: litOf(view), foot };
      drawRace(context, all, raceLanes(view, all.length), view, style);
    }
    if (shown(mix.texts) > 0) {
      const all = proofsOn(view, state);
      if (all.length) drawProofs(context, all, view, { alpha: shown(mix.texts), main: state });
      else say(context, t("The two answers are not there yet."), view, shown(mix.texts));
    }
  },

  hit(x, y, state, view) {
    const picture = pictureOf(view);
    const round = roundOf(state);
    if (picture === "cards" && round) {
      const place = cardRow(view, round.ids.length).cards.findIndex(
        (box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height,
      );
      if (place >= 0) return { text: guessInWords(round, place), seq: null };
    }
    for (const { runner, lane, scale } of lanesIn(picture, state, view)) {
      const walk = walkInLane(runner, lane, scale, x, y);
      if (!walk) continue;
      const last = walk.positions.at(-1);
      const seq = runner === state && last !== undefined ? state.tokens[last].seq : null;
      return { text: walkInWords(walk, runner), seq };
    }
    return null;
  },

  describe(state, view) {
    return DESCRIBE[pictureOf(view)](state, view);
  },

  table(state, view) {
    return TABLE[pictureOf(view)](state, view);
  },
};

/** Tokens of a lane, at most: several are cooked one after the other, and other readers wait. */
const LANE_TOKENS = 96;
/** The knobs of the proof. */
const PROOF = { temperature: 0, dtype: "float32" };

/**
 * What a lane is asked for with.
 * @param {string} take
 * @param {Record<string, any>} controls
 * @param {Record<string, unknown>} [knobs] in the place of the temperature that the reader chose
 */
function lane(
  take,
  { speculation_k: k = 4, speculation_temperature = 0 },
  knobs = { temperature: speculation_temperature },
) {
  return {
    take,
    max_tokens: LANE_TOKENS,
    ...(take === "standard" ? {} : { num_speculative_tokens: k }),
    ...knobs,
  };
}

/** @param {CanvasRenderingContext2D} context @param {State} state @param {View} view @param {number} alpha */
function drawRow(context, state, view, alpha) {
  const round = roundOf(state);
  if (round) drawCards(context, state, view, alpha);
  else say(context, missing(state), view, alpha);
  const { lane } = cardRow(view, round?.ids.length ?? 4);
  drawLane(context, state, lane, scaleOf([state]), view, { alpha, dots: false });
  if (view.width < 900) return;
  context.globalAlpha = alpha;
  const words = t("the walks so far: as wide as their seconds, as tall as what they brought");
  label(context, words, lane.x, lane.y - 12, { size: 12, color: view.palette.css.muted });
  const beside = lane.x + context.measureText(words).width + 26;
  if (beside + 400 < lane.x + lane.width) drawLegend(context, beside, lane.y - 12, view, alpha);
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {string} words @param {View} view @param {number} alpha */
function say(context, words, view, alpha) {
  const { x, y, width } = frame(view);
  context.globalAlpha = alpha;
  label(context, words, x, y + 30, { size: 14, color: view.palette.css.muted, width });
  context.globalAlpha = 1;
}
