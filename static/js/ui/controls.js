// Inputs of a chapter that only change its picture: `data-control="NAME"` feeds `view.controls.NAME`.

import { say } from "./dom.js";

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
 * Say each value beside its input: `[data-output=NAME]`, where `data-zero` has the word for nought.
 * @param {ParentNode} root
 * @param {Record<string, unknown>} values
 */
function showOutputs(root, values) {
  for (const output of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-output]"))) {
    const value = values[output.dataset.output ?? ""];
    if (value !== undefined) say(output, value === 0 && output.dataset.zero ? output.dataset.zero : String(value));
  }
}

/**
 * @param {HTMLElement} root
 * @param {(controls: Record<string, unknown>) => void} changed
 */
export function bindControls(root, changed) {
  const read = () => {
    const values = readControls(root);
    showOutputs(root, values);
    changed(values);
  };
  root.addEventListener("input", (event) => {
    if (event.target instanceof HTMLElement && event.target.dataset.control) read();
  });
  read();
}
