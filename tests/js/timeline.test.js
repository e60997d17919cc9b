import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog } from "../../static/js/log/log.js";
import { bars } from "../../static/js/ui/timeline_bars.js";
import { following, shifted, ticks, within, zoomed } from "../../static/js/ui/timeline_span.js";
import { wordsAt } from "../../static/js/ui/timeline_words.js";

const OWN = "own";

/** A log of steps `[phase, who, startedAt, finishedAt]`; the own ones bring a token each. */
function logOf(steps) {
  const log = new EventLog();
  const events = [{ type: "log.opened", t: 0, run_id: OWN }];
  steps.forEach(([phase, who, from, to], i) => {
    const requests = who.map((request_id) => ({ request_id, sample: 0, slot: 0, phase, start: i, stop: i + 1 }));
    events.push({ type: "step.started", t: from, step: i + 1, phase, requests });
    if (who.includes(OWN))
      events.push({ type: "token.sampled", t: to, request_id: OWN, sample: 0, position: i, text: `w${i}` });
    events.push({ type: "step.finished", t: to, step: i + 1 });
  });
  log.appendAll(events.map((event, i) => ({ ...event, seq: i + 1 })));
  return log;
}

const RUN = logOf([
  ["prefill", ["g"], 0.1, 0.2],
  ["prefill", [OWN], 0.2, 0.4],
  ["decode", [OWN, "g"], 0.4, 0.5],
  ["verify", [OWN], 0.5, 0.7],
  ["decode", ["g"], 0.8, 1.0],
]);

test("a stretch stays inside the run and is never finer than a few steps", () => {
  for (let i = 0; i < 500; i++) {
    const total = 0.01 + Math.random() * 30;
    let span = null;
    for (let k = 0; k < 6; k++) {
      span = zoomed(span, total, 0.2 + Math.random() * 4, Math.random() * total);
      if (span) span = shifted(span, total, (Math.random() - 0.5) * total);
      if (!span) continue;
      assert.ok(span.from >= -1e-9 && span.to <= total + 1e-9, JSON.stringify({ span, total }));
      assert.ok(span.to - span.from >= 0.05 - 1e-9);
    }
  }
});

test("zooming keeps the moment under the pointer where it is", () => {
  const before = { from: 2, to: 6 };
  const after = zoomed(before, 10, 2, 5);
  assert.deepEqual(after, { from: 3.5, to: 5.5 });
  assert.equal((5 - after.from) / (after.to - after.from), (5 - before.from) / (before.to - before.from));
  assert.equal(zoomed(after, 10, 1e-9, 5), null);
  assert.equal(within({ from: 0, to: 0.02 }, 0.02), null);
});

test("the playhead stays in sight, whether it walks or jumps", () => {
  const span = { from: 2, to: 4 };
  assert.equal(following(null, 10, 9), null);
  assert.equal(following(span, 10, 3), span);
  for (const t of [0, 1.99, 3.9, 4.5, 9.99]) {
    const moved = following(span, 10, t);
    assert.ok(moved.from <= t && t <= moved.to, `${t}`);
    assert.ok(Math.abs(moved.to - moved.from - 2) < 1e-9);
  }
});

test("ticks are round numbers, no more than asked for", () => {
  for (const [from, to, most] of [
    [0, 21.3, 8],
    [3.4, 3.47, 5],
    [0, 0.0009, 3],
  ]) {
    const { every, at } = ticks({ from, to }, most);
    assert.ok(at.length >= 1 && at.length <= most + 1, `${at}`);
    assert.match(every.toExponential(), /^[125]e/);
    for (const moment of at) assert.ok(moment >= from - 1e-9 && moment <= to + 1e-9);
  }
  assert.deepEqual(ticks({ from: 0, to: 0 }, 5).at, []);
});

test("every step is a bar: its time is its width, its kind its colour", () => {
  const found = bars(RUN, 1000, { from: 0, to: 1 });
  const rows = found.map(({ x, width, color }) => [Math.round(x), Math.round(width), color]);
  assert.deepEqual(
    rows.sort((a, b) => a[0] - b[0]),
    [
      [100, 100, "muted"],
      [200, 200, "prefill"],
      [400, 100, "decode"],
      [500, 200, "draft"],
      [800, 200, "muted"],
    ],
  );
  assert.deepEqual(
    bars(RUN, 1000, { from: 0.41, to: 0.49 }).map(({ color }) => color),
    ["decode"],
  );
});

test("many steps on one pixel are one bar of the slowest", () => {
  const steps = Array.from({ length: 2000 }, (_, i) => ["decode", [OWN], i / 100, (i + (i === 500 ? 0.9 : 0.5)) / 100]);
  const found = bars(logOf(steps), 200, { from: 0, to: 20 });
  assert.ok(found.length <= 201, `${found.length}`);
});

test("words of a moment name its step and what it brought", () => {
  assert.match(wordsAt(RUN, 0.05), /before the first step/);
  assert.match(wordsAt(RUN, 0.15), /step 1, others only/);
  assert.match(wordsAt(RUN, 0.3), /step 2, prefill of one token/);
  assert.match(wordsAt(RUN, 0.45), /step 3, decode: “w2”/);
  assert.match(wordsAt(RUN, 0.6), /step 4, verify: “w3”/);
  assert.match(wordsAt(RUN, 0.9), /step 5, others only/);
  assert.match(wordsAt(new EventLog(), 0), /before the first step/);
});
