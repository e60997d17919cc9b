// Inputs of a chapter that only change its picture: `data-control="NAME"` feeds `view.controls.NAME`.

/** @param {HTMLInputElement | HTMLSelectElement} input */
function inputValue(input) {
  if (input instanceof HTMLInputElement && input.type === "checkbox") return input.checked;
  if (input instanceof HTMLInputElement && (input.type === "range" || input.type === "number"))
    return input.valueAsNumber;
  return input.value;
}

/**
 * @param {ParentNode} root
 * @returns {Record<string, unknown>}
 */
export function readControls(root) {
  /** @type {Record<string, unknown>} */
  const values = {};
  for (const input of /** @type {NodeListOf<HTMLInputElement | HTMLSelectElement>} */ (
    root.querySelectorAll("[data-control]")
  )) {
    if (input instanceof HTMLInputElement && input.type === "radio" && !input.checked) continue;
    values[input.dataset.control ?? ""] = inputValue(input);
  }
  return values;
}

/**
 * @param {HTMLElement} root
 * @param {(controls: Record<string, unknown>) => void} changed
 */
export function bindControls(root, changed) {
  root.addEventListener("input", (event) => {
    if (event.target instanceof HTMLElement && event.target.dataset.control) changed(readControls(root));
  });
  changed(readControls(root));
}
