// What can be done with the run on stage: a link to it, its log as a file; and for who asked for it, to keep it, list it
// in the gallery, or delete it. A native dialog, loaded when it is asked for.

import { bytes } from "../state/format.js";
import { element, say } from "./dom.js";
import { t } from "./messages.js";

/**
 * @typedef {object} Subject what is on stage as the dialog opens
 * @property {string | null} runId null: a recording that belongs to the page
 * @property {boolean} own the reader asked for it
 * @property {string} recording address of the recorded log, relative to the page
 * @property {string} slug of the room
 * @property {string} room in words
 * @property {string} moment hash of the link to this moment
 * @property {number} time seconds of the log
 */
/** @typedef {{ kitchen: boolean, subject: () => Subject, deleted: () => void }} Host `kitchen`: there is a server behind the page */
/** @typedef {{ status: string, kept: boolean, listed: boolean, title: string, expires_at: number | null, parent: string | null, log_bytes: number, totals: { completion_tokens: number } }} Standing */

const PERFETTO = "https://ui.perfetto.dev";

/**
 * The address that is given to others: `room` is for who draws a preview of it, which does not see the hash.
 * @param {Subject} subject
 * @param {boolean} moment
 * @param {string} base
 */
export function linkOf({ runId, slug, moment: hash }, moment, base) {
  const url = new URL("./", base);
  if (runId !== null) url.searchParams.set("run", runId);
  if (moment) {
    url.searchParams.set("room", slug);
    url.hash = hash;
  }
  return url.href;
}

/** @param {number} at Unix seconds */
const day = (at) =>
  new Date(at * 1000).toLocaleDateString(document.documentElement.lang || "en", {
    day: "numeric",
    month: "long",
    year: "numeric",
  });

/**
 * Until when it is there, in a sentence.
 * @param {Pick<Standing, "kept" | "expires_at">} standing
 */
export function keptWords({ kept, expires_at: expires }) {
  if (kept || expires === null) return t("It is kept: it does not expire.");
  return t("It is kept here until {day}.", { day: day(expires) });
}

export class ShareDialog {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    this.heading = element("h2", { id: "share-title" });
    this.about = element("p", { class: "share-about" });
    this.said = element("p", { class: "share-said", role: "status" });
    this.link = element("input", {
      type: "text",
      class: "share-link",
      readonly: "",
      spellcheck: "false",
      "aria-label": t("Link"),
    });
    this.moment = element("input", { type: "checkbox" });
    this.momentWords = element("span", {});
    this.own = element("div", { class: "share-own" });
    this.files = element("div", { class: "share-files" });
    this.last = element("div", { class: "share-own" });
    const copy = button("primary", t("Copy"), () => void this.#copy());
    const close = button("ghost share-close", "", () => this.root.close());
    close.setAttribute("aria-label", t("Close"));
    close.append(element("span", { "aria-hidden": "true", text: "×" }));
    this.root = element("dialog", { class: "share-dialog", "aria-labelledby": "share-title" }, [
      this.heading,
      close,
      this.about,
      element("div", { class: "share-row" }, [this.link, copy]),
      element("label", { class: "check" }, [this.moment, this.momentWords]),
      this.own,
      this.files,
      this.last,
      this.said,
    ]);
    this.moment.addEventListener("input", () => this.#showLink());
    this.root.addEventListener("click", ({ target }) => target === this.root && this.root.close());
    document.body.append(this.root);
    this.subject = host.subject();
  }

  /** @type {Standing | null} */
  #standing = null;

  async open() {
    this.subject = this.host.subject();
    this.#standing = null;
    const { runId, own, room, time } = this.subject;
    say(this.heading, own ? t("Share your run") : runId === null ? t("Share the recorded run") : t("Share this run"));
    say(this.momentWords, t("to this moment: {room}, {time} s", { room, time: time.toFixed(2) }));
    say(this.said, "");
    this.moment.checked = true;
    this.#showLink();
    this.#show();
    this.root.showModal();
    if (runId === null || !this.host.kitchen) return;
    const standing = await ask("GET", runId);
    if (this.subject.runId !== runId || "problem" in standing) return;
    this.#standing = standing.body;
    this.#show();
  }

  #showLink() {
    this.link.value = linkOf(this.subject, this.moment.checked, document.baseURI);
  }

