// Where the run in a frame was cooked: its badge, the model, the machine and the day.

import { element } from "../ui/dom.js";
import { t } from "../ui/messages.js";

/**
 * @param {HTMLElement} root gets the words
 * @param {import("../types/events.d.ts").LogOpened} opened
 * @param {import("../log/session.js").Source["kind"]} kind
 */
export function sourceWords(root, opened, kind) {
  if (root.childElementCount) return;
  const provenance = kind === "recording" ? "recorded" : "measured";
  const words = kind === "recording" ? t("recorded") : t("measured");
  const day = new Date(opened.opened_at * 1000).toISOString().slice(0, 10);
  const parts = [opened.model?.name, opened.hardware?.name, day].filter(Boolean);
  root.append(element("span", { class: "badge", "data-provenance": provenance, text: words }));
  for (const [i, text] of parts.entries()) root.append(i ? " · " : " ", element("span", { text }));
}
