// Stillness: what the system asks for, and a switch on the page that asks the same.

import { element, remember, remembered } from "./dom.js";
import { t } from "./messages.js";

const KEY = "openkitchen:still";
const query = matchMedia("(prefers-reduced-motion: reduce)");

/** Whether pictures stand still. */
export function reduced() {
  const chosen = remembered(KEY);
  return chosen === null ? query.matches : chosen === "1";
}

/**
 * Add the switch to `bar` and follow the system.
 * @param {HTMLElement} bar
 * @param {(still: boolean) => void} changed
 */
export function bindMotion(bar, changed) {
  const button = element("button", { type: "button", class: "ghost", "data-action": "motion", text: t("Still") });
  button.title = t("Pictures stand still");
  bar.prepend(button);
  const show = () => {
    const still = reduced();
    document.documentElement.dataset.motion = still ? "still" : "full";
    button.setAttribute("aria-pressed", String(still));
    changed(still);
  };
  button.addEventListener("click", () => {
    const still = !reduced();
    remember(KEY, still === query.matches ? null : still ? "1" : "0");
    show();
  });
  query.addEventListener("change", show);
  show();
}
