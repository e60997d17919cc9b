// 11 speculation: one walk a token; the apprentice's row and the coin; the race; the two texts.

import { label, visible } from "../stage/text.js";
import { bytes, count, percent, seconds, significant } from "../state/format.js";
import { acceptance, drafted, numWalks, numWritten, secondsPerToken, walksOf } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { smooth } from "./room.js";
import { drawBill } from "./speculation_bill.js";
import { drawCards, probability, roundOf, verdictOf } from "./speculation_cards.js";
import { FACTS } from "./speculation_facts.js";
import { drafterBytes, drawLane, drawRace, nameOf, speedBeside } from "./speculation_lanes.js";
import {
  cardRow,
  frame,
  gridSeats,
  laneSeats,
  proofRows,
  proofSeats,
  raceLanes,
  scaleOf,
} from "./speculation_layout.js";
import { drawProofs, outcome, proofs, shownProof } from "./speculation_texts.js";
import { drawWalks } from "./speculation_walks.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./speculation_lanes.js").Runner} Runner */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D }} Surfaces */
/** @typedef {"walks" | "cards" | "race" | "texts"} Picture */

const PICTURES = /** @type {const} */ (["walks", "cards", "race", "texts"]);
/** Lanes of the race, from the top. */
const RACE = ["standard", "speculative", "look-up", "mismatched"];
/** Drafters by the name that the engine has for them, and the take that runs them. @type {Record<string, string>} */
const TAKE_OF = { eagle: "speculative", ngram: "look-up", mismatched: "mismatched" };

/** @param {View} view @returns {Record<Picture, number>} */
function mixOf({ data }) {
  const { walks = 0, cards = 0, race = 0, texts = 0 } = data;
  return { walks, cards, race, texts };
}

/** The picture that the reader sees most of. @param {View} view @returns {Picture} */
function pictureOf(view) {
  const mix = mixOf(view);
  return PICTURES.reduce((best, name) => (mix[name] > mix[best] ? name : best), /** @type {Picture} */ ("walks"));
}

/**
 * Everybody on stage, by the key of their take: first the run on stage, which is the reader's own until its take is there.
 * @param {View} view
 * @param {State} state of the run on stage
 * @returns {[Runner, ...Runner[]]}
 */
function runnersOf({ cast: { main, lanes } }, state) {
  const first = main.state ? main : { key: "own", status: "own" };
  return [{ ...first, state }, ...(main.state ? [] : [main]), ...lanes];
}

/** In the order of the race. @param {View} view @param {State} state */
function racers(view, state) {
  const all = runnersOf(view, state);
  const known = ["own", ...RACE].flatMap((key) => all.filter((runner) => runner.key === key));
  // On the way to or from another step somebody else is on stage.
  return known.some((runner) => runner.state === state) ? known : all;
}

/** @param {View} view @param {State} state */
function proofsOn(view, state) {
  const all = new Map(runnersOf(view, state).map((runner) => [runner.key, runner.state]));
  return proofs((key) => all.get(key) ?? null);
}

/** The lane that the reader picked. @param {View} view */
const litOf = ({ controls }) => TAKE_OF[controls.speculation_drafter] ?? "";

/**
 * Where the tokens of the run on stage sit in one of the pictures.
 * @param {Picture} picture
 * @param {State} state
 * @param {View} view
 */
function seatsIn(picture, state, view) {
  if (picture === "walks") return gridSeats(state, view);
  if (picture === "cards")
    return laneSeats(state, cardRow(view, roundOf(state)?.ids.length ?? 4).lane, scaleOf([state]));
  if (picture === "race") {
    const all = racers(view, state);
    const lane = raceLanes(view, all.length)[ownIn(all, state)].lane;
    return laneSeats(state, lane, scaleOf(all.map((runner) => runner.state)));
  }
  const all = proofsOn(view, state);
  const row = all.findIndex((proof) => proof.with === state);
  const most = Math.max(numWritten(state), ...all.map(({ lengths }) => Math.max(...lengths)));
  const { strips } = proofRows(view, Math.max(1, all.length));
  return proofSeats(state, strips[Math.max(0, row)].strip, most, row < 0);
}

/** @param {Runner[]} all @param {State} state */
const ownIn = (all, state) =>
  Math.max(
    0,
    all.findIndex((runner) => runner.state === state),
  );

