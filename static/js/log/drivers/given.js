// Driver: a log that is here already, read and checked (log/opened_file.js).

import { nameFile } from "../from_file.js";

/** @typedef {import("./driver.d.ts").Hooks} Hooks */
/** @typedef {import("./driver.d.ts").Driver} Driver */

/**
 * @param {import("../opened_file.js").Opened} opened
 * @param {Hooks} hooks
 * @returns {Driver}
 */
export const given = ({ name, events, cut }, { dispatch, status }) => ({
  start() {
    // Whatever it was to who cooked it, here it is a run that was made elsewhere.
    const [first, ...rest] = events;
    const opened = { ...first, source: "recorded" };
    nameFile(opened, name);
    dispatch([opened, ...rest]);
    status({ state: "ended", detail: cut ? "truncated" : undefined });
  },
  stop() {},
});
