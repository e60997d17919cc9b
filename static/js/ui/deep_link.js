// Links to a moment of a room: `#paging?t=1.42`, seconds of the log on stage; `&step=3` names the step of the prose
// that is read there. Such a link is followed when the page opens and whenever it is put in the address bar.

import { say } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {{ slug: string, time: number | null, step: number }} Target `step` counts from 0 */
/** @typedef {import("../log/log.js").EventLog} EventLog */

const COPIED_MS = 2400;

/**
 * @param {string} hash with or without its `#`
 * @returns {Target | null} null where it is no more than a link to a place of the page
 */
export function parseLink(hash) {
  const match = /^#?([\w-]+)\?(.*)$/.exec(hash);
  if (!match) return null;
  const values = new URLSearchParams(match[2]);
  const time = Number.parseFloat(values.get("t") ?? "");
  const step = Number.parseInt(values.get("step") ?? "", 10);
  return {
    slug: match[1],
    time: Number.isFinite(time) ? Math.max(0, time) : null,
    step: Number.isFinite(step) ? Math.max(0, step - 1) : 0,
  };
}

/** @param {Target} target */
export function linkTo({ slug, time, step }) {
  const moment = time === null ? "" : `t=${Number(time.toFixed(3))}`;
  const place = step > 0 ? `step=${step + 1}` : "";
  const query = [moment, place].filter(Boolean).join("&");
  return query ? `#${slug}?${query}` : `#${slug}`;
}

export class DeepLink {
  /**
   * @param {{ log: () => EventLog | null, go: (slug: string, step: number, again?: boolean) => boolean, seek: (t: number) => void }} host
   *   `log`: of the run that the step shows, null while it is on its way; `go` scrolls to a step of a room, false where
   *   there is none of that name; `again` where the layout has moved
   */
  constructor(host) {
    this.host = host;
    addEventListener("hashchange", () => this.follow());
    for (const hand of ["wheel", "touchstart", "pointerdown", "keydown"]) {
      addEventListener(
        hand,
        () => {
          this.#held = null;
        },
        { passive: true, capture: true },
      );
    }
  }

  /** A moment that the log has not brought yet, log seconds. @type {number | null} */
  #wanted = null;

  /** Go where the address says. The moment follows once the room has its run (`arrived`). */
  follow() {
    const target = parseLink(decodeURIComponent(location.hash));
    this.#wanted = null;
    this.#held = null;
    if (!target || !this.host.go(target.slug, target.step)) return;
    // Where a browser would put a reader who reloads is where they were, and the link says where that is.
    history.scrollRestoration = "manual";
    this.#wanted = target.time;
    this.#held = target;
  }

  /** The step that a link led to, until the reader moves. @type {Target | null} */
  #held = null;

  /** The layout moved, as it does while faces and numbers come in: stay with the step. */
  settle() {
    if (this.#held) this.host.go(this.#held.slug, this.#held.step, true);
  }

  /** The step is on, or more of its log is there. */
  arrived() {
    const log = this.#wanted === null ? null : this.host.log();
    if (this.#wanted === null || !log || log.seq === 0 || (log.t < this.#wanted && !log.complete)) return;
    const time = this.#wanted;
    this.#wanted = null;
    this.host.seek(time);
  }
}

/**
 * @param {HTMLElement} button copies the link to what is on stage; the address bar has it too
 * @param {() => string} hash
 */
export function bindCopy(button, hash) {
  const words = /** @type {HTMLElement} */ (button.querySelector("span"));
  const standing = words.textContent ?? "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @param {string} text @param {boolean} told */
  const show = (text, told) => {
    say(words, text);
    button.classList.toggle("is-told", told);
  };
  button.addEventListener("click", async () => {
    const url = new URL(hash(), location.href).href;
    history.replaceState(history.state, "", url);
    const copied = await navigator.clipboard?.writeText(url).then(
      () => true,
      () => false,
    );
    show(copied ? t("Link copied") : t("The link is in the address bar"), true);
    clearTimeout(timer);
    timer = setTimeout(() => show(standing, false), COPIED_MS);
  });
}
