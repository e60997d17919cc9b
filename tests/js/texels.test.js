import assert from "node:assert/strict";
import { test } from "node:test";
import { Texels } from "../../static/js/scenes/texels.js";
import { mix, pack } from "../../static/js/stage/palette.js";
import { createNorms, percentiles, scaleLength, writeNorms } from "../../static/js/state/norms.js";

const RGB = {
  ground: [11, 13, 18],
  ink: [230, 232, 238],
  prefill: [77, 163, 255],
  decode: [255, 180, 84],
  shared: [82, 200, 180],
  idle: [60, 66, 80],
};
const VIEW = { theme: "dark", palette: { rgb: RGB, css: { prefill: "blue" } } };
const ALL = { layer: -1, head: -1 };
const [LAYERS, HEADS] = [4, 3];
const ROWS = LAYERS * HEADS;

/** Norms that differ from row to row, the first places of the cache unmeasured. */
function stateOf(count, lit, { cached = 0, prompt = 20, norms = createNorms() } = {}) {
  Object.assign(norms, { layers: LAYERS, heads: HEADS });
  const from = Math.max(norms.length, cached);
  if (lit > from) {
    const values = new Float32Array(ROWS * (lit - from));
    for (let row = 0; row < ROWS; row++)
      for (let i = from; i < lit; i++)
        values[row * (lit - from) + i - from] = 3 + row + 4 * Math.abs(Math.sin(i * (row + 1.7)));
    writeNorms(
      norms,
      from,
      lit,
      values,
      values.map((value) => 9 - value / 3),
    );
  }
  return {
    opened: { run_id: "run" },
    tokens: { length: count },
    cache: { norms, numTokens: lit },
    request: { numPromptTokens: prompt, cachedTokens: cached },
  };
}

/** One texel as the room's words have it: a level of 48 between the row's own percentiles. */
function expected(state, which, column, line, raw = 0) {
  const { norms, numTokens } = state.cache;
  const { numPromptTokens: prompt, cachedTokens: cached } = state.request;
  if (column >= numTokens) return pack(mix(RGB.ground, RGB.idle, 0.3).map(Math.round));
  const { low, high } = percentiles(norms, which, scaleLength(norms.length));
  const norm = norms[which][line * norms.capacity + column];
  const clamp = (value) => Math.min(47, Math.max(0, value));
  const own = clamp((47 * (norm - low[line])) / (high[line] - low[line]));
  const mixed = (1 - raw) * own + raw * clamp((47 * norm) / Math.max(...high));
  const level = Number.isNaN(norm) ? Math.floor(0.45 * 48) : Math.floor(mixed + 1e-9);
  const hue = RGB[column < cached ? "shared" : column < prompt ? "prefill" : "decode"];
  const v = level / 47;
  const glare = Math.min(1, Math.max(0, (v - 0.82) / 0.18));
  const body = mix(RGB.ground, hue, 0.07 + 0.93 * v ** 1.5);
  return pack(mix(body, RGB.ink, 0.22 * glare * glare * (3 - 2 * glare)).map(Math.round));
}

function check(texels, state, raw = 0) {
  let wrong = 0;
  for (const [wall, which] of ["keys", "values"].entries()) {
    const { words, columns, painted } = texels.walls[wall];
    assert.equal(painted, state.tokens.length);
    for (let line = 0; line < ROWS; line++)
      for (let column = 0; column < painted; column++) {
        const word = words[(ROWS - 1 - line) * columns + column];
        if (word !== expected(state, which, column, line, raw)) wrong += 1;
      }
  }
  assert.ok(wrong <= 0.002 * 2 * ROWS * state.tokens.length, `${wrong} texels are of another colour`);
}

test("texels are the norms between their row's percentiles, in the colour of what wrote them", () => {
  const texels = new Texels();
  texels.paint(stateOf(90, 90, { cached: 8, prompt: 40 }), VIEW, ALL, 0);
  check(texels, stateOf(90, 90, { cached: 8, prompt: 40 }));
});

test("one scale for the whole wall, and half way to it", () => {
  const state = stateOf(70, 70);
  for (const raw of [0.5, 1]) {
    const texels = new Texels();
    texels.paint(state, VIEW, ALL, raw);
    check(texels, state, raw);
  }
});

test("what grew token by token, went back and came again is what is painted at once", () => {
  const norms = createNorms();
  const texels = new Texels();
  const names = new Set();
  for (const count of [21, 22, 30, 47, 64, 65, 130, 129, 131]) {
    const state = stateOf(count + 1, count, { norms });
    norms.length = Math.max(norms.length, count);
    names.add(texels.paint(state, VIEW, ALL, 0));
    const fresh = new Texels();
    fresh.paint(state, VIEW, ALL, 0);
    for (const [grid, other] of [...texels.walls, texels.floor].map((g, i) => [g, [...fresh.walls, fresh.floor][i]])) {
      assert.deepEqual([grid.columns, grid.rows, grid.painted], [other.columns, other.rows, other.painted]);
      assert.deepEqual(grid.words, other.words, `at ${count}`);
    }
    assert.equal(texels.paint(state, VIEW, ALL, 0), fresh.paint(state, VIEW, ALL, 0));
  }
  assert.equal(names.size, 9);
});

test("a row out of focus is dimmer, and the floor keeps its light", () => {
  const state = stateOf(60, 60);
  const [all, one] = [new Texels(), new Texels()];
  all.paint(state, VIEW, ALL, 0);
  one.paint(state, VIEW, { layer: 2, head: 1 }, 0);
  const bright = (word) => (word & 255) + ((word >> 8) & 255) + ((word >> 16) & 255);
  const sum = ({ walls: [grid] }, line) => {
    let total = 0;
    for (let column = 0; column < 60; column++) total += bright(grid.words[(ROWS - 1 - line) * grid.columns + column]);
    return total;
  };
  for (let line = 0; line < ROWS; line++) {
    if (line === 2 * HEADS + 1) assert.equal(sum(one, line), sum(all, line));
    else assert.ok(sum(one, line) < 0.6 * sum(all, line));
  }
  assert.deepEqual(one.floor.words, all.floor.words);
});
