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

/** @param {HTMLElement | null} button `aria-pressed`: light */
export function bindTheme(button) {
  const show = () => {
    document.documentElement.dataset.theme = theme();
    button?.setAttribute("aria-pressed", String(theme() === "light"));
  };
  button?.addEventListener("click", () => {
    const next = theme() === "light" ? "dark" : "light";
    remember(KEY, next === (query.matches ? "light" : "dark") ? null : next);
    document.documentElement.dataset.theme = next;
    button.setAttribute("aria-pressed", String(next === "light"));
  });
  query.addEventListener("change", show);
  show();
}
