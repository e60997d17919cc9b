import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog } from "../../static/js/log/log.js";
import { resolve } from "../../static/js/log/moments.js";
import speculation from "../../static/js/scenes/speculation.js";
import { costs } from "../../static/js/scenes/speculation_bill.js";
import { verdictOf } from "../../static/js/scenes/speculation_cards.js";
import { cardRow, gridSeats, laneSeats, raceLanes, scaleOf } from "../../static/js/scenes/speculation_layout.js";
import { flow, proofs, shownProof, tie } from "../../static/js/scenes/speculation_texts.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { acceptance, compare, drafted, numWalks, numWritten, walksOf } from "../../static/js/state/speculation.js";
import { makeLog } from "./support/logs.js";
import { seeded } from "./support/random.js";

const WINDOWS = [
  [390, 388],
  [768, 500],
  [1440, 900],
  [2560, 1440],
];

/** A run that speculates, and what it must come to. */
function speculated({ seed = 1, rounds = 20, k = 4, prompt = 9, ids = null, temperature = 0 } = {}) {
  const random = seeded(seed);
  const { events } = makeLog({ seed });
  const opening = events.slice(0, 2).map((event) => structuredClone(event));
  opening[0].params = { temperature };
  opening[0].engine.drafter = "eagle";
  const log = [...opening];
  let t = opening.at(-1).t;
  const say = (type, fields, own = true) => {
    t += 0.001 + 0.01 * random.next();
    log.push({ type, seq: log.length + 1, t, ...(own ? { request_id: "run-1", sample: 0 } : {}), ...fields });
  };
  const item = (phase, start, stop) => ({ request_id: "run-1", sample: 0, slot: 0, phase, start, stop });
  const oracle = { walks: 0, tokens: 0, places: Array.from({ length: k }, () => ({ kept: 0, judged: 0 })) };
  const token = (step, position, origin) => {
    const id = ids ? ids[oracle.tokens % ids.length] : random.int(0, 90);
    const candidates = [{ id, text: ` w${id}`, logit: 2, probability: 0.5 }];
    say("token.sampled", { position, id, text: ` w${id}`, logprob: -0.7, candidates, rest: 0.5, origin, step });
    oracle.tokens += 1;
  };
  const finish = (step, tokens) => {
    const costs = { flops: 1, weight_bytes: 100, kv_read_bytes: 1, kv_written_bytes: 1, num_tokens: tokens };
    const parts = { schedule_seconds: 0, forward_seconds: 0.01, sample_seconds: 0 };
    say("step.finished", { step, seconds: 0.01, ...parts, ...costs }, false);
    oracle.walks += 1;
  };
  say("request.queued", { position: 0, num_waiting: 1 });
  const pieces = Array.from({ length: prompt }, (_, i) => ` p${i}`);
  say("request.tokenized", { token_ids: pieces.map((_, i) => i), pieces, own: [[0, prompt]], seconds: 0 });
  say("request.admitted", { slot: 0, num_tokens: prompt, cached_tokens: 0, queue_seconds: 0 });
  const start = (step, phase, from, to) =>
    say(
      "step.started",
      { step, phase, requests: [item(phase, from, to)], num_tokens: to - from, num_waiting: 0 },
      false,
    );
  start(1, "prefill", 0, prompt);
  token(1, prompt, "target");
  finish(1, prompt);
  let position = prompt + 1;
  for (let step = 2; step < rounds + 2; step++) {
    const guesses = random.int(1, k + 1);
    const kept = random.int(0, guesses + 1);
    const judged = Math.min(kept + 1, guesses);
    const q = Array.from({ length: guesses }, () => 0.1 + 0.9 * random.next());
    const draft = { step, position, drafter: "eagle", ids: q.map((_, i) => i), texts: q.map((_, i) => ` g${i}`), q };
    say("speculation.drafted", { ...draft, seconds: 0.002 });
    start(step, "verify", position - 1, position + guesses);
    say("speculation.judged", {
      step,
      position,
      p: q.slice(0, judged),
      q: q.slice(0, judged),
      draws: temperature ? q.slice(0, judged).map(() => random.next()) : null,
      num_drafts: guesses,
      num_accepted: kept,
      id: 5,
      text: " own",
      origin: kept < guesses ? "recovered" : "bonus",
      seconds: 0.01,
    });
    for (let place = 0; place < judged; place++) oracle.places[place].judged += 1;
    for (let place = 0; place < kept; place++) oracle.places[place].kept += 1;
    for (let i = 0; i <= kept; i++) token(step, position + i, i < kept ? "draft" : "recovered");
    position += kept + 1;
    say("kv.written", { start: position - kept - 2, stop: position - 1 });
    finish(step, guesses + 1);
  }
  const usage = { prompt_tokens: prompt, cached_tokens: 0, completion_tokens: oracle.tokens };
  say("request.finished", { slot: 0, reason: "length", stop: null, text: "", usage, detail: "", num_samples_left: 0 });
  say(
    "log.closed",
    { reason: "finished", detail: "", totals: { ...usage, num_steps: oracle.walks, seconds: t } },
    false,
  );
  return { events: log, oracle };
}

