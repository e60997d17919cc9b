// What the reader has to know about the run as such: the engine died, the socket was cut, nobody knows this run.

import { element, say } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../log/drivers/driver.d.ts").Status} Status */
/** @typedef {import("../types/events.d.ts").LogClosed} LogClosed */

/** @type {Record<LogClosed["reason"], () => string | null>} each a literal in `t`, which is how the catalogue finds it */
const CLOSED = {
  finished: () => null,
  stopped: () => t("This run was stopped before its end."),
  rejected: () => t("The kitchen could not take this request."),
  crashed: () => t("The engine died during this run. It is being started again."),
  interrupted: () => t("This run was cut short: the kitchen was shut down."),
  error: () => t("Something went wrong in this run."),
};

/**
 * One sentence on how a log or its connection stands; null where all is well.
 * @param {LogClosed | null} closed
 * @param {Status} status
 * @param {boolean} recorded of a recording that belongs to the page
 * @returns {{ text: string, kind: "error" | "info", retry: boolean } | null}
 */
export function noticeOf(closed, status, recorded = false) {
  if (closed) {
    const text = CLOSED[closed.reason]();
    if (!text) return null;
    const detail = closed.detail && closed.reason !== "stopped" ? ` ${closed.detail}` : "";
    return { text: `${text}${detail}`, kind: closed.reason === "stopped" ? "info" : "error", retry: false };
  }
  switch (status.state) {
    case "reconnecting":
      return { text: t("The connection was cut. Reconnecting; nothing is lost."), kind: "info", retry: false };
    case "lost":
      if (recorded) return { text: t("The recorded run could not be loaded."), kind: "error", retry: true };
      return { text: t("The connection is lost."), kind: "error", retry: true };
    case "not-found":
      if (recorded) return { text: t("The recorded run is missing on this server."), kind: "error", retry: true };
      return { text: t("Nobody knows this run here. This is a recorded one."), kind: "error", retry: false };
    case "ended":
      return status.detail === "truncated"
        ? { text: t("This recording was cut short."), kind: "info", retry: false }
        : null;
  }
  return null;
}

/**
 * What there is to say where a room's picture could not be had: the wire was cut, or the kitchen has other scripts since
 * this page was opened.
 * @returns {ReturnType<typeof noticeOf>}
 */
export function missingRoom() {
  const text = t("The picture of this room could not be fetched. Reload the page to have it.");
  return { text, kind: "error", retry: false };
}

export class Notice {
  /**
   * @param {HTMLElement | null} root
   * @param {() => void} retry
   */
  constructor(root, retry) {
    this.root = root ?? document.body.appendChild(element("div", { id: "notice" }));
    this.root.classList.add("notice");
    this.root.setAttribute("role", "status");
    this.root.setAttribute("aria-live", "polite");
    this.root.hidden = true;
    this.text = element("span", { class: "notice-text" });
    this.button = element("button", { type: "button", class: "notice-retry", text: t("Try again") });
    this.button.addEventListener("click", retry);
    const close = element("button", { type: "button", class: "notice-close", "aria-label": t("Close this message") });
    close.append(element("span", { "aria-hidden": "true", text: "×" }));
    close.addEventListener("click", () => this.#close());
    this.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#close();
    });
    this.root.addEventListener("focusin", ({ relatedTarget: before }) => {
      if (before instanceof HTMLElement && !this.root.contains(before)) this.#before = before;
    });
    this.root.replaceChildren(this.text, this.button, close);
  }

  /** What had the focus before the notice. @type {HTMLElement | null} */
  #before = null;
  /** What the reader closed: it stays closed until all is well, or something else is to be said. */
  #closed = "";

  #close() {
    this.#closed = this.text.textContent ?? "";
    if (this.root.contains(document.activeElement)) this.#before?.focus({ preventScroll: true });
    this.root.hidden = true;
  }

  /** @param {ReturnType<typeof noticeOf>} notice */
  show(notice) {
    if (notice?.text !== this.#closed) this.#closed = "";
    this.root.hidden = notice === null || notice.text === this.#closed;
    this.root.dataset.kind = notice?.kind ?? "";
    say(this.text, notice?.text ?? "");
    this.button.hidden = !notice?.retry;
  }
}
