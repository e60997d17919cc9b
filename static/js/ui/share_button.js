// The ways to the share dialog, which comes when it is asked for: a line of the menu, and a button under an answer that
// has ended.

import { element } from "./dom.js";
import { t } from "./messages.js";

/**
 * @param {import("./tools.js").Tools} tools
 * @param {HTMLElement | null} under the button under the answer
 * @param {import("./share.js").Host} host
 * @returns {(kind: string, ended: boolean) => void} told what is on stage, and whether it is the reader's run and ended
 */
export function bindShare(tools, under, host) {
  /** @type {import("./share.js").ShareDialog | null} */
  let dialog = null;
  const open = async () => {
    const { ShareDialog } = await import("./share.js");
    dialog ??= new ShareDialog(host);
    await dialog.open();
  };
  const line = tools.add("share", t("Share this run"), open);
  const pages = host.kitchen ? [page("gallery", t("Gallery")), page("mine", t("My runs"))] : [];
  tools.list.append(...pages);
  under?.addEventListener("click", open);
  return (kind, ended) => {
    line.hidden = kind === "opened"; // (a file is the reader's own: there is no link to it)
    if (under) under.hidden = !ended;
  };
}

/** @param {string} href @param {string} words */
const page = (href, words) => element("li", {}, [element("a", { href, text: words })]);
