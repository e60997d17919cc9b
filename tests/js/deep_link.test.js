import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.addEventListener ??= () => {};
const { DeepLink, linkTo, parseLink } = await import("../../static/js/ui/deep_link.js");
const { EventLog } = await import("../../static/js/log/log.js");

test("a link says room, moment and step; what it does not say is the beginning", () => {
  assert.deepEqual(parseLink("#paging?t=1.42"), { slug: "paging", time: 1.42, step: 0 });
  assert.deepEqual(parseLink("#kv-hall?t=0&step=3"), { slug: "kv-hall", time: 0, step: 2 });
  assert.deepEqual(parseLink("#loop?step=2"), { slug: "loop", time: null, step: 1 });
  assert.deepEqual(parseLink("#loop?t=-4&step=-1"), { slug: "loop", time: 0, step: 0 });
  assert.deepEqual(parseLink("#loop?t=soon"), { slug: "loop", time: null, step: 0 });
  for (const plain of ["", "#", "#loop", "#<script>?t=1"]) assert.equal(parseLink(plain), null);
});

test("what is written is read again", () => {
  for (const target of [
    { slug: "kv-hall", time: 1.234, step: 4 },
    { slug: "paging", time: 0, step: 0 },
    { slug: "loop", time: null, step: 1 },
  ])
    assert.deepEqual(parseLink(linkTo(target)), target);
  assert.equal(linkTo({ slug: "paging", time: 1.42, step: 0 }), "#paging?t=1.42");
});

test("a moment that has not come is waited for, and sought once", () => {
  let log = null;
  const sought = [];
  globalThis.location = { hash: "#phases?t=0.5" };
  globalThis.history = {};
  const link = new DeepLink({ log: () => log, go: (slug) => slug === "phases", seek: (t) => sought.push(t) });
  link.follow();
  link.arrived();
  log = new EventLog();
  link.arrived();
  log.append({ type: "log.opened", seq: 1, t: 0, run_id: "a" });
  link.arrived();
  assert.deepEqual(sought, []);
  log.append({ type: "x", seq: 2, t: 0.7 });
  link.arrived();
  link.arrived();
  assert.deepEqual(sought, [0.5]);
  location.hash = "#nowhere?t=0.1";
  link.follow();
  link.arrived();
  assert.deepEqual(sought, [0.5]);
});

test("a moment after the end of a log that has ended is its end", () => {
  const log = new EventLog();
  log.append({ type: "log.opened", seq: 1, t: 0, run_id: "a" });
  const sought = [];
  location.hash = "#phases?t=99";
  const link = new DeepLink({ log: () => log, go: () => true, seek: (t) => sought.push(t) });
  link.follow();
  link.arrived();
  assert.deepEqual(sought, []);
  log.finish();
  link.arrived();
  assert.deepEqual(sought, [99]);
});
