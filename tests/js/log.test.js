import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog } from "../../static/js/log/log.js";
import { moment, neighbour, resolve } from "../../static/js/log/moments.js";
import { makeLog } from "./support/logs.js";

test("a log takes what follows and refuses repeats, gaps and what is no event", () => {
  const { events } = makeLog();
  const log = new EventLog();
  assert.equal(log.append(events[0]), "accepted");
  assert.equal(log.append(events[0]), "repeat");
  assert.equal(log.append(events[2]), "gap");
  for (const bad of [
    null,
    7,
    "log.opened",
    {},
    { seq: 0, t: 0, type: "x" },
    { seq: 2, t: "0", type: "x" },
    { seq: 2 },
  ]) {
    assert.equal(log.append(bad), "malformed");
  }
  assert.equal(log.seq, 1);
  const rest = log.appendAll(events);
  assert.deepEqual([rest.accepted, rest.gap], [events.length - 1, false]);
  assert.equal(log.append({ ...events[0], seq: log.seq + 1 }), "after-close");
});

test("appendAll stops at a gap and says so", () => {
  const { events } = makeLog();
  const log = new EventLog();
  const result = log.appendAll([...events.slice(0, 4), ...events.slice(6)]);
  assert.deepEqual(result, { accepted: 4, gap: true, malformed: 0 });
});

test("seqAt is the inverse of timeAt", () => {
  const { events } = makeLog({ seed: 3 });
  const log = new EventLog();
  log.appendAll(events);
  assert.equal(log.seqAt(-1), 0);
  assert.equal(log.seqAt(log.t), log.seq);
  for (const { seq, t } of events) {
    const found = log.seqAt(t);
    assert.ok(found >= seq && log.timeAt(found) === t);
  }
});

test("moments come in order and stand at the live edge until they are there", () => {
  const { events, answer } = makeLog({ seed: 2 });
  const log = new EventLog();
  log.appendAll(events.slice(0, 3));
  assert.deepEqual(resolve(log, "prefill-end"), { seq: 3, reached: false });
  assert.deepEqual(resolve(log, "opened"), { seq: 1, reached: true });
  log.appendAll(events);
  const names = ["opened", "queued", "tokenized", "admitted", "prefill-start", "prefill-written", "prefill-end"];
  const seqs = [...names, "second-token", "token:3", "token:50%", "finished", "closed"].map((name) =>
    moment(log, name),
  );
  assert.deepEqual(
    seqs,
    [...seqs].sort((a, b) => a - b),
  );
  assert.equal(events[moment(log, "prefill-end") - 1].type, "step.finished");
  assert.equal(moment(log, "first-token"), moment(log, "prefill-end"));
  assert.equal(moment(log, "token:100%"), moment(log, `token:${answer}`));
  assert.equal(moment(log, "token:1"), moment(log, "first-token"));
  assert.equal(moment(log, "no such moment"), log.seq);
});

test("a share of an answer that is still being written is not known", () => {
  const { events } = makeLog({ seed: 2 });
  const log = new EventLog();
  log.appendAll(events.slice(0, -6));
  assert.equal(resolve(log, "token:50%").reached, false);
  assert.equal(resolve(log, "token:1").reached, true);
});

test("arrows go from token to token and stop at the ends", () => {
  const { events, answer } = makeLog({ seed: 4 });
  const log = new EventLog();
  log.appendAll(events);
  let seq = 0;
  let moves = 0;
  while (seq < log.seq && moves < 1000) {
    const next = neighbour(log, seq, 1);
    assert.ok(next > seq);
    seq = next;
    moves += 1;
  }
  assert.equal(moves, answer + 3);
  while (seq > 1) {
    const next = neighbour(log, seq, -1);
    assert.ok(next < seq);
    seq = next;
  }
  assert.equal(neighbour(log, 1, -1), 1);
});
