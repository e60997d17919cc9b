// Night and day: the system's choice until the reader makes one, kept on this device.

import { remember, remembered } from "./dom.js";

const KEY = "openkitchen:theme";
const query = matchMedia("(prefers-color-scheme: light)");

/** @returns {"dark" | "light"} */
function theme() {
  const chosen = remembered(KEY);
  if (chosen === "dark" || chosen === "light") return chosen;
  return query.matches ? "light" : "dark";
}

/** @param {HTMLElement | null} button `aria-pressed`: day */
export function bindTheme(button) {
  /** @param {"dark" | "light"} now */
  const show = (now) => {
    document.documentElement.dataset.theme = now;
    button?.setAttribute("aria-pressed", String(now === "light"));
  };
  button?.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    remember(KEY, next === (query.matches ? "light" : "dark") ? null : next);
    show(next);
  });
  query.addEventListener("change", () => show(theme()));
  show(theme());
}
