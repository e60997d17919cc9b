// 09 paging: block tables at the left, the pool at the right, arrows by order and not by place. In a race the pool of
// the slabs stands beside the pool of the pages.

import { mountCanvas, wipe } from "../stage/canvas.js";
import { label } from "../stage/text.js";
import { count, percent } from "../state/format.js";
import { isSlab, tally, tellsBlocks } from "../state/paging.js";
import { t } from "../ui/messages.js";
import { chosenPool, chosenSize, drawDemand, drawSizes } from "./paging_charts.js";
import facts from "./paging_facts.js";
import { gridBetween, gridOf, nearGridOf, pageAt, seatOf } from "./paging_grid.js";
import { drawNews, drawPool } from "./paging_pool.js";
import { drawWires } from "./paging_rails.js";
import { drawGauge, drawStrips, stripPageAt, stripRadius, stripSeat, stripsOf } from "./paging_strips.js";
import { drawTables, rowsOf } from "./paging_tables.js";
import { describe, emptyShare, missing, pageTable, pageWords } from "./paging_words.js";
import { clamp, lerp, NARROW, room, smooth } from "./room.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../stage/types.d.ts").View} View */
/** @typedef {import("../state/paging.js").Tally} Tally */
/** @typedef {import("./paging_grid.js").Box} Box */
/** @typedef {import("./paging_grid.js").Grid} Grid */
/** @typedef {import("./paging_pool.js").Pen} Pen */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D }} Surfaces */
/** @typedef {{ narrow: boolean, split: number, near: number, demand: number, tables: Box, pool: Box, beside: Box, chart: Box, bars: Box }} Layout `pool`: where the run on stage has its pool, or its strips; `beside`: the other lane's strips */

/** Tokens that hold no page stand this far apart. */
const WAITING = 6;

/** Whether another lane runs beside the one on stage. @param {View} view */
const isRace = ({ cast }) => cast.lanes.length > 0;

/**
 * Where things stand. `split` 0: tables and one pool; 1: a strip for each request, and in a race two sides and a chart.
 * @param {View} view
 * @returns {Layout}
 */
function layoutOf(view) {
  const area = room(view);
  const { narrow } = area;
  const split = clamp(view.data.split ?? 0);
  const near = clamp(view.data.near ?? 0);
  const demand = clamp(view.data.demand ?? 0);
  const edge = narrow ? 12 : Math.min(56, 0.045 * area.width);
  const left = area.left + edge;
  const width = area.width - 2 * edge;
  const top = narrow ? 88 : 150;
  const bottom = narrow ? area.height - 10 : area.height - 62;
  const aside = narrow ? Math.max(104, 0.28 * width) : clamp(lerp(0.27, 0.34, near) * width, 200, 640);
  const gutter = narrow ? 24 : 56;
  const charts = narrow ? 84 : 150;
  const bars = (narrow ? 46 : 96) * demand;
  const half = (width - gutter) / 2;
  const gauge = narrow ? 32 : 52;
  const race = isRace(view);
  const low = bottom - gauge - (race ? charts + 18 : 0) - top;
  const pool =
    split > 0.5
      ? { left: race ? left + half + gutter : left, top, width: race ? half : width, height: low }
      : {
          left: left + aside + gutter,
          top,
          width: width - aside - gutter,
          height: bottom - top - (narrow ? 1.15 * bars : 0),
        };
  return {
    narrow,
    split,
    near,
    demand,
    tables: { left, top: narrow ? 50 : 86, width: aside, height: bottom - (narrow ? 50 : 86) - 1.15 * bars },
    pool,
    beside: { left, top, width: half, height: low },
    chart: { left, top: bottom - charts, width, height: charts },
    bars: { left, top: bottom - bars, width: narrow ? width : aside, height: bars },
  };
}

/** The pool that the reader wants to try: nothing, where it is left to the kitchen. @param {Record<string, any>} controls */
const poolOf = (controls) => {
  const pool = chosenPool({ controls }, 0);
  return pool ? { num_blocks: pool } : {};
};

