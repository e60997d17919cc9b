import assert from "node:assert/strict";
import { test } from "node:test";
import phases from "../../static/js/scenes/phases.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import { guestReading, longestGap } from "../../static/js/state/chunks.js";
import { createState } from "../../static/js/state/create.js";
import { makeLog } from "./support/logs.js";

function view(more = {}) {
  const cast = { main: { key: "own", status: "own", words: "", state: null }, lanes: [] };
  return { width: 1440, height: 900, dpr: 1, data: { chunk: 1 }, controls: {}, cast, ...more };
}

test("a run without a neighbour has a longest wait, and no reading of anybody's prompt", () => {
  const { events } = makeLog({ seed: 2 });
  const state = createState();
  applyUpTo(state, events, events.length);
  assert.equal(longestGap(state)?.seconds, Math.max(...state.interTokenSeconds));
  assert.equal(guestReading(createState()), null);
  assert.equal(longestGap(createState()), null);
});

test("at every moment each token stands within the stage, and the lanes say something", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const { events } = makeLog({ seed, preempt: seed % 2 === 0 });
    const state = createState();
    for (let seq = 1; seq <= events.length; seq++) {
      applyUpTo(state, events, seq);
      for (const size of [{}, { width: 390, height: 388 }]) {
        const places = phases.places(state, view(size));
        for (let i = 0; i < places.length; i += 3) {
          assert.ok(places[i] >= -20 && places[i] <= (size.width ?? 1440), `seed ${seed}, seq ${seq}: x ${places[i]}`);
          assert.ok(places[i + 1] >= 0 && places[i + 1] <= (size.height ?? 900), `seed ${seed}, seq ${seq}`);
          assert.ok(Number.isFinite(places[i + 2]));
        }
      }
      const words = phases.describe(state, view(), [state]);
      assert.ok(words.length > 10 && !/[{}]|NaN/.test(words), words);
      assert.equal(phases.table(state, view(), [state]).rows.length, 1);
    }
  }
});
