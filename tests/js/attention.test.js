import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { attentionBody, gazeBody } from "../../static/js/scenes/attention_asks.js";
import { capacityFor, dotOn, pageOf, wordAt, wordOn } from "../../static/js/scenes/attention_page.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import {
  argmax,
  brought,
  chosenFor,
  columnOf,
  echoOf,
  enough,
  lookOf,
  meanRow,
  mostLookedAt,
  nearestTo,
  positionsOf,
  rowOf,
  sameText,
  scoresOf,
  sharesOf,
  summaryNear,
  widest,
} from "../../static/js/state/attention.js";
import { createState } from "../../static/js/state/create.js";

const HEADS = 3;
const LAYERS = 2;

/** Float32 numbers as an event carries them. */
function packed(numbers, shape) {
  return { dtype: "float32", shape, scale: 1, data: Buffer.from(new Float32Array(numbers).buffer).toString("base64") };
}

/** A text of words, one token each, the last ones generated. */
function stateOf(words, prompt = 3) {
  const state = createState();
  state.request.numPromptTokens = prompt;
  state.tokens = words.map((text, position) => ({
    position,
    id: [...text].reduce((sum, character) => 31 * sum + character.codePointAt(0), 7),
    text,
    kind: position < prompt ? "prompt" : "generated",
    own: true,
    special: false,
    seq: position + 1,
  }));
  return state;
}

/** Each head looks with 0.8 at one token, and spreads the rest evenly. */
function probe(state, position, targetOf, layers = [0, 1], heads = [0, 1, 2]) {
  const width = position + 1;
  const rows = layers.flatMap((layer) =>
    heads.map((head) => {
      const target = targetOf(layer, head);
      return Array.from({ length: width }, (_, i) => 0.2 / width + (i === target ? 0.8 : 0));
    }),
  );
  const weights = packed(rows.flat(), [layers.length, heads.length, width]);
  state.probes.attention.set(position, { type: "probe.attention", position, layers, heads, weights, sinks: null });
  return rows;
}

const TEXT = Array.from({ length: 24 }, (_, i) => ` word${i}`);

test("a row is that of the probe, from whichever log has it", () => {
  const own = stateOf(TEXT);
  const [all, few] = [stateOf(TEXT), stateOf(TEXT)];
  const rows = probe(all, 12, (layer, head) => layer + head);
  probe(few, 13, () => 4, [1], [2]);
  const look = lookOf(own, [all, null, few]);
  assert.equal(look.own, true);
  for (let layer = 0; layer < LAYERS; layer++)
    for (let head = 0; head < HEADS; head++) {
      const row = rowOf(look, 12, { layer, head });
      assert.deepEqual([...row], [...new Float32Array(rows[layer * HEADS + head])]);
      assert.ok(Math.abs(row.reduce((sum, share) => sum + share, 0) - 1) < 1e-5);
    }
  assert.equal(argmax(rowOf(look, 13, { layer: 1, head: 2 })), 4);
  assert.equal(rowOf(look, 13, { layer: 0, head: 2 }), null);
  assert.deepEqual(positionsOf(look, { layer: 1, head: 2 }), [12, 13]);
  assert.deepEqual(positionsOf(look, null), [12]);
});

test("a probe of another text is never laid over this one", () => {
  const own = stateOf(TEXT);
  const other = stateOf([...TEXT.slice(0, 6), ...TEXT.slice(0, 12)]);
  probe(other, 9, () => 2);
  const look = lookOf(own, [other]);
  assert.equal(look.own, false);
  assert.equal(look.start, 9);
  // As many of its tokens as the run has written: 24 - 3, and of that text there are 18 in all.
  assert.deepEqual(look.tokens, other.tokens);
  const beginning = stateOf(TEXT.slice(0, 7));
  beginning.tokens[5].id = -1;
  assert.deepEqual(lookOf(beginning, [other]).tokens, other.tokens.slice(0, 13));
  assert.equal(sameText(own.tokens, other.tokens), false);
  // A playhead in the middle knows less of the text, and that is no difference.
  const early = stateOf(TEXT.slice(0, 8));
  const whole = stateOf(TEXT);
  probe(whole, 6, () => 1);
  probe(whole, 12, () => 1);
  const seen = lookOf(early, [whole]);
  assert.equal(seen.own, true);
  assert.deepEqual(positionsOf(seen, null), [6], "what is not written yet is not looked at");
  assert.equal(lookOf(own, []).sources.length, 0);
});

