import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import zlib from "node:zlib";
import { EventLog } from "../../static/js/log/log.js";
import { Player } from "../../static/js/log/player.js";
import { prefillWords } from "../../static/js/scenes/step_labels.js";
import { measure } from "../../static/js/scenes/step_shapes.js";
import { apply, applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { FACT_KEYS, facts } from "../../static/js/state/facts.js";
import { stateHash } from "../../static/js/state/hash.js";
import { makeLog } from "./support/logs.js";
import { seeded } from "./support/random.js";

const RECORDING = new URL("../../static/recordings/tomato-soup.jsonl.gz", import.meta.url);
const SCHEMA_TYPES = fs
  .readFileSync(new URL("../../static/js/types/events.d.ts", import.meta.url), "utf8")
  .split("interface EventByType")[1]
  .match(/"([a-z._]+)":/g)
  .map((text) => text.slice(1, -2));

/** The state after `seq` events, from nothing. */
function stateAt(events, seq = events.length) {
  const state = createState();
  applyUpTo(state, events, seq);
  return state;
}

test("the generated logs hold every event type of the schema", () => {
  const seen = new Set(makeLog({ preempt: true, seed: 5 }).events.map(({ type }) => type));
  assert.deepEqual(
    SCHEMA_TYPES.filter((type) => !seen.has(type)),
    [],
  );
});

test("a step that verifies drafts counts for what it kept of them", () => {
  const made = makeLog({ seed: 3 });
  const last = made.events.findLastIndex(({ type }) => type === "step.started");
  const events = made.events.map((event, i) => {
    if (i !== last) return event;
    const requests = event.requests.map((item) =>
      item.request_id === "run-1" ? { ...item, phase: "verify", stop: item.stop + 3 } : item,
    );
    return { ...event, phase: "verify", requests };
  });
  const { steps, cache } = stateAt(events);
  assert.equal(steps.at(-1).ownStop, cache.numTokens);
  assert.equal(steps.at(-1).ownStop - steps.at(-1).ownStart, 1);
});

test("a run comes to what it says", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const made = makeLog({ seed });
    const state = stateAt(made.events);
    assert.equal(state.request.status, "finished");
    assert.equal(state.request.numPromptTokens, made.prompt);
    assert.equal(state.tokens.length, made.prompt + made.answer);
    assert.equal(state.interTokenSeconds.length, made.answer - 1);
    assert.equal(state.steps.length, made.steps);
    assert.equal(state.cache.numTokens, made.prompt + made.answer - 1);
    assert.equal(state.cache.bytes, 48 * state.cache.numTokens);
    assert.equal(state.cache.norms.length, state.cache.numTokens);
    assert.equal(
      state.answer,
      state.tokens
        .slice(made.prompt)
        .map(({ text }) => text)
        .join(""),
    );
    assert.ok(state.tokens.every((token, i) => token.position === i));
  }
});

test("each event does its part", () => {
  const made = makeLog({ seed: 7, preempt: true });
  const { events } = made;
  const after = (type, nth = 0) => {
    const matching = events.filter((event) => event.type === type);
    return stateAt(events, matching.at(nth).seq);
  };
  assert.equal(after("log.opened").ownId, "run-1");
  const snapshot = after("snapshot");
  assert.deepEqual([...snapshot.pool.cached], [50, 51]);
  assert.equal(snapshot.others.get("guest-1").slot, 1);
  assert.equal(snapshot.others.get("guest-2").status, "queued");
  assert.equal(snapshot.pool.refCounts.get(60), 1);
  assert.equal(after("request.queued").request.position, 1);
  assert.equal(after("request.queued", 1).request.position, 0);
  const tokenized = after("request.tokenized");
  assert.deepEqual(
    [tokenized.tokens[0].special, tokenized.tokens[0].own, tokenized.tokens[1].own],
    [true, false, true],
  );
  const shared = after("block.shared");
  assert.deepEqual(shared.cache.blockTable, [50]);
  assert.ok(!shared.pool.cached.has(50));
  const admitted = after("request.admitted");
  assert.deepEqual([admitted.request.slot, admitted.cache.numTokens], [0, 4]);
  assert.ok(Number.isNaN(after("probe.kv").cache.norms.keys[0]), "a cached place was not measured");
  const preempted = after("request.preempted");
  assert.deepEqual([preempted.request.status, preempted.cache.numTokens], ["preempted", 0]);
  const released = after("block.released");
  assert.deepEqual(released.cache.blockTable, []);
  assert.ok(released.pool.cached.has(50));
  assert.equal(released.pool.refCounts.size, 4, "two of a guest, two cached");
  assert.equal(after("request.admitted", 1).request.slot, 2);
  assert.equal(stateAt(events).request.cachedTokens, 4, "the first admission counts");
  assert.equal(stateAt(events).cache.norms.revision, 1);
  assert.ok(!after("block.evicted").pool.cached.has(51));
  const copied = after("block.copied");
  assert.deepEqual([copied.cache.blockTable[0], copied.pool.refCounts.get(40)], [40, 1]);
  assert.equal(after("request.finished").others.get("guest-1").status, "finished");
  assert.equal(stateAt(events).closed.reason, "finished");
});

