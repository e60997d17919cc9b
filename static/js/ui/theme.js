// Night and day: the system's choice until the reader makes one, kept on this device.

import { remember, remembered, say } from "./dom.js";

const KEY = "openkitchen:theme";
const query = matchMedia("(prefers-color-scheme: light)");

/** @returns {"dark" | "light"} */
function theme() {
  const chosen = remembered(KEY);
  if (chosen === "dark" || chosen === "light") return chosen;
  return query.matches ? "light" : "dark";
}

/** @param {HTMLElement | null} button `data-to-light`, `data-to-dark`: what it says it will do */
export function bindTheme(button) {
  /** @param {"dark" | "light"} now */
  const show = (now) => {
    document.documentElement.dataset.theme = now;
    const words = now === "light" ? button?.dataset.toDark : button?.dataset.toLight;
    if (button && words) say(button, words);
  };
  button?.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    remember(KEY, next === (query.matches ? "light" : "dark") ? null : next);
    show(next);
  });
  query.addEventListener("change", () => show(theme()));
  show(theme());
}
