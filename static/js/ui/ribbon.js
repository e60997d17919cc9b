// The run's own text as chips, the newest at the end. However long the run, only the last few dozen before the playhead
// exist: playing adds one and takes one away. A chip says its probability, and takes the reader to its moment.
//
// Chips stand on a track at places that never change, and the track is drawn along by a transform: no chip is laid out
// anew because another came.

import { NARROW } from "../scenes/room.js";
import { chipText, font } from "../stage/text.js";
import { element } from "./dom.js";
import { t } from "./messages.js";
import { tokenWords } from "./tooltip.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../state/types.d.ts").Token} Token */

/** More than fit on a wide screen. */
const WINDOW = 64;
/** Of a chip, in pixels: the padding at both its ends, and the gap to the next. */
const PADDING = 10;
const GAP = 3;

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
    this.track = element("div", { class: "ribbon-track" });
    root.classList.add("ribbon");
    root.append(this.track);
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
    const anew = () => {
      this.#size = 0;
      if (this.#state) this.update(this.#state);
    };
    document.fonts.addEventListener("loadingdone", anew);
    matchMedia(`(max-width: ${NARROW - 0.02}px)`).addEventListener("change", anew);
  }

  /** @type {HTMLButtonElement[]} chips of the positions `#start` and on */
  #chips = [];
  #start = 0;
  /** How wide each of them is, and where the first begins and the last ends, in pixels of the track. @type {number[]} */
  #widths = [];
  #left = 0;
  #right = 0;
  /** Of the letters, in pixels; 0: to be found out. */
  #size = 0;
  #ruler = document.createElement("canvas").getContext("2d");
  /** @type {State | null} */
  #state = null;

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
    this.#widths = [];
    this.#start = 0;
    this.#left = 0;
    this.#right = 0;
    this.track.replaceChildren();
  }

  /** @param {Token} token @returns {number} */
  #widthOf(token) {
    if (!this.#size) {
      this.#size = innerWidth < NARROW ? 12 : 13;
      if (this.#ruler) this.#ruler.font = font({ size: this.#size, face: "mono" });
    }
    return Math.ceil(this.#ruler?.measureText(chipText(token)).width ?? 0) + PADDING;
  }

  /** @param {Token} token @param {1 | -1} end at which it is put on */
  #put(token, end) {
    const made = chip(token);
    const width = this.#widthOf(token);
    if (end < 0) this.#left -= width + GAP;
    made.style.left = `${end < 0 ? this.#left : this.#right}px`;
    made.style.width = `${width}px`;
    if (end > 0) this.#right += width + GAP;
    this.#chips[end < 0 ? "unshift" : "push"](made);
    this.#widths[end < 0 ? "unshift" : "push"](width);
    this.track[end < 0 ? "prepend" : "append"](made);
  }

  /** @param {1 | -1} end at which one is taken off */
  #take(end) {
    this.#chips[end < 0 ? "shift" : "pop"]()?.remove();
    const width = this.#widths[end < 0 ? "shift" : "pop"]() ?? 0;
    if (end < 0) this.#left += width + GAP;
    else this.#right -= width + GAP;
  }

  /** @param {State} state */
  update(state) {
    this.#state = state;
    if (!this.#size) this.clear();
    const { start, stop } = windowOf(state.tokens.length);
    const from = this.#start;
    const to = from + this.#chips.length;
    if (start === from && stop === to) return;
    if (start >= to || stop <= from) this.clear();
    while (this.#chips.length && this.#start + this.#chips.length > stop) this.#take(1);
    while (this.#chips.length && this.#start < start) {
      this.#take(-1);
      this.#start += 1;
    }
    if (!this.#chips.length) this.#start = start;
    while (this.#start > start) {
      this.#start -= 1;
      this.#put(state.tokens[this.#start], -1);
    }
    for (let i = this.#start + this.#chips.length; i < stop; i++) this.#put(state.tokens[i], 1);
    this.track.style.transform = `translateX(${GAP - this.#right}px)`;
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
