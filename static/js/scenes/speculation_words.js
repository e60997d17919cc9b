// Room 11 in words and as tables: the same facts as its pictures.

import { visible } from "../stage/text.js";
import { bytes, count, percent, seconds, significant } from "../state/format.js";
import { acceptance, drafted, numWalks, numWritten, secondsPerToken, walksOf } from "../state/speculation.js";
import { t } from "../ui/messages.js";
import { probability, roundOf, verdictOf } from "./speculation_cards.js";
import { proofsOn, racers } from "./speculation_cast.js";
import { drafterBytes, nameOf, speedBeside } from "./speculation_lanes.js";
import { outcome, shownProof } from "./speculation_texts.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("./speculation_cast.js").Picture} Picture */

/** Why no row of guesses can be shown. @param {State} state */
export function missing({ opened, request }) {
  if (!opened) return "";
  if (!opened.engine?.drafter) return t("This run has no apprentice: nobody guesses.");
  return request.status === "finished" ? t("The apprentice guessed nothing in this run.") : t("No guess yet.");
}

/** @param {import("../state/speculation.js").Walk} walk @param {State} state */
export function walkInWords(walk, state) {
  const said = walk.positions.map((position) => visible(state.tokens[position].text)).join("");
  const values = {
    step: count(walk.step),
    said,
    time: seconds(walk.seconds),
    kept: count(walk.kept),
    guesses: count(walk.drafts),
  };
  if (walk.finishedAt === null) return t("Step {step}: on its way.", values);
  return walk.drafts
    ? t("Step {step}: “{said}” in {time}, {kept} of {guesses} guesses kept.", values)
    : t("Step {step}: “{said}” in {time}.", values);
}

/** @param {import("../state/types.d.ts").Round} round @param {number} place */
export function guessInWords(round, place) {
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
export const DESCRIBE = {
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
export const TABLE = {
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
