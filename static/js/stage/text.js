// Words on a canvas: the page's own faces, fitted to a width.

/** @typedef {{ size?: number, weight?: number, face?: "sans" | "serif" | "mono", color?: string, align?: CanvasTextAlign, baseline?: CanvasTextBaseline, width?: number }} Style */

const FACES = {
  sans: '"Inter Variable", "Inter", system-ui, sans-serif',
  serif: '"Source Serif 4 Variable", "Source Serif 4", Georgia, serif',
  mono: '"JetBrains Mono Variable", "JetBrains Mono", ui-monospace, monospace',
};

/**
 * @param {Style} style
 */
export function font({ size = 12, weight = 400, face = "sans" } = {}) {
  return `${weight} ${size}px ${FACES[face]}`;
}

/**
 * The largest number up to `most` that fits, where each number below one that fits does too.
 * @param {number} most
 * @param {(count: number) => boolean} fits
 */
function largest(most, fits) {
  let low = 0;
  let high = most;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (fits(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * `text`, cut with an ellipsis where it is wider than `width` in the context's current font.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} width
 */
export function fit(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const characters = [...text];
  const head = (/** @type {number} */ count) => `${characters.slice(0, count).join("")}…`;
  const count = largest(characters.length, (n) => context.measureText(head(n)).width <= width);
  return count ? head(count) : "";
}

/**
 * The end of `text`, as much of it as is no wider than `width` in the context's current font.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} width
 */
export function fitEnd(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const characters = [...text];
  const tail = (/** @type {number} */ count) => characters.slice(characters.length - count).join("");
  return tail(largest(characters.length, (n) => context.measureText(tail(n)).width <= width));
}

/**
 * Draw one line of text.
 * @param {CanvasRenderingContext2D} context
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {Style} [style]
 */
export function label(context, text, x, y, style = {}) {
  context.font = font(style);
  context.textAlign = style.align ?? "left";
  context.textBaseline = style.baseline ?? "alphabetic";
  if (style.color) context.fillStyle = style.color;
  const fitted = style.width === undefined ? text : fit(context, text, style.width);
  context.fillText(fitted, x, y);
}

/**
 * Two texts on one line, at its ends: where there is no room for both, the first one is cut.
 * @param {CanvasRenderingContext2D} context
 * @param {[string, string]} texts
 * @param {{ x: number, y: number, width: number }} line
 * @param {[Style, Style]} styles
 */
export function ends(context, [first, last], { x, y, width }, [left, right]) {
  label(context, last, x + width, y, { ...right, align: "right" });
  const rest = width - (last ? context.measureText(last).width + 10 : 0);
  label(context, first, x, y, { ...left, width: Math.max(0, rest) });
}

/** Stands for a special token, which adds no text; a sign that the page's own faces have. */
const SPECIAL = "¶";

/**
 * What stands on a token's chip: its text as it can be seen, or a sign where it adds none.
 * @param {{ text: string, special: boolean }} token
 */
export const chipText = ({ text, special }) => visible(text) || (special ? SPECIAL : "…");

/** Of a token's text this much is measured and drawn: the longest of a vocabulary have about 128 characters. */
const SEEN = 160;

/**
 * A token's text, cut with an ellipsis where it is longer than a token's can be: a source may say more.
 * @param {string} text
 */
export const bounded = (text) =>
  text.length > SEEN ? `${text.slice(0, SEEN).replace(/[\uD800-\uDBFF]$/, "")}…` : text;

/**
 * A token as it can be seen: white space and line ends get a sign, nothing is nothing.
 * @param {string} text
 */
export function visible(text) {
  return bounded(text)
    .replaceAll("\n", "⏎")
    .replaceAll("\t", "⇥")
    .replace(/^ +| +$/g, (run) => "·".repeat(run.length));
}
