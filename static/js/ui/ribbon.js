// The run's own text as chips, the newest at the end. However long the run, only the last few dozen before the playhead
// exist: playing adds one and takes one away. A chip says its probability, and takes the reader to its moment.

import { chipText } from "../stage/text.js";
import { element } from "./dom.js";
import { t } from "./messages.js";
import { tokenWords } from "./tooltip.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Token} Token */

/** More than fit on a wide screen. */
const WINDOW = 64;

/**
 * Positions that the ribbon shows, half-open.
 * @param {number} count tokens
 */
export function windowOf(count) {
  return { start: Math.max(0, count - WINDOW), stop: count };
}

export class Ribbon {
  /**
   * @param {HTMLElement} root `#ribbon`
   * @param {{ token: (position: number) => Token | undefined, seek: (token: Token) => void, hover: (position: number) => void, tooltip: import("./tooltip.js").Tooltip }} host
   */
  constructor(root, host) {
    this.root = root;
    this.host = host;
    root.classList.add("ribbon");
    root.setAttribute("role", "group");
    if (!root.hasAttribute("aria-label")) root.setAttribute("aria-label", t("Tokens of this run"));
    root.addEventListener("pointerover", (event) => this.#show(event.target));
    root.addEventListener("focusin", (event) => this.#show(event.target));
    for (const leave of ["pointerleave", "focusout"]) {
      root.addEventListener(leave, () => {
        host.hover(-1);
        host.tooltip.hide();
      });
    }
    root.addEventListener("click", (event) => {
      const token = this.#tokenOf(event.target);
      if (token) host.seek(token);
    });
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** @type {HTMLButtonElement[]} chips of the positions `#start` and on */
  #chips = [];
  #start = 0;

  /** @param {EventTarget | null} target */
  #tokenOf(target) {
    const chip = target instanceof HTMLElement ? target.closest("button") : null;
    return chip ? this.host.token(Number(chip.dataset.position)) : undefined;
  }

  /** @param {EventTarget | null} target */
  #show(target) {
    const token = this.#tokenOf(target);
    this.host.hover(token ? token.position : -1);
    if (token) this.host.tooltip.showToken(token, /** @type {HTMLElement} */ (target).getBoundingClientRect());
    else this.host.tooltip.hide();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const direction = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    const at = this.#chips.indexOf(/** @type {HTMLButtonElement} */ (event.target));
    const next = direction && at >= 0 ? this.#chips[at + direction] : undefined;
    if (!next) return;
    event.preventDefault();
    this.#leadTo(next);
    next.focus();
  }

  /** Another run. */
  clear() {
    this.#chips = [];
    this.#start = 0;
    this.root.replaceChildren();
  }

  /** @param {State} state */
  update(state) {
    const { start, stop } = windowOf(state.tokens.length);
    const from = this.#start;
    const to = from + this.#chips.length;
    if (start === from && stop === to) return;
    if (start >= to || stop <= from) this.clear();
    while (this.#chips.length && this.#start + this.#chips.length > stop) this.#chips.pop()?.remove();
    while (this.#chips.length && this.#start < start) {
      this.#chips.shift()?.remove();
      this.#start += 1;
    }
    if (!this.#chips.length) this.#start = start;
    const before = state.tokens.slice(start, this.#start).map(chip);
    this.root.prepend(...before);
    const after = state.tokens.slice(this.#start + this.#chips.length, stop).map(chip);
    this.root.append(...after);
    this.#chips = [...before, ...this.#chips, ...after];
    this.#start = start;
    this.#newest();
  }

  /** @type {HTMLButtonElement | undefined} the chip marked so */
  #marked;
  /** @type {HTMLButtonElement | undefined} the chip that Tab leads to */
  #tabbed;

  #newest() {
    const last = this.#chips.at(-1);
    this.#marked?.classList.remove("is-newest");
    last?.classList.add("is-newest");
    this.#marked = last;
    if (last && !this.root.contains(document.activeElement)) this.#leadTo(last);
  }

  /** @param {HTMLButtonElement} chip */
  #leadTo(chip) {
    if (this.#tabbed) this.#tabbed.tabIndex = -1;
    chip.tabIndex = 0;
    this.#tabbed = chip;
  }
}

/** @param {Token} token */
function chip(token) {
  return element("button", {
    type: "button",
    class: `chip is-${token.kind}${token.own || token.kind === "generated" ? "" : " is-template"}`,
    tabindex: "-1",
    "data-position": String(token.position),
    "aria-label": tokenWords(token),
    text: chipText(token),
  });
}