/** The whole pool. @param {State} state @param {Box} box @returns {Grid} */
const wholeOf = (state, box) => gridOf(tally(state).total, tally(state).blockSize, box);

/**
 * The pool from near: rows in which something is held, with room for all that this request may come to.
 * @param {State} state
 * @param {Box} box
 * @returns {Grid}
 */
function nearOf(state, box) {
  const { total, blockSize, pages, sequences } = tally(state);
  const { max_tokens: tokens = 0, n = 1 } = state.opened?.params ?? {};
  const most = n * Math.ceil((state.request.numPromptTokens + Number(tokens)) / blockSize);
  return nearGridOf(total, blockSize, box, [...pages.keys(), ...sequences[0].table.filter((id) => id >= 0)], most);
}

/** The pool as it is drawn. @param {State} state @param {Layout} layout */
function gridFor(state, { pool, near }) {
  const whole = wholeOf(state, pool);
  return near > 0 ? gridBetween(whole, nearOf(state, pool), near) : whole;
}

/** The strips of the run on stage, at the scale of all who are there. @param {State} state @param {Layout} layout @param {View} view */
const stripsFor = (state, { pool, narrow }, view) =>
  stripsOf([state, ...view.cast.lanes.map((lane) => lane.state)], pool, narrow);

/**
 * Where the places of the run on stage are.
 * @param {State} state
 * @param {Layout} layout
 * @param {View} view
 * @returns {{ seat: (id: number, position: number) => [number, number], pitch: number, radius: number }}
 */
function seats(state, layout, view) {
  const { blockSize } = tally(state);
  if (layout.split > 0.5) {
    const strips = stripsFor(state, layout, view);
    const seat = (/** @type {number} */ _, /** @type {number} */ position) =>
      stripSeat(strips, 0, position, blockSize, isSlab(state));
    return { seat, pitch: strips.pitch, radius: stripRadius(strips) };
  }
  const grid = gridFor(state, layout);
  return { seat: (id, position) => seatOf(grid, id, position % blockSize), pitch: grid.pitch, radius: grid.radius };
}

/** @type {import("../stage/types.d.ts").Scene<Surfaces>} */
export default {
  mount: mountCanvas,

  places(state, view) {
    const layout = layoutOf(view);
    const out = new Float32Array(3 * state.tokens.length);
    if (!tellsBlocks(state)) return waiting(out, layout.pool);
    const counted = tally(state);
    const { table, held, numComputed } = counted.sequences[0];
    const { blockSize, pages } = counted;
    const { seat, pitch, radius } = seats(state, layout, view);
    let seated = 0;
    for (; seated < state.tokens.length; seated++) {
      const id = table[Math.floor(seated / blockSize)];
      if (id === undefined) break;
      // What was let go stays to be seen until somebody writes over it.
      if (id < 0 || (!held && pages.has(id))) continue;
      const [x, y] = seat(id, seated);
      // Until its key and value stand, a token only marks the place it will have.
      out.set([x, y, (seated > numComputed ? 0.45 : 1) * radius], 3 * seated);
    }
    if (seated === 0) return waiting(out, waitingBox(layout));
    // The newest token has no page yet: it stands beside the last that has, ready to go.
    for (let place = seated; place < state.tokens.length; place++)
      out.set([out[3 * seated - 3] + pitch, out[3 * seated - 2], out[3 * seated - 1]], 3 * place);
    return out;
  },

  draw({ canvas, context }, states, view) {
    wipe({ canvas, context }, view);
    const [state] = states;
    const layout = layoutOf(view);
    if (!tellsBlocks(state)) {
      label(context, missing(state), layout.pool.left, layout.pool.top, {
        size: 14,
        color: view.palette.css.muted,
        width: layout.pool.width,
      });
      return;
    }
    // One picture goes before the other comes.
    const alpha = smooth(0, 0.3, Math.abs(2 * layout.split - 1));
    if (layout.split > 0.5) drawSides(context, states, layout, view, alpha);
    else drawOne(context, state, layout, view, alpha);
  },

  hit(x, y, state, view) {
    if (!tellsBlocks(state)) return null;
    const layout = layoutOf(view);
    const id =
      layout.split > 0.5
        ? stripPageAt(stripsFor(state, layout, view), state, x, y)
        : pageAt(gridFor(state, layout), x, y);
    return id < 0 ? null : pageWords(state, tally(state), id);
  },

  describe,

  table: pageTable,

  takes: {
    slab: () => ({ take: "slab" }),
    paged: (_, controls) => ({
      take: "paged",
      block_size: chosenSize({ controls }, 16),
      share: controls.paging_share !== false,
    }),
    samples: () => ({ take: "samples", n: 3 }),
    starved: (_, controls) => ({ take: "starved", ...poolOf(controls) }),
  },

  facts,
};

