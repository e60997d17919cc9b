import assert from "node:assert/strict";
import { test } from "node:test";
import { applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { Answer, piecesOf, promptOf } from "../../static/js/ui/answer.js";
import { makeLog } from "./support/logs.js";
import { FakeElement, installDocument } from "./support/page.js";

installDocument();

const WORDS = ["One", " soup", ".\n", "", "St", "op", "ped"];
const LOG = makeLog({ seed: 5 });
const WHOLE = Array.from({ length: LOG.answer }, (_, i) => WORDS[i % WORDS.length]).join("");

/** A run whose tokens spell `WHOLE` and whose answer is `text`. */
function run(text) {
  let count = 0;
  return LOG.events.map((event) => {
    if (event.type === "token.sampled") return { ...event, text: WORDS[count++ % WORDS.length] };
    if (event.type === "request.finished" && event.request_id === "run-1") return { ...event, text };
    return event;
  });
}

const at = (events, seq) => {
  const state = createState();
  applyUpTo(state, events, seq);
  return state;
};

test("what the tokens show is the answer, wherever it was cut", () => {
  for (let length = 0; length <= WHOLE.length; length++) {
    const events = run(WHOLE.slice(0, length));
    const state = at(events, events.length);
    assert.equal(piecesOf(state).length, LOG.answer);
    assert.equal(piecesOf(state).join(""), state.answer);
  }
  const longer = run(`${WHOLE}\u{1f345}`);
  assert.equal(piecesOf(at(longer, longer.length)).join(""), `${WHOLE}\u{1f345}`, "a character that came at the end");
});

test("the page shows exactly the answer at every moment, forward and back", () => {
  const events = run("One soup.\nSt");
  const root = new FakeElement();
  const answer = new Answer(root, null, { token: () => undefined, hover: () => {}, tooltip: {} });
  const seqs = events.map((_, i) => i);
  for (const seq of [...seqs, events.length, ...seqs.reverse(), events.length, 0, events.length]) {
    const state = at(events, seq);
    answer.update(state);
    assert.equal(root.textContent, state.answer, `at ${seq}`);
  }
  assert.equal(root.textContent, "One soup.\nSt");
  assert.equal(root.children.length, LOG.answer, "a span a token stands, empty ones too");
  answer.clear();
  assert.equal(root.textContent, "");
});

const prompt = (...pieces) => ({ tokens: pieces.map(([text, own]) => ({ text, own })) });

test("the template's line break in the first own token is not the reader's", () => {
  assert.equal(promptOf(prompt(["user"], ["\n  ", true], [" soup", true], ["\n"])), "   soup");
  assert.equal(promptOf(prompt(["user"], ["\n\n", true], ["soup", true])), "\nsoup", "exactly one");
  assert.equal(promptOf(prompt(["user"], ["\n"], ["soup\n", true])), "soup\n");
  assert.equal(promptOf(prompt(["user"], ["\n"], ["\n", true], ["soup", true])), "\nsoup", "a break of the reader's");
  assert.equal(promptOf(prompt(["\nsoup", true])), "\nsoup", "without a template");
  assert.equal(promptOf(prompt()), "");
});
