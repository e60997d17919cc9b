// Every number in the prose, filled from the run at the playhead: `[data-value="KEY"]`. A fact that the run has not said
// is a dash. The badge beside it says where it comes from.

import { facts } from "../state/facts.js";
import { say, seldom } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../state/types.d.ts").State} State */

const DASH = "—";

export class Numbers {
  /** @param {ParentNode} root */
  constructor(root) {
    this.root = root;
    this.refresh();
  }

  /** @type {{ element: HTMLElement, key: string, chapter: string | undefined }[]} */
  #numbers = [];
  /** @type {{ state: State, chapter: string } | null} */
  #last = null;

  /** The page has other numbers now (a fragment came). */
  refresh() {
    const elements = /** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll("[data-value]"));
    this.#numbers = [...elements].map((element) => ({
      element,
      key: element.dataset.value ?? "",
      chapter: element.closest(".chapter")?.id,
    }));
    if (this.#last) this.#fill(this.#last.state, this.#last.chapter);
  }

  /** Numbers of other chapters wait until theirs is read. */
  update = seldom(120, (/** @type {State} */ state, /** @type {string} */ chapter) => {
    this.#last = { state, chapter };
    this.#fill(state, chapter);
  });

  /**
   * @param {State} state
   * @param {string} chapter on stage
   */
  #fill(state, chapter) {
    for (const number of this.#numbers) {
      if (number.chapter === undefined || number.chapter === chapter) show(number.element, facts(state, number.key));
    }
  }
}

/** The words of the badges, each a literal in `t` for the catalogue. */
const BADGES = { measured: () => t("measured"), modelled: () => t("modelled"), recorded: () => t("recorded") };

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
