// For tests and tools: what is on stage, as `__kitchen`. Read, do not write.

import { stateHash } from "../state/hash.js";

/** @typedef {import("../log/cast.js").Cast} Cast */
/** @typedef {import("../stage/stage.js").Stage} Stage */

/**
 * @param {{ cast: Cast, stage: Stage, session: () => import("../log/session.js").Session }} page
 * @param {Record<string, unknown>} more of this page alone
 */
export function offerInspection({ cast, stage, session }, more) {
  /** Of the run on stage. */
  const player = () => cast.main.player;
  const state = () => player().state;
  Object.defineProperty(globalThis, "__kitchen", {
    value: {
      get player() {
        return player();
      },
      get log() {
        return session().log;
      },
      get status() {
        return session().status;
      },
      state,
      hash: () => stateHash(state()),
      cast,
      describe: () => stage.scene?.describe(state(), stage.view, cast.states()) ?? null,
      table: () => stage.scene?.table(state(), stage.view, cast.states()) ?? null,
      stage,
      ...more,
    },
  });
}
