// 09 paging: block tables at the left, the pool at the right, arrows by order and not by place. In a race the pool of
// the slabs stands beside the pool of the pages.

import { label } from "../stage/text.js";
import { measured, modelled } from "../state/fact.js";
import { bytes, count, percent } from "../state/format.js";
import { mostShared, preemptions, sequencesOf, tally, tellsBlocks, wasteOver } from "../state/paging.js";
import { t } from "../ui/messages.js";
import { drawDemand, drawSizes } from "./paging_charts.js";
import { gridOf, pageAt, seatOf } from "./paging_grid.js";
import { drawNews, drawPool } from "./paging_pool.js";
import { drawArrows, drawTables, rowsOf } from "./paging_tables.js";
import { describe, emptyShare, isSlab, missing, pageTable, pageWords } from "./paging_words.js";
import { clamp, room, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/paging.js").Tally} Tally */
/** @typedef {import("./paging_grid.js").Box} Box */
/** @typedef {import("./paging_grid.js").Grid} Grid */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D }} Surfaces */
/** @typedef {{ narrow: boolean, split: number, demand: number, tables: Box, pool: Box, beside: Box, chart: Box, bars: Box }} Layout */

/** Tokens that hold no page stand this far apart. */
const WAITING = 6;

/**
 * Where things stand. `split` 0: tables and one pool; 1: two pools and the chart below them.
 * @param {View} view
 * @returns {Layout}
 */
function layoutOf(view) {
  const area = room(view);
  const { narrow } = area;
  const split = clamp(view.data.split ?? 0);
  const demand = clamp(view.data.demand ?? 0);
  const edge = narrow ? 12 : Math.min(56, 0.045 * area.width);
  const left = area.left + edge;
  const width = area.width - 2 * edge;
  const top = narrow ? 88 : 150;
  const bottom = narrow ? area.height - 10 : area.height - 62;
  const aside = narrow ? Math.max(96, 0.27 * width) : clamp(0.27 * width, 200, 360);
  const gutter = narrow ? 16 : 56;
  const charts = narrow ? 84 : 150;
  const bars = narrow ? 0 : 96 * demand;
  const half = (width - gutter) / 2;
  const two = split > 0.5;
  const pool = two
    ? { left: left + half + gutter, top, width: half, height: bottom - charts - 18 - top }
    : { left: left + aside + gutter, top, width: width - aside - gutter, height: bottom - top };
  return {
    narrow,
    split,
    demand,
    tables: { left, top: narrow ? 50 : 86, width: aside, height: bottom - (narrow ? 50 : 86) - bars - (bars ? 16 : 0) },
    pool,
    beside: { left, top, width: half, height: bottom - charts - 18 - top },
    chart: { left, top: bottom - charts, width, height: charts },
    bars: { left, top: bottom - bars, width: aside, height: bars },
  };
}

/** @param {State} state @param {Box} box @returns {Grid} */
const gridFor = (state, box) => gridOf(tally(state).total, tally(state).blockSize, box);

/** Which of the states is the other lane of the race. @param {State[]} states @param {Layout} layout */
const otherOf = (states, { split }) => (split > 0.5 && states[1] && tellsBlocks(states[1]) ? states[1] : null);

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount(layer) {
    const canvas = document.createElement("canvas");
    layer.append(canvas);
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no 2d context");
    return { canvas, context };
  },

  places(state, view) {
    const layout = layoutOf(view);
    const out = new Float32Array(3 * state.tokens.length);
    if (!tellsBlocks(state)) return waiting(out, 0, state, { ...layout.tables, width: layout.tables.width });
    const counted = tally(state);
    const grid = gridFor(state, layout.pool);
    const { table, held, numComputed } = counted.sequences[0];
    const { blockSize, pages } = counted;
    let seated = 0;
    for (; seated < state.tokens.length; seated++) {
      const id = table[Math.floor(seated / blockSize)];
      if (id === undefined) break;
      const [x, y] = seatOf(grid, id, seated % blockSize);
      // What was let go stays to be seen until somebody writes over it.
      const gone = held ? seated > numComputed : pages.has(id);
      out.set([x, y, gone ? 0 : grid.radius], 3 * seated);
    }
    if (seated === 0) return waiting(out, 0, state, waitingBox(layout));
    // The newest token has no page yet: it stands where the last one stands, ready to go.
    for (let place = seated; place < state.tokens.length; place++)
      out.set([out[3 * seated - 3] + grid.pitch, out[3 * seated - 2], grid.radius], 3 * place);
    return out;
  },

  draw({ canvas, context }, states, view) {
    const [width, height] = [Math.round(view.width * view.dpr), Math.round(view.height * view.dpr)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.setTransform(view.dpr, 0, 0, view.dpr, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    const [state] = states;
    const layout = layoutOf(view);
    if (!tellsBlocks(state)) {
      label(context, missing(state), layout.pool.left, layout.pool.top, { size: 14, color: view.palette.css.muted, width: layout.pool.width });
      return;
    }
    const counted = tally(state);
    const alpha = Math.abs(2 * layout.split - 1) ** 2;
    if (layout.split > 0.5) drawRace(context, states, layout, view, alpha);
    else drawOne(context, state, counted, layout, view, alpha);
  },

  hit(x, y, state, view) {
    if (!tellsBlocks(state)) return null;
    const id = pageAt(gridFor(state, layoutOf(view).pool), x, y);
    return id < 0 ? null : pageWords(state, tally(state), id);
  },

  describe: (state, view, states) => describe(state, view, states ?? [state]),

  table: pageTable,

  takes: {
    slab: () => ({ take: "slab" }),
    paged: (_, controls) => ({ take: "paged", ...sizeOf(controls) }),
    samples: () => ({ take: "samples", n: 3 }),
    starved: (_, controls) => ({ take: "starved", ...poolOf(controls) }),
  },

  facts: {
    "paging.pages": measured((s) => ownPages(s) || null, count, "pages in this run's block table"),
    "paging.blockSize": measured((s) => s.opened?.engine?.block_size, count, "the engine's configuration"),
    "paging.numBlocks": measured((s) => s.opened?.engine?.num_blocks, count, "the engine's configuration"),
    "paging.pageBytes": modelled(
      (s) => (s.opened?.engine?.block_size ?? 0) * (s.opened?.model?.kv_bytes_per_token ?? 0) || null,
      bytes,
      "places of a page × layers × KV heads × head size × 2 × bytes a number",
    ),
    "paging.lastEmpty": measured(lastEmpty, count, "places of the last page that nothing was written to"),
    "paging.slabWaste": measured((s, lanes) => wasteOver(laneOf(s, lanes, "slab")), percent, OVER),
    "paging.pagedWaste": measured((s, lanes) => wasteOver(laneOf(s, lanes, "paged")), percent, OVER),
    "paging.holders": measured((s) => mostShared(tally(s)).holders || null, count, "holders of the most shared page"),
    "paging.shared": measured((s) => (tellsBlocks(s) ? tally(s).shared : null), count, "pages with more than one holder"),
    "paging.copies": measured((s) => (tellsBlocks(s) ? s.pool.copies.length : null), count, "counted in the log"),
    "paging.evictions": measured((s) => (tellsBlocks(s) ? s.pool.evictions.length : null), count, "counted in the log"),
    "paging.preemptions": measured((s) => (tellsBlocks(s) ? preemptions(s) : null), count, "counted in the log"),
  },
};
