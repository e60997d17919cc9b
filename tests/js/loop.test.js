import assert from "node:assert/strict";
import { test } from "node:test";
import { choiceOf, crossroads } from "../../static/js/scenes/loop_fork.js";
import { atRank, capacityOf, fieldIn, layoutOf, rankAt, seatsIn } from "../../static/js/scenes/loop_layout.js";
import { coinOf, logitsAt, rowsOf, scoresOf } from "../../static/js/scenes/loop_scores.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { drawAt, PLAIN, reshape } from "../../static/js/state/sampling.js";
import { uniforms } from "../../static/js/state/twister.js";
import { makeLog } from "./support/logs.js";

const SIZES = [
  [390, 388],
  [768, 471],
  [1440, 900],
  [2560, 1440],
];
const VOCABULARY = 49152;

/** @returns a state of a whole run whose seats must hold `max_tokens` */
function ended(params = {}) {
  const { events } = makeLog({ seed: 5 });
  const state = createState();
  applyUpTo(state, events, events.length);
  Object.assign(state.opened.params, { max_tokens: 200, temperature: 0.6, top_p: 0.9, seed: 3, ...params });
  return state;
}

for (const [width, height] of SIZES)
  test(`on a stage of ${width} by ${height} nothing lies on another or outside`, () => {
    const { area, bars, axis, curve, seats, words, track } = layoutOf({ width, height });
    assert.ok(area.left < curve.left && words > curve.left + 40 && bars.left > words);
    assert.ok(bars.left + bars.width < track && track < width - 4);
    assert.ok(bars.top + bars.height <= axis && axis < curve.top && curve.top + curve.height < seats.top);
    assert.ok(seats.top + seats.height <= height && curve.height >= 24 && bars.width > 150);
    for (const count of [24, 240, 640, 2560]) {
      const { at, r } = seatsIn(seats, count);
      assert.ok(r >= 0.7);
      for (const i of [0, count - 1]) {
        const [x, y] = at(i);
        assert.ok(x - r >= seats.left - 1 && x + r <= seats.left + seats.width + 1, `${count} seats, x of ${i}`);
        assert.ok(y - r >= seats.top - 1 && y + r <= seats.top + seats.height + 1, `${count} seats, y of ${i}`);
      }
    }
  });

test("no two tokens share a seat or a window, and every window is within the field", () => {
  const box = { left: 480, top: 100, width: 870, height: 500 };
  const { at: seat } = seatsIn(box, 300);
  assert.equal(new Set(Array.from({ length: 300 }, (_, i) => seat(i).join())).size, 300);
  for (const [wide, high, dpr] of [
    [870, 500, 1],
    [360, 210, 2],
    [300, 160, 1],
  ]) {
    const field = fieldIn({ ...box, width: wide, height: high }, VOCABULARY, dpr);
    const windows = new Set();
    for (let id = 0; id < VOCABULARY; id += 7) {
      const [x, y] = field.at(id);
      assert.equal(field.under(x, y), id);
      windows.add(`${x},${y}`);
      assert.ok(x > box.left && x < box.left + wide && y > box.top);
      if (wide * high * dpr * dpr >= 1.2 * VOCABULARY) assert.ok(y < box.top + high + 1);
    }
    assert.equal(windows.size, Math.ceil(VOCABULARY / 7));
    assert.equal(field.under(box.left - 5, box.top), -1);
  }
});

test("a field has a window even where a stage that is being resized leaves less than nothing", () => {
  const field = fieldIn({ left: 0, top: 0, width: 300, height: -40 }, 100, 1);
  assert.ok(field.columns >= 1 && field.rows >= 1);
});

test("ranks on the curve go there and back", () => {
  const box = { left: 10, top: 0, width: 500, height: 100 };
  for (const rank of [1, 2, 40, 1000, VOCABULARY])
    assert.ok(Math.abs(atRank(box, rankAt(box, rank, VOCABULARY), VOCABULARY) - rank) < 1e-6 * rank);
});

test("seats do not move while a run goes on", () => {
  const state = ended();
  const all = capacityOf(state);
  const early = { ...state, tokens: state.tokens.slice(0, state.request.numPromptTokens + 1), closed: null };
  assert.equal(capacityOf(early), all);
  assert.ok(all >= state.tokens.length);
});

