import assert from "node:assert/strict";
import { test } from "node:test";
import paging from "../../static/js/scenes/paging.js";
import {
  cornerOf,
  gridBetween,
  gridOf,
  nearGridOf,
  pageAt,
  pagesOf,
  seatOf,
} from "../../static/js/scenes/paging_grid.js";
import { wire } from "../../static/js/scenes/paging_rails.js";
import { rowsOf } from "../../static/js/scenes/paging_tables.js";
import { apply, applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import {
  fragmentation,
  lengthsOf,
  sequencesOf,
  tally,
  tellsBlocks,
  wanted,
  wasteOver,
} from "../../static/js/state/paging.js";
import { makeLog } from "./support/logs.js";
import { seeded } from "./support/random.js";

const BOX = { left: 700, top: 150, width: 600, height: 560 };
const POOLS = [
  [1, 16],
  [20, 16],
  [48, 16],
  [128, 4],
  [512, 16],
  [1024, 64],
  [5000, 16],
  [200000, 1],
];

/** A log of blocks, one event after another. */
function played(events, { blockSize = 4, numBlocks = 32, params = {} } = {}) {
  const opening = {
    type: "log.opened",
    schema_version: 1,
    run_id: "own",
    source: "live",
    opened_at: 0,
    model: { num_layers: 1, num_kv_heads: 1, kv_bytes_per_token: 10 },
    engine: { block_size: blockSize, num_blocks: numBlocks, allocator: "paged" },
    params,
    provides: ["blocks"],
  };
  const state = createState();
  for (const [i, event] of [opening, ...events].entries())
    apply(state, { sample: 0, request_id: "own", ...event, seq: i + 1, t: i });
  return state;
}

const tokenized = (many) => ({
  type: "request.tokenized",
  token_ids: Array(many).fill(7),
  pieces: Array(many).fill("a"),
  own: [[0, many]],
  seconds: 0,
});
const taken = (ids, start = 0, more = {}) => ({ type: "block.allocated", block_ids: ids, start, ...more });
const shared = (ids, counts, more) => ({ type: "block.shared", block_ids: ids, ref_counts: counts, start: 0, ...more });
const admitted = (tokens, cached = 0, more = {}) => ({
  type: "request.admitted",
  slot: 0,
  num_tokens: tokens,
  cached_tokens: cached,
  queue_seconds: 0,
  ...more,
});
const written = (stop, more = {}) => ({ type: "kv.written", start: 0, stop, ...more });

const FORK = [
  tokenized(6),
  taken([3, 9]),
  admitted(6),
  written(6),
  shared([3, 9], [2, 2], { sample: 1 }),
  admitted(6, 6, { sample: 1 }),
];

test("pages lie in their box, apart, and are found again at every point of theirs", () => {
  for (const [numBlocks, blockSize] of POOLS) {
    const grid = gridOf(numBlocks, blockSize, BOX);
    assert.ok(grid.columns * grid.rows.length >= numBlocks);
    for (const id of [0, 1, Math.floor(numBlocks / 2), numBlocks - 1].filter((id) => id < numBlocks)) {
      const [x, y] = cornerOf(grid, id);
      assert.ok(x >= BOX.left - 0.01 && x + grid.size <= BOX.left + BOX.width + 0.01, `${numBlocks}: ${x}`);
      assert.ok(y >= BOX.top - 0.01 && y + grid.size <= BOX.top + BOX.height + 0.01, `${numBlocks}: ${y}`);
      assert.equal(pageAt(grid, x + grid.size / 2, y + grid.size / 2), id);
    }
    assert.equal(pageAt(grid, BOX.left - 5, BOX.top), -1);
  }
});

test("places lie inside their page, each at a spot of its own", () => {
  for (const [numBlocks, blockSize] of POOLS) {
    const grid = gridOf(numBlocks, blockSize, BOX);
    const [left, top] = cornerOf(grid, 0);
    const spots = new Set();
    for (let place = 0; place < blockSize; place++) {
      const [x, y] = seatOf(grid, 0, place);
      assert.ok(x > left && x < left + grid.size && y > top && y < top + grid.size, `${numBlocks}, place ${place}`);
      spots.add(`${x.toFixed(3)} ${y.toFixed(3)}`);
    }
    assert.equal(spots.size, blockSize);
  }
});

test("from near every page that is held is drawn, and larger; on the way nothing jumps", () => {
  const held = [0, 200, 201, 202, 260];
  const whole = gridOf(512, 16, BOX);
  const near = nearGridOf(512, 16, BOX, held, 20);
  const drawn = new Set(pagesOf(near));
  assert.ok(held.every((id) => drawn.has(id)));
  assert.ok(near.size > whole.size);
  for (const id of held) {
    const [x, y] = cornerOf(near, id);
    assert.equal(pageAt(near, x + 1, y + 1), id);
    let last = cornerOf(gridBetween(whole, near, 0), id);
    for (let step = 1; step <= 100; step++) {
      const next = cornerOf(gridBetween(whole, near, step / 100), id);
      assert.ok(Math.hypot(next[0] - last[0], next[1] - last[1]) < 12, `page ${id} at ${step} %`);
      last = next;
    }
    assert.deepEqual(last, [x, y]);
  }
});

test("a pool that is held all over is not looked at from near", () => {
  const all = Array.from({ length: 512 }, (_, id) => id);
  assert.deepEqual(nearGridOf(512, 16, BOX, all, 600), gridOf(512, 16, BOX));
});

test("a wire ends on its page and runs outside all pages until then", () => {
  const grid = gridOf(48, 16, BOX);
  const points = wire({ x: 500, y: 300, width: 30, height: 20 }, grid, 17, 3, grid.left - 10);
  const [x, y] = cornerOf(grid, 17);
  assert.deepEqual(points.at(-1), [x + grid.size / 2, y]);
  for (let i = 1; i < points.length - 1; i++) {
    const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
    for (let k = 0; k <= 50; k++) assert.equal(pageAt(grid, x0 + ((x1 - x0) * k) / 50, y0 + ((y1 - y0) * k) / 50), -1);
  }
});

test("a fork shares all pages, and the first write takes a copy", () => {
  const state = played(FORK);
  let counted = tally(state);
  assert.deepEqual([counted.held, counted.shared, counted.places, counted.unused], [2, 2, 8, 2]);
  apply(state, {
    type: "block.copied",
    request_id: "own",
    sample: 0,
    source_block_id: 9,
    block_id: 4,
    index: 1,
    seq: 99,
    t: 9,
  });
  counted = tally(state);
  assert.deepEqual([counted.held, counted.shared, counted.unused], [3, 1, 4]);
  assert.deepEqual(counted.sequences[0].table, [3, 4]);
  assert.deepEqual(state.pool.copies, [{ source: 9, id: 4, index: 1, owner: "own", t: 9 }]);
});

test("what a run let go of stays to be seen until somebody writes over it", () => {
  const released = { type: "block.released", block_ids: [2, 1, 0], ref_counts: [0, 0, 0], cached: [false, true, true] };
  const finished = { type: "request.finished", slot: 0, reason: "stop", stop: null, text: "", usage: null, detail: "" };
  const events = [tokenized(9), taken([0, 1, 2]), admitted(9), written(9), finished, released];
  assert.deepEqual(sequencesOf(played(events))[0].table, [0, 1, 2]);
  const guest = { request_id: "guest-1" };
  const reused = played([...events, { type: "block.evicted", block_id: 0 }, taken([2, 0], 0, guest)]);
  assert.deepEqual(sequencesOf(reused)[0].table, [-1, 1, -1]);
  const { kept, held, free } = tally(reused);
  assert.deepEqual([kept, held, free], [1, 2, 29]);
  const places = paging.places(reused, view());
  assert.deepEqual(
    [0, 4, 8].map((position) => places[3 * position + 2] > 0),
    [false, true, false],
  );
});

test("a request that lost its pages holds what it held until they are let go", () => {
  const preempted = { type: "request.preempted", slot: 0, num_computed_tokens: 9 };
  const sampled = {
    type: "token.sampled",
    position: 9,
    id: 1,
    text: "b",
    logprob: -1,
    candidates: [],
    rest: 0,
    origin: "target",
    step: 1,
  };
  const events = [tokenized(9), taken([0, 1, 2]), admitted(9), written(9), sampled, preempted];
  const state = played(events);
  assert.equal(tally(state).unused, 3);
  assert.equal(wanted(tally(state)), 3);
  assert.ok(paging.places(state, view())[2] > 0);
  const after = played([
    ...events,
    { type: "block.released", block_ids: [2, 1, 0], ref_counts: [0, 0, 0], cached: [false, true, true] },
  ]);
  assert.deepEqual([tally(after).held, tally(after).kept, wanted(tally(after))], [0, 2, 3]);
  assert.match(paging.describe(after, view(), [after]), /Preemptions: 1\./);
});

test("whoever waits for the next page is counted as wanting it", () => {
  const events = [tokenized(4), taken([0]), admitted(4), written(4), { ...taken([1]), request_id: "guest-1" }];
  const state = played([...events, { ...admitted(3), request_id: "guest-1" }]);
  assert.equal(tally(state).held, 2);
  assert.equal(wanted(tally(state)), 3); // ours is full, the guest's is not
});

test("the rest of the last pages is what is empty", () => {
  const random = seeded(4);
  for (let round = 0; round < 200; round++) {
    const lengths = Array.from({ length: random.int(1, 9) }, () => random.int(1, 400));
    const size = random.pick([1, 4, 16, 64]);
    let [pages, empty] = [0, 0];
    for (const length of lengths) {
      let room = 0;
      while (room < length) {
        room += size;
        pages += 1;
      }
      empty += room - length;
    }
    const found = fragmentation(lengths, size);
    assert.deepEqual([found.pages, found.unused], [pages, empty]);
    assert.ok(Math.abs(found.share - empty / (pages * size)) < 1e-12);
  }
  assert.deepEqual(fragmentation([], 16), { pages: 0, unused: 0, share: 0 });
});

test("waste is weighed by bytes and seconds, and unknown where the log does not say", () => {
  const state = createState();
  assert.equal(wasteOver(state), null);
  const step = { seconds: 1, kvHeldBytes: 100, kvUnusedBytes: 50 };
  state.steps = [
    step,
    { ...step, seconds: 3, kvUnusedBytes: 10 },
    { ...step, seconds: null },
    { ...step, kvHeldBytes: null },
  ];
  assert.equal(wasteOver(state), (50 + 30) / 400);
});

function view(more = {}) {
  const cast = { main: { key: "own", status: "own", words: "", state: null }, lanes: [] };
  return { width: 1440, height: 900, dpr: 1, data: {}, controls: {}, cast, ...more };
}

test("every token that stands in the cache is drawn in the place of the page that holds it", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { events } = makeLog({ seed, preempt: seed % 2 === 0 });
    events[0].provides = ["blocks"];
    const state = createState();
    for (let seq = 1; seq <= events.length; seq++) {
      applyUpTo(state, events, seq);
      for (const size of [{}, { width: 390, height: 388 }]) {
        const places = paging.places(state, view(size));
        assert.equal(places.length, 3 * state.tokens.length);
        for (let i = 0; i < places.length; i += 3) {
          assert.ok(places[i] >= 0 && places[i] <= (size.width ?? 1440), `seed ${seed}, seq ${seq}`);
          assert.ok(places[i + 1] >= 0 && places[i + 1] <= (size.height ?? 900), `seed ${seed}, seq ${seq}`);
          assert.ok(Number.isFinite(places[i + 2]));
        }
      }
      const words = paging.describe(state, view(), [state]);
      assert.ok(words.length > 10 && !words.includes("{"), words);
      assert.ok(!words.includes("NaN"), words);
      assert.ok(paging.table(state, view(), [state]).columns.length > 3);
    }
  }
});

