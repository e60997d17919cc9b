// Takes as the reader meets them: asked for when they rest at a step that shows one, or by a button with the controls as
// they stand; and one line on the stage that says what plays, where that is not simply their run.

import { Cast, rolesOf } from "../log/cast.js";
import { Takes } from "../log/takes.js";
import { element, say } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../stage/types.d.ts").Scene} Scene */
/** @typedef {import("../log/takes.js").Take} Take */
/** @typedef {import("../log/takes.js").Answer} Answer */
/** @typedef {{ own: () => import("../log/session.js").Session, recordings: Record<string, string>, source: (run: import("../log/takes.js").NewRun) => import("../log/session.js").Source, scene: () => Scene | null, controls: () => Record<string, any>, changed: (take: Take) => void, recast: () => void, ask?: (runId: string, body: object) => Promise<Answer> }} Host `recast`: another run has the main role; `ask`: how a take is asked for, where not of the kitchen that sent the page */

/** How long a reader rests at a step before a take is cooked for it, in milliseconds: scrolling past costs nobody. */
const REST_MS = 700;

/**
 * @param {string} runId
 * @param {object} body
 * @returns {Promise<Answer>}
 */
async function ask(runId, body) {
  const response = await fetch(`api/runs/${encodeURIComponent(runId)}/takes`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify(body),
  }).catch(() => null);
  const said = await response?.json().catch(() => null);
  if (response?.ok && said?.run_id) return { run: said };
  return { refused: response?.status ?? 0, detail: typeof said?.detail === "string" ? said.detail : "" };
}

export class Casting {
  /**
   * @param {HTMLElement} stage gets the line
   * @param {HTMLElement} article its buttons `[data-take]` ask
   * @param {Host} host
   */
  constructor(stage, article, host) {
    this.host = host;
    this.takes = new Takes({
      own: host.own,
      ask: host.ask ?? ask,
      recorded: (key) => (Object.hasOwn(host.recordings, key) ? host.recordings[key] : null),
      source: host.source,
      changed: (take) => this.#heard(take),
    });
    this.cast = new Cast(host.own, this.takes);
    this.badge = element("span", { class: "badge", "data-provenance": "recorded", text: t("recorded") });
    this.words = element("span", {});
    this.note = element("p", { id: "stage-note", role: "status", hidden: "" }, [this.badge, this.words]);
    stage.append(this.note);
    article.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("[data-take]") : null;
      if (!(button instanceof HTMLElement)) return;
      for (const key of (button.dataset.take ?? "").split(" ")) this.#want(key, { again: true });
    });
  }

  /** The `data-cast` of the step that the reader is at. */
  said = "";
  #resting = 0;
  /** @type {import("../log/session.js").Session | null} */
  #main = null;

  /** The reader came to a step. @param {string | undefined} said its `data-cast` */
  enter(said = "") {
    if (said === this.said) return;
    this.said = said;
    this.cast.roles = rolesOf(said);
    clearTimeout(this.#resting);
    const wanted = this.#keys();
    if (this.host.own().source.kind === "recording") this.#wantAll(wanted);
    else if (wanted.length) this.#rest(wanted);
    this.#recast();
  }

  /** Ask once the reader has rested here, and the room is there that knows what to ask with. @param {string[]} wanted */
  #rest(wanted) {
    this.#resting = setTimeout(() => (this.host.scene() ? this.#wantAll(wanted) : this.#rest(wanted)), REST_MS);
  }

  /**
   * The reader came to a room: what it has recorded is fetched before they come to its step.
   * @param {(string | undefined)[]} casts of its steps
   */
  approach(casts) {
    if (this.host.own().source.kind !== "recording") return;
    for (const { main, lanes } of casts.map(rolesOf)) this.#wantAll([main, ...lanes].filter((key) => key !== "own"));
  }

  /** Another run is on stage. */
  clear() {
    clearTimeout(this.#resting);
    this.takes.clear();
    this.#main = null;
    const said = this.said;
    this.said = "";
    this.enter(said);
  }

  /** The own run's log went on: a take of this step that waited for its end may begin. */
  ownChanged() {
    if (!this.host.own().log.closed) return;
    for (const key of this.#keys()) if (this.takes.get(key)?.status === "asking") this.#want(key);
  }

  #keys() {
    const { main, lanes } = this.cast.roles;
    return [main, ...lanes].filter((key) => key !== "own");
  }

  /** @param {string[]} keys */
  #wantAll(keys) {
    for (const key of keys) this.#want(key);
  }

  /**
   * @param {string} key
   * @param {{ again?: boolean }} [options]
   */
  #want(key, options) {
    const asks = this.host.scene()?.takes?.[key];
    const body = asks ? asks(this.host.own().player.state, this.host.controls()) : null;
    this.takes.want(key, body, options);
    this.#say();
  }

  /** @param {Take} take */
  #heard(take) {
    this.#keepTogether(take);
    this.#recast();
    this.#say();
    this.host.changed(take);
  }

  /**
   * What a step compares is one workload on one machine: where a recorded take of the default run stands in for one of
   * its lanes, it does for all.
   * @param {Take} take
   */
  #keepTogether({ key, status, words }) {
    const keys = this.#keys();
    if (
      status !== "recorded" ||
      this.takes.get(key)?.guest ||
      this.host.own().source.kind === "recording" ||
      !keys.includes(key)
    )
      return;
    for (const other of keys) this.takes.standIn(other, words);
  }

  #recast() {
    const { main } = this.cast;
    this.#say();
    if (main === this.#main) return;
    const first = this.#main === null;
    this.#main = main;
    if (!first) this.host.recast();
  }

  #say() {
    const { main, lanes } = this.cast.view();
    // A run that is only compared with is no take, and says of itself where it is from.
    const shown = [main, ...lanes].filter(({ key }) => key !== "own" && !this.takes.get(key)?.guest);
    const telling = shown.find(({ words }) => words) ?? shown.find(({ status }) => status === "asking");
    const foreign = this.host.own().source.kind !== "recording";
    const recorded = foreign && shown.some(({ status }) => status === "recorded");
    const words = telling?.words || (telling ? t("Asking for a take of this run.") : "");
    this.note.hidden = !words && !recorded;
    this.badge.hidden = !recorded;
    say(this.words, words);
  }
}