/** How strongly a picture shows: two are never seen at once, for between them the cast may change. @param {number} weight */
const shown = (weight) => smooth(0.5, 1, weight);

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount(layer) {
    const canvas = document.createElement("canvas");
    layer.append(canvas);
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no 2d context");
    return { canvas, context };
  },

  takes: {
    "speculative-sampled": (_, { speculation_k: k }) => speculating("eagle", k),
    standard: (_, { speculation_temperature: temperature = 0 }) => ({ take: "standard", temperature }),
    speculative: (_, { speculation_k: k, speculation_temperature: temperature = 0 }) =>
      speculating("eagle", k, { temperature }),
    "look-up": (_, { speculation_k: k, speculation_temperature: temperature = 0 }) =>
      speculating("ngram", k, { temperature }),
    mismatched: (_, { speculation_k: k, speculation_temperature: temperature = 0 }) =>
      speculating("mismatched", k, { temperature }),
    "standard-fp32": () => ({ take: "standard", temperature: 0, dtype: "float32" }),
    "speculative-fp32": (_, { speculation_k: k }) => speculating("eagle", k, { temperature: 0, dtype: "float32" }),
  },

  facts: FACTS,

  places(state, view) {
    const mix = mixOf(view);
    const sum = PICTURES.reduce((total, name) => total + mix[name], 0) || 1;
    const out = new Float32Array(3 * state.tokens.length);
    for (const name of PICTURES) {
      const share = (sum === 1 || mix[name] ? mix[name] : 0) / sum;
      if (share <= 0) continue;
      const seats = seatsIn(name, state, view);
      for (let i = 0; i < out.length; i++) out[i] += share * seats[i];
    }
    return out;
  },

  draw({ canvas, context }, [state], view) {
    const [width, height] = [Math.round(view.width * view.dpr), Math.round(view.height * view.dpr)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.setTransform(view.dpr, 0, 0, view.dpr, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
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
      const style = { alpha: shown(mix.race), main: state, lit: litOf(view) };
      drawRace(context, all, raceLanes(view, all.length), view, style);
    }
    if (shown(mix.texts) > 0) {
      const all = proofsOn(view, state);
      if (all.length) drawProofs(context, all, view, { alpha: shown(mix.texts), main: state });
      else say(context, t("The two answers are not there yet."), view, shown(mix.texts));
    }
  },

  hit(x, y, state, view) {
    if (pictureOf(view) !== "cards") return null;
    const round = roundOf(state);
    if (!round) return null;
    const place = cardRow(view, round.ids.length).cards.findIndex(
      (box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height,
    );
    return place < 0 ? null : { text: guessInWords(round, place), seq: null };
  },

  describe(state, view) {
    return DESCRIBE[pictureOf(view)](state, view);
  },

  table(state, view) {
    return TABLE[pictureOf(view)](state, view);
  },
};

/**
 * @param {string} drafter
 * @param {number | undefined} k
 * @param {Record<string, unknown>} [knobs]
 */
const speculating = (drafter, k, knobs = {}) => ({
  take: drafter === "eagle" ? "speculative" : TAKE_OF[drafter],
  ...(drafter === "eagle" ? { drafter } : {}),
  num_speculative_tokens: k ?? 4,
  ...knobs,
});

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
  context.globalAlpha = 1;
}

/** Why no row of guesses can be shown. @param {State} state */
function missing({ opened, request }) {
  if (!opened) return "";
  if (!opened.engine?.drafter) return t("This run has no apprentice: nobody guesses.");
  return request.status === "finished" ? t("The apprentice guessed nothing in this run.") : t("No guess yet.");
}

/** @param {CanvasRenderingContext2D} context @param {string} words @param {View} view @param {number} alpha */
function say(context, words, view, alpha) {
  const { x, y, width } = frame(view);
  context.globalAlpha = alpha;
  label(context, words, x, y + 30, { size: 14, color: view.palette.css.muted, width });
  context.globalAlpha = 1;
}

/** @param {import("../state/types.d.ts").Round} round @param {number} place */
function guessInWords(round, place) {
  const { verdict } = round;
  const values = {
    text: visible(round.texts[place]),
    q: probability(round.q[place]),
    p: verdict?.p[place] === undefined ? "" : probability(verdict.p[place]),
    u: verdict?.draws?.[place] === undefined ? "" : verdict.draws[place].toFixed(2),
  };
  switch (verdictOf(round, place)) {
    case "waiting":
      return t("“{text}”: the apprentice gave it {q}.", values);
    case "untasted":
      return t("“{text}”: not tasted, for a guess before it was rejected.", values);
    case "kept":
      return values.u
        ? t("“{text}”: kept. The coin fell at {u}, and {u} × {q} is less than {p}.", values)
        : t("“{text}”: kept. It is the chef's own first choice.", values);
    case "rejected":
      return values.u
        ? t("“{text}”: rejected. The coin fell at {u}, and {u} × {q} is not less than {p}.", values)
        : t("“{text}”: rejected. It is not the chef's first choice.", values);
  }
}

