// "Show as table": the picture on stage as rows, for those who read better than they look.

import { element, seldom } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../stage/types.d.ts").Table} Table */

/** @param {Table} table */
function render({ caption, columns, rows }) {
  const head = element(
    "tr",
    {},
    columns.map((text) => element("th", { scope: "col", text })),
  );
  const body = rows.map((row) =>
    element(
      "tr",
      {},
      row.map((cell) => element("td", { text: String(cell) })),
    ),
  );
  return element("table", {}, [
    element("caption", { text: caption }),
    element("thead", {}, [head]),
    element("tbody", {}, body),
  ]);
}

export class TableView {
  /**
   * @param {HTMLElement} bar gets the switch
   * @param {() => Table | null} table of the scene on stage
   */
  constructor(bar, table) {
    this.panel = element("div", {
      id: "stage-table",
      class: "stage-table",
      role: "region",
      tabindex: "0",
      "aria-label": t("The picture as a table"),
      hidden: "",
    });
    this.button = element("button", {
      type: "button",
      class: "ghost",
      "data-action": "table",
      "aria-expanded": "false",
      "aria-controls": "stage-table",
      text: t("Show as table"),
    });
    this.close = element("button", { type: "button", class: "ghost stage-table-close", text: t("Close the table") });
    this.close.addEventListener("click", () => this.#leave());
    this.panel.append(this.close, this.#body);
    bar.prepend(this.button);
    bar.after(this.panel);
    this.table = table;
    this.button.addEventListener("click", () => this.toggle());
    this.panel.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#leave();
    });
  }

  #leave() {
    this.toggle(false);
    this.button.focus();
  }

  #shown = "";
  /** @type {HTMLElement} */
  #body = element("p", {});

  /** @param {boolean} [open] */
  toggle(open = this.panel.hidden !== false) {
    this.panel.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    this.#shown = "";
    if (open) this.#fill();
  }

  update = seldom(400, () => {
    if (!this.panel.hidden) this.#fill();
  });

  #fill() {
    const table = this.table();
    const key = JSON.stringify(table);
    if (key === this.#shown) return;
    this.#shown = key;
    const fresh = table ? render(table) : element("p", { text: t("There is no table for this picture.") });
    // The button stays where it is: taken out for a moment, it would lose the keyboard.
    this.#body.replaceWith(fresh);
    this.#body = fresh;
  }
}
