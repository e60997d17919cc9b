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

  /** @type {HTMLElement[]} */
  #elements = [];
  /** @type {State | null} */
  #state = null;

  /** The page has other numbers now (a fragment came). */
  refresh() {
    this.#elements = /** @type {HTMLElement[]} */ ([...this.root.querySelectorAll("[data-value]")]);
    if (this.#state) this.#fill(this.#state);
  }

  update = seldom(120, (/** @type {State} */ state) => {
    this.#state = state;
    this.#fill(state);
  });

  /** @param {State} state */
  #fill(state) {
    /** @type {Map<string, import("../state/facts.js").Fact | null>} */
    const known = new Map();
    for (const element of this.#elements) {
      const key = element.dataset.value ?? "";
      if (!known.has(key)) known.set(key, facts(state, key));
      show(element, known.get(key) ?? null);
    }
  }
}

/**
 * @param {HTMLElement} element `.figure` in it is the number, `.badge` says where it comes from
 * @param {import("../state/facts.js").Fact | null} fact
 */
function show(element, fact) {
  say(element.querySelector(".figure") ?? element, fact?.text ?? DASH);
  if (!fact) return;
  const badge = /** @type {HTMLElement | null} */ (element.querySelector(".badge"));
  if (element.dataset.provenance !== fact.provenance) element.dataset.provenance = fact.provenance;
  if (element.title !== fact.source) element.title = fact.source;
  if (!badge) return;
  badge.dataset.provenance = fact.provenance;
  say(badge, t(fact.provenance));
}
