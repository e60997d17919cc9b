// Night and day: the system's choice until the reader makes one, kept on this device.

import { remember, remembered } from "./dom.js";

const KEY = "openkitchen:theme";
/** As in the template, so that not one frame is drawn in the colours that the system does not want. */
const AS_THE_SYSTEM = "(prefers-color-scheme: light)";
const query = matchMedia(AS_THE_SYSTEM);

/** @returns {"dark" | "light"} */
const system = () => (query.matches ? "light" : "dark");

/** @returns {"dark" | "light"} */
function theme() {
  const chosen = remembered(KEY);
  if (chosen === "dark" || chosen === "light") return chosen;
  return system();
}

/** @param {HTMLElement | null} button says what pressing it does: its own words lead to the day, `data-night` back */
export function bindTheme(button) {
  const words = { dark: button?.textContent ?? "", light: button?.dataset.night ?? "" };
  const day = /** @type {HTMLLinkElement | null} */ (document.querySelector("link#day"));
  /** @param {"dark" | "light"} now */
  const show = (now) => {
    if (day) day.media = now === system() ? AS_THE_SYSTEM : now === "light" ? "all" : "not all";
    document.documentElement.dataset.theme = now;
    if (button) button.textContent = words[now];
  };
  button?.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "light" ? "dark" : "light";
    remember(KEY, next === system() ? null : next);
    show(next);
  });
  query.addEventListener("change", () => show(theme()));
  show(theme());
}
