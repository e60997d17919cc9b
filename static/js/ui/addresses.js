// Where runs lie: what the page's own address asks for, and the addresses of a run's summary, log and socket.

/** @typedef {import("../log/session.js").Source} Source */
/** @typedef {import("./prompt.js").NewRun} NewRun */

/** What the page's address says of `name`: `run`, or the one `with` it. @param {string} name */
export const addressed = (name) => new URL(location.href).searchParams.get(name);

/** @param {string} path relative to the page */
export const absolute = (path) => new URL(path, document.baseURI).href;

/** @param {string} path */
function socketUrl(path) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/** @param {string} runId */
export function urlsOf(runId) {
  const base = `api/runs/${encodeURIComponent(runId)}`;
  return { summary: absolute(base), socket: socketUrl(`${base}/socket`), events: absolute(`${base}/events`) };
}

/** @param {NewRun} run just accepted @returns {Source} */
export function sourceOf({ run_id: runId, socket_url: socket, events_url: events }) {
  return { kind: "run", runId, socketUrl: socketUrl(socket), eventsUrl: absolute(events), closed: false };
}
