// The takes of the run on stage: the same prompt cooked another way, each a run of its own with a log and a player.
//
//   own run closed, kitchen free     POST .../takes, and the new run plays as it is cooked
//   own run is a recording           its recorded take
//   own run was opened from a file   the recorded take of the default run, and a sentence that says so
//   kitchen busy, run expired ...    the recorded take of the default run, and a sentence that says so
//
// A take is asked for once for what it is asked with; asking with something else makes it anew.

import { t } from "../ui/messages.js";
import { Session } from "./session.js";

/** @typedef {import("../stage/types.d.ts").LaneStatus} LaneStatus */
/** @typedef {{ run_id: string, socket_url: string, events_url: string }} NewRun */
/** @typedef {{ own: () => Session, ask: (runId: string, body: object) => Promise<Answer>, recorded: (key: string) => string | null, source: (run: NewRun) => import("./session.js").Source, changed: (take: Take) => void }} Host */
/** @typedef {{ run: NewRun } | { refused: number, detail: string }} Answer what became of a request for a take; `refused` is the HTTP status, 0 where nobody answered */

/** @type {Record<number, () => string>} why a recorded take plays, by the status of the refusal */
const REFUSALS = {
  404: () => t("This run is not kept here any more, so a recorded take plays."),
  410: () => t("This run is not kept here any more, so a recorded take plays."),
  429: () => t("The kitchen is busy, so a recorded take plays."),
  503: () => t("The kitchen is busy, so a recorded take plays."),
};

export class Take {
  /**
   * @param {string} key
   * @param {string} asked what it was asked for with, as text
   */
  constructor(key, asked) {
    this.key = key;
    this.asked = asked;
    /** @type {LaneStatus} */
    this.status = "asking";
    this.words = "";
    /** @type {Session | null} */
    this.session = null;
    /** No take of the run on stage but another run beside it: it stays whoever is on stage, and nothing stands in for it. */
    this.guest = false;
  }

  /** The log of this take, where it has begun. */
  get log() {
    return this.session && this.session.log.seq > 0 ? this.session.log : null;
  }
}

export class Takes {
  /** @param {Host} host */
  constructor(host) {
    this.host = host;
  }

  /** @type {Map<string, Take>} */
  #takes = new Map();

  /** @param {string} key */
  get(key) {
    return this.#takes.get(key) ?? null;
  }

  /** All that there are. */
  all() {
    return [...this.#takes.values()];
  }

  /** Another run is on stage: its takes are others. */
  clear() {
    for (const [key, take] of this.#takes) {
      if (take.guest) continue;
      take.session?.stop();
      this.#takes.delete(key);
    }
  }

  /**
   * Another run takes a role, as it is.
   * @param {string} key
   * @param {import("./session.js").Source | null} source null: there is none
   * @param {string} words why there is none
   */
  bring(key, source, words) {
    this.#takes.get(key)?.session?.stop();
    const take = new Take(key, "");
    take.guest = true;
    this.#takes.set(key, take);
    if (source) {
      this.#play(take, source, source.kind === "run" ? "queued" : "recorded", "");
      return;
    }
    take.status = "missing";
    take.words = words;
    this.host.changed(take);
  }

  /**
   * See to it that a take is there or on its way.
   * @param {string} key
   * @param {object | null} body of the request; null: an ended run gives nothing to ask for, so the recorded one plays
   * @param {{ again?: boolean }} [options] `again`: the reader asks for it by a button, with other knobs or because a
   *   recorded one stands in for it
   * @returns {Take}
   */
  want(key, body, { again = false } = {}) {
    const own = this.host.own();
    const asked = JSON.stringify(body);
    const known = this.#takes.get(key);
    if (known?.guest) return known;
    const stands = known && known.asked === asked && known.status !== "recorded" && known.status !== "missing";
    if (known && (stands || !again) && !this.#due(known)) return known;
    known?.session?.stop();
    const take = new Take(key, asked);
    this.#takes.set(key, take);
    if (own.source.kind === "opened")
      this.#record(take, t("A run from a file is not cooked again, so a recorded take of the default run plays."));
    else if (own.source.kind === "recording")
      this.#record(take, again ? t("A recorded run is not cooked again: ask something of your own.") : "");
    else if (!own.log.closed) take.words = t("This take is cooked once your run has ended.");
    else if (body === null) this.#record(take, "");
    else void this.#ask(take, own.source.runId, body);
    return take;
  }

  /**
   * The recorded take plays though this one could be had: those that it is compared with are recorded ones.
   * @param {string} key
   * @param {string} words why
   */
  standIn(key, words) {
    const take = this.#takes.get(key);
    if (take && !take.guest && take.status !== "recorded" && take.status !== "missing") this.#record(take, words);
  }

  /** It waited for the run to end, and that has come. @param {Take} take */
  #due({ status, words, session }) {
    return status === "asking" && words !== "" && session === null && this.host.own().log.closed !== null;
  }

  /**
   * @param {Take} take
   * @param {string} runId
   * @param {object} body
   */
  async #ask(take, runId, body) {
    const answer = await this.host.ask(runId, body);
    // Asked for anew meanwhile, or another run is on stage, or a recorded take stands in for it already.
    if (this.#takes.get(take.key) !== take || take.status !== "asking") return;
    if ("run" in answer) {
      this.#play(take, this.host.source(answer.run), "queued", "");
      return;
    }
    const why = REFUSALS[answer.refused]?.() ?? `${answer.detail} ${t("A recorded take plays in its place.")}`.trim();
    this.#record(take, why);
  }

  /**
   * The recorded take of the default run.
   * @param {Take} take
   * @param {string} words why, "" where nothing else was to be expected
   */
  #record(take, words) {
    const url = this.host.recorded(take.key);
    if (url === null) {
      take.status = "missing";
      take.words = words || t("There is no recording of this take here.");
      this.host.changed(take);
      return;
    }
    this.#play(take, { kind: "recording", url }, "recorded", words);
  }

  /**
   * @param {Take} take
   * @param {import("./session.js").Source} source
   * @param {LaneStatus} status
   * @param {string} words
   */
  #play(take, source, status, words) {
    take.session?.stop();
    take.status = status;
    take.words = words;
    take.session = new Session(source, () => this.#heard(take));
    take.session.start();
    this.host.changed(take);
  }

  /** @param {Take} take */
  #heard(take) {
    const { session } = take;
    if (!session) return;
    const { closed, index } = session.log;
    if (take.guest) {
      const lost = session.status.state === "lost" || session.status.state === "not-found";
      const live = session.source.kind === "run";
      take.status = session.log.seq === 0 && lost ? "missing" : !live ? "recorded" : closed ? "done" : "cooking";
      take.words = take.status === "missing" ? t("the other run could not be read") : "";
      this.host.changed(take);
      return;
    }
    if (session.source.kind === "run") {
      if (closed && closed.reason !== "finished") {
        this.#record(take, `${closed.detail ?? ""} ${t("A recorded take plays in its place.")}`.trim());
        return;
      }
      if (session.status.state === "lost" || session.status.state === "not-found") {
        this.#record(take, t("This take could not be followed, so a recorded one plays."));
        return;
      }
      take.status = closed ? "done" : index.admitted ? "cooking" : "queued";
      take.words = take.status === "queued" ? t("This take is in line.") : "";
    } else if (session.log.seq === 0 && (session.status.state === "lost" || session.status.state === "not-found")) {
      take.status = "missing";
      take.words = t("There is no recording of this take here.");
    }
    this.host.changed(take);
  }
}