/** Where the tokens of a request stand that holds no page: under its name. @param {Layout} layout @returns {Box} */
function waitingBox({ tables, narrow, split, beside }) {
  if (split > 0.5) return { ...beside, height: 60 };
  return { left: tables.left, top: tables.top + 22, width: tables.width, height: narrow ? 60 : 120 };
}

/**
 * Tokens without a page, row by row.
 * @param {Float32Array} out
 * @param {Box} box
 */
function waiting(out, { left, top, width, height }) {
  const many = out.length / 3;
  const pitch = Math.min(WAITING, Math.sqrt((width * height) / Math.max(1, many)));
  const columns = Math.max(1, Math.floor(width / pitch));
  for (let i = 0; i < many; i++) {
    out.set([left + ((i % columns) + 0.5) * pitch, top + (Math.floor(i / columns) + 0.5) * pitch, 0.36 * pitch], 3 * i);
  }
  return out;
}

/** The one number over a pool, and what it is a share of. @param {Pen} pen @param {string} title @param {boolean} bright */
function drawHead(pen, title, bright) {
  const { grid } = pen;
  const { box, top } = grid;
  const drawn = grid.columns * grid.cell - (grid.cell - grid.size);
  const width = drawn > 0.6 * box.width ? drawn : box.width;
  drawFigure(pen, { left: box.left, top, width }, title, bright, holding(pen.state, pen.counted, pen.narrow));
}

/**
 * @param {Omit<Pen, "grid">} pen
 * @param {Pick<Box, "left" | "top" | "width">} box what stands below
 * @param {string} title
 * @param {boolean} bright
 * @param {string} held in words
 */
function drawFigure({ context, counted, css, alpha, narrow }, { left, top, width }, title, bright, held) {
  const y = top - (narrow ? 38 : 64);
  const words = narrow ? width : width - 210;
  context.globalAlpha = alpha;
  label(context, title, left, y + 13, {
    size: narrow ? 12 : 14,
    weight: 650,
    color: css.ink,
    width: narrow ? width - 52 : words,
  });
  label(context, held, left, y + (narrow ? 28 : 33), {
    size: narrow ? 11 : 13,
    color: css.muted,
    width: narrow ? width : width - 140,
  });
  const share = counted.places ? percent(emptyShare(counted)) : "—";
  label(context, share, left + width, y + (narrow ? 13 : 26), {
    size: narrow ? 15 : 34,
    weight: 500,
    face: "mono",
    color: bright ? css.ink : css.muted,
    align: "right",
  });
  if (!narrow)
    label(context, t("of held places empty"), left + width, y + 46, {
      size: 12,
      color: css.muted,
      align: "right",
    });
  context.globalAlpha = 1;
}

/** What is held, and what not. @param {State} state @param {Tally} counted @param {boolean} narrow */
function holding(state, { held, kept, free, shared, sequences }, narrow) {
  const named = sequences.reduce((sum, { table, held: holds }) => sum + (holds ? table.length : 0), 0);
  const waiting = state.request.status === "finished" && !held ? 0 : (state.steps.at(-1)?.numWaiting ?? 0);
  return [
    shared && !narrow
      ? t("{held} held, named {named} times", { held: count(held), named: count(named) })
      : t("{held} held", { held: count(held) }),
    kept ? t("{kept} kept", { kept: count(kept) }) : "",
    t("{free} free", { free: count(free) }),
    waiting ? t("{waiting} in line", { waiting: count(waiting) }) : "",
  ]
    .filter(Boolean)
    .join(", ");
}

