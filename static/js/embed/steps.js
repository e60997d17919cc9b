// The steps of a room as buttons: where the article's reader scrolls from one to the next, here they press, and what
// lies between passes in a moment.

import { element } from "../ui/dom.js";
import { t } from "../ui/messages.js";
import { placeBetween } from "../ui/scroll.js";

/** @typedef {import("../ui/scroll.js").ChapterBox} ChapterBox */
/** @typedef {import("../ui/scroll.js").Place} Place */

/** From one step to the next, milliseconds. */
const WALK_MS = 900;

/** @param {number} x */
const easeInOut = (x) => (x < 0.5 ? 2 * x * x : 1 - 2 * (1 - x) ** 2);

export class Steps {
  /**
   * @param {ChapterBox} chapter
   * @param {HTMLElement[]} elements of its prose
   * @param {{ reduced: () => boolean, went: () => void }} host `went`: the reader chose a step
   */
  constructor(chapter, elements, host) {
    this.chapter = chapter;
    this.elements = elements;
    this.host = host;
    this.back = element("button", { type: "button", "aria-label": t("The step before"), text: "‹" });
    this.on = element("button", { type: "button", "aria-label": t("The next step"), text: "›" });
    this.numbers = elements.map((_, i) =>
      element("button", { type: "button", "aria-label": t("Step {number}", { number: i + 1 }), text: String(i + 1) }),
    );
    this.root = element("nav", { class: "embed-steps", "aria-label": t("Steps of this room") }, [
      this.back,
      ...this.numbers,
      this.on,
    ]);
    this.back.addEventListener("click", () => this.#choose(this.to - 1));
    this.on.addEventListener("click", () => this.#choose(this.to + 1));
    for (const [i, button] of this.numbers.entries()) button.addEventListener("click", () => this.#choose(i));
  }

  from = 0;
  to = 0;
  #leftAt = Number.NEGATIVE_INFINITY;

  /** Stand at a step at once. @param {number} step */
  stand(step) {
    this.from = step;
    this.to = step;
    this.#mark();
  }

  /** @param {number} step */
  #choose(step) {
    if (step < 0 || step >= this.elements.length || step === this.to) return;
    this.from = this.to;
    this.to = step;
    this.#leftAt = this.host.reduced() ? Number.NEGATIVE_INFINITY : performance.now();
    this.#mark();
    this.host.went();
  }

  #mark() {
    this.elements.forEach((step, i) => {
      step.classList.toggle("is-active", i === this.to);
      // What is not read is not there: neither to the eye nor to the keyboard.
      step.inert = i !== this.to;
    });
    this.numbers.forEach((button, i) => {
      if (i === this.to) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    this.back.disabled = this.to === 0;
    this.on.disabled = this.to === this.elements.length - 1;
  }

  /** @param {number} now milliseconds, as `performance.now` has them */
  walking(now) {
    return now - this.#leftAt < WALK_MS;
  }

  /** Where the reader is. @param {number} now @returns {Place} */
  place(now) {
    const x = Math.min(1, Math.max(0, (now - this.#leftAt) / WALK_MS));
    return placeBetween(this.chapter, this.from, this.to, this.from === this.to ? 0 : easeInOut(x));
  }
}