test("what a run left in its blocks is known by their place, from wherever they go", () => {
  const state = createState();
  state.ownId = "run-1";
  let seq = 0;
  const say = (type, body) => apply(state, { type, seq: ++seq, t: 0, request_id: "run-1", ...body });
  const release = (...ids) =>
    say("block.released", { block_ids: ids, ref_counts: ids.map(() => 0), cached: ids.map(() => true) });
  const tables = () => [state.cache.blockTable, state.cache.lastTable];
  say("request.tokenized", {
    token_ids: [1, 2, 3, 4, 5, 6, 7],
    pieces: [..."abcdefg"],
    own: [
      [5, 6],
      [0, 2],
      [1, 3],
      [4, 4],
      [6, 9],
    ],
    seconds: 0,
  });
  assert.deepEqual(
    state.tokens.map(({ own }) => Number(own)),
    [1, 1, 1, 0, 0, 1, 1],
  );
  say("block.allocated", { block_ids: [10, 11, 12, 13], start: 0 });
  release(13);
  assert.deepEqual(tables(), [
    [10, 11, 12],
    [10, 11, 12, 13],
  ]);
  say("block.allocated", { block_ids: [14], start: 3 });
  say("block.allocated", { request_id: "guest-1", block_ids: [13], start: 0 });
  assert.deepEqual(tables(), [
    [10, 11, 12, 14],
    [10, 11, 12, -1],
  ]);
  release(10);
  release(14, 12, 11);
  assert.deepEqual(tables(), [[], [11, 12, 14]]);
  say("block.evicted", { block_id: 12 });
  assert.deepEqual(tables(), [[], [11, -1, 14]]);
});

test("unknown types and fields change nothing but the clock", () => {
  const { events } = makeLog();
  const plain = stateAt(events, 10);
  const state = stateAt(events, 10);
  apply(state, { type: "weather.changed", seq: 11, t: 5, mood: "fine" });
  apply(state, { type: "toString", seq: 12, t: 6 });
  assert.deepEqual([state.seq, state.t], [12, 6]);
  Object.assign(state, { seq: plain.seq, t: plain.t });
  assert.equal(stateHash(state), stateHash(plain));
});

test("apply touches no event", () => {
  const { events } = makeLog({ preempt: true });
  const before = JSON.stringify(events);
  stateAt(events);
  stateAt(events);
  assert.equal(JSON.stringify(events), before);
});

test("live and recorded logs of one run have one hash, whatever the pieces they came in", () => {
  for (let seed = 1; seed <= 10; seed++) {
    const random = seeded(seed);
    const recorded = makeLog({ seed, source: "recorded", preempt: seed % 2 === 0 }).events;
    const expected = stateHash(stateAt(recorded));
    const live = makeLog({ seed, source: "live", preempt: seed % 2 === 0 }).events;
    const log = new EventLog();
    const player = new Player(log, "live");
    player.live();
    let now = 0;
    while (log.seq < live.length) {
      now += 16;
      const from = Math.max(0, log.seq - random.int(0, 5));
      log.appendAll(live.slice(from, log.seq + random.int(1, 9)));
      if (random.next() < 0.7) player.tick(now);
    }
    player.tick(now + 16);
    assert.equal(stateHash(player.state), expected);
  }
});

test("the hash sees every difference", () => {
  const { events } = makeLog();
  const hashes = new Set(events.map((_, i) => stateHash(stateAt(events, i + 1))));
  assert.equal(hashes.size, events.length);
  assert.notEqual(stateHash(stateAt(makeLog({ seed: 1 }).events)), stateHash(stateAt(makeLog({ seed: 2 }).events)));
});

test("seeking anywhere equals a fresh replay", () => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = seeded(100 + seed);
    const { events } = makeLog({ seed, preempt: seed % 2 === 1 });
    const log = new EventLog();
    log.appendAll(events);
    const player = new Player(log, "recording");
    for (let i = 0; i < 25; i++) {
      const seq = random.int(-2, events.length + 3);
      player.seek(seq);
      const bounded = Math.min(Math.max(0, seq), events.length);
      assert.equal(player.seq, bounded);
      assert.equal(stateHash(player.state), stateHash(stateAt(events, bounded)));
    }
  }
});

test("a prompt that took several steps is not said to have gone in at once", () => {
  const { events } = makeLog();
  const state = stateAt(events);
  const own = state.steps.filter((step) => step.ownPhase === "prefill" && step.finishedAt !== null);
  for (const [kept, fact, words] of [
    [own.slice(0, 1), "one sweep", /^[\d,]+ tokens at once$/],
    [[...own, ...own, ...own], `${3 * own.length} sweeps`, new RegExp(`^[\\d,]+ tokens in ${3 * own.length} steps$`)],
  ]) {
    const run = { ...state, steps: kept };
    assert.equal(facts(run, "prefill.steps").text, fact);
    assert.match(prefillWords(measure(run).prefill), words);
  }
  assert.ok(own.length > 0);
});