test("without the logits the rows are the event's own candidates, and the rest is what is left", () => {
  const state = ended();
  const token = state.tokens.at(-1);
  token.candidates = [
    { id: 1, text: " a", logit: 3, probability: 0.5 },
    { id: 2, text: " b", logit: 2, probability: 0.2 },
  ];
  Object.assign(token, { id: 9, text: " c", probability: 0.05 });
  const scores = scoresOf(state, [], {});
  assert.equal(scores.plain, null);
  const { rows, others } = rowsOf(scores, 8, false);
  assert.deepEqual(
    rows.map(({ id, plain }) => [id, plain]),
    [
      [1, 0.5],
      [2, 0.2],
      [9, 0.05],
    ],
  );
  assert.ok(Math.abs(others.plain - 0.25) < 1e-12);
  assert.equal(others.count, 97);
  token.candidates = [];
  assert.deepEqual(rowsOf(scoresOf(state, [], {}), 8, false).rows, []);
});

/** A packed array of float32. */
function float32(numbers) {
  const bytes = Buffer.alloc(4 * numbers.length);
  numbers.forEach((number, i) => {
    bytes.writeFloatLE(number, 4 * i);
  });
  return { dtype: "float32", shape: [numbers.length], data: bytes.toString("base64"), scale: 1 };
}

test("logits of another run count only where the tokens before are the same", () => {
  const state = ended();
  const place = state.tokens.length - 1;
  const logits = float32(Array.from({ length: 100 }, (_, i) => i / 10));
  const look = { ...ended(), probes: { logits: new Map([[place - 1, { position: place - 1, logits }]]) } };
  assert.equal(logitsAt(state, [null, look], place).length, 100);
  look.tokens = look.tokens.map((token, i) => (i === 2 ? { ...token, id: token.id + 1 } : token));
  assert.equal(logitsAt(state, [look], place), null);
});

test("the coin of the log is told where it must have been this one, and only there", () => {
  const state = ended();
  const token = state.tokens.at(-1);
  const turn = token.position - state.request.numPromptTokens;
  const logits = Float32Array.from({ length: 100 }, (_, i) => (i * 37) % 11);
  const shaped = reshape(logits, { ...PLAIN, top_p: 0.9 }, []);
  const uniform = uniforms(3, turn + 1)[turn];
  const fell = drawAt(shaped.mass, uniform);
  token.id = shaped.ids[fell];
  assert.equal(coinOf(state, token, shaped).uniform, uniform);
  const { from, to } = coinOf(state, token, shaped);
  assert.ok(from <= uniform && uniform < to);
  state.opened.params.seed = null;
  assert.equal(coinOf(state, token, shaped).uniform, null);
  state.opened.params.seed = 3;
  state.tokens.at(-2).origin = "recovered"; // a drafter's coins came between
  assert.equal(coinOf(state, token, shaped).uniform, null);
  state.tokens.at(-2).origin = "target";
  token.id = shaped.ids[fell + 1];
  assert.equal(coinOf(state, token, shaped).uniform, null);
  token.id = shaped.ids[99];
  assert.equal(coinOf(state, token, shaped), null, "it was cut");
});

test("the crossroads is the first close call some way in, else the closest", () => {
  const token = (i, second, text) => ({
    position: i,
    id: 0,
    candidates: [
      { id: 0, text: " x", probability: 0.5 },
      { id: 1, text, probability: second },
    ],
  });
  const answer = Array.from({ length: 12 }, (_, i) => token(i, i === 3 ? 0.4 : 0.1, " word"));
  assert.equal(crossroads(answer).position, 3);
  answer[9] = token(9, 0.3, ".");
  answer[10] = token(10, 0.25, " basil");
  assert.equal(crossroads(answer).position, 10);
  assert.equal(crossroads([]), null);
});

test("a choice is the runner-up, or the candidate that was picked, at any place", () => {
  const state = ended();
  const start = state.request.numPromptTokens;
  state.tokens.slice(start).forEach((token) => {
    token.id = 4;
    token.candidates = [3, 4, 5].map((id) => ({ id, text: ` w${id}`, logit: 0, probability: 0.3 }));
  });
  assert.equal(choiceOf(state, {}).other.id, 3);
  assert.equal(choiceOf(state, { loop_pick: 3 }).other.id, 5);
  assert.equal(choiceOf(state, { loop_pick: 2 }).other.id, 3, "what was drawn is no other");
  assert.equal(choiceOf(state, { loop_place: 100 }).place, state.tokens.length - 1);
  assert.equal(choiceOf({ ...state, tokens: state.tokens.slice(0, start) }, {}), null);
});
