// "Embed this room": what is in view as a frame for somebody's own page. Choices, the snippet, a live preview, and a
// button that copies. Loaded when it is asked for.

import { NARROW } from "../scenes/room.js";
import { element, say } from "./dom.js";
import { t } from "./messages.js";

/** Scripts and nothing else of this site's, but for the link back, which opens a page of its own. */
export const SANDBOX = "allow-scripts allow-popups allow-popups-to-escape-sandbox";
const HOST_SCRIPT = "static/js/embed_host.js";
/** Where a server sends modules to their own origin alone, a sandboxed frame keeps that origin. */
const SAME_ORIGIN = `${SANDBOX} allow-same-origin`;

/**
 * @typedef {object} Choice
 * @property {string} room slug
 * @property {string} title
 * @property {string | null} run null: the recorded one
 * @property {number} step of the prose, from 0
 * @property {number | null} time log seconds; null: the step's own moment
 * @property {"" | "dark" | "light"} theme "": as the reader's system wishes
 * @property {boolean} autoplay
 * @property {number | null} width pixels; null: as wide as the page allows
 * @property {number} height
 */

/**
 * @param {Choice} choice
 * @param {{ base: string, suffix: string }} where the site is, and how its embeds end ("" or ".html")
 */
export function addressOf({ room, run, step, time, theme, autoplay }, { base, suffix }) {
  const url = new URL(`embed/${room}${suffix}`, base);
  if (run !== null) url.searchParams.set("run", run);
  if (theme) url.searchParams.set("theme", theme);
  if (step > 0) url.searchParams.set("step", String(step + 1));
  if (time !== null) url.searchParams.set("t", String(Number(time.toFixed(3))));
  if (autoplay) url.searchParams.set("autoplay", "1");
  return url.href;
}

/** @param {string} text */
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");

/**
 * What somebody pastes into a page of their own.
 * @param {Choice} choice
 * @param {{ base: string, suffix: string }} where
 */
export function snippetOf(choice, where) {
  const { width, height, title } = choice;
  const attributes = [
    `src="${escaped(addressOf(choice, where))}"`,
    `title="${escaped(title)}"`,
    `width="${width ?? "100%"}" height="${height}"`,
    `sandbox="${where.suffix ? SAME_ORIGIN : SANDBOX}" loading="lazy" style="border:0"`,
  ];
  const script =
    width === null ? `\n<script src="${escaped(new URL(HOST_SCRIPT, where.base).href)}" async></script>` : "";
  return `<iframe ${attributes.join("\n  ")}></iframe>${script}`;
}

/**
 * @param {string} words
 * @param {HTMLElement} input
 */
const field = (words, input) => element("label", { class: "embed-field" }, [element("span", { text: words }), input]);

/**
 * @param {string} name
 * @param {[string, string][]} options values and words
 */
const choose = (name, options) =>
  element(
    "select",
    { name },
    options.map(([value, text]) => element("option", { value, text })),
  );

