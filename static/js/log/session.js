// One run on the page: its log, the reader's place in it, and the driver that brings it.

import { given } from "./drivers/given.js";
import { recording } from "./drivers/recording.js";
import { websocket } from "./drivers/websocket.js";
import { EventLog } from "./log.js";
import { Player } from "./player.js";

/** @typedef {import("./drivers/driver.d.ts").Driver} Driver */
/** @typedef {import("./drivers/driver.d.ts").Status} Status */

/**
 * Where a run comes from: a recording that belongs to the page, a file that the reader opened, or the app's own log of a
 * run (`closed`: it will not grow, so it is a file too).
 * @typedef {{ kind: "recording", url: string }
 *   | { kind: "opened", file: import("./opened_file.js").Opened }
 *   | { kind: "run", runId: string, socketUrl: string, eventsUrl: string, closed: boolean }} Source
 */

export class Session {
  /**
   * @param {Source} source
   * @param {(what: "log" | "status") => void} changed
   */
  constructor(source, changed) {
    this.source = source;
    this.log = new EventLog();
    this.player = new Player(this.log, source.kind === "run" ? "live" : "recording");
    /** @type {Status} */
    this.status = { state: "connecting" };
    this.changed = changed;
    this.log.onappend = () => changed("log");
    this.driver = this.#driver(source);
  }

  /** @returns {string | null} */
  get runId() {
    return this.source.kind === "run" ? this.source.runId : null;
  }

  start() {
    this.driver.start();
  }

  stop() {
    this.log.onappend = null;
    this.driver.stop();
  }

  /**
   * @param {Source} source
   * @returns {Driver}
   */
  #driver(source) {
    const hooks = {
      /** @param {unknown[]} events */
      dispatch: (events) => this.log.appendAll(events),
      /** @param {Status} status */
      status: (status) => this.#say(status),
      after: () => this.log.seq,
      closed: () => this.log.closed !== null,
    };
    if (source.kind === "recording") return recording(source.url, hooks);
    if (source.kind === "opened") return given(source.file, hooks);
    if (source.closed) return recording(source.eventsUrl, hooks);
    return websocket(source.socketUrl, hooks, { eventsUrl: source.eventsUrl });
  }

  /** @param {Status} status */
  #say(status) {
    if (status.state === this.status.state && status.detail === this.status.detail) return;
    this.status = status;
    if (status.state === "ended" || status.state === "not-found") this.log.finish();
    this.changed("status");
  }
}
