// Which run the page is bound to: the recording it opens with, a run of the address, the one just asked for, or a file.

import { findRun } from "../log/find.js";
import { Session } from "../log/session.js";
import { absolute, addressed, sourceOf, urlsOf } from "./addresses.js";
import { t } from "./messages.js";
import { reduced } from "./motion.js";
import { noticeOf } from "./notice.js";
import { rememberRun } from "./prompt.js";

/** @typedef {import("../log/session.js").Source} Source */
/** @typedef {{ run_id: string | null, mine: boolean, recording: string, kitchen: boolean, runs: Record<string, string> }} Config `kitchen`: whether one stands behind the page; `runs`: where none does, the logs that lie beside it, by their runs' ids */
/** @typedef {{ changed: (what: "log" | "status") => void, bound: () => void, shown: () => void }} Host `bound`: another run is to take the stage, its log empty yet; `shown`: the reader asked for it, and would see it */

export class RunOnStage {
  /** @param {Config} config @param {Host} host */
  constructor(config, host) {
    this.config = config;
    this.host = host;
    /** Runs that this reader asked for. @type {Set<string | null>} */
    this.own = new Set(config.mine ? [config.run_id] : []);
    this.session = this.#session({ kind: "recording", url: config.recording });
  }

  /** What was on stage before it. @type {Source | null} */
  before = null;
  /** The address asks for a run that nobody knows; a recording plays in its place. */
  #unknown = false;
  /** Runs asked for so far: an answer that comes after the reader asked for another one is not for them any more. */
  #asked = 0;
  /** The run that the address asked for when it was last looked at. */
  #addressed = addressed("run");

  /** @param {Source} source */
  #session(source) {
    return new Session(source, (what) => this.#heard(what));
  }

  /** @param {"log" | "status"} what */
  #heard(what) {
    const { source, status, log } = this.session;
    const lost = what === "status" && source.kind === "run" && status.state === "not-found" && log.seq === 0;
    if (lost) this.#showRecording(true);
    else this.host.changed(what);
  }

  /** It is the reader's own. */
  get mine() {
    return this.own.has(this.session.runId);
  }

  /** What the reader is to be told of it. */
  get notice() {
    const { source, status, log } = this.session;
    const unknown = this.#unknown ? noticeOf(null, { state: "not-found" }) : null;
    return noticeOf(log.closed, status, source.kind === "recording") ?? unknown;
  }

  /** Whose run it is, in words. */
  get whose() {
    const { source } = this.session;
    if (source.kind === "opened") return t("Opened from a file: {name}", { name: source.file.name });
    if (source.kind === "recording") return t("A recorded run");
    return this.mine ? t("Your run") : t("Somebody's run");
  }

  /** @param {Source} source */
  #bind(source) {
    this.session.stop();
    if (this.session.log.seq > 0) this.before = this.session.source;
    this.session = this.#session(source);
    this.session.player.open({ still: reduced() });
    this.host.bound();
    this.session.start();
    this.#heard("status");
  }

  /** What the address has from now on. @param {string | null} runId */
  #remember(runId) {
    rememberRun(runId);
    this.#addressed = runId;
  }

  /** The reader's prompt was accepted. @param {import("./prompt.js").NewRun} run */
  open(run) {
    this.#asked += 1;
    this.#unknown = false;
    this.own.add(run.run_id);
    this.#remember(run.run_id);
    this.#bind(sourceOf(run));
    this.host.shown();
  }

  /**
   * A run out of a file takes the stage. The address knows nothing of it: a reload brings back what it names.
   * @param {import("../log/opened_file.js").Opened} file
   */
  openFile(file) {
    this.#asked += 1;
    this.#unknown = false;
    this.#remember(null);
    forgetStatus();
    this.#bind({ kind: "opened", file });
    this.host.shown();
  }

  /** It was deleted: the recording takes its place. */
  close() {
    this.#remember(null);
    void this.openPage(null);
  }

  /** The reader went back or forward: maybe to another run, maybe only to another place of the page. */
  follow() {
    const runId = addressed("run");
    if (runId === this.#addressed) return;
    this.#addressed = runId;
    const status = /** @type {HTMLElement | null} */ (document.querySelector(".run-status"));
    if (status?.dataset.run !== runId) forgetStatus();
    void this.openPage(runId);
  }

  /**
   * What the address asks for: a run of the app's, or the recording.
   * @param {string | null} runId
   */
  async openPage(runId) {
    this.#asked += 1;
    const mine = this.#asked;
    if (runId === null) {
      // The server left the run of the address out: it does not know it.
      this.#showRecording(addressed("run") !== null);
      return;
    }
    const source = await this.#find(runId);
    if (mine !== this.#asked) return;
    this.#unknown = source === null;
    if (source === null) this.#showRecording(true);
    else this.#bind(source);
  }

  /** @param {string} runId @returns {Promise<Source | null>} */
  async #find(runId) {
    const { kitchen, runs } = this.config;
    if (kitchen) return findRun(runId, urlsOf(runId));
    if (!Object.hasOwn(runs, runId)) return null;
    return { kind: "run", runId, socketUrl: "", eventsUrl: absolute(runs[runId]), closed: true };
  }

  /** @param {boolean} unknown it plays in the place of a run that nobody knows */
  #showRecording(unknown) {
    this.#unknown = unknown;
    this.#bind({ kind: "recording", url: absolute(this.config.recording) });
  }
}

/** The line under the box is about a run that has left the stage. */
const forgetStatus = () => document.querySelector("#prompt-status")?.replaceChildren();
