import assert from "node:assert/strict";
import { test } from "node:test";
import { turnWords } from "../../static/js/scenes/batch_curves.js";
import { across, boardsOf, seatedTokens, xOf, yOf } from "../../static/js/scenes/seat_boards.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import { cheapest, cornerOf, costOf, sizesOf } from "../../static/js/state/batch_sizes.js";
import { createState } from "../../static/js/state/create.js";
import { raceSeconds, seatsOf, slotsOf } from "../../static/js/state/seats.js";
import { makeLog } from "./support/logs.js";
import { seeded } from "./support/random.js";

const OWN = "run-1";

/**
 * A log of steps told by who sits where: `plan[i][slot]` is a name or "" for an empty slot, "NAME!" where it prefills
 * its three tokens. Steps take `seconds(i)`.
 */
function logOf(plan, { waiting = () => 0, seconds = () => 0.5, saidIdle = true, policy = "static" } = {}) {
  const events = [];
  let t = 0;
  const say = (type, fields) => events.push({ type, seq: events.length + 1, t, ...fields });
  const slots = plan[0]?.length ?? 2;
  say("log.opened", {
    run_id: OWN,
    source: "recorded",
    model: null,
    hardware: { peak_flops: 1000, memory_bandwidth: 10 },
    engine: { max_num_seqs: slots, max_num_batched_tokens: 64, policy },
    provides: [],
  });
  say("snapshot", { request_id: OWN, requests: [], num_blocks: 0, num_free_blocks: 0, cached_block_ids: [] });
  say("request.tokenized", {
    request_id: OWN,
    sample: 0,
    token_ids: [1, 2, 3],
    pieces: ["a", "b", "c"],
    own: [],
    seconds: 0,
  });
  say("request.admitted", { request_id: OWN, sample: 0, slot: 0, num_tokens: 3, cached_tokens: 0, queue_seconds: 0 });
  const computed = new Map();
  plan.forEach((row, i) => {
    const requests = row.flatMap((who, slot) => {
      if (!who) return [];
      const [name, prefills] = [who.replace("!", ""), who.endsWith("!")];
      const start = computed.get(name) ?? 0;
      const stop = start + (prefills ? 3 : 1);
      computed.set(name, stop);
      return [{ request_id: name, sample: 0, slot, phase: prefills ? "prefill" : "decode", start, stop }];
    });
    const phase = requests.some((item) => item.phase === "prefill") ? "prefill" : "decode";
    const idle = saidIdle ? { num_idle_slots: slots - requests.length } : {};
    say("step.started", { step: i + 1, phase, requests, num_tokens: 1, num_waiting: waiting(i), ...idle });
    t += seconds(i);
    say("step.finished", {
      step: i + 1,
      seconds: seconds(i),
      num_tokens: 1,
      flops: 200 * requests.length,
      weight_bytes: 50,
    });
    if (row.some((who) => who.startsWith(OWN)))
      say("token.sampled", {
        request_id: OWN,
        sample: 0,
        position: computed.get(OWN),
        id: 9,
        text: "d",
        logprob: -1,
        candidates: [],
        rest: 0,
        origin: "target",
        step: i + 1,
      });
  });
  say("log.closed", { reason: "finished", totals: {} });
  return events;
}

function stateOf(events) {
  const state = createState();
  applyUpTo(state, events, events.length);
  return state;
}

const PLAN = [
  [`${OWN}!`, "guest-1!"],
  [OWN, "guest-1"],
  [OWN, ""],
  [OWN, ""],
  ["guest-2!", ""],
  ["guest-2", ""],
];