function stateAt(events, seq = events.length) {
  const state = createState();
  applyUpTo(state, events, seq);
  return state;
}

/** @returns a view of the room with these runs on it */
function viewOf([width, height], data, main, lanes = []) {
  const lane = ([key, state]) => ({ key, state, status: state ? "recorded" : "missing", words: "" });
  const cast = { main: lane(main), lanes: lanes.map(lane) };
  const css = new Proxy({}, { get: () => "#808080" });
  const palette = { css, rgb: new Proxy({}, { get: () => [1, 2, 3] }) };
  return { width, height, dpr: 1, data, controls: {}, cast, palette, theme: "dark", hover: -1 };
}

/** A canvas that takes everything and complains of numbers that are none. */
function paper() {
  const calls = [];
  const context = new Proxy(
    { measureText: (text) => ({ width: 7 * text.length }), canvas: {} },
    {
      get: (target, name) =>
        name in target
          ? target[name]
          : (...numbers) => {
              for (const each of numbers.flat()) if (typeof each === "number") assert.ok(Number.isFinite(each), name);
              calls.push([name, ...numbers]);
            },
      set: () => true,
    },
  );
  return { calls, surfaces: { canvas: { width: 0, height: 0 }, context } };
}

test("walks, tokens and acceptance are those that the log was made with", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { events, oracle } = speculated({ seed });
    const state = stateAt(events);
    assert.equal(numWalks(state), oracle.walks);
    assert.equal(numWritten(state), oracle.tokens);
    const places = acceptance(state.speculation);
    places.forEach((place, i) => {
      assert.deepEqual(place, oracle.places[i]);
    });
    const sum = (key) => oracle.places.reduce((total, place) => total + place[key], 0);
    assert.equal(drafted(state.speculation).kept, sum("kept"));
    assert.equal(drafted(state.speculation).judged, sum("judged"));
    for (const walk of walksOf(state).slice(1)) assert.equal(walk.positions.length, walk.kept + 1);
  }
});

test("a walk counts once it is over, and a guess that nobody has tasted is no rejected one", () => {
  const { events } = speculated();
  const at = events.findIndex(({ type }) => type === "speculation.drafted");
  const before = stateAt(events, at + 1);
  assert.equal(numWalks(before), 1);
  assert.equal(verdictOf(before.speculation[0], 0), "waiting");
  assert.equal(acceptance(before.speculation)[0].judged, 0);
  const judged = stateAt(events, at + 3);
  assert.equal(numWalks(judged), 1);
  assert.notEqual(verdictOf(judged.speculation[0], 0), "waiting");
});

test("the verdicts of a row: kept, then the first rejected, then not tasted", () => {
  const round = { ids: [1, 2, 3, 4], verdict: { kept: 2, judged: 3 } };
  assert.deepEqual(
    [0, 1, 2, 3].map((place) => verdictOf(round, place)),
    ["kept", "kept", "rejected", "untasted"],
  );
  const bonus = { ids: [1, 2], verdict: { kept: 2, judged: 2 } };
  assert.deepEqual(
    [0, 1].map((place) => verdictOf(bonus, place)),
    ["kept", "kept"],
  );
});

test("the moment of the verdict shows a kept and a rejected guess, and that of the draft its guesses", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { events } = speculated({ seed });
    const log = new EventLog();
    log.appendAll(events.slice(0, -1));
    assert.deepEqual(resolve(log, "judged"), { seq: log.seq, reached: false });
    log.appendAll(events.slice(-1));
    const { seq } = resolve(log, "judged");
    const verdict = events[seq - 1];
    assert.equal(verdict.type, "speculation.judged");
    assert.ok(verdict.num_accepted > 0 && verdict.num_accepted < verdict.num_drafts);
    const drafts = events[resolve(log, "drafted").seq - 1];
    assert.deepEqual([drafts.type, drafts.step], ["speculation.drafted", verdict.step]);
  }
  const plain = new EventLog();
  plain.appendAll(makeLog().events);
  assert.ok(resolve(plain, "judged").seq > 0);
});