test("a source without blocks is said to be one, and its tokens are still there", () => {
  const { events } = makeLog({ seed: 3 });
  const state = createState();
  applyUpTo(state, events, events.length);
  assert.equal(tellsBlocks(state), false);
  assert.match(paging.describe(state, view(), [state]), /does not say/);
  const places = paging.places(state, view());
  assert.ok(places.every((value) => value > 0));
  assert.deepEqual(paging.table(state, view(), [state]).rows, []);
  for (const rule of Object.values(paging.facts)) rule.of(state, { own: state, at: {}, ended: () => undefined });
});

test("tables keep to their box, however long they are", () => {
  for (const many of [1, 5, 40, 400]) {
    const state = played(
      [tokenized(4 * many), taken(Array.from({ length: many }, (_, id) => id)), admitted(4 * many), written(4 * many)],
      { numBlocks: 500 },
    );
    for (const box of [
      { left: 10, top: 50, width: 104, height: 300 },
      { left: 470, top: 86, width: 260, height: 640 },
    ]) {
      for (const { entries } of rowsOf(tally(state), box, box.width < 200)) {
        assert.ok(entries.length > 0);
        for (const { x, y, width, height } of entries) {
          assert.ok(x >= box.left && x + width <= box.left + box.width + 0.5);
          assert.ok(y >= box.top && y + height <= box.top + box.height + 0.5, `${many}: ${y}`);
        }
      }
    }
  }
});

test("the lengths that a page's size is weighed with are those of the sequences that hold pages", () => {
  assert.deepEqual(lengthsOf(tally(played(FORK))), [6, 6]);
});