test("seats are counted by hand: who sat where, what was dark, and for whom it mattered", () => {
  const seats = seatsOf(stateOf(logOf(PLAN, { waiting: (i) => (i < 4 ? 1 : 0) })));
  assert.equal(seats.slots, 2);
  assert.deepEqual([seats.total, seats.idle, seats.wanted], [12, 4, 2]);
  assert.deepEqual(
    seats.sittings.map(({ guest, own, slot, steps, read, written }) => ({ guest, own, slot, steps, read, written })),
    [
      { guest: "", own: true, slot: 0, steps: 4, read: 3, written: 3 },
      { guest: "1", own: false, slot: 1, steps: 2, read: 3, written: 1 },
      { guest: "2", own: false, slot: 0, steps: 2, read: 3, written: 1 },
    ],
  );
  assert.deepEqual(seats.gaps, [
    { slot: 1, from: 2, to: 3, wanted: true },
    { slot: 1, from: 4, to: 5, wanted: false },
  ]);
});

test("a log that does not say how many slots were idle is counted from its shares", () => {
  const said = seatsOf(stateOf(logOf(PLAN)));
  const counted = seatsOf(stateOf(logOf(PLAN, { saidIdle: false })));
  assert.deepEqual([counted.total, counted.idle], [said.total, said.idle]);
});

test("what is drawn dark is what is counted, in any log", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seeded(seed);
    const slots = random.int(1, 6);
    const plan = Array.from({ length: random.int(1, 60) }, () =>
      Array.from({ length: slots }, (_, slot) => (random.next() < 0.6 ? `guest-${10 * slot + random.int(1, 3)}` : "")),
    );
    const seats = seatsOf(stateOf(logOf(plan, { waiting: () => random.int(0, 2) })));
    const length = (gaps) => gaps.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    assert.equal(length(seats.gaps), seats.idle, `seed ${seed}`);
    assert.equal(length(seats.gaps.filter(({ wanted }) => wanted)), seats.wanted);
    assert.equal(seats.idle, plan.flat().filter((who) => !who).length);
    const sat = seats.sittings.reduce((sum, { steps }) => sum + steps, 0);
    assert.equal(sat + seats.idle, seats.total);
  }
});

test("ordinary logs have seats at every moment, without an engine card too", () => {
  const { events } = makeLog({ seed: 3, preempt: true });
  const bare = events.map((event) => (event.type === "log.opened" ? { ...event, engine: null } : event));
  for (const log of [events, bare]) {
    const state = createState();
    for (let seq = 0; seq <= log.length; seq += 7) {
      applyUpTo(state, log, seq);
      const seats = seatsOf(state);
      assert.equal(seats.total, slotsOf(state) * state.steps.length);
      assert.ok(seats.idle <= seats.total && seats.wanted <= seats.idle);
    }
  }
});

const AREA = { left: 400, top: 0, width: 1000, height: 780, narrow: false, reach: 0.5, floor: 700, words: 740 };
const PHONE = { left: 0, top: 0, width: 390, height: 388, narrow: true, reach: 0.5, floor: 380, words: 388 };

test("boards share one clock and stay in the room, on a phone too", () => {
  const slow = stateOf(logOf(PLAN));
  const fast = stateOf(logOf(PLAN.slice(0, 3), { policy: "continuous" }));
  for (const area of [AREA, PHONE]) {
    const boards = boardsOf([slow, fast], area);
    assert.equal(boards[0].scale, boards[1].scale);
    assert.equal(xOf(boards[0], 1), xOf(boards[1], 1), "both were admitted at nought");
    assert.equal(raceSeconds(slow), 3);
    assert.ok(Math.abs(xOf(boards[0], 3) - boards[0].left - boards[0].width) < 1e-9, "the slower one ends at the edge");
    for (const board of boards) {
      assert.ok(board.left >= area.left && board.left + board.width <= area.left + area.width);
      assert.ok(board.top >= 0 && yOf(board, board.seats.slots) < area.height);
    }
    assert.ok(yOf(boards[0], 2) < boards[1].top, "one above the other");
  }
});

