// The answer as text that can be read and selected, one span a token. Spans are added as tokens come and taken away
// when the reader goes back; forward play rebuilds nothing.

import { element, say } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {{ token: (position: number) => import("../state/types.d.ts").Token | undefined, hover: (position: number) => void, tooltip: import("./tooltip.js").Tooltip }} Host */

/**
 * The reader's own words, as the run's tokens spell them. Words that begin with spaces share their first token with
 * the chat template's line break before them; that one break is not theirs,
 * unless the template's own break stands before it.
 * @param {State} state
 */
export function promptOf(state) {
  const first = state.tokens.findIndex(({ own }) => own);
  const words = state.tokens
    .filter(({ own }) => own)
    .map(({ text }) => text)
    .join("");
  const stands = first <= 0 || state.tokens[first - 1].text.endsWith("\n");
  return !stands && words.startsWith("\n") ? words.slice(1) : words;
}

/**
 * What each generated token shows. Together they are `state.answer`, which ends before a stop string that the tokens
 * spell: what is beyond its end is cut off the last of them.
 * @param {State} state
 * @returns {string[]} one a generated token, in order
 */
export function piecesOf(state) {
  const tokens = state.tokens.slice(state.request.numPromptTokens);
  let at = 0;
  return tokens.map(({ text }, i) => {
    const piece = state.answer.slice(at, i === tokens.length - 1 ? undefined : at + text.length);
    at += text.length;
    return piece;
  });
}

/**
 * A long prompt scrolls in a box of its own: while it does, the keyboard must reach it.
 * @param {HTMLElement} prompt
 */
function reachWhileItScrolls(prompt) {
  new ResizeObserver(() => {
    const scrolls = prompt.scrollHeight > prompt.clientHeight;
    if (scrolls === prompt.hasAttribute("tabindex")) return;
    const attributes = { tabindex: "0", role: "group", "aria-label": t("The whole prompt") };
    for (const [name, value] of Object.entries(attributes)) {
      if (scrolls) prompt.setAttribute(name, value);
      else prompt.removeAttribute(name);
    }
  }).observe(prompt);
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
    if (prompt) reachWhileItScrolls(prompt);
    this.text.addEventListener("pointerover", (event) => this.#over(event, host));
    this.text.addEventListener("pointerleave", () => {
      host.hover(-1);
      host.tooltip.hide();
    });
  }

  /** @type {HTMLSpanElement[]} one a generated token, in order */
  #spans = [];
  /** @type {string | null} the finished text that the spans were cut to, null while it is being written */
  #cutTo = null;
  /** Tokens of the prompt whose words stand in `#question`. */
  #asked = -1;

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
    this.#cutTo = null;
    this.#asked = -1;
    this.text.replaceChildren();
    if (this.prompt) say(this.prompt, "");
  }

  /**
   * @param {State} state
   * @returns {boolean} whether text was added
   */
  update(state) {
    if (this.prompt && this.#asked !== state.request.numPromptTokens) {
      this.#asked = state.request.numPromptTokens;
      say(this.prompt, promptOf(state));
    }
    const count = Math.max(0, state.tokens.length - state.request.numPromptTokens);
    const spans = this.#spans;
    while (spans.length > count) spans.pop()?.remove();
    const grown = spans.length < count;
    if (grown) this.#add(state, count);
    if (this.#cutTo !== state.request.text) {
      this.#cutTo = state.request.text;
      for (const [i, piece] of piecesOf(state).entries()) say(spans[i], piece);
    }
    return grown;
  }

  /**
   * @param {State} state
   * @param {number} count of spans that shall stand
   */
  #add(state, count) {
    const first = state.request.numPromptTokens;
    const spans = this.#spans;
    const added = document.createDocumentFragment();
    for (let i = spans.length; i < count; i++) {
      const token = state.tokens[first + i];
      const span = element("span", { class: "token", "data-position": String(token.position), text: token.text });
      spans.push(span);
      added.append(span);
    }
    this.text.append(added);
  }
}
