// Where the reader stands in a log, and what moves them.
//
//   mode    recording | live      a recording was made elsewhere; a live log is this reader's own run, perhaps growing
//   drive   still | clock | edge  what sets the playhead when nobody touches it
//
//   drive    play     pause    seek      scroll(reached)  scroll(not yet)  live     append   clock meets the end
//   still    clock    -        still     still            edge             edge     -        -
//   clock    -        still    clock     still            edge             edge     -        live and growing: edge
//                                                                                            loading: waits
//                                                                                            complete: still
//   edge     clock*   still    still     still            -                -        moves    -
//
//   * from the end of a complete log, `play` starts again from the beginning. On a growing log the edge plays already.
//
// The last gesture wins. New events move nobody who left the edge. `live` on a complete log stands at its end.
// The state at the playhead follows from the log alone: forward by applying, backward by replaying from zero.

import { applyUpTo } from "../state/apply.js";
import { createState } from "../state/create.js";

/** @typedef {import("./log.js").EventLog} EventLog */
/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {"still" | "clock" | "edge"} Drive */
/** @typedef {"recording" | "live"} Mode */

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];

/** How long the clock runs on past the newest event of a live log, in seconds, so that its arrival can be drawn. */
const EDGE_COAST = 0.4;

export class Player {
  /**
   * @param {EventLog} log
   * @param {Mode} mode
   */
  constructor(log, mode) {
    this.log = log;
    this.mode = mode;
    /** @type {Drive} */
    this.drive = "still";
    this.speed = 1;
    this.seq = 0;
    /** Log seconds; runs on between events while the clock or the edge drives. */
    this.t = 0;
    /** Where the clock may go though this log has ended: the end of a slower run in a race, in seconds of this log. */
    this.horizon = 0;
    /** @type {State} the state at `seq` */
    this.state = createState();
  }

  #edgeSeq = 0;
  #edgeSince = 0;
  /** @type {number | null} */
  #lastTick = null;

  /** True while more events may come to a live log. */
  get growing() {
    return this.mode === "live" && !this.log.complete;
  }

  get atEnd() {
    return this.seq >= this.log.seq && this.t >= this.horizon;
  }

  /** Where the strip ends, in log seconds. */
  get end() {
    return Math.max(this.log.t, this.horizon);
  }

  /** True while the playhead moves by itself. */
  get moving() {
    return this.drive === "clock" || this.drive === "edge";
  }

  /**
   * Start as a page opens: a live run at its edge, a recording by the clock from zero (or at its end, for a still).
   * @param {{ still?: boolean }} [options]
   */
  open({ still = false } = {}) {
    if (this.mode === "live" || still) this.live();
    else this.play();
  }

  play() {
    if (this.drive === "clock" || (this.drive === "edge" && this.growing)) return;
    if (this.atEnd && this.log.complete) this.#moveTo(0, 0);
    this.#lastTick = null;
    this.drive = "clock";
  }

  pause() {
    this.drive = "still";
  }

  toggle() {
    if (this.moving && !(this.drive === "edge" && this.log.complete)) this.pause();
    else this.play();
  }

  /** @param {number} speed one of `SPEEDS` */
  setSpeed(speed) {
    if (SPEEDS.includes(speed)) this.speed = speed;
  }

  /** @param {number} seq */
  seek(seq) {
    if (this.drive === "edge") this.drive = "still";
    const target = Math.max(0, Math.min(Math.round(seq), this.log.seq));
    this.#moveTo(target, this.log.timeAt(target));
  }

  /** @param {number} t log seconds */
  seekTime(t) {
    if (this.drive === "edge") this.drive = "still";
    const bounded = Math.max(0, Math.min(t, this.end));
    this.#moveTo(this.log.seqAt(bounded), bounded);
  }

  /**
   * The reader scrolled to a moment. One that has not come keeps them at the live edge.
   * @param {{ seq: number, reached: boolean, t?: number }} moment `t`: the second it is, where no event says it
   */
  scroll({ seq, reached, t }) {
    if (!reached) {
      this.live();
      return;
    }
    this.drive = "still";
    if (t !== undefined) this.seekTime(t);
    else this.seek(seq);
  }

  live() {
    this.drive = "edge";
    this.#moveTo(this.log.seq, this.end);
  }

  /** The page was out of sight: the time away is no time of the clock. */
  wake() {
    this.#lastTick = null;
  }

  /**
   * Let the clock run to `now`.
   * @param {number} now milliseconds of any steady clock
   * @returns {boolean} whether the picture may differ from that of the last tick
   */
  tick(now) {
    const elapsed = this.#lastTick === null ? 0 : Math.max(0, now - this.#lastTick) / 1000;
    this.#lastTick = now;
    if (this.drive === "edge") return this.#tickEdge(now);
    if (this.drive === "clock") return this.#tickClock(elapsed);
    return false;
  }

  /** @param {number} now */
  #tickEdge(now) {
    if (this.log.seq !== this.#edgeSeq) {
      this.#edgeSeq = this.log.seq;
      this.#edgeSince = now;
    }
    const coast = Math.min((now - this.#edgeSince) / 1000, EDGE_COAST);
    const before = this.t;
    this.#moveTo(this.log.seq, Math.max(this.log.t + coast, this.log.complete ? this.horizon : 0));
    return this.t !== before;
  }

  /** @param {number} elapsed seconds */
  #tickClock(elapsed) {
    const { end } = this;
    const t = Math.min(this.t + elapsed * this.speed, end);
    const before = this.t;
    this.#moveTo(t >= end ? this.log.seq : this.log.seqAt(t), t);
    if (t >= end && this.log.seq > 0) {
      if (this.growing) this.drive = "edge";
      else if (this.log.complete) this.drive = "still";
    }
    return this.t !== before || elapsed === 0;
  }

  /**
   * @param {number} seq
   * @param {number} t
   */
  #moveTo(seq, t) {
    this.t = t;
    if (seq === this.seq) return;
    if (seq < this.seq) this.state = createState();
    applyUpTo(this.state, this.log.events, seq);
    this.seq = seq;
  }
}
