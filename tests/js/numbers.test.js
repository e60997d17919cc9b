import assert from "node:assert/strict";
import { test } from "node:test";
import { applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { Numbers } from "../../static/js/ui/numbers.js";
import { makeLog } from "./support/logs.js";

test("a sentence about what an ended run never had is hidden, and comes back with a run that has it", () => {
  const sentence = { dataset: { needs: "itl.p50" }, hidden: false, closest: () => ({ id: "phases" }) };
  const root = { querySelectorAll: (selector) => (selector === "[data-needs]" ? [sentence] : []) };
  const { events } = makeLog();
  const whole = createState();
  applyUpTo(whole, events, events.length);
  const short = { ...whole, interTokenSeconds: [] };
  const running = { ...short, closed: null, request: { ...short.request, status: "admitted" } };
  /** @returns whether it is hidden once a page that shows `state` is filled */
  const hiddenIn = (state, chapter = "phases") => {
    const numbers = new Numbers(root);
    numbers.update({ state, chapter, rules: {}, runs: { own: state, at: {}, ended: () => undefined } });
    return sentence.hidden;
  };
  assert.equal(hiddenIn(running), false);
  assert.equal(hiddenIn(short, "kv-hall"), false);
  assert.equal(hiddenIn(short), true);
  assert.equal(hiddenIn(whole), false);
});

test("what only a few runs have to say is hidden until it is known", () => {
  const sentence = { dataset: { when: "itl.together" }, hidden: true, closest: () => ({ id: "phases" }) };
  const root = { querySelectorAll: (selector) => (selector === "[data-when]" ? [sentence] : []) };
  const { events } = makeLog();
  const whole = createState();
  applyUpTo(whole, events, events.length);
  const hiddenIn = (state) => {
    const numbers = new Numbers(root);
    numbers.update({ state, chapter: "phases", rules: {}, runs: { own: state, at: {}, ended: () => undefined } });
    return sentence.hidden;
  };
  assert.equal(hiddenIn(createState()), true);
  assert.equal(hiddenIn(whole), true);
  assert.equal(hiddenIn({ ...whole, interTokenSeconds: whole.interTokenSeconds.slice(2) }), false);
});
