import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import zlib from "node:zlib";
import { checkEvent, Refusal } from "../../static/js/log/event_check.js";
import { openFile, plainName } from "../../static/js/log/opened_file.js";
import { FIELDS } from "../../static/js/types/fields.js";
import { makeLog } from "./support/logs.js";

const RECORDINGS = new URL("../../static/recordings/", import.meta.url);
const linesOf = (events) => `${events.map((event) => JSON.stringify(event)).join("\n")}\n`;
const open = (content, name = "run.jsonl.gz") => openFile(new File([content], name));
const log = () => structuredClone(makeLog({ seed: 3, preempt: true }).events);
const find = (events, type) => events.find((event) => event.type === type);

/** Whether all that `said` says is in `made`, whatever else is there. */
function holds(made, said) {
  if (typeof said !== "object" || said === null) return assert.equal(made, said);
  for (const key of Object.keys(said)) holds(made[key], said[key]);
}

test("every recording opens as it was written", async () => {
  for (const name of fs.readdirSync(RECORDINGS)) {
    const bytes = fs.readFileSync(new URL(name, RECORDINGS));
    const written = zlib.gunzipSync(bytes).toString().trim().split("\n").map(JSON.parse);
    const opened = await open(bytes, name);
    assert.deepEqual([opened.name, opened.events.length, opened.cut], [name, written.length, false]);
    for (const [i, event] of opened.events.entries()) {
      for (const key of Object.keys(event)) if (key in written[i]) holds(event[key], written[i][key]);
      assert.deepEqual(
        Object.keys(written[i]).filter((key) => !(key in event)),
        [],
      );
    }
  }
});

test("the table knows every field that the browser's types know", () => {
  const types = fs.readFileSync(new URL("../../static/js/types/events.d.ts", import.meta.url), "utf8");
  for (const [, name, body] of types.matchAll(/export interface (\w+) \{\n([^}]*)\}/g)) {
    const tag = /^ {2}type: "([\w.]+)"/m.exec(body)?.[1] ?? name;
    if (name === "EventByType") continue;
    const wanted = [...body.matchAll(/^ {2}(\w+):/gm)].map(([, field]) => field);
    const known = FIELDS[tag].split(" ").map((word) => word.split(":")[0]);
    assert.deepEqual(
      wanted.filter((field) => !["type", "seq", "t"].includes(field)),
      known,
    );
  }
});

test("what a writer of another day left out or added is no fault", async () => {
  const events = log();
  delete find(events, "step.started").num_idle_slots;
  delete find(events, "request.tokenized").merges;
  events.splice(3, 0, { type: "weather.changed", t: events[2].t, mood: { fine: [1] } });
  events.forEach((event, i) => {
    event.seq = i + 1;
    event.novelty = { of: [1, 2] };
  });
  const opened = await open(linesOf(events));
  assert.equal(opened.events.length, events.length);
  assert.equal(find(opened.events, "step.started").num_idle_slots, null);
  assert.equal(find(opened.events, "request.tokenized").merges, null);
  assert.deepEqual(opened.events[3], { type: "weather.changed", seq: 4, t: events[2].t });
  assert.ok(opened.events.every((event) => !("novelty" in event)));
});

test("a file that ends early gives what it has", async () => {
  const events = log();
  const text = linesOf(events);
  const whole = Buffer.from(text);
  const upTo = text.indexOf("\n", text.length / 2) + 1;
  for (const bytes of [whole.subarray(0, upTo), whole.subarray(0, upTo + 20), zlib.gzipSync(whole.subarray(0, upTo))]) {
    const opened = await open(bytes);
    assert.ok(opened.cut);
    assert.equal(opened.events.length, text.slice(0, upTo).split("\n").length - 1);
  }
  const noise = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 7919 * (i % 13)) % 251));
  const filler = { type: "weather", seq: 2, t: 0, noise: noise.toString("base64") };
  const packed = zlib.gzipSync(linesOf([events[0], filler, ...events.slice(1).map((e) => ({ ...e, seq: e.seq + 1 }))]));
  const cut = await open(packed.subarray(0, packed.length - 300));
  assert.ok(cut.cut && cut.events.length > 2 && cut.events.length < events.length);
  const last = await open(text.trimEnd());
  assert.deepEqual([last.events.length, last.cut], [events.length, false], "a last line wants no newline");
});

