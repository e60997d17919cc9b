// What the diagrams of a room are drawn with: a context, the colours of the theme, and a few strokes in them.

import { label } from "../stage/text.js";
import { room } from "./room.js";

/** @typedef {import("../stage/text.js").Style} Style */
/** @typedef {ReturnType<typeof brushOf>} Brush */

/** @param {CanvasRenderingContext2D} context @param {import("../stage/types.d.ts").View} view */
export function brushOf(context, view) {
  const { css, rgb } = view.palette;
  const { narrow } = room(view);
  return {
    context,
    css,
    rgb,
    narrow,

    /** @param {string} text @param {number} x @param {number} y @param {Style} [style] */
    words(text, x, y, style) {
      label(context, text, x, y, { size: narrow ? 11 : 12, color: css.muted, ...style });
    },

    /** @param {string} color @param {number} x @param {number} y @param {number} width @param {number} height */
    box(color, x, y, width, height) {
      context.fillStyle = color;
      context.fillRect(x, y, width, height);
    },

    /** @param {number[][]} points @param {string} color @param {{ width?: number, dash?: number[] }} [style] */
    line(points, color, { width = 1.5, dash = [] } = {}) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.setLineDash(dash);
      context.beginPath();
      for (const [x, y] of points) context.lineTo(x, y);
      context.stroke();
      context.setLineDash([]);
    },

    /** @param {number[][]} circles x, y, r @param {string} color */
    dots(circles, color) {
      context.fillStyle = color;
      context.beginPath();
      for (const [x, y, r] of circles) {
        context.moveTo(x + r, y);
        context.arc(x, y, r, 0, 2 * Math.PI);
      }
      context.fill();
    },
  };
}
