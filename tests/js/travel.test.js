import assert from "node:assert/strict";
import { test } from "node:test";
import { travel, wayOf } from "../../static/js/stage/travel.js";
import { seeded } from "./support/random.js";

const MOMENTS = 200;

/** Random dots of a window. */
function places(random, count, width, height) {
  const out = new Float32Array(3 * count);
  for (let i = 0; i < count; i++)
    out.set([random.next() * width, random.next() * height, 1 + 6 * random.next()], 3 * i);
  return out;
}

/** The longest step of any dot between two of 200 equally spaced moments. */
function longestStep(from, to, stage) {
  let longest = 0;
  let before = travel(from, to, 0, new Float32Array(to.length), stage);
  for (let k = 1; k < MOMENTS; k++) {
    const now = travel(from, to, k / (MOMENTS - 1), new Float32Array(to.length), stage);
    for (let i = 0; i < to.length; i += 3)
      longest = Math.max(longest, Math.hypot(now[i] - before[i], now[i + 1] - before[i + 1]));
    before = now;
  }
  return longest;
}

test("dots begin where they were, end where they go, and never leap across the widest window", () => {
  const random = seeded(7);
  for (const [width, height] of [
    [390, 388],
    [1440, 900],
    [2560, 1440],
  ]) {
    const stage = { width, height };
    const corners = new Float32Array([0, 0, 3, width, height, 3]);
    assert.ok(longestStep(corners, new Float32Array([width, height, 3, 0, 0, 3]), stage) < 40);
    for (const count of [1, 2, 40, 700]) {
      const [from, to] = [places(random, count, width, height), places(random, count, width, height)];
      assert.deepEqual(travel(from, to, 0, new Float32Array(to.length), stage), from);
      assert.deepEqual(travel(from, to, 1, new Float32Array(to.length), stage), to);
      assert.ok(longestStep(from, to, stage) < 40);
    }
  }
});

test("they set out in the order of the text, and all arrive", () => {
  assert.ok(wayOf(0, 10, 0.1) > wayOf(9, 10, 0.1));
  for (let i = 0; i < 10; i++) {
    assert.equal(wayOf(i, 10, 0), 0);
    assert.equal(wayOf(i, 10, 1), 1);
  }
});

test("a token that the first room did not have stands in its place, and with nowhere to come from all do", () => {
  const from = new Float32Array([0, 0, 1]);
  const to = new Float32Array([10, 10, 1, 20, 20, 2]);
  const stage = { width: 100, height: 100 };
  assert.deepEqual([...travel(from, to, 0, new Float32Array(6), stage)], [0, 0, 1, 20, 20, 2]);
  assert.deepEqual([...travel(null, to, 0, new Float32Array(6), stage)], [...to]);
});

test("dots of a taller stage start from the edge of a lower one, and hidden ones never show outside", () => {
  const from = new Float32Array([5, 700, 3, 9, 900, 0]);
  const to = new Float32Array([50, 100, 3, 60, -40, 0]);
  const stage = { width: 390, height: 388 };
  for (let k = 0; k < MOMENTS - 1; k++) {
    const now = travel(from, to, k / (MOMENTS - 1), new Float32Array(6), stage);
    for (const y of [now[1], now[4]]) assert.ok(y >= 0 && y <= stage.height);
  }
});
