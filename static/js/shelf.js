// The gallery, and the reader's own runs: the colours of the page, and a second thought before something is deleted.
// What a button changes, htmx asks of the server.

import { element, say } from "./ui/dom.js";
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

/** What an answer said was wrong stands in the card that asked. @param {Event} event */
function refused(event) {
  const detail = /** @type {CustomEvent} */ (event).detail;
  const response = detail?.ctx?.response ?? detail?.xhr;
  const status = response?.status ?? response?.raw?.status ?? 0;
  if (status < 400) return;
  const source = detail?.ctx?.sourceElement ?? event.target;
  const card = source instanceof Element ? source.closest(".own-run") : null;
  const words = new DOMParser().parseFromString(detail?.ctx?.text ?? "", "text/html").body.textContent?.trim();
  const place = card?.querySelector(".card-problem");
  if (place) place.replaceChildren(element("span", { text: words || String(status) }));
}

document.addEventListener("htmx:after:request", refused);
document.addEventListener("htmx:after:swap", () => {
  const said = document.querySelector("#shelf-said");
  const focused = document.querySelector(".own-run.is-new h3 a");
  if (said && focused) say(said, focused.textContent ?? "");
});