test("two answers are equal up to the first token that differs, or to the end of the shorter one", () => {
  const same = [stateAt(speculated({ ids: [1, 2, 3] }).events), stateAt(speculated({ ids: [1, 2, 3] }).events)];
  assert.equal(compare(...same).parted, false);
  assert.equal(compare(...same).common, numWritten(same[0]));
  const other = stateAt(speculated({ ids: [1, 2, 3, 4] }).events);
  assert.deepEqual([compare(same[0], other).common, compare(same[0], other).parted], [3, true]);
  const shorter = stateAt(speculated({ ids: [1, 2, 3], rounds: 3 }).events);
  assert.equal(compare(same[0], shorter).common, numWritten(shorter));
  assert.equal(compare(same[0], shorter).parted, true);
});

test("the proof that is shown is one that parts, and it says both scores of both words", () => {
  const a = stateAt(speculated({ ids: [1, 2, 3] }).events);
  const b = stateAt(speculated({ ids: [1, 2, 4] }).events);
  const states = { standard: a, speculative: a, "look-up": b, "standard-fp32": a, "speculative-fp32": a };
  const all = proofs((key) => states[key] ?? null);
  assert.deepEqual(
    all.map(({ key, parted }) => [key, parted]),
    [
      ["speculative-fp32", false],
      ["speculative", false],
      ["look-up", true],
    ],
  );
  assert.equal(shownProof(all).key, "look-up");
  assert.deepEqual(tie(shownProof(all)), [
    { text: "·w3", alone: 2, with: null },
    { text: "·w4", alone: null, with: 2 },
  ]);
  const drawn = stateAt(speculated({ ids: [1, 2, 4], temperature: 0.6 }).events);
  assert.equal(proofs((key) => ({ standard: a, speculative: drawn })[key] ?? null)[0].comparable, false);
});

test("no row of a text is wider than its column, and no token is lost", () => {
  const { tokens } = stateAt(speculated({ rounds: 60 }).events);
  for (const columns of [8, 20, 61]) {
    const rows = flow(tokens, columns);
    assert.equal(rows.flat().length, tokens.length);
    for (const row of rows) for (const { column, text } of row) assert.ok(column + text.length <= columns + 1);
  }
});

test("what a walk costs and brings", () => {
  const beside = stateAt(speculated({ seed: 4 }).events);
  const alone = stateAt(makeLog().events);
  const cost = costs(alone, beside);
  assert.ok(Math.abs(cost.tasting - 0.8) < 1e-9); // steps of 10 ms, of which guessing took 2
  assert.ok(Math.abs(cost.guessing - 0.2) < 1e-9);
  const brought = beside.tokens.length - 9 - 1;
  assert.ok(Math.abs(cost.brings - brought / 20) < 1e-9);
  assert.equal(costs(null, beside), null);
  assert.equal(costs(alone, createState()), null);
});

test("every token of a run has a place inside the stage, in every picture and window", () => {
  const runs = [
    speculated({ rounds: 1, prompt: 1 }),
    speculated({ rounds: 40 }),
    speculated({ rounds: 700, prompt: 300 }),
    makeLog(),
  ];
  for (const { events } of runs) {
    for (const seq of [5, Math.floor(events.length / 2), events.length]) {
      const state = stateAt(events, seq);
      for (const size of WINDOWS) {
        for (const picture of ["walks", "cards", "race", "texts"]) {
          const lanes = [
            ["standard", state],
            ["look-up", null],
          ];
          const view = viewOf(size, { [picture]: 1 }, ["speculative", state], lanes);
          const places = speculation.places(state, view);
          assert.equal(places.length, 3 * state.tokens.length);
          for (let i = 0; i < places.length; i += 3) {
            const [x, y, r] = places.subarray(i, i + 3);
            assert.ok(r >= 0 && r < 20, `${picture} r ${r}`);
            if (r === 0) continue;
            assert.ok(x >= 0 && x <= size[0], `${picture} ${size} x ${x}`);
            assert.ok(y >= 0 && y <= size[1], `${picture} ${size} y ${y}`);
          }
        }
      }
    }
  }
});

test("between two steps the dots sit on the picture that leads, and cross where neither is clear", () => {
  const state = stateAt(speculated({ rounds: 20 }).events);
  const view = (mix) => viewOf([390, 388], mix, ["speculative", state]);
  const [walks, cards] = [{ walks: 1 }, { cards: 1 }].map((mix) => speculation.places(state, view(mix)));
  const at = (share) => speculation.places(state, view({ walks: 1 - share, cards: share }));
  for (const share of [0.1, 0.3, 0.35]) assert.deepEqual(at(share), walks, `${share} of the way`);
  for (const share of [0.65, 0.7, 0.9]) assert.deepEqual(at(share), cards, `${share} of the way`);
  at(0.5).forEach((value, i) => {
    assert.ok(Math.abs(value - (walks[i] + cards[i]) / 2) < 0.01);
  });
});

