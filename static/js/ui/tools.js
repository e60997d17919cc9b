// What can be done with the run on stage, behind one button of the bar: a phone's has no room for more.

import { element } from "./dom.js";
import { t } from "./messages.js";

export class Tools {
  /** @param {HTMLElement} bar */
  constructor(bar) {
    this.list = element("ul", { id: "tools", class: "tools", hidden: "" });
    this.button = element("button", {
      type: "button",
      class: "ghost tools-button",
      "data-action": "tools",
      "aria-expanded": "false",
      "aria-controls": "tools",
      "aria-label": t("More to do with this run"),
    });
    this.button.append(element("span", { "aria-hidden": "true", text: "•••" }));
    this.root = element("div", { class: "tools-root" }, [this.button, this.list]);
    bar.append(this.root);
    this.button.addEventListener("click", () => this.open(this.list.hidden !== false));
    this.root.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape" || this.list.hidden) return;
      this.open(false);
      this.button.focus();
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node && !this.root.contains(target)) this.open(false);
    });
  }

  /** @param {boolean} open */
  open(open) {
    this.list.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
  }

  /**
   * One more line.
   * @param {string} name `data-action` of its button
   * @param {string} words
   * @param {() => void} act
   * @returns {HTMLElement} the line, to be hidden where there is nothing to do
   */
  add(name, words, act) {
    const button = element("button", { type: "button", "data-action": name, text: words });
    button.addEventListener("click", () => {
      this.open(false);
      this.button.focus({ preventScroll: true });
      act();
    });
    const line = element("li", {}, [button]);
    this.list.append(line);
    return line;
  }
}
