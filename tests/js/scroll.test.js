import assert from "node:assert/strict";
import { test } from "node:test";
import { blend, held, locate, momentOf } from "../../static/js/ui/scroll.js";

const step = (top, moment, data = {}) => ({ top, bottom: top + 100, moment, data });
const CHAPTERS = [
  { slug: "prologue", top: 0, bottom: 1000, steps: [] },
  {
    slug: "phases",
    top: 1000,
    bottom: 3000,
    steps: [
      step(1200, "prefill-end", { walk: 0, wall: "k" }),
      step(1700, "finished", { walk: 1, wall: "v" }),
      step(2200, null),
    ],
  },
];

const resolve = (name) => ({ "prefill-end": { seq: 10, reached: true }, finished: { seq: 110, reached: true } })[name];

test("the anchor finds its chapter and how far through it is", () => {
  assert.equal(locate([], 5), null);
  assert.equal(locate(CHAPTERS, -50)?.chapter, "prologue");
  assert.equal(locate(CHAPTERS, 999)?.chapter, "prologue");
  const place = locate(CHAPTERS, 2000);
  assert.deepEqual([place?.chapter, place?.progress], ["phases", 0.5]);
  assert.equal(locate(CHAPTERS, 99999)?.progress, 1);
});

test("a step stands while it is read and moves between", () => {
  assert.equal(locate(CHAPTERS, 1100)?.step, 0, "before the first middle");
  assert.equal(locate(CHAPTERS, 1250)?.stepProgress, 0);
  assert.equal(locate(CHAPTERS, 1300)?.stepProgress, 0, "holds");
  const middle = locate(CHAPTERS, 1500);
  assert.ok(Math.abs((middle?.stepProgress ?? 0) - 0.5) < 1e-9);
  assert.ok(Math.abs(middle?.data.walk - 0.5) < 1e-9);
  assert.equal(locate(CHAPTERS, 1700)?.step, 1);
  assert.equal(held(0), 0);
  assert.equal(held(1), 1);
});

test("scrolling down never goes back within a chapter", () => {
  let last = -1;
  for (let y = 1000; y < 3000; y += 7) {
    const place = locate(CHAPTERS, y);
    const moment = place && momentOf(place, resolve);
    if (!moment) continue;
    assert.ok(moment.seq >= last, `${y}: ${moment.seq} after ${last}`);
    last = moment.seq;
  }
  assert.equal(last, 110);
});

test("a place between a moment and none has the nearer one's, and a chapter without moments none", () => {
  const prologue = locate(CHAPTERS, 500);
  assert.equal(prologue && momentOf(prologue, resolve), null);
  const nearer = locate(CHAPTERS, 1900);
  assert.equal(nearer && momentOf(nearer, resolve)?.seq, 110);
  const beyond = locate(CHAPTERS, 2240);
  assert.equal(beyond && momentOf(beyond, resolve), null);
});

test("towards a moment that has not come one is at the edge", () => {
  const place = locate(CHAPTERS, 1500);
  const moment =
    place && momentOf(place, (name) => ({ seq: name === "finished" ? 40 : 10, reached: name !== "finished" }));
  assert.equal(moment?.reached, false);
});

test("blend mixes numbers and takes the nearer of anything else", () => {
  assert.deepEqual(blend({ a: 0, b: "x", c: 1 }, { a: 10, b: "y" }, 0.25), { a: 2.5, b: "x", c: 1 });
  assert.deepEqual(blend({ a: 0, b: "x" }, { a: 10, b: "y" }, 0.75), { a: 7.5, b: "y" });
});
