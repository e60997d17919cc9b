import assert from "node:assert/strict";
import { test } from "node:test";
import { bindControls } from "../../static/js/ui/controls.js";

/** A range input as browsers have it: its value does not go beyond its end. */
class Slider {
  constructor(name, max, value) {
    this.dataset = { control: name };
    this.type = "range";
    this.max = String(max);
    this.set = value;
  }

  get valueAsNumber() {
    return Math.min(this.set, Number(this.max));
  }
}

const card = (num_layers, num_kv_heads) => ({ num_layers, num_kv_heads });

test("the sliders reach as far as the model of the log", () => {
  globalThis.HTMLInputElement = Slider;
  const layer = new Slider("layer", 30, 28);
  const head = new Slider("head", 3, 0);
  const all = { '[data-control="layer"]': [layer], '[data-control="head"]': [head], "": [layer, head] };
  const root = {
    querySelectorAll: (selector) =>
      selector === "[data-control]" ? all[""] : (all[selector.replace(/^input/, "")] ?? []),
    addEventListener: () => {},
  };
  const said = [];
  const controls = bindControls(root, (values) => said.push(values));
  controls.fit(null);
  assert.deepEqual([layer.max, head.max, said.length], ["30", "3", 1], "a model that is not known yet");
  const deep = card(80, 8);
  controls.fit(deep);
  controls.fit(deep);
  assert.deepEqual([layer.max, head.max, said.length], ["80", "8", 2]);
  controls.fit(card(12, 1));
  assert.deepEqual([layer.max, head.max, said.at(-1)], ["12", "1", { layer: 12, head: 0 }], "the picture hears of it");
});