  #show() {
    const { runId, own } = this.subject;
    const standing = this.#standing;
    const ended = runId === null || standing?.status === "closed";
    const owned = own && standing !== null && ended;
    say(this.about, this.#aboutWords(ended));
    this.files.replaceChildren(...(ended ? this.#fileLinks() : []));
    // What is being typed while the answer to something else comes is not lost.
    const typed = /** @type {HTMLInputElement | null} */ (this.own.querySelector("input[name=title]"));
    const typing = typed !== null && typed === document.activeElement;
    this.own.replaceChildren(...(owned ? this.#wishes(standing) : []));
    const title = /** @type {HTMLInputElement | null} */ (this.own.querySelector("input[name=title]"));
    if (typed && title) title.value = typed.value;
    if (typing) title?.focus();
    this.last.replaceChildren(...(owned ? [row([this.#deleteButton()])] : []));
    this.own.hidden = this.last.hidden = !owned;
  }

  /** @param {boolean} ended */
  #aboutWords(ended) {
    const { runId, own } = this.subject;
    if (runId === null) return t("It belongs to this page, and stays.");
    if (this.#standing === null) return "";
    const who = t("Whoever has this link can read the run, its prompt included.");
    if (!ended) return `${who} ${t("It is still cooking: what else can be done with it stands here when it ends.")}`;
    const until = keptWords(this.#standing);
    return own ? `${until} ${who}` : until;
  }

  #fileLinks() {
    const { runId, recording } = this.subject;
    const name = recording.split("/").pop()?.replace(".jsonl.gz", "") ?? "";
    const path = runId === null ? `api/recordings/${name}` : `api/runs/${encodeURIComponent(runId)}`;
    const log = runId === null || !this.host.kitchen ? recording : `${path}/log`;
    const size = this.#standing?.log_bytes ? ` (${bytes(this.#standing.log_bytes)})` : "";
    const links = [download(log, `${t("Download the log")}${size}`)];
    if (!this.host.kitchen) return [row(links)];
    links.push(download(`${path}/perfetto`, t("Download a trace for Perfetto")));
    const how = element("details", { class: "share-how" }, [
      element("summary", { text: t("How to open it in Perfetto") }),
      element("p", {}, [
        `${t("Open this page and drop the file on it. It is read in your browser; nothing is sent.")} `,
        element("a", { href: PERFETTO, target: "_blank", rel: "noreferrer", text: "ui.perfetto.dev" }),
      ]),
      element("p", {
        text: t("Requests, steps, slots and speculation are its tracks; blocks, and who runs and waits, its counters."),
      }),
    ]);
    return [row(links), how];
  }

  /** @param {Standing} standing @returns {Node[]} */
  #wishes(standing) {
    const remove = row([this.#deleteButton()]);
    if (standing.parent !== null) {
      return [
        element("p", { class: "share-hint", text: t("It is a take: it is kept and goes with its run.") }),
        remove,
      ];
    }
    const kept = element("input", { type: "checkbox" });
    kept.checked = standing.kept;
    kept.addEventListener("change", () => void this.#change({ kept: kept.checked }, kept));
    const keep = element("label", { class: "check" }, [kept, element("span", { text: t("Keep it, with its takes") })]);
    return [keep, this.#listing(standing)];
  }

  /** @param {Standing} standing */
  #listing(standing) {
    if (standing.listed) {
      const words = element("span", { text: t("In the gallery as “{title}”", { title: standing.title }) });
      const out = button("secondary", t("Take it out"), () => void this.#change({ listed: false }, out));
      return row([words, out]);
    }
    const title = element("input", { type: "text", name: "title", maxlength: "120", autocomplete: "off" });
    const put = element("button", { type: "submit", class: "secondary", text: t("List it") });
    const hint = element("p", {
      id: "share-listing",
      class: "share-hint",
      text: t("Everybody who comes to the gallery can then open this run and read its prompt."),
    });
    title.setAttribute("aria-describedby", "share-listing");
    const form = element("form", { class: "share-listing" }, [
      element("label", {}, [element("span", { text: t("Title in the gallery") }), title]),
      put,
      hint,
    ]);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#change({ listed: true, title: title.value }, title);
    });
    return form;
  }

  #deleteButton() {
    const first = button("secondary danger", t("Delete this run"), () => {
      if (first.dataset.sure !== "true") {
        first.dataset.sure = "true";
        say(first, t("Delete it for good, with its takes"));
        return;
      }
      void this.#delete(first);
    });
    first.addEventListener("blur", () => {
      first.dataset.sure = "false";
      say(first, t("Delete this run"));
    });
    return first;
  }

  /**
   * @param {{ kept?: boolean, listed?: boolean, title?: string }} wish
   * @param {HTMLElement} hand what the reader used: it has the focus again when its place is drawn anew
   */
  async #change(wish, hand) {
    const { runId } = this.subject;
    if (runId === null || this.#standing === null) return;
    const answer = await ask("PATCH", runId, wish);
    if ("problem" in answer) say(this.said, answer.problem);
    else {
      const { kept, listed, title, expires_at } = answer.body;
      this.#standing = { ...this.#standing, kept, listed, title, expires_at };
      say(this.said, wish.kept === undefined ? "" : keptWords(this.#standing));
      if (wish.listed !== undefined) {
        say(this.said, listed ? t("It is in the gallery now.") : t("It is no longer in the gallery."));
      }
    }
    if ("problem" in answer && hand instanceof HTMLInputElement && hand.type === "text") return;
    this.#show();
    if (this.root.contains(document.activeElement) && document.activeElement !== this.root) return;
    const place = wish.kept === undefined ? ".share-listing input, .share-row .secondary" : "[type=checkbox]";
    /** @type {HTMLElement | null} */ (this.own.querySelector(place))?.focus();
  }

  /** @param {HTMLButtonElement} hand */
  async #delete(hand) {
    const { runId } = this.subject;
    if (runId === null) return;
    hand.disabled = true;
    const answer = await ask("DELETE", runId);
    hand.disabled = false;
    if ("problem" in answer) {
      say(this.said, answer.problem);
      return;
    }
    this.root.close();
    this.host.deleted();
  }

  async #copy() {
    const done = await navigator.clipboard?.writeText(this.link.value).then(
      () => true,
      () => false,
    );
    if (!done) this.link.select();
    say(this.said, done ? t("Link copied") : t("Selected: copy it with the keyboard"));
  }
}

/**
 * @param {string} kind
 * @param {string} words
 * @param {() => void} act
 */
function button(kind, words, act) {
  const made = element("button", { type: "button", class: kind, text: words });
  made.addEventListener("click", act);
  return made;
}

/** @param {Node[]} parts */
const row = (parts) => element("div", { class: "share-row" }, parts);

/** @param {string} href relative to the page @param {string} words */
const download = (href, words) => element("a", { href, download: "", text: words });

/**
 * @param {"GET" | "PATCH" | "DELETE"} method
 * @param {string} runId
 * @param {object} [body]
 * @returns {Promise<{ body: Standing } | { problem: string }>}
 */
async function ask(method, runId, body) {
  const path = `api/runs/${encodeURIComponent(runId)}${method === "DELETE" ? "/log" : ""}`;
  const headers = body ? { "Content-Type": "application/json" } : undefined;
  const options = { method, headers, body: body && JSON.stringify(body) };
  const response = await fetch(new URL(path, document.baseURI), options).catch(() => null);
  const said = response && response.status !== 204 ? await response.json().catch(() => null) : null;
  if (response?.ok) return { body: said };
  return { problem: said?.detail ?? t("The kitchen did not answer. Please try again.") };
}
