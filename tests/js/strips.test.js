import assert from "node:assert/strict";
import { test } from "node:test";
import { stripPageAt, stripSeat, stripsOf } from "../../static/js/scenes/paging_strips.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { tally } from "../../static/js/state/paging.js";
import { makeLog } from "./support/logs.js";

const BOXES = [
  { left: 480, top: 150, width: 420, height: 360 },
  { left: 12, top: 88, width: 170, height: 160 },
];

test("every place of a strip lies in its box and in the page that it belongs to, whatever a page holds", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const { events } = makeLog({ seed });
    events[0].provides = ["blocks"];
    const state = createState();
    applyUpTo(state, events, Math.floor(events.length / 2));
    const { sequences, blockSize } = tally(state);
    for (const box of BOXES) {
      const strips = stripsOf([state], box, box.width < 200);
      assert.ok(strips.height <= strips.line, "strips do not touch");
      const table = sequences[0].held ? sequences[0].table : [];
      for (let place = 0; place < table.length * blockSize; place++) {
        const [x, y] = stripSeat(strips, 0, place, blockSize, false);
        assert.ok(x > box.left && x < box.left + box.width + 1, `seed ${seed}: ${x}`);
        assert.ok(y > box.top && y < box.top + strips.height, `seed ${seed}: ${y}`);
        assert.equal(stripPageAt(strips, state, x, y), table[Math.floor(place / blockSize)]);
      }
    }
  }
});

test("two runs share one scale, so that their strips can be measured against each other", () => {
  const states = [1, 2].map((seed) => {
    const { events } = makeLog({ seed });
    events[0].provides = ["blocks"];
    const state = createState();
    applyUpTo(state, events, Math.floor(events.length / 2));
    return state;
  });
  const [together, ...alone] = [states, [states[0]], [states[1]]].map((some) => stripsOf(some, BOXES[0], false));
  assert.equal(together.most, Math.max(...alone.map(({ most }) => most)));
  assert.deepEqual(stripsOf([...states].reverse(), BOXES[0], false), together);
});