/** @type {Record<Picture, (state: State, view: View) => string>} */
const DESCRIBE = {
  walks(state) {
    const walks = numWalks(state);
    if (!walks) return t("Nothing has been computed yet.");
    const values = { walks: count(walks), tokens: count(numWritten(state)) };
    return t("This run took {walks} walks to the pantry for {tokens} tokens.", values);
  },
  cards(state) {
    const round = roundOf(state);
    if (!round) return missing(state) || t("Nothing has been computed yet.");
    const texts = round.texts.map((text) => `“${visible(text)}”`).join(", ");
    const { verdict } = round;
    if (!verdict) return t("The apprentice guesses {texts}; nothing has been tasted yet.", { texts });
    const values = { texts, kept: count(verdict.kept), guesses: count(round.ids.length), own: visible(verdict.text) };
    return verdict.origin === "bonus"
      ? t("The apprentice guessed {texts}. The chef kept all {kept} and added “{own}”.", values)
      : t(
          "The apprentice guessed {texts}. The chef kept {kept} of {guesses} and said “{own}” instead of the next.",
          values,
        );
  },
  race(state, view) {
    return racers(view, state)
      .map(({ key, state: each }) => {
        if (!each) return t("{name}: not there yet.", { name: nameOf(key) });
        const values = { name: nameOf(key), tokens: count(numWritten(each)), walks: count(numWalks(each)) };
        return t("{name}: {tokens} tokens in {walks} walks.", values);
      })
      .join(" ");
  },
  texts(state, view) {
    const all = proofsOn(view, state);
    if (!all.length) return t("The two answers are not there yet.");
    return all
      .map((proof) =>
        t("{precision}, {name}: {outcome}.", {
          precision: proof.with.opened?.model?.dtype ?? "",
          name: nameOf(proof.key),
          outcome: outcome(proof),
        }),
      )
      .join(" ");
  },
};

/** @type {Record<Picture, (state: State, view: View) => import("../stage/types.d.ts").Table>} */
const TABLE = {
  walks: (state) => ({
    caption: t("The walks to the pantry of this run"),
    columns: [t("Step"), t("Phase"), t("Tokens read"), t("Tokens written"), t("Guesses kept"), t("Time")],
    rows: walksOf(state).map((walk) => [
      walk.step,
      phaseInWords(walk.phase),
      walk.phase === "prefill" ? (state.steps.find(({ step }) => step === walk.step)?.numTokens ?? 0) : 0,
      walk.positions.length,
      walk.kept,
      seconds(walk.seconds),
    ]),
  }),
  cards: (state) => ({
    caption: t("What was guessed, and what became of it"),
    columns: [t("Step"), t("Place"), t("Guess"), "q", "p", "u", t("Verdict")],
    rows: state.speculation.flatMap((round) =>
      round.ids.map((_, place) => [
        round.step,
        place + 1,
        visible(round.texts[place]),
        probability(round.q[place]),
        round.verdict?.p[place] === undefined ? "" : probability(round.verdict.p[place]),
        round.verdict?.draws?.[place] === undefined ? "" : round.verdict.draws[place].toFixed(2),
        verdictInWords(verdictOf(round, place)),
      ]),
    ),
  }),
  race(state, view) {
    const all = racers(view, state);
    const alone = all.find(({ key }) => key === "standard")?.state;
    return {
      caption: t("The same prompt under one clock"),
      columns: [
        t("Who"),
        t("Tokens"),
        t("Walks"),
        t("Guesses kept"),
        t("Kept by place"),
        t("Time a token"),
        t("Speed beside alone"),
        t("Its weights"),
      ],
      rows: all.map(({ key, state: each }) => {
        if (!each) return [nameOf(key), "", "", "", "", "", "", ""];
        const { kept, judged } = drafted(each.speculation);
        const pace = secondsPerToken(each);
        const ratio = each === alone ? null : speedBeside(each, alone);
        const bill = drafterBytes(each);
        return [
          nameOf(key),
          numWritten(each),
          numWalks(each),
          judged ? `${kept} / ${judged}` : "",
          acceptance(each.speculation)
            .map((place) => (place.judged ? percent(place.kept / place.judged) : "–"))
            .join(", "),
          pace ? seconds(pace) : "",
          ratio ? `${significant(ratio)} ×` : "",
          bill === null ? "" : bytes(bill),
        ];
      }),
    };
  },
  texts(state, view) {
    const proof = shownProof(proofsOn(view, state));
    const columns = [t("Token"), t("chef alone"), proof ? nameOf(proof.key) : "", t("Equal")];
    if (!proof) return { caption: t("The two answers are not there yet."), columns, rows: [] };
    const [alone, beside] = [proof.alone, proof.with].map(({ tokens, request }) =>
      tokens.slice(request.numPromptTokens),
    );
    const caption = t("The two answers, token by token ({precision})", {
      precision: proof.with.opened?.model?.dtype ?? "",
    });
    return {
      caption,
      columns,
      rows: Array.from({ length: Math.max(alone.length, beside.length) }, (_, i) => [
        i + 1,
        visible(alone[i]?.text ?? ""),
        visible(beside[i]?.text ?? ""),
        alone[i]?.id === beside[i]?.id ? t("yes") : t("no"),
      ]),
    };
  },
};

/** @param {string} phase */
const phaseInWords = (phase) =>
  phase === "prefill" ? t("prefill") : phase === "verify" ? t("tasting guesses") : t("decode");

/** @param {import("./speculation_cards.js").Verdict} verdict */
function verdictInWords(verdict) {
  if (verdict === "kept") return t("kept");
  if (verdict === "rejected") return t("rejected");
  return verdict === "untasted" ? t("not tasted") : t("guessed");
}
