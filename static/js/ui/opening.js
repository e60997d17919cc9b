// A log from a file of the reader's own, dropped on the page or chosen: the page reads it here, and sends it nowhere.
// What was on stage stays there until the file is read to its end and found to be a log.

import { element, say } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../log/opened_file.js").Opened} Opened */
/** @typedef {{ words: string, act: () => void }} Offer what may be done next */
/** @typedef {{ open: (opened: Opened) => Offer[] }} Host puts it on stage */

/** @param {DragEvent} event */
const hasFile = ({ dataTransfer }) => dataTransfer?.types.includes("Files") ?? false;

export class Opening {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    this.input = element("input", { type: "file", accept: ".jsonl,.gz,application/gzip", hidden: "", tabindex: "-1" });
    this.input.addEventListener("change", () => {
      const [file] = this.input.files ?? [];
      this.input.value = "";
      if (file) void this.read(file);
    });
    this.words = element("span", { class: "notice-text", role: "status" });
    this.offers = element("span", { class: "file-note-offers" });
    const close = element("button", { type: "button", class: "notice-close", "aria-label": t("Close this message") });
    close.append(element("span", { "aria-hidden": "true", text: "×" }));
    close.addEventListener("click", () => this.#close());
    this.note = element("div", { id: "file-note", class: "notice", hidden: "" }, [this.words, this.offers, close]);
    this.target = element("div", { id: "drop-target", hidden: "" }, [
      element("p", { text: t("Drop the log of a run here") }),
      element("p", { text: t("It is read in this page, and never uploaded.") }),
    ]);
    document.body.append(this.input, this.note, this.target);
    this.note.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") this.#close();
    });
    this.#listen();
  }

  /** Of the file that is being read. @type {AbortController | null} */
  #reading = null;

  #listen() {
    addEventListener("dragover", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      if (event.dataTransfer) event.dataTransfer.dropEffect = "copy";
      this.target.hidden = false;
    });
    addEventListener("dragleave", ({ relatedTarget }) => {
      if (relatedTarget === null) this.target.hidden = true;
    });
    addEventListener("drop", (event) => {
      this.target.hidden = true;
      if (!hasFile(event)) return;
      event.preventDefault();
      const [file] = event.dataTransfer?.files ?? [];
      this.#wanted = null;
      if (file) void this.read(file);
    });
    document.addEventListener("click", ({ target }) => {
      if (target instanceof Element && target.closest("[data-action=open-log]")) this.choose();
    });
  }

  /** What becomes of the next file, where it is not to take the stage. @type {((opened: Opened) => void) | null} */
  #wanted = null;

  /** @param {((opened: Opened) => void) | null} [wanted] gets the file, and the stage stays as it is */
  choose(wanted = null) {
    this.#wanted = wanted;
    this.input.click();
  }

  #close() {
    this.#reading?.abort();
    this.note.hidden = true;
  }

  /** @param {File} file */
  async read(file) {
    this.#reading?.abort();
    const reading = new AbortController();
    this.#reading = reading;
    this.#say(t("Reading the file."), "info");
    try {
      const { openFile } = await import("../log/opened_file.js");
      const opened = await openFile(file, {
        signal: reading.signal,
        progress: (share) => this.#say(t("Reading the file: {share} %", { share: Math.round(100 * share) }), "info"),
      });
      if (reading.signal.aborted) return;
      const wanted = this.#wanted;
      this.#wanted = null;
      wanted?.(opened);
      const offers = wanted ? [] : this.host.open(opened);
      const words = t("{name} is open: {count} events. It was read in this page; nothing was uploaded.", {
        name: opened.name,
        count: opened.events.length,
      });
      this.#say(opened.cut ? `${words} ${t("It ends early: its last events are missing.")}` : words, "info", offers);
    } catch (error) {
      if (reading.signal.aborted) return;
      this.#say(error instanceof Error ? error.message : String(error), "error");
    } finally {
      if (this.#reading === reading) this.#reading = null;
    }
  }

  /**
   * @param {string} words
   * @param {"info" | "error"} kind
   * @param {Offer[]} [offers]
   */
  #say(words, kind, offers = []) {
    this.note.hidden = false;
    this.note.dataset.kind = kind;
    say(this.words, words);
    this.offers.replaceChildren(
      ...offers.map(({ words: text, act }) => {
        const button = element("button", { type: "button", class: "notice-retry", text });
        button.addEventListener("click", () => {
          this.#close();
          act();
        });
        return button;
      }),
    );
  }
}
