import assert from "node:assert/strict";
import { test } from "node:test";
import { setMessages } from "../../static/js/ui/messages.js";
import { noticeOf } from "../../static/js/ui/notice.js";

test("how a log was closed is said in the words of the catalogue, with the detail", () => {
  const closed = (reason, detail = "") => noticeOf({ reason, detail }, { state: "ended" });
  assert.equal(closed("finished"), null);
  assert.deepEqual(closed("stopped"), { text: "This run was stopped before its end.", kind: "info", retry: false });
  setMessages({ "This run was stopped before its end.": "Beendet." });
  assert.equal(closed("stopped", "So.")?.text, "Beendet.", "who stopped it is not everybody's own doing");
  setMessages({});
  assert.match(closed("crashed", "So.")?.text ?? "", / So\.$/);
  for (const reason of ["rejected", "crashed", "interrupted", "error"]) assert.equal(closed(reason)?.kind, "error");
});

test("a run whose summary failed speaks of the connection, not of a run that nobody knows", () => {
  assert.match(noticeOf(null, { state: "reconnecting" })?.text ?? "", /connection/);
  assert.equal(noticeOf(null, { state: "lost" })?.retry, true);
  assert.match(noticeOf(null, { state: "not-found" })?.text ?? "", /Nobody knows/);
});
