// From each entry of a table to its page. The lines run in the gaps between the pages, like the wires of a house.

import { cornerOf } from "./paging_grid.js";

/** @typedef {import("./paging_grid.js").Grid} Grid */
/** @typedef {import("./paging_tables.js").Row} Row */
/** @typedef {import("./paging_pool.js").Pen} Pen */

/** Lines that run down the gutter side by side. */
const LANES = 7;
const APART = 4;
const BEND = 7;
/** More lines than this are a carpet: only the newest are drawn. */
const MOST = 48;

/**
 * Corners of the line from an entry to its page: across to the gutter, along it, into the gap above the page, and down.
 * @param {{ x: number, y: number, width: number, height: number }} entry
 * @param {Grid} grid
 * @param {number} id
 * @param {number} lane
 * @param {number} gutter x of the first lane, left of the pool
 * @param {number} [apart] from lane to lane
 * @returns {[number, number][]}
 */
export function wire({ x, y, width, height }, grid, id, lane, gutter, apart = APART) {
  const [pageX, pageY] = cornerOf(grid, id);
  const gap = grid.cell - grid.size;
  const along = gutter - (lane % LANES) * apart;
  const above = pageY - Math.max(1, gap / 2);
  const down = pageX + grid.size / 2;
  return [
    [x + width, y + height / 2],
    [along, y + height / 2],
    [along, above],
    [down, above],
    [down, pageY],
  ];
}

/** @param {Pen} pen @param {Row[]} rows those whose lines are shown */
export function drawWires({ context, counted, grid, css, alpha, narrow }, rows) {
  const gutter = Math.min(grid.left, grid.near?.left ?? grid.left) - (narrow ? 5 : 10);
  let lane = 0;
  for (const { sequence, entries, shape } of rows) {
    if (shape === "cells") continue;
    for (const entry of entries.slice(-MOST)) {
      const id = sequence.table[entry.index];
      if (id < 0) continue;
      const shared = (counted.pages.get(id)?.holders.length ?? 0) > 1;
      const newest = entry.index === sequence.table.length - 1 && sequence.own && sequence.held;
      const prompt = (entry.index + 1) * counted.blockSize <= sequence.numPrompt;
      context.globalAlpha = alpha * (newest ? 1 : sequence.held ? 0.42 : 0.22);
      const color = shared ? css.shared : prompt ? css.prefill : css.decode;
      bend(context, wire(entry, grid, id, lane++, gutter, narrow ? 2 : APART), color, newest ? 2 : 1);
    }
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {[number, number][]} points @param {string} color @param {number} width */
function bend(context, points, color, width) {
  context.strokeStyle = color;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[0]);
  for (let i = 1; i < points.length - 1; i++) {
    const [[x0, y0], [x1, y1], [x2, y2]] = [points[i - 1], points[i], points[i + 1]];
    const radius = Math.min(BEND, Math.hypot(x1 - x0, y1 - y0) / 2, Math.hypot(x2 - x1, y2 - y1) / 2);
    context.arcTo(x1, y1, x2, y2, radius);
  }
  const [x, y] = points[points.length - 1];
  context.lineTo(x, y);
  context.stroke();
  if (width < 2) return;
  context.fillStyle = color;
  context.beginPath();
  context.moveTo(x, y + 2);
  context.lineTo(x - 4.5, y - 5);
  context.lineTo(x + 4.5, y - 5);
  context.fill();
}