test("lanes and cards stay apart and inside the stage", () => {
  for (const size of WINDOWS) {
    const view = viewOf(size, {}, ["own", createState()]);
    for (let count = 1; count <= 5; count++) {
      const lanes = raceLanes(view, count);
      lanes.forEach(({ row, lane }, i) => {
        assert.ok(lane.y >= row.y && lane.y + lane.height <= row.y + row.height + 0.01);
        assert.ok(row.y + row.height <= size[1]);
        if (i) assert.ok(row.y >= lanes[i - 1].row.y + lanes[i - 1].row.height - 0.01);
      });
    }
    for (const guesses of [1, 4, 8, 16]) {
      const row = cardRow(view, guesses);
      assert.equal(row.cards.length + row.hidden, guesses);
      assert.ok(row.last.x + row.last.width <= size[0]);
      assert.ok(row.cards.every(({ width }) => width >= 40));
      assert.ok(row.lane.y + row.lane.height <= size[1]);
    }
  }
});

test("a lane is a clock: a token of a later walk stands further right, and one walk's tokens above each other", () => {
  const state = stateAt(speculated({ rounds: 30 }).events);
  const lane = { x: 10, y: 20, width: 800, height: 100 };
  const seats = laneSeats(state, lane, scaleOf([state]));
  for (const walk of walksOf(state)) {
    const at = walk.positions.map((position) => seats.subarray(3 * position, 3 * position + 2));
    for (let i = 1; i < at.length; i++) {
      assert.equal(at[i][0], at[0][0]);
      assert.ok(at[i][1] < at[i - 1][1]);
    }
  }
  const firsts = walksOf(state).map(({ positions }) => seats[3 * positions[0]]);
  for (let i = 1; i < firsts.length; i++) assert.ok(firsts[i] > firsts[i - 1]);
  const grid = gridSeats(state, viewOf([1440, 900], {}, ["own", state]));
  assert.equal(
    new Set(state.tokens.map(({ position }) => `${grid[3 * position]},${grid[3 * position + 1]}`)).size,
    state.tokens.length,
  );
});

test("every picture can be drawn, told and tabled, whatever is missing", () => {
  const whole = stateAt(speculated({ temperature: 0.6 }).events);
  const greedy = stateAt(speculated({ ids: [1, 2, 3] }).events);
  const parts = stateAt(speculated({ ids: [1, 2, 4] }).events);
  const plain = stateAt(makeLog().events);
  const queued = stateAt(makeLog().events, 3);
  const { verdict, ...rest } = whole.speculation[0];
  const torn = { ...whole, seq: whole.seq + 1, speculation: [{ ...rest, verdict: null }] };
  assert.ok(verdict);
  const old = structuredClone({ ...whole, opened: { ...whole.opened, engine: null, model: null, hardware: null } });
  for (const state of [createState(), queued, plain, whole, greedy, torn, old]) {
    const casts = [
      [["own", state], []],
      [
        ["speculative", state],
        [
          ["standard", plain],
          ["look-up", null],
          ["mismatched", parts],
        ],
      ],
      [["speculative", null], [["standard", null]]],
      [
        ["speculative-fp32", state],
        [
          ["standard-fp32", greedy],
          ["standard", parts],
          ["speculative", greedy],
        ],
      ],
    ];
    for (const [main, lanes] of casts) {
      for (const picture of ["walks", "cards", "race", "texts", "bill"]) {
        for (const size of [WINDOWS[0], WINDOWS[2]]) {
          const view = viewOf(size, picture === "bill" ? { walks: 1, bill: 1 } : { [picture]: 1 }, main, lanes);
          const { calls, surfaces } = paper();
          speculation.draw(surfaces, [state], view, 0);
          assert.ok(calls.length > 0);
          assert.ok(speculation.describe(state, view, [state]).length > 0 || state.opened === null, picture);
          const table = speculation.table(state, view, [state]);
          for (const row of table.rows) assert.equal(row.length, table.columns.length);
          speculation.hit(size[0] / 2, 120, state, view);
        }
      }
    }
  }
});

test("the takes are asked for with what the controls say", () => {
  const controls = { speculation_k: 7, speculation_temperature: 0.4 };
  const bodies = Object.fromEntries(
    Object.entries(speculation.takes).map(([key, body]) => [key, body(null, controls)]),
  );
  assert.deepEqual(bodies.standard, { take: "standard", max_tokens: 96, temperature: 0.4 });
  for (const key of ["speculative", "look-up", "mismatched"]) {
    assert.equal(bodies[key].take, key);
    assert.equal(bodies[key].num_speculative_tokens, 7);
    assert.equal(bodies[key].temperature, 0.4);
  }
  assert.equal(bodies["speculative-sampled"].temperature, undefined);
  for (const key of ["standard-fp32", "speculative-fp32"])
    assert.deepEqual([bodies[key].temperature, bodies[key].dtype], [0, "float32"]);
});