/** @param {Tally} counted @param {boolean} narrow */
function poolTitle({ total, blockSize }, narrow) {
  const values = { total: count(total), size: count(blockSize) };
  return narrow ? t("{total} pages of {size}", values) : t("A pool of {total} pages, {size} tokens each", values);
}

/**
 * What a pool is drawn with.
 * @param {CanvasRenderingContext2D} context @param {State} state @param {Grid} grid @param {View} view @param {number} alpha @returns {Pen}
 */
const penOf = (context, state, grid, { palette: { css }, width }, alpha) => {
  return { context, css, alpha, narrow: width < NARROW, state, counted: tally(state), grid };
};

/**
 * Tables, wires, and one pool.
 * @param {CanvasRenderingContext2D} context
 * @param {State} state
 * @param {Layout} layout
 * @param {View} view
 * @param {number} alpha
 */
function drawOne(context, state, layout, view, alpha) {
  const { narrow, tables, demand, bars } = layout;
  const pen = penOf(context, state, gridFor(state, layout), view, alpha);
  const { counted } = pen;
  const rows = rowsOf(counted, tables, narrow);
  drawPool(pen, true);
  drawWires(
    pen,
    rows.filter(({ sequence }) => sequence.own || sequence.sample > 0),
  );
  drawTables(pen, rows, tables);
  drawHead(pen, poolTitle(counted, narrow || pen.grid.box.width < 420), false);
  drawUnseen(pen);
  drawNews(pen);
  if (demand > 0.02) drawDemand({ ...pen, alpha: alpha * smooth(0.4, 1, demand) }, bars, view);
}

/** How much of the pool is not in a picture from near. @param {Pen} pen */
function drawUnseen({ context, grid, counted: { total }, css, alpha }) {
  const drawn = Math.min(total, grid.rows.length * grid.columns);
  if (drawn >= total) return;
  context.globalAlpha = alpha;
  const y = grid.top + grid.rows.length * grid.cell + 20;
  label(context, t("… and {n} pages more, none of them held", { n: count(total - drawn) }), grid.left, y, {
    size: grid.cell > 40 ? 13 : 11,
    color: css.muted,
    width: grid.box.width,
  });
  context.globalAlpha = 1;
}

/**
 * A strip for each request; in a race slabs and pages side by side, and below them what another page size would leave.
 * @param {CanvasRenderingContext2D} context
 * @param {(State | null)[]} states
 * @param {Layout} layout
 * @param {View} view
 * @param {number} alpha
 */
function drawSides(context, [main, lane], { pool, beside, chart, narrow }, view, alpha) {
  const { css } = view.palette;
  const side = (/** @type {State} */ state, /** @type {Box} */ box, /** @type {boolean} */ first) => {
    const counted = tally(state);
    const strips = stripsOf([main, ...view.cast.lanes.map((each) => each.state)], box, narrow);
    const pen = { context, css, alpha, narrow, state, counted, strips };
    const waiting = counted.sequences.filter(({ status }) => status === "queued").length;
    const values = { held: count(counted.held), total: count(counted.total), waiting: count(waiting) };
    const held = waiting
      ? t("{held} of {total} pages held, {waiting} in line", values)
      : t("{held} of {total} pages held", values);
    drawFigure(pen, box, isSlab(state) ? t("In slabs") : t("In pages"), true, held);
    drawStrips(pen, first);
    drawGauge(pen, { ...box, top: box.top + box.height + (narrow ? 4 : 14), height: 20 });
    return pen;
  };
  const pen = side(/** @type {State} */ (main), pool, true);
  if (!isRace(view)) return;
  if (lane && tellsBlocks(lane)) side(lane, beside, false);
  else {
    const words = view.cast.lanes[0]?.words || t("The other lane is not there yet.");
    label(context, words, beside.left, beside.top + 16, { size: 13, color: css.muted, width: beside.width });
  }
  drawSizes(pen, chart, view);
}