test("the room's choice looks far, and not where the crowd looks", () => {
  const state = stateOf(TEXT);
  // All but two heads rest on the first token; one of the two looks near.
  probe(state, 20, (layer, head) => (layer === 1 && head === 2 ? 5 : layer === 0 && head === 1 ? 19 : 0));
  const look = lookOf(state, []);
  const { layer, head, target, weight } = chosenFor(look, 22);
  assert.deepEqual([layer, head, target], [1, 2, 5]);
  assert.ok(weight > 0.8);
  const wished = chosenFor(look, 22, { layer: 0, head: -1 });
  assert.deepEqual([wished.layer, wished.head], [0, 1], "of a layer of which none looks far, one that does not rest");
  assert.equal(chosenFor(look, 22, { layer: 7, head: -1 }), null);
});

test("a column is the rows, read the other way", () => {
  const state = stateOf(TEXT);
  for (let position = 3; position < 20; position++) probe(state, position, () => (position % 2 ? 2 : 0), [1], [0]);
  const look = lookOf(state, []);
  const head = { layer: 1, head: 0 };
  const column = columnOf(look, 2, head);
  for (let position = 0; position < TEXT.length; position++) {
    const row = rowOf(look, position, head);
    if (row === null) assert.ok(Number.isNaN(column[position]));
    else assert.equal(column[position], row[2]);
  }
  assert.equal(mostLookedAt(look, head), 2);
  assert.deepEqual(widest(look), head);
});

test("scores keep the differences, and come back to the shares", () => {
  const row = [0.5, 0.25, 0.2, 0.05, 0];
  const scores = scoresOf(row);
  assert.equal(scores[0], 0);
  assert.equal(scores[4], Number.NEGATIVE_INFINITY);
  const exps = scores.map(Math.exp);
  const sum = exps.reduce((total, value) => total + value, 0);
  for (const [i, value] of exps.entries()) assert.ok(Math.abs(value / sum - row[i]) < 1e-6);
  assert.equal(enough(row, 0.9), 3);
  assert.equal(enough(row, 0.4), 1);
  assert.equal(nearestTo([3, 8, 12], 11), 8);
  assert.equal(nearestTo([3, 8, 12], 1), 3);
  assert.equal(nearestTo([], 1), -1);
});

test("an echo looks at what followed the token's earlier copy", () => {
  const state = stateOf([" a", " soup", " of", " fish", " soup"], 2);
  assert.equal(echoOf(lookOf(state, []), 4, [0, 0, 0.9, 0.1, 0]), 1);
  assert.equal(echoOf(lookOf(state, []), 4, [0, 0, 0.1, 0.9, 0]), -1);
  assert.equal(echoOf(lookOf(state, []), 4, [0.4, 0, 0.45, 0.1, 0.05]), -1, "not most of the look");
});

test("values are weighed by their own head's norms", () => {
  const state = stateOf(TEXT.slice(0, 4));
  state.opened = { model: { num_heads: 4, num_layers: 2 } };
  Object.assign(state.cache.norms, {
    layers: 2,
    heads: 2,
    length: 4,
    capacity: 4,
    values: Float32Array.from({ length: 16 }, (_, i) => i + 1),
  });
  // Query heads 2 and 3 share KV head 1: of layer 1 that is line 3, norms 13 to 16.
  const parts = brought([0.1, 0.2, 0.3, 0.4], state, { layer: 1, head: 3 });
  const wanted = [1.3, 2.8, 4.5, 6.4].map((part) => part / 15);
  for (const [i, part] of parts.entries()) assert.ok(Math.abs(part - wanted[i]) < 1e-6);
  assert.equal(brought([0.1, 0.2, 0.3, 0.2, 0.2], state, { layer: 1, head: 3 }), null, "a value that is not there yet");
});

