// A page without a kitchen behind it (a room in a frame, a copy as plain files): what would have something cooked says
// that it needs one, and no button is left that does nothing.

import { element } from "./dom.js";
import { t } from "./messages.js";

/** @param {ParentNode} root */
export function withoutKitchen(root) {
  for (const button of root.querySelectorAll("[data-take]")) {
    const words = element("small", {
      class: "needs-kitchen",
      text: t("To have it cooked another way, a kitchen is needed."),
    });
    const alone = button.parentElement?.matches("p") && button.parentElement.childElementCount === 1;
    (alone ? /** @type {HTMLElement} */ (button.parentElement) : button).replaceWith(words);
  }
  // Sliders that choose only what would be cooked, and words that promise it.
  for (const input of root.querySelectorAll("[data-cooks]")) input.closest("label")?.remove();
  for (const words of root.querySelectorAll(".needs-own")) words.remove();
}
