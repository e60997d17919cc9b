// One card that says what a token is: its probability, and what else the model considered.

import { chipText, visible } from "../stage/text.js";
import { percent } from "../state/format.js";
import { element } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../state/types.d.ts").Token} Token */

const MOST = 5;

/**
 * A token in one sentence, for `aria-label`s.
 * @param {Token} token
 */
export function tokenWords(token) {
  const text = visible(token.text) || (token.special ? t("end of the answer") : t("part of a character"));
  if (token.probability === null) return t("prompt token {text}", { text });
  return t("{text}, probability {probability}", { text, probability: percent(token.probability) });
}

/** @param {Token} token */
function candidateRows(token) {
  const list = element("ol", { class: "tooltip-candidates" });
  for (const candidate of token.candidates.slice(0, MOST)) {
    const bar = element("span", { class: "tooltip-bar" });
    bar.style.width = `${Math.max(1, 100 * candidate.probability).toFixed(1)}%`;
    const row = element("li", {}, [
      element("code", { text: visible(candidate.text) }),
      element("span", { class: "tooltip-track" }, [bar]),
      element("span", { class: "tooltip-number", text: percent(candidate.probability) }),
    ]);
    if (candidate.id === token.id) row.className = "is-chosen";
    list.append(row);
  }
  return list;
}

export class Tooltip {
  constructor() {
    this.root = element("div", { id: "tooltip", class: "tooltip", role: "tooltip", hidden: "" });
    document.body.append(this.root);
  }

  #shown = "";

  /**
   * @param {Token} token
   * @param {DOMRect} beside
   */
  showToken(token, beside) {
    this.#fill(`token:${token.seq}:${token.position}`, () => {
      const head = element("p", { class: "tooltip-head" }, [
        element("code", { text: chipText(token) }),
        token.probability === null
          ? element("span", { text: token.own ? t("your prompt") : t("chat template") })
          : element("b", { text: percent(token.probability) }),
      ]);
      const place = element("p", {
        class: "tooltip-place",
        text: t("token {position}, id {id}", { position: token.position + 1, id: token.id }),
      });
      return token.candidates.length ? [head, candidateRows(token), place] : [head, place];
    });
    this.#place(beside);
  }

  /**
   * @param {string} text
   * @param {DOMRect} beside
   */
  showText(text, beside) {
    this.#fill(`text:${text}`, () => [element("p", { text })]);
    this.#place(beside);
  }

  hide() {
    if (!this.#shown) return;
    this.#shown = "";
    this.root.hidden = true;
  }

  /**
   * @param {string} key
   * @param {() => Node[]} content
   */
  #fill(key, content) {
    if (key === this.#shown) return;
    this.#shown = key;
    this.root.replaceChildren(...content());
    this.root.hidden = false;
  }

  /** @param {DOMRect} beside */
  #place(beside) {
    const { offsetWidth: width, offsetHeight: height } = this.root;
    const left = Math.min(Math.max(8, beside.left + beside.width / 2 - width / 2), innerWidth - width - 8);
    const above = beside.top - height - 10;
    this.root.style.left = `${Math.round(left)}px`;
    this.root.style.top = `${Math.round(above > 8 ? above : beside.bottom + 10)}px`;
  }
}
