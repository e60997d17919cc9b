// Another token in one place of the answer, and the two futures that follow, side by side.

import { bounded, visible } from "../stage/text.js";
import { percent } from "../state/format.js";
import { element, say } from "../ui/dom.js";
import { t } from "../ui/messages.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Token} Token */
/** @typedef {import("../types/events.d.ts").Candidate} Candidate */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {{ place: number, token: Token, other: Candidate }} Choice */
/** @typedef {Choice & { future: State | null, words: string }} Fork `future`: the run that took the other token; `words`: why there is none, or whose it is */

/** Where an answer has found its subject. */
const SETTLED = 8;
const CLOSE = 0.2;

/** @param {Token} token */
const runnerUp = ({ id, candidates }) => candidates.find((candidate) => candidate.id !== id);

/**
 * Where a close second could have had the place, some way into the answer; else where it came nearest.
 * @param {Token[]} answer
 * @returns {Token | null}
 */
export function crossroads(answer) {
  /** @param {Token} token */
  const near = (token) => runnerUp(token)?.probability ?? 0;
  const close = answer
    .slice(SETTLED)
    .find((token) => near(token) > CLOSE && / \w{3,}$/.test(runnerUp(token)?.text ?? ""));
  return (
    close ??
    answer.reduce(
      (best, token) => (best && near(best) >= near(token) ? best : token),
      /** @type {Token | null} */ (null),
    )
  );
}

/** @param {State} state */
const answerOf = ({ tokens, request }) => tokens.slice(request.numPromptTokens || tokens.length);

/**
 * What the reader would have in place of what was drawn: `loop_place` is how far into the answer in hundredths (0: at
 * the crossroads), `loop_pick` which of the likeliest (0: the runner-up).
 * @param {State} state
 * @param {Record<string, any>} controls
 * @returns {Choice | null}
 */
export function choiceOf(state, { loop_place: far = 0, loop_pick: pick = 0 }) {
  const answer = answerOf(state);
  const token =
    far > 0 ? answer[Math.min(answer.length - 1, Math.round((far / 100) * (answer.length - 1)))] : crossroads(answer);
  if (!token) return null;
  const picked = pick > 0 ? token.candidates[pick - 1] : undefined;
  const other = picked && picked.id !== token.id ? picked : runnerUp(token);
  return other ? { place: token.position, token, other } : null;
}

/**
 * @param {State} state of the reader's run
 * @param {View} view
 * @returns {Fork | null}
 */
export function forkOf(state, view) {
  const lane = view.cast.lanes.find(({ key }) => key === "fork");
  const future = lane?.state ?? null;
  const knobs = future?.opened?.knobs ?? {};
  const choice = choiceOf(state, view.controls);
  if (!choice) return null;
  const same = knobs.position === choice.place && knobs.token_id === choice.other.id;
  const ours = future !== null && state.tokens.slice(0, choice.place).every(({ id }, i) => future.tokens[i]?.id === id);
  if (same && ours) return { ...choice, future, words: "" };
  return { ...choice, future: null, words: whyNone(state, lane) };
}

/** @param {State} state @param {import("../stage/types.d.ts").Lane | undefined} lane */
function whyNone(state, lane) {
  if (lane && ["asking", "queued", "cooking"].includes(lane.status)) return t("Its future is being cooked.");
  const held = lane?.state?.opened?.knobs?.position;
  const word = lane?.state?.tokens[held]?.text;
  if (word && state.opened?.source === "recorded")
    return t("Only the road by “{word}” was recorded. Type a prompt of your own and take any.", {
      word: visible(word),
    });
  return t("Nobody has gone this way yet.");
}

/** @param {State | null} state @param {number} from */
const textFrom = (state, from) =>
  (state?.tokens ?? [])
    .slice(from)
    .map(({ text }) => bounded(text))
    .join("")
    .slice(0, FUTURE)
    .trimStart();

/** Characters of a future that are laid out: more than any stage has room for. */
const FUTURE = 4000;

/** Characters of the common past that are shown, on a wide stage and on a narrow one. */
const PAST = 90;
const SHORT_PAST = 40;

