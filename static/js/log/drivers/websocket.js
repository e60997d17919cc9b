// Driver: a run's live log over a WebSocket, subprotocol `trace.v1`, frames {"v":1,"seq":FIRST,"events":[...]}.
// A cut socket asks for the rest with `?after=SEQ`; the log refuses repeats and gaps, so every event is taken exactly
// once. Sockets that never open are given up for server-sent events (a proxy in the way).

import { backoff, withAfter } from "./backoff.js";
import { eventsource } from "./eventsource.js";

/** @typedef {import("./driver.d.ts").Hooks} Hooks */
/** @typedef {import("./driver.d.ts").Driver} Driver */

const FAILURES_BEFORE_FALLBACK = 3;
const FAILURES_BEFORE_LOST = 8;
/** Close code of the app for a run that it does not know. */
const UNKNOWN_RUN = 4404;

/**
 * @param {string} src ws: or wss: URL
 * @param {Hooks} hooks
 * @param {object} [options]
 * @param {string} [options.eventsUrl] the same log as server-sent events
 * @param {new (url: string, protocols: string[]) => WebSocket} [options.Socket]
 * @param {typeof eventsource} [options.fallback]
 * @param {(run: () => void, ms: number) => any} [options.later]
 * @param {() => number} [options.random]
 * @returns {Driver}
 */
export function websocket(src, hooks, options = {}) {
  const { eventsUrl, fallback = eventsource, random = Math.random } = options;
  const { Socket = WebSocket, later = (run, ms) => setTimeout(run, ms) } = options;
  /** @type {WebSocket | null} */
  let socket = null;
  /** @type {Driver | null} */
  let second = null;
  let stopped = false;
  let failures = 0;

  const connect = () => {
    if (stopped) return;
    const current = new Socket(withAfter(src, hooks.after()), ["trace.v1"]);
    socket = current;
    current.onopen = () => {
      if (current === socket) hooks.status({ state: "open" });
    };
    current.onmessage = (message) => {
      if (current !== socket) return;
      const frame = parse(message.data);
      if (frame === null) return current.close(4000, "not a trace.v1 frame");
      failures = 0;
      if (hooks.dispatch(frame.events)?.gap) current.close(4000, "gap");
    };
    current.onclose = (event) => {
      if (current !== socket || stopped) return;
      socket = null;
      if (hooks.closed()) return hooks.status({ state: "ended" });
      if (event.code === UNKNOWN_RUN) return hooks.status({ state: "not-found" });
      retry();
    };
  };

  const retry = () => {
    failures += 1;
    if (failures >= FAILURES_BEFORE_FALLBACK && eventsUrl) {
      second = fallback(eventsUrl, hooks);
      second.start();
    } else if (failures >= FAILURES_BEFORE_LOST) {
      hooks.status({ state: "lost" });
    } else {
      const delay = backoff(failures, random);
      hooks.status({ state: "reconnecting", delay });
      later(connect, delay);
    }
  };

  return {
    start() {
      stopped = false;
      failures = 0;
      second = null;
      hooks.status({ state: "connecting" });
      connect();
    },
    stop() {
      stopped = true;
      second?.stop();
      const open = socket;
      socket = null;
      open?.close(1000);
    },
  };
}

/**
 * @param {unknown} data
 * @returns {{ events: unknown[] } | null}
 */
function parse(data) {
  try {
    const frame = JSON.parse(String(data));
    return frame && Array.isArray(frame.events) ? frame : null;
  } catch {
    return null;
  }
}
