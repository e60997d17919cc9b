// Two runs under one clock: the room for it at the end of the article, and the choice of the second run. What it is
// called stands in the address (`&with=NAME`), where it has a name that another reader could use, and a choice is a step
// of the history: back takes it back.

import { element, say } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../log/session.js").Source} Source */
/** @typedef {import("../log/opened_file.js").Opened} Opened */
/** @typedef {{ name: string, source: Source | null, words: string }} Other `name`: in the address, "" where it has none */
/** @typedef {{ recordings: Record<string, string>, run: (runId: string) => Promise<Source | null>, before: () => Source | null, bring: (source: Source | null, words: string) => void, choose: () => void, arrive: (section: HTMLElement) => void }} Host `before`: the run that was on stage before this one */

/** A choice of the list that is no recording. */
export const BEFORE = "(before)";

/**
 * The id of a run, as it is or out of an address.
 * @param {string} text
 */
export function runIdIn(text) {
  const inside = /[?&]run=([^&#\s]+)/.exec(text)?.[1] ?? /\/runs\/([^/?#\s]+)/.exec(text)?.[1] ?? text.trim();
  try {
    return decodeURIComponent(inside);
  } catch {
    return inside;
  }
}

export class Comparing {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    const template = /** @type {HTMLTemplateElement} */ (document.querySelector("#compare-room"));
    const room = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.section = /** @type {HTMLElement} */ (room.querySelector("section"));
    /** @param {string} name @returns {any} */
    const part = (name) => this.section.querySelector(name);
    this.known = /** @type {HTMLSelectElement} */ (part("[data-compare=known]"));
    this.address = /** @type {HTMLInputElement} */ (part("[data-compare=address]"));
    this.said = /** @type {HTMLElement} */ (part(".compare-said"));
    this.known.addEventListener("change", () => void this.with(this.known.value));
    this.address.addEventListener("change", () => {
      if (this.address.value.trim()) void this.with(runIdIn(this.address.value));
    });
    part("[data-compare=file]").addEventListener("click", () => host.choose());
    template.before(this.section);
    this.list();
    host.arrive(this.section);
  }

  /** The latest choice: what is found for an earlier one comes too late. */
  #asked = 0;
  #chosen = "";
  /** What the address calls it. */
  #named = "";

  /** The runs that can be had without an address. */
  list() {
    const options = Object.keys(this.host.recordings).map((name, i) =>
      element("option", { value: name, text: i ? t("recorded: {name}", { name }) : t("the recorded run") }),
    );
    if (this.host.before()) options.unshift(element("option", { value: BEFORE, text: t("the run before this one") }));
    this.known.replaceChildren(element("option", { value: "", text: t("choose a run") }), ...options);
    this.known.value = this.#chosen;
    if (this.known.selectedIndex < 0) this.known.value = "";
  }

  /** @param {string} name of a recording, or the id of a run */
  async with(name) {
    this.#asked += 1;
    const mine = this.#asked;
    this.#chosen = name;
    const { recordings } = this.host;
    if (name === "") this.#bring("", null, "");
    else if (name === BEFORE) this.#bring("", this.host.before(), "");
    else if (Object.hasOwn(recordings, name)) this.#bring(name, { kind: "recording", url: recordings[name] }, "");
    else {
      const source = await this.host.run(name);
      if (mine !== this.#asked) return;
      this.#bring(name, source, source ? "" : t("nobody here knows that run"));
    }
    this.list();
  }

  /** The address says so: no step of the history but one that was made before. @param {string} name "": none */
  async follow(name) {
    if (name !== this.#named) await this.with(name);
  }

  /** @param {boolean} recorded the run on stage is the page's own recording */
  async withWhatIsAtHand(recorded) {
    const names = Object.keys(this.host.recordings);
    const [first] = recorded ? names.slice(1) : names;
    await this.with(this.host.before() ? BEFORE : (first ?? ""));
  }

  /** @param {Opened} file */
  withFile(file) {
    this.#asked += 1;
    this.#chosen = "";
    this.#bring("", { kind: "opened", file }, "");
    this.list();
  }

  /** @param {string} name @param {Source | null} source @param {string} words why there is none */
  #bring(name, source, words) {
    this.#named = source ? name : "";
    const url = new URL(location.href);
    const said = url.searchParams.get("with") === name;
    if (this.#named) url.searchParams.set("with", name);
    else url.searchParams.delete("with");
    if (url.href !== location.href) history[said ? "replaceState" : "pushState"](history.state, "", url);
    say(this.said, words ? t("Not to be compared with: {why}.", { why: words }) : "");
    this.host.bring(source, words || t("no run chosen yet"));
  }
}