export class Futures {
  /** @param {HTMLElement} layer */
  constructor(layer) {
    this.past = element("p", { class: "loop-past" });
    this.chips = element("div", { class: "loop-chips", role: "group", "aria-label": t("Other tokens for this place") });
    this.ways = ["own", "other"].map((which) => {
      const word = element("b", {});
      const share = element("span", { class: "loop-share" });
      const text = element("span", {});
      return {
        word,
        share,
        text,
        root: element("div", { class: `loop-way is-${which}` }, [
          element("p", {}, [word, share]),
          element("p", { class: "loop-text" }, [text]),
        ]),
      };
    });
    this.root = element("div", { class: "loop-futures", hidden: "" }, [
      this.past,
      this.chips,
      element(
        "div",
        { class: "loop-ways" },
        this.ways.map(({ root }) => root),
      ),
    ]);
    layer.append(this.root);
    this.chips.addEventListener("click", (event) => {
      const chip = event.target instanceof Element ? event.target.closest("button") : null;
      if (chip) setControl("loop_pick", Number(chip.value));
    });
  }

  #offered = "";

  /**
   * @param {State} state
   * @param {View} view
   * @param {import("./loop_layout.js").Layout} layout
   * @param {number} alpha
   */
  update(state, view, { curve, context, seats, narrow }, alpha) {
    this.root.hidden = alpha < 0.02;
    if (this.root.hidden) return;
    const { style } = this.root;
    style.opacity = String(alpha);
    style.left = `${curve.left}px`;
    style.top = `${context.y - 12}px`;
    style.width = `${curve.width}px`;
    style.height = `${seats.top - context.y - 4}px`;
    const fork = forkOf(state, view);
    const start = state.request.numPromptTokens;
    const past = state.tokens
      .slice(start, fork?.place ?? start)
      .map(({ text }) => text)
      .join("");
    const most = narrow ? SHORT_PAST : PAST;
    say(this.past, past.length > most ? `… ${past.slice(-most)}` : past);
    this.#offer(fork);
    if (!fork) return;
    const { token, other, place, future, words } = fork;
    this.#way(0, visible(token.text), token.probability ?? 0, textFrom(state, place + 1));
    this.#way(1, visible(other.text), other.probability, future ? textFrom(future, place + 1) : words);
    this.ways[1].root.classList.toggle("is-empty", !future);
  }

  /** @param {number} i @param {string} word @param {number} share @param {string} text */
  #way(i, word, share, text) {
    const way = this.ways[i];
    say(way.word, word);
    say(
      way.share,
      i === 0 ? t("drawn, {share}", { share: percent(share) }) : t("instead, {share}", { share: percent(share) }),
    );
    say(way.text, text);
  }

  /** @param {Fork | null} fork */
  #offer(fork) {
    const offered = fork ? [fork.place, fork.other.id].join() : "";
    if (offered === this.#offered) return;
    this.#offered = offered;
    const chips = (fork?.token.candidates ?? []).map((candidate, i) => {
      const drawn = candidate.id === fork?.token.id;
      const chip = element("button", {
        type: "button",
        class: "loop-chip",
        value: String(i + 1),
        "aria-pressed": String(candidate.id === fork?.other.id),
        text: `${visible(candidate.text)} ${percent(candidate.probability)}`,
      });
      chip.disabled = drawn;
      return chip;
    });
    this.chips.replaceChildren(...chips);
  }
}

/** Move a control of the prose as its reader would. @param {string} name @param {number} value */
function setControl(name, value) {
  const input = document.querySelector(`input[data-control="${name}"]`);
  if (!(input instanceof HTMLInputElement)) return;
  input.value = String(value);
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/** The buttons of the prose that draw again: `data-loop-draw` is how often. */
export function bindDraws() {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-loop-draw]") : null;
    if (!(button instanceof HTMLElement)) return;
    const more = Number(button.dataset.loopDraw);
    const input = document.querySelector('input[data-control="loop_draws"]');
    if (input instanceof HTMLInputElement) setControl("loop_draws", more ? input.valueAsNumber + more : 0);
  });
}
