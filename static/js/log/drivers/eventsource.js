// Driver: a run's live log as server-sent events, where sockets do not get through. It reconnects by itself from the
// last event that the log holds; the browser's own reconnecting would ask from the first address again.

import { backoff, withAfter } from "./backoff.js";

/** @typedef {import("./driver.d.ts").Hooks} Hooks */
/** @typedef {import("./driver.d.ts").Driver} Driver */

const FAILURES_BEFORE_LOST = 8;

/**
 * @param {string} src
 * @param {Hooks} hooks
 * @param {object} [options]
 * @param {new (url: string) => EventSource} [options.Source]
 * @param {(run: () => void, ms: number) => any} [options.later]
 * @param {() => number} [options.random]
 * @returns {Driver}
 */
export function eventsource(src, hooks, options = {}) {
  const { Source = EventSource, later = (run, ms) => setTimeout(run, ms), random = Math.random } = options;
  /** @type {EventSource | null} */
  let source = null;
  let stopped = false;
  let failures = 0;

  const connect = () => {
    if (stopped) return;
    const current = new Source(withAfter(src, hooks.after()));
    source = current;
    /** @param {MessageEvent} message */
    const take = (message) => {
      if (current !== source) return;
      failures = 0;
      hooks.status({ state: "open" });
      const gap = hooks.dispatch(eventsOf(message.data))?.gap;
      if (hooks.closed()) {
        current.close();
        source = null;
        hooks.status({ state: "ended" });
      } else if (gap) again(current);
    };
    current.onmessage = take;
    current.onerror = () => again(current);
  };

  /** @param {EventSource} current */
  const again = (current) => {
    if (current !== source || stopped) return;
    current.close();
    source = null;
    failures += 1;
    if (failures >= FAILURES_BEFORE_LOST) return hooks.status({ state: "lost" });
    const delay = backoff(failures, random);
    hooks.status({ state: "reconnecting", delay });
    later(connect, delay);
  };

  return {
    start() {
      stopped = false;
      failures = 0;
      connect();
    },
    stop() {
      stopped = true;
      source?.close();
      source = null;
    },
  };
}

/**
 * One message is an event, a list of them, or a frame as on the socket.
 * @param {string} data
 * @returns {unknown[]}
 */
function eventsOf(data) {
  try {
    const value = JSON.parse(data);
    if (Array.isArray(value)) return value;
    return Array.isArray(value?.events) ? value.events : [value];
  } catch {
    return [];
  }
}
