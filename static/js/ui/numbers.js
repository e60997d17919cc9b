// Every number in the prose, filled from the run at the playhead: `[data-value="KEY"]`. A fact that the run has not said
// is a dash. The badge beside it says where it comes from. A sentence about something that an ended run never had, say
// the gaps of an answer of one token, is hidden: `[data-needs="KEY"]`. What only a few runs have to say, that they were
// preempted, say, is hidden until it is known: `[data-when="KEY"]`.

import { facts, ruleOf } from "../state/facts.js";
import { say, seldom } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../state/types.d.ts").State} State */

/** @typedef {import("../state/fact.js").Rule} Rule */
/** @typedef {import("../state/fact.js").Runs} Runs */
/** @typedef {{ element: HTMLElement, key: string, chapter: string | undefined }} Place in the prose */
/** @typedef {{ state: State, chapter: string, rules: Record<string, Rule>, runs: Runs }} Reading what is on stage: the run, the chapter and its own rules, and all the runs that a number may be about */

const DASH = "—";

export class Numbers {
  /** @param {ParentNode} root */
  constructor(root) {
    this.root = root;
    this.refresh();
  }

  /** @type {Place[]} */
  #numbers = [];
  /** @type {Place[]} */
  #sentences = [];
  /** @type {Place[]} */
  #rare = [];
  /** @type {Reading | null} */
  #last = null;

  /** The page has other numbers now (a fragment came). */
  refresh() {
    this.#numbers = this.#places("value");
    this.#sentences = this.#places("needs");
    this.#rare = this.#places("when");
    if (this.#last) this.#fill(this.#last);
  }

  /** @param {"value" | "needs" | "when"} name of the data attribute @returns {Place[]} */
  #places(name) {
    const elements = /** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll(`[data-${name}]`));
    return [...elements].map((element) => ({
      element,
      key: element.dataset[name] ?? "",
      chapter: element.closest(".chapter")?.id,
    }));
  }

  /** Numbers of other chapters wait until theirs is read. */
  update = seldom(120, (/** @type {Reading} */ reading) => {
    this.#last = reading;
    this.#fill(reading);
  });

  /** @param {Reading} reading */
  #fill({ state, chapter, rules, runs }) {
    /** @param {Place} place */
    const here = (place) => place.chapter === undefined || place.chapter === chapter;
    for (const { element, key } of this.#numbers.filter(here)) show(element, facts(state, key, rules, runs));
    // What may still come keeps its place: prose must not jump while a run goes on.
    const ended = state.request.status === "finished" || state.closed !== null;
    for (const { element, key } of this.#sentences.filter(here)) {
      const settled = ended || (ruleOf(key, rules)?.kind === "set" && state.opened !== null);
      const hidden = settled && facts(state, key, rules, runs) === null;
      if (element.hidden !== hidden) element.hidden = hidden;
    }
    for (const { element, key } of this.#rare.filter(here)) {
      const hidden = facts(state, key, rules, runs) === null;
      if (element.hidden !== hidden) element.hidden = hidden;
    }
  }
}

/** The words of the badges, each a literal in `t` for the catalogue. */
const BADGES = {
  measured: () => t("measured"),
  modelled: () => t("modelled"),
  set: () => t("setting"),
  recorded: () => t("recorded"),
};

/**
 * @param {HTMLElement} element `.figure` in it is the number, `.badge` says where it comes from
 * @param {import("../state/facts.js").Fact | null} fact
 */
function show(element, fact) {
  say(element.querySelector(".figure") ?? element, fact?.text ?? DASH);
  const badge = /** @type {HTMLElement | null} */ (element.querySelector(".badge"));
  if (badge) badge.hidden = fact === null; // a dash comes from nowhere
  if (!fact) return;
  if (element.dataset.provenance !== fact.provenance) element.dataset.provenance = fact.provenance;
  if (element.title !== fact.source) element.title = fact.source;
  if (!badge) return;
  badge.dataset.provenance = fact.provenance;
  say(badge, BADGES[fact.provenance]());
}
