// "Show as table": the picture on stage as rows, for those who read better than they look.

import { element, say, seldom } from "./dom.js";
import { t } from "./messages.js";

/** @typedef {import("../stage/types.d.ts").Table} Table */

/** Rows that are made at once: a long prompt has thousands, and a frame has no time for them. */
const AT_ONCE = 150;

/** @param {Table} table @returns {HTMLTableElement} without its rows */
function frameOf({ caption, columns }) {
  const head = element(
    "tr",
    {},
    columns.map((text) => element("th", { scope: "col", text })),
  );
  return element("table", {}, [
    element("caption", { text: caption }),
    element("thead", {}, [head]),
    element("tbody", {}),
  ]);
}

/** @param {(string | number)[]} row */
const rowOf = (row) =>
  element(
    "tr",
    {},
    row.map((cell) => element("td", { text: String(cell) })),
  );

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

  /** What the panel's table has for a frame, and its rows as they stand. */
  #frame = "";
  /** @type {Table["rows"]} */
  #rows = [];
  /** @type {HTMLElement} */
  #body = element("p", {});
  #next = 0;

  /** @param {boolean} [open] */
  toggle(open = this.panel.hidden !== false) {
    this.panel.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (open) this.#fill();
  }

  update = seldom(400, () => {
    if (!this.panel.hidden) this.#fill();
  });

  #fill() {
    const table = this.table();
    const frame = JSON.stringify(table && [table.caption, table.columns]);
    if (frame !== this.#frame) {
      this.#frame = frame;
      this.#rows = [];
      const fresh = table ? frameOf(table) : element("p", { text: t("There is no table for this picture.") });
      // The button stays where it is: taken out for a moment, it would lose the keyboard.
      this.#body.replaceWith(fresh);
      this.#body = fresh;
    }
    if (table) this.#write(table.rows);
  }

  /**
   * Make the rows say this: cells that differ are written, rows that are missing are added a few at a time.
   * @param {Table["rows"]} rows
   */
  #write(rows) {
    clearTimeout(this.#next);
    const body = /** @type {HTMLTableSectionElement} */ (this.#body.querySelector("tbody"));
    while (body.rows.length > rows.length) body.deleteRow(-1);
    const standing = body.rows.length;
    for (let i = 0; i < standing; i++) {
      rows[i].forEach((cell, column) => {
        if (cell !== this.#rows[i][column]) say(body.rows[i].cells[column], String(cell));
      });
    }
    body.append(...rows.slice(standing, standing + AT_ONCE).map(rowOf));
    this.#rows = rows;
    if (body.rows.length < rows.length) this.#next = setTimeout(() => this.#write(rows));
  }
}