test("pages: every word in its box, in order, and none on another", () => {
  for (const count of [1, 2, 40, 103, 340, 2000])
    for (const box of [
      { left: 502, top: 104, width: 868, height: 480 },
      { left: 14, top: 62, width: 362, height: 250 },
    ]) {
      const words = ["Give", " me", " a", " simple", "\n", " tom", "ato", "<|im_end|>", " 汤", " "];
      const { tokens } = stateOf(Array.from({ length: count }, (_, i) => words[i % words.length]));
      const page = pageOf(tokens, box);
      let [line, end] = [Number.NEGATIVE_INFINITY, 0];
      let shown = 0;
      for (let i = 0; i < count; i++) {
        const [x, y] = dotOn(page, i);
        assert.ok(x >= box.left - 1 && x <= box.left + box.width + 1, `${count}: dot ${i} at ${x}`);
        assert.ok(y >= box.top - 1 && y <= box.top + box.height + page.line, `${count}: dot ${i} at ${y}`);
        if (page.width[i] === 0) continue;
        shown += 1;
        assert.ok(page.x[i] + page.width[i] <= box.left + box.width + 1, `${count}: word ${i} stands out`);
        assert.ok(page.y[i] > line || page.x[i] >= end - 0.01, `${count}: word ${i} on the last one`);
        [line, end] = [page.y[i], page.x[i] + page.width[i]];
        assert.equal(wordAt(page, page.x[i] + page.width[i] / 2, page.y[i] - 4), i);
      }
      assert.ok(page.size >= 11);
      assert.ok(page.left ? shown < count : shown === count);
    }
  assert.ok(capacityFor(49) > 49);
  assert.equal(wordOn({ text: "", special: true }).word, "¶");
});

/** Weights that a body asks for. */
function weightsOf({ probes: { attention } }, model) {
  const heads = (attention.layers?.length ?? model.num_layers) * (attention.heads?.length ?? model.num_heads);
  return heads * attention.positions.reduce((sum, position) => sum + position + 1, 0);
}

test("what is asked of the kitchen is within what a probe may be asked", () => {
  for (const [num_layers, num_heads] of [
    [30, 9],
    [80, 64],
    [2, 1],
    [1, 1],
  ])
    for (const [prompt, count] of [
      [39, 264],
      [39, 1],
      [39, 2],
      [2000, 2000],
      [1, 1],
      [12, 30],
    ]) {
      const state = stateOf(
        Array.from({ length: prompt + count }, () => " x"),
        prompt,
      );
      state.opened = { model: { num_layers, num_heads } };
      for (const body of [attentionBody(state), gazeBody(state)]) {
        if (body === null) continue;
        const { positions, layers = [0], heads = [0] } = body.probes.attention;
        assert.equal(body.take, "probe");
        assert.ok(positions.length >= 1 && positions.length <= 64);
        assert.equal(new Set(positions).size, positions.length);
        assert.ok(
          positions.every((position) => position >= 0 && position <= prompt + count - 2),
          "the last token is never computed",
        );
        assert.ok(layers.every((layer) => layer < num_layers) && heads.every((head) => head < num_heads));
        assert.ok(
          weightsOf(body, state.opened.model) <= 2 ** 19,
          JSON.stringify([num_layers, num_heads, prompt, count]),
        );
      }
      assert.ok(prompt + count < 3 || attentionBody(state), "somebody can always be asked");
    }
  assert.equal(attentionBody(createState()), null);
});

/** A recorded log as a state at its end. */
function recorded(key) {
  const path = new URL(`../../static/recordings/tomato-soup${key}.jsonl.gz`, import.meta.url);
  const events = gunzipSync(readFileSync(path))
    .toString()
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const state = createState();
  applyUpTo(state, events, events.length);
  return state;
}

test("the recorded takes are of the recorded run, and have what the steps stop at", () => {
  const own = recorded("");
  const look = lookOf(own, [recorded(".attention"), recorded(".gaze")]);
  assert.equal(look.own, true);
  assert.equal(look.sources.length, 2);
  const start = own.request.numPromptTokens;
  const asked = attentionBody(own).probes.attention.positions;
  for (const position of asked) {
    const { heads, row } = meanRow(look, position);
    assert.equal(heads, own.opened.model.num_layers * own.opened.model.num_heads);
    assert.ok(Math.abs(row.reduce((sum, share) => sum + share, 0) - 1) < 1e-3);
    const summary = summaryNear(look, position);
    assert.equal(summary.position, position);
    // The summary is of the same rows.
    for (const head of [
      { layer: 0, head: 0 },
      { layer: 17, head: 4 },
    ]) {
      const shares = sharesOf(summary, head);
      assert.ok(Math.abs(shares.first - rowOf(look, position, head)[0]) < 2e-3);
      assert.ok(Math.abs(shares.first + shares.between + shares.near - 1) < 2e-3);
    }
  }
  const gaze = gazeBody(own).probes.attention;
  assert.deepEqual(
    positionsOf(look, { layer: gaze.layers[0], head: gaze.heads[0] }).filter((p) => p < start + 64),
    gaze.positions,
  );
});
