import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";
import { Takes } from "../../static/js/log/takes.js";
import { makeLog } from "./support/logs.js";

const { events } = makeLog({ seed: 5 });
const FILE = gzipSync(`${events.map((event) => JSON.stringify(event)).join("\n")}\n`);
const real = globalThis.fetch;

beforeEach(() => {
  globalThis.fetch = async () => new Response(FILE, { headers: { "content-type": "application/gzip" } });
});
afterEach(() => {
  globalThis.fetch = real;
});

/** A page whose own run has ended, and a kitchen that answers with `answers` in turn. */
function page({ answers = [], closed = true, kind = "run" } = {}) {
  const asked = [];
  const own = { source: { kind, runId: "own" }, log: { closed: closed ? {} : null } };
  const takes = new Takes({
    own: () => own,
    ask: async (runId, body) => {
      asked.push([runId, body]);
      return answers.shift();
    },
    recorded: (key) => (key === "nowhere" ? null : `https://kitchen.test/${key}.jsonl.gz`),
    source: () => ({ kind: "recording", url: "https://kitchen.test/live.jsonl.gz" }),
    changed: () => {},
  });
  return { takes, asked, own };
}

/** Let promises and streams run, until the take's log is whole. */
async function settle(takes, key = "samples") {
  for (let i = 0; i < 200 && takes.get(key)?.log?.seq !== events.length; i++) {
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Let promises run. */
const breathe = () => new Promise((done) => setTimeout(done, 20));

for (const [status, words] of [
  [404, /not kept here any more/],
  [410, /not kept here any more/],
  [429, /busy/],
  [503, /busy/],
]) {
  test(`a take refused with ${status} is a recorded one, and says why`, async () => {
    const { takes, asked } = page({ answers: [{ refused: status, detail: "no" }] });
    takes.want("samples", { take: "samples" });
    assert.equal(takes.get("samples").status, "asking");
    await settle(takes);
    const take = takes.get("samples");
    assert.equal(take.status, "recorded");
    assert.match(take.words, words);
    assert.equal(take.log.seq, events.length);
    assert.deepEqual(asked, [["own", { take: "samples" }]]);
  });
}

test("what the kitchen says of a bad knob stands before the recorded take", async () => {
  const { takes } = page({ answers: [{ refused: 422, detail: "n must be at most 8." }] });
  takes.want("samples", { take: "samples", n: 99 });
  await settle(takes);
  assert.match(takes.get("samples").words, /^n must be at most 8\. A recorded take/);
});

test("a take is asked for once, and once more with other knobs, or where a recorded one stands in", async () => {
  const refused = { refused: 429, detail: "" };
  const { takes, asked } = page({ answers: [refused, refused, refused] });
  takes.want("samples", { n: 3 });
  await settle(takes);
  takes.want("samples", { n: 3 });
  takes.want("samples", { n: 4 });
  assert.equal(asked.length, 1, "who comes by again asks for nothing");
  takes.want("samples", { n: 3 }, { again: true });
  await settle(takes);
  assert.equal(asked.length, 2, "the kitchen may be free by now");
  takes.want("samples", { n: 4 }, { again: true });
  await breathe();
  assert.deepEqual(asked.at(-1), ["own", { n: 4 }]);
});

test("while the run is being written its takes wait, and then they are asked for", async () => {
  const { takes, asked, own } = page({ answers: [{ refused: 503, detail: "" }], closed: false });
  assert.match(takes.want("samples", { n: 3 }).words, /once your run has ended/);
  await breathe();
  assert.equal(asked.length, 0);
  own.log.closed = {};
  takes.want("samples", { n: 3 });
  await settle(takes);
  assert.equal(asked.length, 1);
});

test("takes of a recorded run are recorded, and a button says so", async () => {
  const { takes, asked } = page({ kind: "recording" });
  assert.equal(takes.want("samples", { n: 3 }).words, "");
  await settle(takes);
  assert.equal(takes.get("samples").status, "recorded");
  assert.match(takes.want("samples", { n: 3 }, { again: true }).words, /not cooked again/);
  assert.equal(takes.want("nowhere", null).status, "missing");
  assert.equal(asked.length, 0);
});
