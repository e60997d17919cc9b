// What is drawn, in the order of the page: the first is there at once, the rooms come when a reader is near.

import prologue from "./prologue.js";
import { ROOMS } from "./rooms.js";

/** @type {Record<string, import("../stage/stage.js").Offer>} */
export const SCENES = { prologue, ...ROOMS };