const SPOILT = {
  "“seq” should be a whole number": (events) => delete events[4].seq,
  "Event 99 cannot follow event 4": (events) => (events[4].seq = 99),
  "Event 4 cannot follow event 4": (events) => (events[4].seq = 4),
  "Time runs backwards": (events) => (events[20].t = events[10].t - 1e-6),
  "“t” should be seconds": (events) => (events[4].t = 1e9),
  "“position” should be a whole number": (events) => (find(events, "token.sampled").position = "7"),
  "a place that is not there": (events) => (find(events, "token.sampled").position = 400),
  "“logprob” should be a number": (events) => (find(events, "token.sampled").logprob = null),
  "“text” is longer than": (events) => (find(events, "token.sampled").text = "x".repeat(5000)),
  "“num_layers” is 0: it should be 1 to 512": (events) => (events[0].model.num_layers = 0),
  "“num_blocks” is 1000000000": (events) => (events[0].engine.num_blocks = 1e9),
  "“opened_at” is 1e+300": (events) => (events[0].opened_at = 1e300),
  "“temperature” should be a number": (events) => (events[0].params.temperature = "hot"),
  "“model” should be an object": (events) => (events[0].model = []),
  "“provides” is missing": (events) => delete events[0].provides,
  "“phase” should be decode, prefill, verify": (events) => (find(events, "step.started").phase = "__proto__"),
  "“slot” is 1000000": (events) => (find(events, "request.admitted").slot = 1e6),
  "a block that the pool does not have": (events) => (find(events, "block.allocated").block_ids[0] = 64),
  "Its lists are not of one length": (events) => find(events, "request.tokenized").pieces.pop(),
  "does not hold what its shape says": (events) => (find(events, "probe.kv").keys.shape[2] = 2 ** 21),
  "another than the model's": (events) => {
    const { keys, values } = find(events, "probe.kv");
    for (const array of [keys, values]) array.shape = [array.shape[1], array.shape[0], array.shape[2]];
  },
  "A log begins with log.opened": (events) => (events[0].type = "log.begun"),
  "A log is opened once": (events) => Object.assign(events[5], { ...events[0], seq: 6, t: events[5].t }),
  "This log was closed before": (events) => (events[9] = { ...events.at(-1), seq: 10, t: events[9].t }),
};

test("what cannot be shown is refused in a sentence with its line", async () => {
  for (const [words, spoil] of Object.entries(SPOILT)) {
    const events = log();
    spoil(events);
    await assert.rejects(open(linesOf(events), "mine.jsonl"), (error) => {
      assert.ok(error instanceof Refusal, error.stack);
      assert.match(error.message, /^mine\.jsonl cannot be opened\. Line \d+: /);
      assert.ok(error.message.includes(words), error.message);
      return true;
    });
  }
});

test("what is no log at all is said to be none", async () => {
  const deep = `${"[".repeat(5000)}${"]".repeat(5000)}\n`;
  const long = `{"x":"${"y".repeat(9e6)}"}\n`;
  for (const [content, words] of [
    ["", "is empty"],
    ["hello\n", "Line 1: This is not JSON"],
    ["\u0000\u0001\u0002", "is no log of a run"],
    [Buffer.from([0xff, 0xfe, 0xfd, 10]), "no text (UTF-8)"],
    [Buffer.from([0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9]), "is no log of a run"],
    [deep, "Line 1: Its brackets stand too deep"],
    [`{"a":"\\\\","b":${deep.trim()}}\n`, "Line 1: Its brackets stand too deep"],
    [long, "Line 1: This line is longer than 8"],
    [zlib.gzipSync(long), "Line 1: This line is longer than 8"],
  ])
    await assert.rejects(open(content, "thing"), (error) => error instanceof Refusal && error.message.includes(words));
  const large = { name: "large.jsonl", size: 1e9, slice: () => assert.fail("it was read") };
  await assert.rejects(openFile(large), /large\.jsonl has 1000.MB; this page opens up to 64.MB/);
});

test("names mean nothing, and turn nothing about", () => {
  const [opened] = log();
  const hostile = JSON.parse(
    JSON.stringify({ ...opened, params: {}, knobs: {} }).replace(
      '"params":{}',
      '"params":{"__proto__":{"spoilt":1},"constructor":{"prototype":{"spoilt":1}}},"__proto__":{"spoilt":1}',
    ),
  );
  hostile.model.name = "good\u202egnp.exe\u0000";
  const made = checkEvent(hostile);
  assert.equal(Object.getPrototypeOf(made.params), null);
  assert.equal(made.spoilt, undefined);
  assert.equal({}.spoilt, undefined);
  assert.equal(made.model.name, "goodgnp.exe");
  assert.equal(plainName("a\u202eb\n.jsonl"), "ab.jsonl");
  assert.equal([...plainName("🍅".repeat(500))].length, 60);
  for (const type of ["toString", "__proto__", "Array", "SamplingParams"])
    assert.deepEqual(checkEvent({ type, seq: 1, t: 0, dtype: 1 }), { type, seq: 1, t: 0 });
});

test("the page has its turns while a long file is read", async () => {
  const [first, ...rest] = log();
  const last = rest.pop();
  const weather = Array.from({ length: 40_000 }, (_, i) => ({ type: "weather", seq: i + 2, t: 0, x: "y".repeat(400) }));
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 1);
  const shares = [];
  const file = new File([linesOf([first, ...weather, { ...last, seq: 40_002 }])], "long.jsonl");
  const opened = await openFile(file, { progress: (share) => shares.push(share) });
  clearInterval(timer);
  assert.equal(opened.events.length, 40_002);
  assert.ok(turns > 3 && shares.length > 3, `${turns} turns, ${shares.length} shares`);
  assert.deepEqual(
    shares,
    [...shares].sort((a, b) => a - b),
  );
  const stopped = new AbortController();
  const reading = openFile(file, { progress: () => stopped.abort(), signal: stopped.signal });
  await assert.rejects(reading, { name: "AbortError" });
});
