import assert from "node:assert/strict";
import { test } from "node:test";
import { EventLog } from "../../static/js/log/log.js";
import { Player } from "../../static/js/log/player.js";
import { makeLog } from "./support/logs.js";

/** A player over the first `count` events of a run, its drive brought about. */
function playerOf({ drive = "still", mode = "live", count = 20, at = 10 } = {}) {
  const { events } = makeLog({ seed: 9 });
  const log = new EventLog();
  log.appendAll(count === null ? events : events.slice(0, count));
  const player = new Player(log, mode);
  player.seek(at);
  if (drive === "clock") player.play();
  if (drive === "edge") player.live();
  assert.equal(player.drive, drive);
  return { player, log, events };
}

const GESTURES = {
  play: (player) => player.play(),
  pause: (player) => player.pause(),
  seek: (player) => player.seek(5),
  "scroll, reached": (player) => player.scroll({ seq: 5, reached: true }),
  "scroll, not yet": (player) => player.scroll({ seq: 5, reached: false }),
  live: (player) => player.live(),
};

// The table at the head of player.js, for a growing live log.
const TABLE = {
  still: {
    play: "clock",
    pause: "still",
    seek: "still",
    "scroll, reached": "still",
    "scroll, not yet": "edge",
    live: "edge",
  },
  clock: {
    play: "clock",
    pause: "still",
    seek: "clock",
    "scroll, reached": "still",
    "scroll, not yet": "edge",
    live: "edge",
  },
  edge: {
    play: "edge",
    pause: "still",
    seek: "still",
    "scroll, reached": "still",
    "scroll, not yet": "edge",
    live: "edge",
  },
};

for (const [drive, row] of Object.entries(TABLE)) {
  for (const [gesture, expected] of Object.entries(row)) {
    test(`${drive} + ${gesture} = ${expected}`, () => {
      const { player } = playerOf({ drive });
      GESTURES[gesture](player);
      assert.equal(player.drive, expected);
      if (expected === "edge") assert.equal(player.seq, player.log.seq);
    });
  }
}

test("new events move the edge and nobody else", () => {
  for (const drive of ["still", "edge"]) {
    const { player, log, events } = playerOf({ drive });
    const before = player.seq;
    log.appendAll(events.slice(0, 30));
    player.tick(0);
    player.tick(16);
    assert.equal(player.seq, drive === "edge" ? 30 : before);
  }
});

test("the clock runs by log time and speed", () => {
  const { player } = playerOf({ mode: "recording", count: null, at: 0 });
  player.play();
  player.tick(1000);
  player.tick(1050);
  assert.ok(Math.abs(player.t - 0.05) < 1e-9);
  player.setSpeed(4);
  player.tick(1060);
  assert.ok(Math.abs(player.t - 0.09) < 1e-9);
  assert.equal(player.seq, player.log.seqAt(player.t));
  player.setSpeed(3);
  assert.equal(player.speed, 4, "not one of the speeds");
});

test("time out of sight is no time of the clock", () => {
  const { player } = playerOf({ mode: "recording", count: null, at: 0 });
  player.play();
  player.tick(0);
  player.tick(10);
  player.wake();
  player.tick(60_000);
  assert.ok(Math.abs(player.t - 0.01) < 1e-9);
});

test("the clock at the end: a growing log goes on at the edge, a complete one stands, a loading one waits", () => {
  const growing = playerOf({ drive: "clock" }).player;
  growing.tick(0);
  growing.tick(1e6);
  assert.deepEqual([growing.drive, growing.seq], ["edge", 20]);

  const complete = playerOf({ drive: "clock", mode: "recording", count: null }).player;
  complete.tick(0);
  complete.tick(1e6);
  assert.deepEqual([complete.drive, complete.atEnd], ["still", true]);
  complete.play();
  assert.deepEqual([complete.drive, complete.seq], ["clock", 0], "from the beginning again");

  const loading = playerOf({ drive: "clock", mode: "recording" });
  loading.player.tick(0);
  loading.player.tick(1e6);
  assert.deepEqual([loading.player.drive, loading.player.seq], ["clock", 20]);
  loading.log.appendAll(loading.events);
  loading.player.tick(1e6 + 10);
  assert.equal(loading.player.drive, "clock");
  assert.ok(loading.player.t < loading.log.t, "no leap over what was loaded meanwhile");
});

test("the edge coasts a little past the newest event, then stands, so that frames can stop", () => {
  const { player, log } = playerOf({ drive: "edge" });
  player.tick(0);
  assert.equal(player.tick(100), true);
  assert.ok(player.t > log.t);
  player.tick(10_000);
  assert.equal(player.tick(10_100), false);
});

test("a still player needs no frame", () => {
  const { player } = playerOf();
  assert.equal(player.tick(0), false);
  assert.equal(player.tick(1000), false);
});

test("a recording opens by the clock, a still page at its end, a run at its edge", () => {
  const { log } = playerOf({ count: null });
  const clock = new Player(log, "recording");
  clock.open();
  assert.deepEqual([clock.drive, clock.seq], ["clock", 0]);
  const still = new Player(log, "recording");
  still.open({ still: true });
  assert.equal(still.seq, log.seq);
  const live = new Player(log, "live");
  live.open();
  assert.equal(live.drive, "edge");
});

test("toggle pauses what moves and plays what stands", () => {
  const { player } = playerOf({ drive: "edge" });
  player.toggle();
  assert.equal(player.drive, "still");
  player.toggle();
  assert.equal(player.drive, "clock");
  const done = playerOf({ drive: "edge", count: null }).player;
  done.toggle();
  assert.deepEqual([done.drive, done.seq], ["clock", 0], "a finished run plays again");
});
