// The gallery, and the reader's own runs: the colours of the page, and a second thought before something is deleted.
// What a button changes, htmx asks of the server.

import { bindTheme } from "./ui/theme.js";

bindTheme(document.querySelector("[data-action=theme]"));

document.addEventListener("click", ({ target }) => {
  const button = target instanceof Element ? target.closest("[data-action=delete]") : null;
  const sure = button?.parentElement?.querySelector("[data-action=delete-now]");
  if (!(button instanceof HTMLElement) || !(sure instanceof HTMLElement)) return;
  button.hidden = true;
  sure.hidden = false;
  sure.focus();
  // Who goes on to something else did not mean it.
  sure.addEventListener(
    "blur",
    () => {
      sure.hidden = true;
      button.hidden = false;
    },
    { once: true },
  );
});
