import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeArray, float16 } from "../../static/js/state/arrays.js";
import { createNorms, normAt, percentiles, quantile, scaleLength, writeNorms } from "../../static/js/state/norms.js";
import { seeded } from "./support/random.js";

test("float16, against values known from IEEE 754", () => {
  const known = [
    [0x0000, 0],
    [0x3c00, 1],
    [0xbc00, -1],
    [0x4000, 2],
    [0x3555, 0.333251953125],
    [0x7bff, 65504],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0xfc00, Number.NEGATIVE_INFINITY],
    [0x4248, 3.140625],
  ];
  for (const [bits, value] of known) assert.equal(float16(bits), value, bits.toString(16));
  assert.ok(Number.isNaN(float16(0x7e01)));
  assert.ok(Object.is(float16(0x8000), -0));
});

test("arrays of every type decode, with their scale, once", () => {
  const bytes = { dtype: "uint8", shape: [3], data: Buffer.from([0, 128, 255]).toString("base64"), scale: 0.5 };
  assert.deepEqual([...decodeArray(bytes)], [0, 64, 127.5]);
  assert.equal(decodeArray(bytes), decodeArray(bytes));
  const floats = Buffer.alloc(8);
  floats.writeFloatLE(1.5, 0);
  floats.writeFloatLE(-2, 4);
  assert.deepEqual(
    [...decodeArray({ dtype: "float32", shape: [2], data: floats.toString("base64"), scale: 2 })],
    [3, -4],
  );
});

/** Norms written in pieces, and the same as plain rows. */
function written(seed, rows, length) {
  const random = seeded(seed);
  const plain = Array.from({ length: rows }, () => Array.from({ length }, () => random.next() * 9));
  const norms = { ...createNorms(), layers: 1, heads: rows };
  for (let start = 0; start < length; ) {
    const stop = Math.min(length, start + random.int(1, 70));
    const piece = new Float32Array(plain.flatMap((row) => row.slice(start, stop)));
    writeNorms(norms, start, stop, piece, piece);
    start = stop;
  }
  return { norms, plain };
}

test("rows grow and keep what they had", () => {
  const { norms, plain } = written(1, 3, 500);
  assert.equal(norms.length, 500);
  assert.ok(norms.capacity < 1024 + 1);
  for (let row = 0; row < 3; row++) {
    for (let i = 0; i < 500; i++) assert.equal(normAt(norms, "keys", row, i), Math.fround(plain[row][i]));
  }
  assert.ok(Number.isNaN(normAt(norms, "keys", 0, 500)));
});

/** numpy.percentile's default, spelled out. */
function naive(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = q * (sorted.length - 1);
  const weight = place - Math.floor(place);
  return sorted[Math.floor(place)] * (1 - weight) + sorted[Math.ceil(place)] * weight;
}

test("percentiles equal a naive reference at every length, and are measured once", () => {
  const { norms, plain } = written(2, 4, 1301);
  for (const length of [1, 2, 16, 51, 130, 1301]) {
    const { low, high } = percentiles(norms, "values", length);
    for (let row = 0; row < 4; row++) {
      assert.ok(Math.abs(low[row] - naive(plain[row].slice(0, length), 0.02)) < 1e-5);
      assert.ok(Math.abs(high[row] - naive(plain[row].slice(0, length), 0.98)) < 1e-5);
    }
  }
  assert.equal(percentiles(norms, "values", 51), percentiles(norms, "values", 51));
  assert.ok(Number.isNaN(quantile([], 0.5)));
});

test("a quantile needs no order, and changes none", () => {
  const values = Array.from({ length: 57 }, (_, i) => ((i * 7919) % 13) - 3);
  const copy = [...values];
  for (const q of [0, 0.02, 0.25, 0.5, 0.98, 1])
    assert.ok(Math.abs(quantile(values, q) - naive(values, q)) < 1e-12, `${q}`);
  assert.deepEqual(values, copy);
  assert.equal(quantile([4, 4, 4], 0.5), 4);
});

test("places that nobody measured are no part of a percentile", () => {
  const norms = { ...createNorms(), layers: 1, heads: 1 };
  writeNorms(norms, 3, 5, new Float32Array([1, 3]), new Float32Array([1, 3]));
  assert.ok(Number.isNaN(normAt(norms, "keys", 0, 2)));
  assert.equal(percentiles(norms, "keys").high[0], Math.fround(quantile([1, 3], 0.98)));
});

test("writing again over what stands is told, and forgets old percentiles", () => {
  const { norms } = written(3, 1, 20);
  const before = percentiles(norms, "keys", 20);
  writeNorms(norms, 0, 20, new Float32Array(20).fill(5), new Float32Array(20).fill(5));
  assert.equal(norms.revision, 1);
  assert.notEqual(percentiles(norms, "keys", 20), before);
  assert.equal(percentiles(norms, "keys", 20).low[0], 5);
});

test("the length to scale by changes seldom and never runs ahead", () => {
  const seen = new Set();
  for (let length = 1; length <= 4096; length++) {
    const scaled = scaleLength(length);
    assert.ok(scaled <= length && (length <= 16 || scaled >= 16));
    if (length > 16) seen.add(scaled);
  }
  assert.ok(seen.size < 64, `${seen.size} scales`);
});
