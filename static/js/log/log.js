// A run's log in the browser: append-only, `seq` 1, 2, 3 ... without gaps or repeats, and an index of the moments that
// scroll steps, keys and the timeline ask for. It knows nothing of where events come from.

import { isOwn } from "./whose.js";

/** @typedef {import("../types/events.d.ts").AnyEvent} AnyEvent */
/** @typedef {import("../types/events.d.ts").LogOpened} LogOpened */
/** @typedef {import("../types/events.d.ts").LogClosed} LogClosed */
/** @typedef {import("../types/events.d.ts").StepItem} StepItem */

/**
 * What became of one event: taken; seen before; out of order (ask again from `log.seq`); not an event at all; or said
 * after `log.closed`.
 * @typedef {"accepted" | "repeat" | "gap" | "malformed" | "after-close"} Verdict
 */

/**
 * One engine step as the timeline draws it; `tokens` are this run's own in it. `stop` is null until it is done.
 * @typedef {{ step: number, phase: string, tokens: number, startedAt: number, finishedAt: number | null, startSeq: number, stopSeq: number | null }} StepMark
 */

/**
 * First `seq` of each moment of the run's own request; 0 where it has not come.
 * @typedef {object} Index
 * @property {number} queued
 * @property {number} tokenized
 * @property {number} admitted
 * @property {number} prefillStart `step.started` of the first step that computes our tokens
 * @property {number} prefillWritten the prompt's keys and values stand, the first token is not drawn yet
 * @property {number} finished
 * @property {number} closed
 * @property {number[]} tokens `seq` at which the n-th generated token stands and its step is over
 * @property {StepMark[]} steps those that computed something for this run
 * @property {StepMark[]} guestSteps those that had no part for it
 * @property {Map<string, number[]>} byType `seq` of every event, by its type
 */

/** @returns {Index} */
const emptyIndex = () => ({
  queued: 0,
  tokenized: 0,
  admitted: 0,
  prefillStart: 0,
  prefillWritten: 0,
  finished: 0,
  closed: 0,
  tokens: [],
  steps: [],
  guestSteps: [],
  byType: new Map(),
});

export class EventLog {
  constructor() {
    /** @type {AnyEvent[]} `events[seq - 1]` */
    this.events = [];
    /** @type {LogOpened | null} */
    this.opened = null;
    /** @type {LogClosed | null} */
    this.closed = null;
    /** True once nothing more will come, whether it was closed or merely ends (a truncated file). */
    this.complete = false;
    /** @type {string | null} */
    this.ownId = null;
    this.index = emptyIndex();
    /** @type {((log: EventLog) => void) | null} called once per `appendAll` that took something */
    this.onappend = null;
  }

  /** The step that began last. @type {StepMark | null} */
  #running = null;

  /** `seq` of the last event, 0 when there is none. */
  get seq() {
    return this.events.length;
  }

  /** Log seconds of the last event. */
  get t() {
    return this.timeAt(this.events.length);
  }

  /**
   * @param {unknown} value
   * @returns {Verdict}
   */
  append(value) {
    if (typeof value !== "object" || value === null) return "malformed";
    const event = /** @type {AnyEvent} */ (value);
    if (!Number.isInteger(event.seq) || event.seq < 1 || typeof event.type !== "string") return "malformed";
    if (!Number.isFinite(event.t)) return "malformed";
    if (event.seq <= this.events.length) return "repeat";
    if (event.seq !== this.events.length + 1) return "gap";
    if (this.closed) return "after-close";
    this.events.push(event);
    this.#note(event);
    return "accepted";
  }

  /**
   * Append what fits, in order, and stop at a gap.
   * @param {unknown[]} values
   * @returns {{ accepted: number, gap: boolean, malformed: number }}
   */
  appendAll(values) {
    const result = { accepted: 0, gap: false, malformed: 0 };
    for (const value of values) {
      const verdict = this.append(value);
      if (verdict === "accepted") result.accepted += 1;
      else if (verdict === "malformed") result.malformed += 1;
      else if (verdict === "gap") {
        result.gap = true;
        break;
      }
    }
    if (result.accepted) this.onappend?.(this);
    return result;
  }

  /** No more will come. */
  finish() {
    this.complete = true;
    this.onappend?.(this);
  }

  /** @param {number} seq */
  timeAt(seq) {
    if (seq < 1 || this.events.length === 0) return 0;
    return this.events[Math.min(seq, this.events.length) - 1].t;
  }

  /**
   * The last event at or before `t` (0: none).
   * @param {number} t log seconds
   */
  seqAt(t) {
    let low = 0;
    let high = this.events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.events[middle].t <= t) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {AnyEvent} event */
  #note(event) {
    const { index } = this;
    const alike = index.byType.get(event.type);
    if (alike) alike.push(event.seq);
    else index.byType.set(event.type, [event.seq]);
    switch (event.type) {
      case "log.opened":
        this.opened = event;
        this.ownId = event.run_id;
        break;
      case "log.closed":
        this.closed = event;
        this.complete = true;
        index.closed = event.seq;
        break;
      case "request.queued":
        if (isOwn(this, event)) index.queued ||= event.seq;
        break;
      case "request.tokenized":
        if (isOwn(this, event)) index.tokenized ||= event.seq;
        break;
      case "request.admitted":
        if (isOwn(this, event)) index.admitted ||= event.seq;
        break;
      case "request.finished":
        if (isOwn(this, event)) index.finished ||= event.seq;
        break;
      case "token.sampled":
        if (!isOwn(this, event)) break;
        index.prefillWritten ||= event.seq - 1;
        index.tokens.push(event.seq);
        break;
      case "step.started":
        this.#noteStep(event);
        break;
      case "step.finished": {
        const mark = this.#running;
        if (!mark || mark.step !== event.step || mark.stopSeq !== null) break;
        mark.finishedAt = event.t;
        mark.stopSeq = event.seq;
        const last = index.tokens.length - 1;
        if (last >= 0 && index.tokens[last] > mark.startSeq) index.tokens[last] = event.seq;
        break;
      }
    }
  }

  /** @param {import("../types/events.d.ts").StepStarted} event */
  #noteStep(event) {
    /** @type {StepItem | undefined} */
    const own = event.requests.find((item) => isOwn(this, item));
    this.#running = {
      step: event.step,
      phase: own?.phase ?? event.phase,
      tokens: own ? own.stop - own.start : 0,
      startedAt: event.t,
      finishedAt: null,
      startSeq: event.seq,
      stopSeq: null,
    };
    if (own) this.index.prefillStart ||= event.seq;
    (own ? this.index.steps : this.index.guestSteps).push(this.#running);
  }
}
