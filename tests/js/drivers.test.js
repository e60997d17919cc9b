import assert from "node:assert/strict";
import { test } from "node:test";
import zlib from "node:zlib";
import { backoff, withAfter } from "../../static/js/log/drivers/backoff.js";
import { eventsource } from "../../static/js/log/drivers/eventsource.js";
import { recording } from "../../static/js/log/drivers/recording.js";
import { websocket } from "../../static/js/log/drivers/websocket.js";
import { EventLog } from "../../static/js/log/log.js";
import { applyUpTo } from "../../static/js/state/apply.js";
import { createState } from "../../static/js/state/create.js";
import { stateHash } from "../../static/js/state/hash.js";
import { makeLog } from "./support/logs.js";
import { seeded } from "./support/random.js";

/** A log, hooks that feed it, and what the driver said. */
function reader() {
  const log = new EventLog();
  const said = [];
  const hooks = {
    dispatch: (events) => log.appendAll(events),
    status: (status) => said.push(status.state),
    after: () => log.seq,
    closed: () => log.closed !== null,
  };
  return { log, said, hooks };
}

/** A timer that runs when told to. */
function clockwork() {
  const waiting = [];
  return {
    later: (run, ms) => waiting.push({ run, ms }),
    /** Run what waits; returns how many did. */
    advance: () => waiting.splice(0).map(({ run }) => run()).length,
  };
}

/** Sockets of a server that holds `events`; `sockets` are those opened, newest last. */
function server() {
  const sockets = [];
  class Socket {
    constructor(url, protocols) {
      this.url = url;
      this.protocols = protocols;
      this.after = Number(new URL(url).searchParams.get("after"));
      this.closedWith = null;
      sockets.push(this);
    }
    close(code = 1005) {
      this.closedWith ??= code;
      this.onclose?.({ code });
    }
    send(events) {
      this.onmessage?.({ data: JSON.stringify({ v: 1, seq: events[0]?.seq, events }) });
    }
  }
  return { Socket, sockets };
}

test("a socket cut at random moments, repeating and skipping, gives every event exactly once", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = seeded(seed);
    const { events } = makeLog({ seed });
    const { log, said, hooks } = reader();
    const { Socket, sockets } = server();
    const { later, advance } = clockwork();
    const driver = websocket("ws://host/api/runs/x/socket", hooks, { Socket, later, random: random.next });
    driver.start();
    for (let turn = 0; turn < 2000 && !log.closed; turn++) {
      const socket = sockets.at(-1);
      if (socket.closedWith !== null) {
        assert.equal(advance(), 1, "it comes back");
        continue;
      }
      assert.deepEqual(socket.protocols, ["trace.v1"]);
      const from = Math.max(0, log.seq - random.int(0, 4));
      const skip = random.next() < 0.1 ? random.int(1, 4) : 0;
      const batch = events.slice(from + skip, log.seq + skip + random.int(1, 8));
      if (batch.length) socket.send(batch);
      if (random.next() < 0.2 && socket.closedWith === null) socket.close(random.next() < 0.5 ? 1006 : 4408);
    }
    assert.equal(log.seq, events.length);
    assert.ok(sockets.every((socket, i) => i === 0 || socket.after >= sockets[i - 1].after));
    sockets.at(-1).close(1000);
    assert.equal(said.at(-1), "ended");
    const [ours, theirs] = [createState(), createState()];
    applyUpTo(ours, log.events, log.seq);
    applyUpTo(theirs, events, events.length);
    assert.equal(stateHash(ours), stateHash(theirs));
  }
});

test("an old socket's last words do not count", () => {
  const { events } = makeLog();
  const { log, hooks } = reader();
  const { Socket, sockets } = server();
  const { later, advance } = clockwork();
  websocket("ws://h/s", hooks, { Socket, later }).start();
  sockets[0].send(events.slice(0, 3));
  sockets[0].close(1006);
  advance();
  assert.equal(sockets[1].after, 3);
  sockets[0].send(events.slice(3, 6));
  assert.equal(log.seq, 3);
});

test("garbage closes the socket and the log asks again", () => {
  const { said, hooks } = reader();
  const { Socket, sockets } = server();
  const { later } = clockwork();
  websocket("ws://h/s", hooks, { Socket, later }).start();
  sockets[0].onmessage({ data: "<html>" });
  assert.deepEqual([sockets[0].closedWith, said.at(-1)], [4000, "reconnecting"]);
});

test("an unknown run is said and not asked for again", () => {
  const { said, hooks } = reader();
  const { Socket, sockets } = server();
  const { later, advance } = clockwork();
  websocket("ws://h/s", hooks, { Socket, later }).start();
  sockets[0].close(4404);
  assert.equal(said.at(-1), "not-found");
  assert.equal(advance(), 0);
});

