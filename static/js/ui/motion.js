// Stillness: what the system asks for, and a switch on the page that asks the same.

import { remember, remembered } from "./dom.js";

const KEY = "openkitchen:still";
const query = matchMedia("(prefers-reduced-motion: reduce)");

/** Whether pictures stand still. */
export function reduced() {
  const chosen = remembered(KEY);
  return chosen === null ? query.matches : chosen === "1";
}

/**
 * Bind the switch and follow the system.
 * @param {HTMLElement | null} button `aria-pressed`: still
 * @param {(still: boolean) => void} changed
 */
export function bindMotion(button, changed) {
  const show = () => {
    const still = reduced();
    document.documentElement.dataset.motion = still ? "still" : "full";
    button?.setAttribute("aria-pressed", String(still));
    changed(still);
  };
  button?.addEventListener("click", () => {
    const still = !reduced();
    remember(KEY, still === query.matches ? null : still ? "1" : "0");
    show();
  });
  query.addEventListener("change", show);
  show();
}
