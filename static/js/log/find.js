// What an address's `?run=` stands for: a run that the app holds, or one that it does not know. Only its 404 says the
// latter; where it cannot say (no connection, a failure of its own), the run's driver asks again, and it tells the
// reader how that goes.

/** @typedef {import("./session.js").Source} Source */

/**
 * @param {string} runId
 * @param {{ summary: string, socket: string, events: string }} urls of the run, absolute
 * @param {typeof fetch} [fetchImpl]
 * @returns {Promise<Source | null>} null where there is no such run
 */
export async function findRun(runId, urls, fetchImpl = (...args) => fetch(...args)) {
  const response = await fetchImpl(urls.summary).catch(() => null);
  if (response?.status === 404) return null;
  const summary = response?.ok ? await response.json().catch(() => null) : null;
  const closed = summary?.status === "closed";
  return { kind: "run", runId, socketUrl: urls.socket, eventsUrl: urls.events, closed };
}