test("facts are null before they are said, and recorded facts say where they are from", () => {
  const { events } = makeLog({ source: "recorded" });
  assert.ok(FACT_KEYS.every((key) => facts(createState(), key) === null));
  assert.equal(facts(createState(), "toString"), null);
  const state = stateAt(events);
  const ttft = facts(state, "ttft.seconds");
  assert.equal(ttft.provenance, "recorded");
  assert.match(ttft.source, /a machine, 1970-01-01/);
  assert.equal(facts(state, "kv.bytesPerToken").provenance, "modelled");
  assert.equal(facts(stateAt(makeLog().events), "ttft.seconds").provenance, "measured");
  assert.equal(facts(state, "prompt.tokens").value, state.request.numPromptTokens);
  for (const key of FACT_KEYS) {
    const fact = facts(state, key);
    if (fact) assert.ok(!/NaN|undefined|null/.test(fact.text), `${key}: ${fact.text}`);
  }
});

test("the recording that the page opens with folds, closes and fits its size", {
  skip: !fs.existsSync(RECORDING),
}, () => {
  const bytes = fs.readFileSync(RECORDING);
  assert.ok(bytes.length < 300_000, `${bytes.length} bytes`);
  const lines = zlib.gunzipSync(bytes).toString("utf8").trim().split("\n");
  const log = new EventLog();
  assert.deepEqual(log.appendAll(lines.map((line) => JSON.parse(line))), {
    accepted: lines.length,
    gap: false,
    malformed: 0,
  });
  const state = stateAt(log.events);
  assert.equal(state.closed?.reason, "finished");
  assert.ok(state.answer.length > 20);
  assert.equal(state.opened?.source, "recorded");
});

test("what probes show is kept by position, and only this run's", () => {
  const state = createState();
  state.ownId = "me";
  const say = (type, fields) =>
    apply(state, { seq: state.seq + 1, t: 0, type, request_id: "me", sample: 0, ...fields });
  for (const position of [3, 9]) {
    say("probe.logits", { position, logits: {} });
    say("probe.attention", { position, weights: {} });
    say("probe.attention_summary", { position, first: {} });
  }
  say("probe.tiles", { num_tokens: 16 });
  say("probe.tiles", { num_tokens: 99, request_id: "guest-1" });
  say("probe.logits", { position: 4, request_id: "guest-1" });
  assert.deepEqual([...state.probes.logits.keys()], [3, 9]);
  assert.deepEqual([...state.probes.attention.keys()], [3, 9]);
  assert.equal(state.probes.summaries.get(9).type, "probe.attention_summary");
  assert.equal(state.probes.tiles.num_tokens, 16);
});

test("the other samples of a run are told like guests and leave the one on stage alone", () => {
  const { events } = makeLog({ seed: 3 });
  const place = events.findIndex(({ type }) => type === "step.finished") + 1;
  const about = { request_id: "run-1", sample: 1 };
  const sibling = [
    { type: "block.shared", ...about, block_ids: [50, 51], ref_counts: [2, 2], start: 0 },
    { type: "request.admitted", ...about, slot: 5, num_tokens: 8, cached_tokens: 8, queue_seconds: 0 },
    { type: "block.copied", ...about, source_block_id: 51, block_id: 63, index: 1 },
    { type: "kv.written", ...about, start: 8, stop: 9 },
    { ...events.find(({ type }) => type === "token.sampled"), ...about, text: "not on stage" },
    { type: "request.preempted", ...about, slot: 5, num_computed_tokens: 9 },
    { type: "request.finished", ...about, slot: null, reason: "stop", text: "nor this", usage: null },
  ];
  const mixed = [...events.slice(0, place), ...sibling, ...events.slice(place)];
  mixed.forEach((event, i) => {
    mixed[i] = { ...event, seq: i + 1, t: event.t ?? mixed[i - 1].t };
  });
  const plain = stateAt(events);
  const state = stateAt(mixed);
  for (const key of ["request", "answer", "cache"]) assert.deepEqual(state[key], plain[key], key);
  assert.deepEqual(
    state.tokens.map(({ id, text }) => [id, text]),
    plain.tokens.map(({ id, text }) => [id, text]),
  );
  const half = stateAt(mixed, place + 3);
  assert.deepEqual(half.others.get("run-1#1"), {
    slot: 5,
    status: "admitted",
    numTokens: 8,
    numComputedTokens: 8,
    numPreemptions: 0,
    blockTable: [50, 63],
  });
  assert.equal(half.pool.owners.get(63), "run-1#1");
  assert.equal(state.others.get("run-1#1").status, "finished");
  const [one, both] = [events, mixed].map((list) => {
    const log = new EventLog();
    for (const event of list) log.append(event);
    return log.index;
  });
  assert.equal(both.tokens.length, one.tokens.length);
  assert.equal(both.steps.length, one.steps.length);
  assert.ok(both.finished > place + sibling.length);
});