test("sockets that never open give way to server-sent events, or are lost", () => {
  const first = reader();
  const { Socket, sockets } = server();
  const { later, advance } = clockwork();
  const started = [];
  const fallback = (src) => ({ start: () => started.push(src), stop: () => {} });
  websocket("ws://h/s", first.hooks, { Socket, later, fallback, eventsUrl: "http://h/e" }).start();
  for (let i = 0; i < 3; i++) {
    sockets.at(-1).close(1006);
    advance();
  }
  assert.deepEqual(started, ["http://h/e"]);

  const second = reader();
  const other = server();
  const driver = websocket("ws://h/s", second.hooks, { Socket: other.Socket, later });
  driver.start();
  for (let i = 0; i < 8; i++) {
    other.sockets.at(-1).close(1006);
    advance();
  }
  assert.equal(second.said.at(-1), "lost");
  driver.start();
  assert.equal(other.sockets.length, 9, "start tries again");
});

test("a driver that was stopped says no more", () => {
  const { said, hooks } = reader();
  const { Socket, sockets } = server();
  const { later, advance } = clockwork();
  const driver = websocket("ws://h/s", hooks, { Socket, later });
  driver.start();
  driver.stop();
  assert.equal(sockets[0].closedWith, 1000);
  assert.deepEqual([said, advance(), sockets.length], [["connecting"], 0, 1]);
});

test("server-sent events: one event, a list or a frame a message; cut, resumed, closed", () => {
  const { events } = makeLog({ seed: 6 });
  const { log, said, hooks } = reader();
  const { later, advance } = clockwork();
  const sources = [];
  class Source {
    constructor(url) {
      this.url = url;
      sources.push(this);
    }
    close() {
      this.closed = true;
    }
  }
  eventsource("http://h/e", hooks, { Source, later, random: () => 0 }).start();
  sources[0].onmessage({ data: JSON.stringify(events[0]) });
  sources[0].onmessage({ data: JSON.stringify(events.slice(0, 3)) });
  sources[0].onmessage({ data: "not json" });
  sources[0].onerror();
  assert.ok(sources[0].closed);
  advance();
  assert.equal(sources[1].url, "http://h/e?after=3");
  sources[1].onmessage({ data: JSON.stringify({ v: 1, seq: 5, events: events.slice(4, 6) }) });
  assert.equal(log.seq, 3, "a gap is not taken");
  advance();
  sources[2].onmessage({ data: JSON.stringify({ v: 1, seq: 4, events: events.slice(3) }) });
  assert.deepEqual([log.seq, said.at(-1), sources[2].closed], [events.length, "ended", true]);
});

/** Play a body to the recording driver, in pieces of `size` bytes. */
async function play(body, { status = 200, size = 100 } = {}) {
  const { log, said, hooks } = reader();
  const details = [];
  const done = new Promise((resolve) => {
    const status = hooks.status;
    hooks.status = (value) => {
      status(value);
      if (value.detail) details.push(value.detail);
      if (["ended", "lost", "not-found"].includes(value.state)) resolve(undefined);
    };
  });
  const stream = new ReadableStream({
    start(controller) {
      for (let at = 0; at < body.length; at += size) controller.enqueue(new Uint8Array(body.subarray(at, at + size)));
      controller.close();
    },
  });
  const fetch = async () => new Response(stream, { status });
  recording("x.jsonl.gz", hooks, { fetch }).start();
  await done;
  return { log, said, details };
}

test("a recording loads gzipped or plain, in any pieces", async () => {
  const { events } = makeLog({ seed: 8 });
  const text = Buffer.from(`${events.map((event) => JSON.stringify(event)).join("\n")}\n`);
  for (const body of [text, text.subarray(0, -1), zlib.gzipSync(text)]) {
    for (const size of [7, 100, 1e6]) {
      const { log, said } = await play(body, { size });
      assert.equal(log.seq, events.length);
      assert.equal(said.at(-1), "ended");
    }
  }
});

test("a recording that was cut short gives what it has", async () => {
  const { events } = makeLog({ seed: 8 });
  const text = Buffer.from(events.map((event) => JSON.stringify(event)).join("\n"));
  const plain = await play(text.subarray(0, text.length / 2));
  assert.ok(plain.log.seq > 3 && plain.log.seq < events.length);
  const packed = zlib.gzipSync(text);
  const cut = await play(packed.subarray(0, packed.length - 400), { size: 50 });
  assert.equal(cut.said.at(-1), "ended");
  assert.deepEqual(cut.details, ["truncated"]);
  assert.ok(cut.log.seq > 0 && cut.log.seq < events.length);
});

test("a recording that is not there, or not to be had, is said", async () => {
  assert.equal((await play(Buffer.alloc(0), { status: 404 })).said.at(-1), "not-found");
  assert.equal((await play(Buffer.alloc(0), { status: 500 })).said.at(-1), "lost");
  assert.equal((await play(Buffer.from("<html>oops</html>\n"))).said.at(-1), "lost");
});

test("back-off doubles, is bounded, and is jittered", () => {
  assert.deepEqual(
    [1, 2, 3].map((attempt) => backoff(attempt, () => 1)),
    [250, 500, 1000],
  );
  assert.equal(
    backoff(20, () => 1),
    8000,
  );
  assert.equal(
    backoff(1, () => 0),
    125,
  );
  assert.equal(withAfter("a", 3), "a?after=3");
  assert.equal(withAfter("a?b=1", 0), "a?b=1&after=0");
});
