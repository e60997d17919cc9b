// The rooms in the order of the page: the first is there at once, the others are fetched when a reader comes near.

import prologue from "./prologue.js";

/** @type {Record<string, import("../stage/stage.js").Offer>} */
export const SCENES = {
  prologue,
  loop: () => import("./loop.js"),
  phases: () => import("./phases.js"),
  "kv-hall": () => import("./kv_hall.js"),
  attention: () => import("./attention.js"),
  batching: () => import("./batching.js"),
  paging: () => import("./paging.js"),
  speculation: () => import("./speculation.js"),
  compare: () => import("./compare.js"),
};
