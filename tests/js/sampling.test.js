import assert from "node:assert/strict";
import { test } from "node:test";
import { cut, drawAt, PLAIN, ranked, reshape, scored } from "../../static/js/state/sampling.js";
import { uniforms } from "../../static/js/state/twister.js";
import { seeded } from "./support/random.js";

const SIZE = 500;

/** Logits with many equals, as bf16 gives them. */
function logitsOf(seed) {
  const random = seeded(seed);
  return Float32Array.from({ length: SIZE }, () => Math.round(32 * (random.next() * 12 - 6)) / 32);
}

test("the vocabulary is ranked by score, equals by id", () => {
  const scores = logitsOf(1);
  const { ids, scores: sorted } = ranked(scores);
  const expected = [...scores.keys()].sort((a, b) => scores[b] - scores[a] || a - b);
  assert.deepEqual([...ids], expected);
  assert.deepEqual(
    [...sorted],
    expected.map((id) => scores[id]),
  );
});

test("signs, noughts and ends of the floats are in order", () => {
  const scores = Float32Array.of(-0, 3.4e38, -3.4e38, 0, 1e-45, -1e-45, Number.NEGATIVE_INFINITY);
  assert.deepEqual([...ranked(scores).ids], [1, 4, 0, 3, 5, 2, 6]);
});

test("nothing reshaped is the softmax of the logits", () => {
  const logits = logitsOf(2);
  const { ids, mass } = reshape(logits, PLAIN, [1, 2, 3]);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
  assert.equal(mass.length, SIZE);
  for (let i = 0; i < SIZE; i++) assert.ok(Math.abs(mass[i] - Math.exp(logits[ids[i]]) / total) < 1e-12);
});

test("every cut at its end leaves one candidate, and all of them together too", () => {
  const logits = logitsOf(3);
  logits[77] = 9; // no equal
  for (const end of [
    { temperature: 0 },
    { top_k: 1 },
    { top_p: 1e-9 },
    { min_p: 1 },
    { temperature: 0, top_k: 9, min_p: 1 },
  ]) {
    const { ids, mass } = reshape(logits, { ...PLAIN, ...end }, []);
    assert.deepEqual([ids[0], ...mass], [77, 1], JSON.stringify(end));
  }
});

test("what a cut leaves is told cut by cut; equals of the last one stay with it", () => {
  const ranking = ranked(Float32Array.of(3, 2, 2, 2, 1));
  assert.deepEqual(cut(ranking, { ...PLAIN, top_k: 2 }).kept, { topK: 4, topP: 4, minP: 4 });
  const { kept, mass } = cut(ranking, { ...PLAIN, top_k: 2, top_p: 0.7, min_p: 0.5 });
  assert.deepEqual(kept, { topK: 4, topP: 3, minP: 1 });
  assert.deepEqual([...mass], [1]);
});

test("the penalty divides what is positive, multiplies what is not, and counts a token once", () => {
  const found = scored(Float32Array.of(2, -2, 2), { ...PLAIN, repetition_penalty: 2 }, [0, 0, 1, 99]);
  assert.deepEqual([...found], [1, -4, 2]);
});

test("a draw falls on the part of the line that it names, and never on one without mass", () => {
  const mass = Float64Array.of(0.5, 0.25, 0.25, 0);
  for (const [uniform, index] of [
    [0, 0],
    [0.4999, 0],
    [0.5, 1],
    [0.7499, 1],
    [0.75, 2],
    [0.9999999, 2],
    [1, 2],
  ])
    assert.equal(drawAt(mass, uniform), index);
});

test("draws follow the distribution", () => {
  const { mass } = reshape(logitsOf(4), { ...PLAIN, top_k: 5 }, []);
  const counts = new Array(mass.length).fill(0);
  const draws = uniforms(7, 40000);
  for (const draw of draws) counts[drawAt(mass, draw)] += 1;
  mass.forEach((part, i) => {
    assert.ok(Math.abs(counts[i] / draws.length - part) < 4 * Math.sqrt((part * (1 - part)) / draws.length));
  });
});

test("the coins are those of the Mersenne Twister as numpy and torch have it", () => {
  // torch.Generator().manual_seed(0), then torch.rand(1, dtype=torch.float64) twice; the same with seed 2
  assert.deepEqual([...uniforms(0, 2)], [0.9700530018065531, 0.707819864399788]);
  assert.deepEqual([...uniforms(2, 2)], [0.9175606656465919, 0.09691521241229228]);
});
