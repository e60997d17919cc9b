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
 * A label that shows its input's value in an `<output>` would name that, the first of the two it holds: it names the
 * input.
 * @param {ParentNode} root
 */
function nameInputs(root) {
  for (const output of root.querySelectorAll("label [data-output]")) {
    const label = /** @type {HTMLLabelElement} */ (output.closest("label"));
    const input = /** @type {HTMLElement | null} */ (label.querySelector("[data-control]"));
    if (!input) continue;
    input.id ||= `control-${input.dataset.control}`;
    label.htmlFor = input.id;
  }
}

/**
 * How far the sliders that choose a part of the model reach: 0 is all of them, then each by its number.
 * @param {import("../types/events.d.ts").ModelCard} model
 * @returns {Record<string, number>}
 */
export const reach = (model) => ({
  layer: model.num_layers,
  head: model.num_kv_heads,
  attention_layer: model.num_layers,
  attention_head: model.num_heads,
});

/**
 * @param {HTMLElement} root
 * @param {(controls: Record<string, unknown>) => void} changed
 * @returns {{ fit: (model: import("../types/events.d.ts").ModelCard | null) => void, set: (values: Record<string, number | string>) => void }} `fit`:
 *   the sliders reach as far as this model does (null: it is not known yet, and they stay); `set`: inputs take what was
 *   chosen in the picture
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
  nameInputs(root);
  read();
  /** @type {import("../types/events.d.ts").ModelCard | null} */
  let fitted = null;
  return {
    fit(model) {
      if (model === null || model === fitted) return;
      fitted = model;
      for (const [name, most] of Object.entries(reach(model))) {
        for (const input of root.querySelectorAll(`input[data-control="${name}"]`)) {
          /** @type {HTMLInputElement} */ (input).max = String(most);
        }
      }
      // A slider that stood beyond the new end has moved.
      read();
    },
    set(values) {
      for (const [name, value] of Object.entries(values)) {
        const input = root.querySelector(`input[data-control="${name}"]`);
        if (input instanceof HTMLInputElement) input.value = String(value);
      }
      read();
    },
  };
}
