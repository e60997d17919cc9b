// A view in which everything has come to rest: what a stage begins with, and a still is drawn with.

import { themeOf } from "./palette.js";

/**
 * @param {import("./types.d.ts").Palette} palette
 * @returns {import("./types.d.ts").View}
 */
export const viewAtRest = (palette) => ({
  width: 0,
  height: 0,
  dpr: 1,
  theme: themeOf(palette.rgb.ground),
  reduced: false,
  hurried: false,
  palette,
  chapter: "",
  progress: 0,
  step: 0,
  stepProgress: 0,
  data: {},
  controls: {},
  entered: 1,
  hover: -1,
  cast: { main: { key: "own", status: "own", words: "", state: null }, lanes: [] },
});
