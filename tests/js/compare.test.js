import assert from "node:assert/strict";
import { test } from "node:test";
import compare from "../../static/js/scenes/compare.js";
import { inSight, linesOf } from "../../static/js/scenes/compare_text.js";
import { viewAtRest } from "../../static/js/stage/view.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import { agreement, blocks, firstToken, rate, steps, written } from "../../static/js/state/comparison.js";
import { createState } from "../../static/js/state/create.js";
import { runIdIn } from "../../static/js/ui/comparing.js";
import { installStage } from "./support/canvas.js";
import { makeLog } from "./support/logs.js";

const node = installStage();

function stateOf(events, seq = events.length) {
  const state = createState();
  applyUpTo(state, events, seq);
  return state;
}

/** A run that answers with these words, in the prompt's and clock's manner of a made log. */
function answering(words, { seed = 1 } = {}) {
  const { events } = makeLog({ seed });
  let n = 0;
  const kept = events.filter(({ type }) => type !== "token.sampled" || n++ < words.length);
  n = 0;
  for (const event of kept) {
    if (event.type === "token.sampled") Object.assign(event, { text: words[n], id: 1000 + words[n++].length });
    if (event.type === "request.finished" && event.request_id === "run-1") event.text = words.join("");
  }
  return kept;
}

const context = { measureText: (text) => ({ width: 10 * text.length }), font: "" };
const textOf = (lines) => lines.map((line) => line.map(({ text }) => text).join(""));

test("figures are what the log says", () => {
  for (let seed = 1; seed < 6; seed++) {
    const { events, answer } = makeLog({ seed });
    const own = events.filter(({ request_id: id, type }) => id === "run-1" && type === "token.sampled");
    const admitted = events.find(({ type, request_id: id }) => type === "request.admitted" && id === "run-1");
    const state = stateOf(events);
    assert.equal(written(state), answer);
    assert.equal(firstToken(state), own[0].t - admitted.t);
    assert.ok(Math.abs(rate(state) - (answer - 1) / (own.at(-1).t - own[0].t)) < 1e-9);
    assert.equal(steps(state), events.filter(({ type }) => type === "step.started").length);
    assert.equal(blocks(state), state.cache.blockTable.length);
  }
});

test("where two texts part", () => {
  const a = stateOf(answering([" red", " soup", " now"]));
  const b = stateOf(answering([" red", " soupe"]));
  assert.deepEqual(agreement(a, b), { samePrompt: true, common: 1, parted: true });
  const other = stateOf(answering([" red", " soup"], { seed: 2 }));
  assert.equal(agreement(a, other).samePrompt, false);
  assert.deepEqual(agreement(a, stateOf(answering([" red", " soup", " now"]))).parted, false);
});

test("words stay whole, line ends break, and the token in which they part is marked", () => {
  const state = stateOf(answering([" a", "bc", " def", "\n", "gh", " ijk"]));
  const lines = linesOf(context, state, { common: 2, parted: true }, 10, 60);
  assert.deepEqual(textOf(lines), ["abc", "def", "gh ijk"].slice(0, lines.length));
  assert.deepEqual(
    lines.flat().map(({ tone }) => tone),
    ["same", "same", "parting", "own", "own", "own"].slice(0, lines.flat().length),
  );
  const ended = stateOf(answering([" a", "\n", "b"]));
  const marked = linesOf(context, ended, { common: 1, parted: true }, 11, 600);
  assert.deepEqual(textOf(marked), ["a⏎", "b"], "a line end in which they part is seen, and ends the line");
});

test("the newest lines are in sight, and the one in which they part", () => {
  const line = (tone, text) => [{ text, x: 0, width: 1, tone }];
  const lines = Array.from({ length: 9 }, (_, i) => line(i < 2 ? "same" : i === 2 ? "parting" : "own", `${i}`));
  const shown = (most) => textOf(inSight(lines, most).lines);
  assert.deepEqual(shown(20), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
  assert.deepEqual(shown(4), ["2", "6", "7", "8"]);
  assert.deepEqual(shown(8), ["1", "2", "3", "4", "5", "6", "7", "8"]);
  assert.deepEqual(inSight(lines, 4).gaps, [0, 1]);
});

test("dots stand in their own lane, each over the step that brought it", () => {
  const events = makeLog({ seed: 4 }).events;
  const state = stateOf(events);
  const lane = { key: "with", status: "recorded", words: "", state: stateOf(makeLog({ seed: 5 }).events) };
  const cast = { main: { key: "own", status: "own", words: "", state }, lanes: [lane], span: 1 };
  const css = Object.fromEntries(
    ["ground", "ink", "muted", "line", "idle", "decode", "prefill"].map((n) => [n, "#fff"]),
  );
  for (const [width, height] of [
    [1440, 900],
    [390, 388],
  ]) {
    const view = { ...viewAtRest({ css, rgb: { ground: [0, 0, 0] } }), width, height, cast };
    const places = compare.places(state, view);
    const xs = state.tokens.map((_, i) => places[3 * i]).slice(state.request.numPromptTokens);
    assert.deepEqual(
      xs,
      [...xs].sort((a, b) => a - b),
    );
    assert.ok(places.every((value, i) => i % 3 === 2 || (value >= 0 && value <= (i % 3 ? height : width))));
    compare.draw(compare.mount(node()), [state, lane.state], view, state.t);
    assert.match(compare.describe(state, view, [state, lane.state]), /different prompts/);
    assert.match(compare.describe(state, { ...view, cast: { ...cast, lanes: [] } }, [state]), /waits for another/);
  }
});

test("a run is found in what somebody pastes", () => {
  assert.equal(runIdIn(" abc-1 "), "abc-1");
  assert.equal(runIdIn("https://kitchen.example/sub/?run=abc%2D1&with=x#loop"), "abc-1");
  assert.equal(runIdIn("https://kitchen.example/api/runs/abc-1/events"), "abc-1");
  assert.equal(runIdIn("%zz"), "%zz");
});
