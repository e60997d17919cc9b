// 00 prologue: the hall behind the words, filling with the run on stage.

import { t } from "../ui/messages.js";
import { cameraOf, cellAt, lengthAt, seats } from "./hall.js";
import { placeTable, wordsAt } from "./hall_words.js";
import { fullBleed } from "./room.js";
import { Walls } from "./walls.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */

const LOOK = { focus: { layer: -1, head: -1 }, raw: 0, fog: 1, frame: 0 };

/** The playhead of the frame being drawn: `places` and `hit` must use the camera that `draw` used. */
let playhead = 0;

/** @param {State} state @param {View} view */
const camera = (state, view) => cameraOf(fullBleed(view), lengthAt(state, playhead), 0);

/** @type {import("../stage/types.d.ts").Scene<Walls>} */
export default {
  mount: (layer) => new Walls(layer),

  places: (state, view) => seats(camera(state, view), state.tokens.length, 6, fullBleed(view).words),

  draw(walls, [state], view, time) {
    playhead = view.reduced ? Number.POSITIVE_INFINITY : time;
    walls.draw(state, view, camera(state, view), LOOK, time);
  },

  hit: (x, y, state, view) => wordsAt(cellAt(camera(state, view), x, y), state),

  describe(state) {
    const written = state.tokens.length - state.request.numPromptTokens;
    if (!state.request.numPromptTokens) return t("An empty hall: no prompt has been read yet.");
    return t("A hall of lights: {read} blue places for the prompt, {written} gold ones, one for each token written.", {
      read: state.request.numPromptTokens,
      written: Math.max(0, written),
    });
  },

  table: placeTable,
};
