// How each room is fetched when a reader comes near, in the order of the page. (The addresses are written out: what bundles
// the scripts must see them.)

/** @type {Record<string, () => Promise<{ default: import("../stage/types.d.ts").Scene }>>} */
export const ROOMS = {
  loop: () => import("./loop.js"),
  phases: () => import("./phases.js"),
  "kv-hall": () => import("./kv_hall.js"),
  attention: () => import("./attention.js"),
  batching: () => import("./batching.js"),
  paging: () => import("./paging.js"),
  speculation: () => import("./speculation.js"),
  compare: () => import("./compare.js"),
};
