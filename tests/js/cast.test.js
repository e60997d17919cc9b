import assert from "node:assert/strict";
import { test } from "node:test";
import { ALONE, Cast, rolesOf } from "../../static/js/log/cast.js";
import { EventLog } from "../../static/js/log/log.js";
import { resolve } from "../../static/js/log/moments.js";
import { Player } from "../../static/js/log/player.js";
import { factOf, measured } from "../../static/js/state/fact.js";
import { locate, momentOf } from "../../static/js/ui/scroll.js";
import { makeLog } from "./support/logs.js";

/** A run as a session has it, its log shifted and stretched in time. */
function run({ seed, shift = 0, stretch = 1 }) {
  const log = new EventLog();
  log.appendAll(makeLog({ seed }).events.map((event) => ({ ...event, t: shift + stretch * event.t })));
  return { log, player: new Player(log, "recording"), source: { kind: "recording", url: "" } };
}

/** A cast of an own run, a slow take of it, and one that is not there yet. */
function stage() {
  const own = run({ seed: 1 });
  const slow = run({ seed: 2, shift: 0.5, stretch: 3 });
  const takes = {
    slow: { key: "slow", status: "recorded", words: "", session: slow, log: slow.log },
    late: { key: "late", status: "queued", words: "in line", session: null, log: null },
  };
  const cast = new Cast(() => own, { get: (key) => takes[key] ?? null, all: () => Object.values(takes) });
  return { cast, own, slow };
}

const admittedAt = ({ log }) => log.timeAt(log.index.admitted);

test("lanes stand as long after their admission as the first does", () => {
  const { cast, own, slow } = stage();
  cast.roles = rolesOf('{"lanes":["slow"]}');
  own.player.seekTime(admittedAt(own) + 0.05);
  cast.align();
  assert.ok(Math.abs(slow.player.t - (admittedAt(slow) + 0.05)) < 1e-9);
  const [first, second] = cast.states();
  assert.equal(first, own.player.state);
  assert.equal(second.seq, slow.log.seqAt(admittedAt(slow) + 0.05));
});

test("who races beside the first is told with how much later its clock began", () => {
  const { cast, own, slow } = stage();
  assert.deepEqual(cast.beside, []);
  cast.roles = rolesOf('{"main":"slow","lanes":["own","late"]}');
  const [lane, ...rest] = cast.beside;
  assert.equal(lane.log, own.log);
  assert.ok(Math.abs(lane.shift - (admittedAt(own) - admittedAt(slow))) < 1e-9);
  assert.deepEqual(rest, []);
});

test("the clock of a race runs until the slower lane has ended", () => {
  const { cast, own, slow } = stage();
  cast.roles = rolesOf('{"lanes":["slow"]}');
  cast.align();
  assert.ok(own.player.end > own.log.t);
  own.player.live();
  cast.align();
  assert.equal(slow.player.seq, slow.log.seq);
  own.player.seek(1);
  own.player.play();
  own.player.tick(0);
  own.player.tick(1000 * own.player.end + 1000);
  assert.equal(own.player.t, own.player.end);
  assert.equal(own.player.drive, "still");
  cast.roles = ALONE;
  cast.align();
  assert.equal(own.player.end, own.log.t);
});

test("until a take is there the own run stands in its role, and the lane says why", () => {
  const { cast, own } = stage();
  cast.roles = rolesOf('{"main":"late","lanes":["nobody"]}');
  assert.equal(cast.main, own);
  const { main, lanes } = cast.view();
  assert.deepEqual([main.status, main.words, main.state], ["queued", "in line", null]);
  assert.deepEqual([lanes[0].status, lanes[0].state], ["asking", null]);
  assert.deepEqual(cast.states(), [own.player.state, null]);
});

test("a role that nobody can read is the own run's", () => {
  for (const text of [undefined, "", "{", "null"]) assert.deepEqual(rolesOf(text), ALONE);
});

test("a number may be about a take as it ended, wherever the stage stands", () => {
  const { cast, own, slow } = stage();
  const runs = cast.runs();
  const rule = measured((_, { ended }) => ended("slow")?.seq, String, "counted", "slow");
  assert.equal(factOf(rule, own.player.state, runs).value, slow.log.seq);
  assert.equal(factOf(rule, own.player.state), null);
  assert.equal(runs.ended("late"), undefined);
});

test("between steps that show different runs no time passes", () => {
  const steps = [
    { moment: "opened", data: {}, top: 0, bottom: 100 },
    { moment: "closed", cast: '{"main":"slow"}', data: {}, top: 200, bottom: 300 },
  ];
  const chapters = [{ slug: "a", top: 0, bottom: 300, steps }];
  const { log } = run({ seed: 1 });
  for (const [y, name, cast] of [
    [140, "opened", ""],
    [160, "closed", '{"main":"slow"}'],
  ]) {
    const place = locate(chapters, y);
    assert.equal(place.cast, cast);
    assert.deepEqual(
      momentOf(place, (found) => resolve(log, found)),
      resolve(log, name),
    );
  }
});

test("the n-th event of a type is a moment, from either end", () => {
  const { events } = makeLog({ seed: 3 });
  const log = new EventLog();
  log.appendAll(events.slice(0, -1));
  const kept = events.slice(0, -1).filter(({ type }) => type === "kv.written");
  assert.deepEqual(resolve(log, "event:kv.written:2"), { seq: kept[1].seq, reached: true });
  assert.equal(resolve(log, "event:kv.written:-1").reached, false);
  assert.equal(resolve(log, "event:no.such:1").reached, false);
  log.appendAll(events.slice(-1));
  assert.deepEqual(resolve(log, "event:kv.written:-1"), { seq: kept.at(-1).seq, reached: true });
});
