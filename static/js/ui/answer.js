// The answer as text that can be read and selected, one span a token. Spans are added as tokens come and taken away
// when the reader goes back; forward play rebuilds nothing.

import { element, say } from "./dom.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {{ token: (position: number) => import("../state/types.d.ts").Token | undefined, hover: (position: number) => void, tooltip: import("./tooltip.js").Tooltip }} Host */

/**
 * The reader's own words, as the run's tokens spell them.
 * @param {State} state
 */
export function promptOf(state) {
  return state.tokens
    .filter(({ own }) => own)
    .map(({ text }) => text)
    .join("");
}

export class Answer {
  /**
   * @param {HTMLElement} root `#answer`
   * @param {HTMLElement | null} prompt where the prompt stands, `#question`
   * @param {Host} host
   */
  constructor(root, prompt, host) {
    this.text = root;
    this.prompt = prompt;
    this.text.addEventListener("pointerover", (event) => this.#over(event, host));
    this.text.addEventListener("pointerleave", () => {
      host.hover(-1);
      host.tooltip.hide();
    });
  }

  /** @type {HTMLSpanElement[]} one a generated token, in order */
  #spans = [];

  /**
   * @param {Event} event
   * @param {Host} host
   */
  #over(event, host) {
    const target = /** @type {HTMLElement} */ (event.target);
    const token = target.dataset.position === undefined ? undefined : host.token(Number(target.dataset.position));
    host.hover(token ? token.position : -1);
    if (token) host.tooltip.showToken(token, target.getClientRects()[0] ?? target.getBoundingClientRect());
    else host.tooltip.hide();
  }

  /** Another run. */
  clear() {
    this.#spans.length = 0;
    this.text.replaceChildren();
    if (this.prompt) say(this.prompt, "");
  }

  /**
   * @param {State} state
   * @returns {boolean} whether text was added
   */
  update(state) {
    if (this.prompt) say(this.prompt, promptOf(state));
    const first = state.request.numPromptTokens;
    const count = Math.max(0, state.tokens.length - first);
    const spans = this.#spans;
    while (spans.length > count) spans.pop()?.remove();
    if (spans.length === count) return false;
    const added = document.createDocumentFragment();
    for (let i = spans.length; i < count; i++) {
      const token = state.tokens[first + i];
      const span = element("span", { class: "token", "data-position": String(token.position), text: token.text });
      spans.push(span);
      added.append(span);
    }
    this.text.append(added);
    return true;
  }
}