test("every token sits in the cell of the step that computed it", () => {
  const state = stateOf(logOf(PLAN));
  for (const area of [AREA, PHONE]) {
    const [board] = boardsOf([state], area);
    const places = seatedTokens(board);
    assert.equal(places.length, 3 * state.tokens.length);
    for (const [i, step] of board.seats.steps.entries()) {
      const [left, width] = across(board, i, i);
      for (let k = step.ownStart ?? 0; k < (step.ownStop ?? 0); k++) {
        const [x, y, r] = places.subarray(3 * k, 3 * k + 3);
        assert.ok(x >= left && x <= left + width, `token ${k}`);
        assert.ok(y >= yOf(board, 0) && y <= yOf(board, 0) + board.row);
        assert.ok(r > 0);
      }
    }
    const last = places.subarray(-3);
    assert.ok(last[2] > 0 && last[0] < area.left + area.width, "the newest word is beside the last");
  }
});

test("a prompt that waits stands before its row, inside the room, however long it is", () => {
  for (const many of [1, 39, 2000]) {
    const state = createState();
    const events = logOf([]);
    events[2] = { ...events[2], token_ids: Array(many).fill(1), pieces: Array(many).fill("a") };
    applyUpTo(state, events, 4);
    for (const area of [AREA, PHONE]) {
      const [board] = boardsOf([state], area);
      const places = seatedTokens(board);
      for (let k = 0; k < many; k++) {
        assert.ok(places[3 * k] >= area.left && places[3 * k] < board.left, `${places[3 * k]} of ${many}`);
        assert.ok(places[3 * k + 1] > 0 && places[3 * k + 1] < area.height);
      }
    }
  }
});

/** A crowd of four that leaves one by one; a step takes 0.1 s and 0.02 s for each who sits. */
const CROWD = [
  [`${OWN}!`, "guest-1!", "guest-2!", "guest-3!"],
  ...Array(4).fill([OWN, "guest-1", "guest-2", "guest-3"]),
  ...Array(3).fill([OWN, "guest-1", "guest-2", ""]),
  ...Array(3).fill([OWN, "", "guest-2", ""]),
  ...Array(5).fill([OWN, "", "", ""]),
];
const crowd = () => stateOf(logOf(CROWD, { seconds: (i) => 0.1 + 0.02 * CROWD[i].filter(Boolean).length }));

test("decode steps are grouped by how many they wrote for; a prompt's step is in no group", () => {
  const sizes = sizesOf(crowd());
  assert.deepEqual(
    sizes.map(({ size, steps }) => [size, steps]),
    [
      [1, 5],
      [2, 3],
      [3, 3],
      [4, 4],
    ],
  );
  for (const { size, seconds, rate } of sizes) {
    assert.ok(Math.abs(seconds - (0.1 + 0.02 * size)) < 1e-12);
    assert.ok(Math.abs(rate - size / seconds) < 1e-9);
  }
});

test("a million tokens cost what the hand says", () => {
  assert.ok(Math.abs(costOf(0.36, 4, { machine: 2, waiting: 0 }) - 50) < 1e-9);
  assert.ok(Math.abs(costOf(0.36, 4, { machine: 2, waiting: 1 }) - 150) < 1e-9);
});

test("the curve turns only where waiting has a price, and says so", () => {
  const sizes = sizesOf(crowd());
  const free = cheapest(sizes, { machine: 1, waiting: 0 });
  assert.equal(free?.size, 4);
  assert.match(turnWords(sizes, free), /still falling at 4/);
  const dear = cheapest(sizes, { machine: 1, waiting: 2 });
  assert.equal(dear?.size, 2, "0.12 x 3, 0.14 x 2.5, 0.16 x 2.33, 0.18 x 2.25");
  assert.match(turnWords(sizes, dear), /least at 2/);
  assert.equal(cheapest([], { machine: 1, waiting: 0 }), null);
});

test("the corner is where reading the weights takes as long as multiplying by them", () => {
  // 50 bytes at 10 a second are 5 seconds; a sequence's 200 FLOPs at 1000 a second are 0.2.
  assert.equal(cornerOf(crowd()), 25);
});
