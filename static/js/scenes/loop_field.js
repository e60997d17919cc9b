// The whole vocabulary at once: every token a window in its place, lit as the model's score for it is high. The likeliest
// are named.

import { mix } from "../stage/palette.js";
import { label } from "../stage/text.js";
import { significant } from "../state/format.js";
import { fieldIn } from "./loop_layout.js";

/** @typedef {import("./loop_picture.js").Picture} Picture */

/** Steps of light. */
const SHADES = 64;

/** @param {Picture} picture */
export function fieldOf({ layout: { curve, bars, seats, narrow }, scores, view }) {
  const height = seats.top - bars.top - (narrow ? 8 : 20);
  const box = { left: curve.left, top: bars.top, width: curve.width, height };
  return fieldIn(box, scores.plain?.ids.length ?? scores.vocabulary, view.dpr);
}

/** @type {{ key: string, scores: Float32Array | null, canvas: HTMLCanvasElement | null }} painted last */
const kept = { key: "", scores: null, canvas: null };

/**
 * @param {import("../state/sampling.js").Distribution} plain
 * @param {{ columns: number, rows: number, windowOf: Uint32Array }} field
 * @param {import("../stage/types.d.ts").View} view
 */
function painted(plain, { columns, rows, windowOf }, { theme, palette }) {
  const key = [columns, rows, theme].join();
  if (kept.canvas && kept.key === key && kept.scores === plain.scores) return kept.canvas;
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  const { ids, scores } = plain;
  const [high, middle] = [scores[0], scores[scores.length >> 1]];
  const { ground, ink } = palette.rgb;
  const lights = Array.from({ length: SHADES }, (_, i) => mix(ground, ink, 0.035 + 0.965 * (i / (SHADES - 1)) ** 1.7));
  ids.forEach((id, rank) => {
    // Half of all are dark; the likeliest is full light.
    const share = high > middle ? Math.max(0, (scores[rank] - middle) / (high - middle)) : 0;
    const [r, g, b] = lights[Math.round(share * (SHADES - 1))] ?? lights[0];
    image.data.set([r, g, b, 255], 4 * windowOf[id]);
  });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  Object.assign(kept, { key, scores, canvas });
  return canvas;
}

/** @param {CanvasRenderingContext2D} context @param {Picture} picture @param {number} alpha */
export function drawField(context, picture, alpha) {
  const { scores, layout, view, css } = picture;
  if (!scores.plain) return;
  const { rows } = picture.all;
  const field = fieldOf(picture);
  context.imageSmoothingEnabled = false;
  context.drawImage(
    painted(scores.plain, field, view),
    field.left,
    field.top,
    field.columns * field.size,
    field.rows * field.size,
  );
  const size = layout.narrow ? 11 : 13;
  /** What no name may lie on: the windows in question, and the other names. */
  const taken = rows.map(({ id }) => ({ x: field.at(id)[0] - 7, y: field.at(id)[1], width: 14 }));
  for (const row of rows) {
    const [x, y] = field.at(row.id);
    const drawn = row.id === scores.token?.id;
    const text = `${row.name} ${significant(row.logit)}`;
    const width = 0.62 * size * text.length + 14;
    const toLeft = x + width + 12 > field.left + field.columns * field.size;
    const box = { x: toLeft ? x - 10 - width : x + 10, y, width };
    /** @param {{ x: number, y: number, width: number }} other */
    const meets = (other) =>
      Math.abs(other.y - box.y) < size + 7 && box.x < other.x + other.width && other.x < box.x + width;
    for (let tries = 0; tries < rows.length && taken.some(meets); tries++) box.y += size + 8;
    taken.push(box);
    context.strokeStyle = context.fillStyle = drawn ? css.decode : css.ink;
    context.lineWidth = drawn ? 2 : 1;
    context.beginPath();
    context.arc(x, y, 2, 0, 2 * Math.PI);
    context.fill();
    context.beginPath();
    context.arc(x, y, drawn ? 7 : 5, 0, 2 * Math.PI);
    if (box.y !== y) {
      context.moveTo(x, y + 6);
      context.lineTo(toLeft ? box.x + box.width : box.x, box.y);
    }
    context.stroke();
    context.fillStyle = css.ground;
    context.globalAlpha = 0.82 * alpha;
    context.fillRect(box.x, box.y - size / 2 - 4, box.width, size + 8);
    context.globalAlpha = alpha;
    label(context, text, box.x + 7, box.y + 0.5, {
      size,
      weight: drawn ? 700 : 500,
      face: "mono",
      baseline: "middle",
      color: drawn ? css.decode : css.ink,
    });
  }
}