export class EmbedDialog {
  /**
   * @param {{ base: string, suffix: string }} where
   * @param {() => { room: string, title: string, run: string | null, step: number, time: number }} here what is in view
   */
  constructor(where, here) {
    this.where = where;
    this.here = here;
    this.run = choose("run", [
      ["own", t("the run on stage")],
      ["recorded", t("the recorded run")],
    ]);
    this.moment = choose("moment", [
      ["step", t("where its step begins")],
      ["now", t("this moment")],
    ]);
    this.theme = choose("theme", [
      ["", t("as the reader's system wishes")],
      ["dark", t("night")],
      ["light", t("day")],
    ]);
    this.size = choose("size", [
      ["", t("as wide as the page allows")],
      ["960x640", "960 × 640"],
      ["720x760", "720 × 760"],
      ["360x960", "360 × 960"],
    ]);
    this.autoplay = element("input", { type: "checkbox", name: "autoplay" });
    this.code = element("textarea", {
      class: "embed-code",
      readonly: "",
      rows: "6",
      spellcheck: "false",
      "aria-label": t("HTML for your page"),
    });
    this.copied = element("span", { class: "embed-copied", role: "status" });
    this.preview = element("div", { class: "embed-preview" });
    this.heading = element("h2", { id: "embed-title" });
    const copy = element("button", { type: "button", class: "primary", text: t("Copy") });
    const close = element("button", { type: "button", class: "ghost", text: t("Close") });
    copy.addEventListener("click", () => void this.#copy());
    close.addEventListener("click", () => this.root.close());
    const form = element("form", { class: "embed-form", method: "dialog" }, [
      field(t("Run"), this.run),
      field(t("Moment"), this.moment),
      field(t("Colours"), this.theme),
      field(t("Size"), this.size),
      element("label", { class: "check" }, [this.autoplay, element("span", { text: t("plays by itself when seen") })]),
      this.code,
      element("p", { class: "embed-hint", text: t("A replay in a sandbox: no cookie, no storage, no prompt.") }),
      element("div", { class: "embed-buttons" }, [copy, close, this.copied]),
    ]);
    this.root = element("dialog", { class: "embed-dialog", "aria-labelledby": "embed-title" }, [
      this.heading,
      element("div", { class: "embed-columns" }, [form, this.preview]),
    ]);
    form.addEventListener("input", () => this.#show());
    this.root.addEventListener("close", () => this.preview.replaceChildren());
    this.root.addEventListener("click", ({ target }) => target === this.root && this.root.close());
    document.body.append(this.root);
  }

  /** What is in view when it opens stays what it is about. */
  #stands = { room: "", title: "", run: /** @type {string | null} */ (null), step: 0, time: 0 };

  open() {
    this.#stands = this.here();
    const recorded = this.#stands.run === null;
    this.run.value = recorded ? "recorded" : "own";
    this.run.disabled = recorded;
    say(this.heading, t("Embed “{title}”", { title: this.#stands.title }));
    say(this.copied, "");
    this.root.showModal();
    this.#show();
  }

  /** @returns {Choice} */
  get choice() {
    const { room, title, run, step, time } = this.#stands;
    const [width, height] = this.size.value.split("x").map(Number);
    return {
      room,
      title,
      run: this.run.value === "own" ? run : null,
      step,
      time: this.moment.value === "now" ? time : null,
      theme: /** @type {Choice["theme"]} */ (this.theme.value),
      autoplay: this.autoplay.checked,
      width: this.size.value === "" ? null : width,
      height: this.size.value === "" ? 760 : height,
    };
  }

  #show() {
    const { choice } = this;
    this.code.value = snippetOf(choice, this.where);
    say(this.copied, "");
    const address = addressOf(choice, this.where);
    const shown = this.preview.querySelector("iframe");
    const wide = choice.width ?? this.preview.clientWidth;
    const scale = Math.min(1, this.preview.clientWidth / wide);
    const frame = shown?.src === address ? shown : element("iframe", { title: t("Preview") });
    if (frame !== shown) {
      for (const part of (this.where.suffix ? SAME_ORIGIN : SANDBOX).split(" ")) frame.sandbox.add(part);
      frame.src = address;
      this.preview.replaceChildren(frame);
    }
    frame.width = String(wide);
    frame.height = String(choice.width === null && wide >= NARROW ? 640 : choice.height);
    frame.style.transform = scale < 1 ? `scale(${scale})` : "";
    frame.style.marginBlockEnd = scale < 1 ? `${(scale - 1) * Number(frame.height)}px` : "";
  }

  async #copy() {
    const done = await navigator.clipboard?.writeText(this.code.value).then(
      () => true,
      () => false,
    );
    if (!done) this.code.select();
    say(this.copied, done ? t("Copied") : t("Selected: copy it with the keyboard"));
  }
}

/** @type {EmbedDialog | null} */
let made = null;

/** The one of this page. @param {ConstructorParameters<typeof EmbedDialog>} parts */
export function embedDialog(...parts) {
  made ??= new EmbedDialog(...parts);
  return made;
}
