// What an embedded room's address says, what the dialog makes of a choice, and how high a room wishes to be.

import assert from "node:assert/strict";
import { test } from "node:test";
import { wishesOf } from "../../static/js/embed/address.js";
import { stageHeight } from "../../static/js/embed/parent.js";
import { addressOf, snippetOf } from "../../static/js/ui/embed_dialog.js";
import { placeBetween } from "../../static/js/ui/scroll.js";

const NOTHING = { run: null, time: null, step: 0, autoplay: false };

test("an address says what it says", () => {
  assert.deepEqual(wishesOf("", 6), NOTHING);
  assert.deepEqual(wishesOf("?run=abc&t=1.5&step=3&autoplay=1", 6), { run: "abc", time: 1.5, step: 2, autoplay: true });
  assert.deepEqual(wishesOf("?autoplay", 6), { ...NOTHING, autoplay: true });
  assert.equal(wishesOf("?t=0", 6).time, 0);
});

test("nonsense says nothing", () => {
  for (const query of [
    "?t=soon",
    "?t=-1",
    "?t=",
    "?t=NaN",
    "?t=Infinity",
    "?t=1e999",
    "?step=x",
    "?step=-3",
    "?run=",
    "?autoplay=0",
  ])
    assert.deepEqual(wishesOf(query, 6), NOTHING, query);
  assert.equal(wishesOf("?step=99", 6).step, 5, "the last one there is");
  assert.equal(wishesOf("?step=2.9", 6).step, 1);
});

const CHOICE = {
  room: "paging",
  title: 'A "title" & <more>',
  run: null,
  step: 0,
  time: null,
  theme: "",
  autoplay: false,
  width: null,
  height: 760,
};
const SITE = { base: "https://example.org/kitchen/", suffix: "" };

test("a choice as an address", () => {
  assert.equal(addressOf(CHOICE, SITE), "https://example.org/kitchen/embed/paging");
  const all = { ...CHOICE, run: "a b", step: 2, time: 1.23456, theme: "dark", autoplay: true };
  assert.equal(
    addressOf(all, { ...SITE, suffix: ".html" }),
    "https://example.org/kitchen/embed/paging.html?run=a+b&theme=dark&step=3&t=1.235&autoplay=1",
  );
  const { search } = new URL(addressOf(all, SITE));
  assert.deepEqual(wishesOf(search, 6), { run: "a b", time: 1.235, step: 2, autoplay: true });
});

test("the snippet is sandboxed, and no title breaks out of it", () => {
  const snippet = snippetOf(CHOICE, SITE);
  assert.match(snippet, /sandbox="allow-scripts allow-popups allow-popups-to-escape-sandbox"/);
  assert.match(snippet, /title="A &quot;title&quot; &amp; &lt;more>"/);
  assert.match(snippet, /<script src="https:\/\/example.org\/kitchen\/static\/js\/embed_host.js" async>/);
  assert.doesNotMatch(snippet, /same-origin/);
  assert.doesNotMatch(snippetOf({ ...CHOICE, width: 720 }, SITE), /<script/, "a size that is chosen stays");
  assert.match(snippetOf(CHOICE, { ...SITE, suffix: ".html" }), /allow-same-origin/, "of plain files");
});

test("a room wishes for a height by its width alone", () => {
  for (const width of [1, 358, 720, 899, 900, 1400, 4000]) {
    const height = stageHeight(width, width < 900);
    assert.ok(Number.isInteger(height) && height >= 300 && height <= 760, `${width}: ${height}`);
  }
});

test("between two steps of one cast time passes, between two casts none", () => {
  const box = (moment, cast, data) => ({ moment, cast, data, top: 0, bottom: 0 });
  const steps = [
    box("opened", undefined, { a: 0 }),
    box("end", undefined, { a: 1 }),
    box("end", '{"main":"slab"}', { a: 1 }),
  ];
  const chapter = { slug: "paging", top: 0, bottom: 0, steps };
  assert.deepEqual(placeBetween(chapter, 0, 1, 0.25), {
    chapter: "paging",
    progress: 0,
    step: 0,
    stepProgress: 0.25,
    data: { a: 0.25 },
    cast: "",
    from: "opened",
    to: "end",
  });
  const other = placeBetween(chapter, 0, 2, 0.6);
  assert.deepEqual([other.step, other.cast, other.from, other.to], [2, '{"main":"slab"}', "end", "end"]);
});
