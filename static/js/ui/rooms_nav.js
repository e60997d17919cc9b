// The rooms as numbered windows: a rail beside the prose, on a phone a list behind one button. Real links; the window
// of the room on stage is lit, and fills as the reader walks through it. Made of the article's own sections.

import { element, say } from "./dom.js";
import { t } from "./messages.js";

/** Fineness of the filling, so that most scrolled frames write nothing. */
const LEVELS = 40;

/** @typedef {{ slug: string, link: HTMLAnchorElement, level: number }} Window */

/** @param {HTMLElement} section @returns {{ number: string, name: string }} what the section is called */
function signOf(section) {
  const kicker = section.querySelector(".kicker");
  const number = kicker?.querySelector("b")?.textContent?.trim() ?? "";
  const name = (kicker?.textContent ?? "").trim().slice(number.length).trim();
  return { number, name: name.replace(/\s+/g, " ") || section.id };
}

export class RoomsNav {
  /**
   * @param {HTMLElement} bar gets the phone's button; the list comes after it
   * @param {HTMLElement[]} sections of the article, in its order
   * @param {HTMLElement[]} last what stands at the end of the list
   */
  constructor(bar, sections, last) {
    this.list = element("ul", {});
    this.root = element("nav", { id: "rooms", class: "rooms", "aria-label": t("Rooms") }, [this.list, ...last]);
    this.button = element("button", {
      type: "button",
      class: "ghost rooms-button",
      "aria-expanded": "false",
      "aria-controls": "rooms",
    });
    /** @type {Window[]} */
    this.windows = [];
    for (const section of sections) this.add(section);
    bar.prepend(this.button);
    bar.after(this.root);
    this.button.addEventListener("click", () => this.#open(!this.opened));
    this.list.addEventListener("click", () => this.#open(false));
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.opened) return;
      this.#open(false);
      this.button.focus();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !this.root.contains(target) && !this.button.contains(target)) this.#open(false);
    });
    this.#name();
  }

  #current = -1;

  /** One more window, below the last. @param {HTMLElement} section */
  add(section) {
    const { number, name } = signOf(section);
    const link = element("a", { href: `#${section.id}` }, [
      element("b", { text: number || String(this.windows.length).padStart(2, "0") }),
      element("span", { class: "rooms-name", text: name }),
    ]);
    this.list.append(element("li", {}, [link]));
    this.windows.push({ slug: section.dataset.scene ?? section.id, link, level: 0 });
  }

  get opened() {
    return this.root.classList.contains("is-open");
  }

  /** @param {boolean} open */
  #open(open) {
    if (open === this.opened) return;
    this.root.classList.toggle("is-open", open);
    this.button.setAttribute("aria-expanded", String(open));
  }

  #name() {
    const here = this.windows[this.#current]?.link;
    say(this.button, here ? t("Room {name}", { name: here.querySelector("b")?.textContent ?? "" }) : t("Rooms"));
  }

  /** @param {{ chapter: string, progress: number }} place of the reader */
  update({ chapter, progress }) {
    const current = this.windows.findIndex(({ slug }) => slug === chapter);
    if (current !== this.#current) {
      this.windows[this.#current]?.link.removeAttribute("aria-current");
      this.windows[current]?.link.setAttribute("aria-current", "location");
      this.#current = current;
      this.#name();
    }
    this.windows.forEach((window, i) => {
      const level = i < current ? LEVELS : i > current ? 0 : Math.round(progress * LEVELS);
      if (level === window.level) return;
      window.level = level;
      window.link.style.setProperty("--walked", String(level / LEVELS));
    });
  }
}
