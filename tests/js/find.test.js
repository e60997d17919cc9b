import assert from "node:assert/strict";
import { test } from "node:test";
import { findRun } from "../../static/js/log/find.js";

const URLS = {
  summary: "http://x/api/runs/a",
  socket: "ws://x/api/runs/a/socket",
  events: "http://x/api/runs/a/events",
};
const RUN = { kind: "run", runId: "a", socketUrl: URLS.socket, eventsUrl: URLS.events };

const answers = (body, status = 200) => findRun("a", URLS, async () => new Response(body, { status }));

test("only the app's 404 says that nobody knows a run", async () => {
  assert.equal(await answers("{}", 404), null);
});

test("a run that is known is open or closed", async () => {
  assert.deepEqual(await answers('{"status":"running"}'), { ...RUN, closed: false });
  assert.deepEqual(await answers('{"status":"closed"}'), { ...RUN, closed: true });
});

test("where the app cannot say, the run's driver asks again", async () => {
  for (const status of [500, 502, 503, 429]) assert.deepEqual(await answers("oops", status), { ...RUN, closed: false });
  assert.deepEqual(await answers("<html>"), { ...RUN, closed: false }, "not JSON");
  const cut = await findRun("a", URLS, async () => {
    throw new TypeError("network");
  });
  assert.deepEqual(cut, { ...RUN, closed: false });
});
