// Thousands of spoilt logs through the file opener, the reducer and every room: what cannot be shown is refused in
// words, what is let in stands, nothing hangs, and no name in a file reaches `Object.prototype`.
//
//   node --test tests/js/fuzz_logs.test.js                  a few hundred
//   FUZZ=10000 node --test tests/js/fuzz_logs.test.js       all of them; FUZZ_SEED begins elsewhere

import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import zlib from "node:zlib";
import { EventLog } from "../../static/js/log/log.js";
import { openFile } from "../../static/js/log/opened_file.js";
import { Player } from "../../static/js/log/player.js";
import { SCENES } from "../../static/js/scenes/index.js";
import { viewAtRest } from "../../static/js/stage/view.js";
import { FACT_KEYS, facts } from "../../static/js/state/facts.js";
import { stateHash } from "../../static/js/state/hash.js";
import { calls, installStage } from "./support/canvas.js";
import { makeLog } from "./support/logs.js";
import { spoilt } from "./support/mutate.js";
import { seeded } from "./support/random.js";

const COUNT = Number(process.env.FUZZ ?? 300);
const SEED = Number(process.env.FUZZ_SEED ?? 1);
/** For one log: reading it, and every room's picture of three moments. The machine may be busy. */
const MOST_MS = 15_000;
const MOST_CALLS = 400_000;
const NONSENSE = /\b(NaN|undefined|Infinity|\[object)\b/;

const read = (url) => zlib.gunzipSync(fs.readFileSync(url)).toString().trim().split("\n").map(JSON.parse);
const RECORDINGS = new URL("../../static/recordings/", import.meta.url);
const SMALL = Array.from({ length: 12 }, (_, i) => makeLog({ seed: i + 1, preempt: i % 3 === 0 }).events);
// A large probe teaches a fuzzer little and costs it much.
const REAL = fs
  .readdirSync(RECORDINGS)
  .filter((name) => fs.statSync(new URL(name, RECORDINGS)).size < 62_000)
  .map((name) => read(new URL(name, RECORDINGS)).slice(0, 260));

const node = installStage();
const colours = ["ground", "panel", "line", "ink", "muted", "prefill", "decode", "draft", "accepted", "rejected"];
const palette = { css: {}, rgb: {} };
for (const name of [...colours, "shared", "idle"]) {
  palette.css[name] = "#808080";
  palette.rgb[name] = [128, 128, 128];
}

/** Rooms, each with what its steps say of the view. */
async function rooms() {
  const made = [];
  const chapters = new URL("../../templates/chapters/", import.meta.url);
  for (const [slug, offer] of Object.entries(SCENES)) {
    const scene = typeof offer === "function" ? (await offer()).default : offer;
    const file = fs.readdirSync(chapters).find((name) => name.endsWith(`_${slug.replace("-", "_")}.html`));
    const prose = file ? fs.readFileSync(new URL(file, chapters), "utf8") : "";
    const data = [...prose.matchAll(/data-view='([^']*)'/g)].map(([, text]) => JSON.parse(text));
    made.push({ slug, scene, surfaces: scene.mount(node()), data: [{}, ...data] });
  }
  return made;
}

/** The run beside, where two are compared: one of an earlier log. */
let beside = null;

function viewOf(random, room, state) {
  const [width, height] = random.pick([
    [1440, 900],
    [390, 388],
  ]);
  return {
    ...viewAtRest(palette),
    width,
    height,
    reduced: true,
    chapter: room.slug,
    data: random.pick(room.data),
    cast: {
      main: { key: "own", status: "own", words: "", state },
      lanes: room.slug === "compare" ? [{ key: "with", status: "recorded", words: "", state: beside }] : [],
    },
  };
}

/** Everything that a page would ask of the rooms about one moment. */
function show(random, room, state) {
  const view = viewOf(random, room, state);
  const states = [state, ...view.cast.lanes.map((lane) => lane.state)];
  calls.left = MOST_CALLS;
  room.scene.draw(room.surfaces, states, view, state.t);
  const places = room.scene.places(state, view);
  assert.ok(places.every(Number.isFinite), `${room.slug}: a dot that is nowhere`);
  const words = room.scene.describe(state, view, states);
  assert.equal(typeof words, "string");
  const table = room.scene.table(state, view, states);
  for (const row of table.rows) assert.equal(row.length, table.columns.length, `${room.slug}: a row of its table`);
  room.scene.hit(random.int(0, view.width), random.int(0, view.height), state, view);
  for (const key of FACT_KEYS) facts(state, key);
  for (const key of Object.keys(room.scene.facts ?? {})) facts(state, key, room.scene.facts);
  for (const body of Object.values(room.scene.takes ?? {})) JSON.stringify(body(state, {}));
  if (random.next() < 0.2) beside = state;
  return words;
}

function play(random, all, opened) {
  const log = new EventLog();
  log.appendAll(opened.events);
  assert.equal(log.seq, opened.events.length, "the page's log takes what the opener gave");
  log.finish();
  const player = new Player(log, "recording");
  for (const seq of [log.seq, random.int(0, log.seq + 1), random.int(0, log.seq + 1)]) {
    player.seek(seq);
    stateHash(player.state);
    for (const room of all) {
      try {
        const words = show(random, room, player.state);
        assert.ok(!NONSENSE.test(words), `${room.slug} says: ${words}`);
      } catch (error) {
        error.stack = `${room.slug}, event ${seq}: ${error.stack}`;
        throw error;
      }
    }
  }
}

test(`${COUNT} spoilt logs are refused in words or shown`, async (context) => {
  const all = await rooms();
  const own = (object) => Reflect.ownKeys(object).map(String).join();
  const before = [Object.prototype, Array.prototype, Function.prototype].map(own);
  const counts = { refused: 0, shown: 0, cut: 0 };
  const said = new Map();
  /** What went wrong first of each kind. @type {Map<string, string>} */
  const failures = new Map();
  const fail = (seed, error) => {
    const kind = error.message.replace(/\d+/g, "#").slice(0, 90);
    if (!failures.has(kind)) failures.set(kind, `log ${seed}: ${error.stack.slice(0, 900)}`);
  };
  for (let i = 0; i < COUNT; i++) {
    const seed = SEED * 1_000_003 + i;
    const random = seeded(seed);
    const bytes = spoilt(random, random.pick(random.next() < 0.75 ? SMALL : REAL));
    const began = performance.now();
    try {
      const opened = await openFile(new File([bytes], random.pick(["run.jsonl.gz", "<b>\u202Egz.jsonl", ""])));
      play(random, all, opened);
      counts[opened.cut ? "cut" : "shown"] += 1;
    } catch (error) {
      if (error.constructor.name !== "Refusal" || /cannot read it/.test(error.message)) {
        fail(seed, error);
        continue;
      }
      assert.ok(!/[\u202A-\u202E]/.test(error.message));
      counts.refused += 1;
      const why = error.message.replace(/^.*?(Line \d+|run)[.:] ?/, "").replace(/\d+/g, "#");
      said.set(why, (said.get(why) ?? 0) + 1);
    }
    const took = performance.now() - began;
    if (took > MOST_MS) fail(seed, new Error(`it took ${Math.round(took)} ms`));
  }
  context.diagnostic(`${JSON.stringify(counts)}, ${said.size} different sentences`);
  assert.equal(failures.size, 0, [...failures.values()].slice(0, 12).join("\n\n"));
  assert.deepEqual([Object.prototype, Array.prototype, Function.prototype].map(own), before);
  assert.equal(globalThis.spoilt, undefined);
  assert.equal(/** @type {any} */ ({}).spoilt, undefined);
  assert.ok(counts.refused > COUNT / 8 && counts.shown + counts.cut > COUNT / 8, "both ways are taken");
});

/** A log of one line after another that says much: small when packed, and every number in it is in its range. */
function burst(...lines) {
  const [first] = read(new URL("tomato-soup.jsonl.gz", RECORDINGS));
  first.engine.num_blocks = 2 ** 17;
  const events = [first, ...lines.map((line) => ({ t: first.t, request_id: first.run_id, ...line }))];
  return zlib.gzipSync(events.map((event, i) => JSON.stringify({ ...event, seq: i + 1 })).join("\n"), { level: 1 });
}

const many = (length, of) => Array.from({ length }, (_, i) => of(i));
const allocated = (block_ids) => ({ type: "block.allocated", block_ids, start: 0 });
const released = (...block_ids) => ({
  type: "block.released",
  block_ids,
  ref_counts: block_ids.map(() => 0),
  cached: block_ids.map(() => false),
});
const BURSTS = {
  "a prompt with as many parts as a list takes": () => [
    {
      type: "request.tokenized",
      token_ids: many(2 ** 16, () => 1),
      pieces: many(2 ** 16, () => "a"),
      own: many(2 ** 18, () => [0, 0]),
      seconds: 0,
    },
  ],
  "the largest table, let go and written over": () => {
    const [table, last] = [many(2 ** 17, (id) => id), 2 ** 17 - 1];
    return [allocated(table), released(last), allocated(table.toReversed()), allocated(many(2 ** 17, () => last))];
  },
  "a table of one block as often as a list takes": () => {
    const table = many(2 ** 18, () => 1);
    return [allocated(table), released(0), allocated(many(2 ** 18, () => 2))];
  },
  "a block that is let go again and again": () => [
    allocated(many(2 ** 17, () => 1)),
    ...many(20_000, () => released(0)),
  ],
  "a table that is let go block by block": () => [
    allocated(many(2 ** 17, (id) => id)),
    ...many(20_000, (id) => released(id)),
  ],
  "as many shorter tables as are taken": () =>
    many(500, (i) => (i % 2 ? released(0) : allocated(many(2 ** 14, (id) => id)))),
  "a text of fillings": () => [
    {
      type: "probe.logits",
      position: 0,
      logits: { dtype: "uint8", shape: [3], data: `${"=".repeat(4e6)}AAA`, scale: 1 },
    },
  ],
};
/** For each of them, on a busy machine; an event that takes the square of its size takes many times this. */
const BURST_MS = 5000;

for (const [name, lines] of Object.entries(BURSTS))
  test(`${name}: refused or read, and at once`, async () => {
    const bytes = burst(...lines());
    const began = performance.now();
    const opened = await openFile(new File([bytes], "run.jsonl.gz")).catch((error) => {
      assert.equal(error.constructor.name, "Refusal", error.stack);
      assert.doesNotMatch(error.message, /cannot read it/);
      return null;
    });
    if (opened) {
      const log = new EventLog();
      log.appendAll(opened.events);
      new Player(log, "recording").seek(log.seq);
    }
    const took = performance.now() - began;
    assert.ok(took < BURST_MS, `it took ${Math.round(took)} ms`);
  });
