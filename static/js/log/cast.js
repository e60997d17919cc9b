// Who is on stage at a step: the reader's own run, or a take of it, and beside it the other lanes of a race. All stand
// under one clock, that of the first: each at its own `request.admitted` and as many seconds more.

import { applyUpTo } from "../state/apply.js";
import { createState } from "../state/create.js";
import { resolve } from "./moments.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").Lane} Lane */
/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./takes.js").Takes} Takes */
/** @typedef {{ main: string, lanes: string[] }} Roles keys of takes, or "own" */

/** @type {Roles} the reader's own run alone */
export const ALONE = { main: "own", lanes: [] };

/**
 * What a step's `data-cast` says.
 * @param {string | undefined} text
 * @returns {Roles}
 */
export function rolesOf(text) {
  if (!text) return ALONE;
  try {
    const { main = "own", lanes = [] } = JSON.parse(text);
    return { main, lanes };
  } catch {
    return ALONE;
  }
}

/** A closer look at what has been has no time of its own: it stands whole beside any moment. @param {Session} session */
const isProbe = ({ log }) => log.opened?.take === "probe";

/** Log seconds at which a run's clock starts. @param {Session} session */
const startOf = ({ log }) => (log.index.admitted ? log.timeAt(log.index.admitted) : 0);

export class Cast {
  /**
   * @param {() => Session} own
   * @param {Takes} takes
   */
  constructor(own, takes) {
    this.own = own;
    this.takes = takes;
    this.roles = ALONE;
  }

  /** @type {WeakMap<Session, State>} */
  #ended = new WeakMap();

  /**
   * The log of a key, where it has begun.
   * @param {string} key
   * @returns {Session | null}
   */
  #sessionOf(key) {
    if (key === "own") return this.own();
    const take = this.takes.get(key);
    return take?.log ? take.session : null;
  }

  /** Whose clock it is: the take in the main role once its log has begun, the reader's own run until then. */
  get main() {
    return this.#sessionOf(this.roles.main) ?? this.own();
  }

  /** Of all who are on stage and have begun. @returns {(Session | null)[]} */
  get sessions() {
    return [this.roles.main, ...this.roles.lanes].map((key) => this.#sessionOf(key)).filter(Boolean);
  }

  /** Bring the other lanes to the moment of the first, and tell it how far the clock may go. */
  align() {
    const { main } = this;
    const start = startOf(main);
    let horizon = 0;
    for (const key of this.roles.lanes) {
      const lane = this.#sessionOf(key);
      if (!lane || lane === main) continue;
      const shift = startOf(lane) - start;
      lane.player.pause();
      if (isProbe(lane)) {
        lane.player.seek(lane.log.seq);
        continue;
      }
      lane.player.seekTime(main.player.t + shift);
      horizon = Math.max(horizon, lane.log.t - shift);
    }
    main.player.horizon = horizon;
  }

  /** Whether a lane runs beside the first, with a clock that theirs must agree with. */
  get racing() {
    return this.beside.length > 0;
  }

  /** Logs of the lanes that race beside the first, each with how much later its clock began than the first one's. */
  get beside() {
    const { main } = this;
    return this.roles.lanes.flatMap((key) => {
      const lane = this.#sessionOf(key);
      const races = lane !== null && lane !== main && !isProbe(lane);
      return races ? [{ log: lane.log, shift: startOf(lane) - startOf(main) }] : [];
    });
  }

  /**
   * A named moment of the run in the main role. In a race time counts, for no event of one log is a moment of the other.
   * @param {string} name
   * @returns {import("../ui/scroll.js").Moment}
   */
  moment(name) {
    const { player, log } = this.main;
    const found = resolve(log, name);
    if (!this.racing) return found;
    this.align();
    return { ...found, t: name === "end" ? player.end : log.timeAt(found.seq) };
  }

  /** States in the order of the roles; null for a lane that is not there. */
  states() {
    const others = this.roles.lanes.map((key) => this.#sessionOf(key)?.player.state ?? null);
    return [this.main.player.state, ...others];
  }

  /** @returns {{ main: Lane, lanes: Lane[], span: number }} `span`: seconds that the clock of all goes on, as far as known */
  view() {
    const { main, roles } = this;
    const span = Math.max(0, main.player.end - startOf(main));
    return { main: this.#lane(roles.main), lanes: roles.lanes.map((key) => this.#lane(key)), span };
  }

  /** @param {string} key @returns {Lane} */
  #lane(key) {
    const state = this.#sessionOf(key)?.player.state ?? null;
    if (key === "own") return { key, status: "own", words: "", state };
    const take = this.takes.get(key);
    return { key, status: take?.status ?? "asking", words: take?.words ?? "", state };
  }

  /** All the runs that a number may be about. @returns {import("../state/fact.js").Runs} */
  runs() {
    /** @type {Record<string, State | undefined>} */
    const at = {};
    for (const { key } of this.takes.all()) at[key] = this.#sessionOf(key)?.player.state;
    return { own: this.own().player.state, at, ended: (key) => this.#endOf(key) };
  }

  /**
   * A run as it ended, whatever moment of it is on stage.
   * @param {string} key
   */
  #endOf(key) {
    const session = this.#sessionOf(key);
    if (!session?.log.complete) return undefined;
    let state = this.#ended.get(session);
    if (!state) {
      state = createState();
      applyUpTo(state, session.log.events, session.log.seq);
      this.#ended.set(session, state);
    }
    return state;
  }
}
