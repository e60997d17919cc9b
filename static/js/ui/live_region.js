// The answer for those who listen: whole sentences as they are finished, politely, and only while the run plays
// forward. Scrubbing says nothing.

import { element } from "./dom.js";

const SENTENCE = /[^.!?\n。！？]*(?:[.!?。！？]+["')\]]*(?=\s)|\n+)/g;

/**
 * Sentences that are complete in `text` from `start` on, and where they end.
 * @param {string} text
 * @param {number} start
 * @param {boolean} finished nothing more will come
 * @returns {{ sentences: string[], end: number }}
 */
export function sentencesFrom(text, start, finished) {
  const rest = text.slice(start);
  /** @type {string[]} */
  const sentences = [...(rest.match(SENTENCE) ?? [])];
  let end = start + sentences.join("").length;
  if (finished && end < text.length) {
    sentences.push(text.slice(end));
    end = text.length;
  }
  return { sentences: sentences.map((sentence) => sentence.trim()).filter(Boolean), end };
}

export class LiveRegion {
  /** @param {HTMLElement} root `aria-live="polite"` */
  constructor(root) {
    this.root = root;
  }

  #said = 0;

  clear() {
    this.#said = 0;
    this.root.replaceChildren();
  }

  /** @param {string} sentence */
  say(sentence) {
    this.root.append(element("p", { text: sentence }));
    while (this.root.childElementCount > 4) this.root.firstElementChild?.remove();
  }

  /**
   * @param {import("../state/types.d.ts").State} state
   * @param {boolean} playing the playhead moves by itself
   */
  update(state, playing) {
    if (!playing || state.answer.length < this.#said) {
      this.#said = state.answer.length;
      return;
    }
    const { sentences, end } = sentencesFrom(state.answer, this.#said, state.request.status === "finished");
    this.#said = end;
    if (sentences.length) this.say(sentences.join(" "));
  }
}
