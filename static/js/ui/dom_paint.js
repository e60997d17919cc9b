// Words and boxes of a room that are elements, painted on a canvas where they stand: their text line by line in their own
// faces, grounds, borders. As much of CSS as rooms use; nothing is fetched, and text is only ever drawn.

import { parseColor, toCss } from "../stage/palette.js";

/** @typedef {CanvasRenderingContext2D} Context */

/** @param {string} value in pixels */
const px = (value) => Number.parseFloat(value) || 0;

/** @param {string} color */
const isClear = (color) => color === "transparent" || /[,/]\s*0\)$/.test(color);

/**
 * A linear gradient from top to bottom, the one kind that rooms have.
 * @param {Context} context
 * @param {string} image computed `background-image`
 * @param {DOMRect} box
 */
function gradientOf(context, image, box) {
  const inside = /^linear-gradient\((.*)\)$/.exec(image)?.[1];
  if (!inside) return null;
  const stops = inside.split(/,(?![^(]*\))/).map((stop) => stop.trim());
  if (/^(to|[\d.-]+deg)/.test(stops[0])) return null;
  const gradient = context.createLinearGradient(0, box.top, 0, box.bottom);
  let last = "";
  stops.forEach((stop, i) => {
    const [, color, place] = /^(.*?)(?:\s+([\d.]+)%)?$/.exec(stop) ?? [];
    // A style sheet fades a colour out; a canvas would go by way of black.
    const shade = isClear(color) && last ? toCss(parseColor(last), 0) : color;
    gradient.addColorStop(place ? Math.min(1, Number(place) / 100) : i / (stops.length - 1), shade);
    last = color;
  });
  return gradient;
}

/** @param {Context} context @param {CSSStyleDeclaration} style @param {DOMRect} box */
function paintBox(context, style, box) {
  context.beginPath();
  context.roundRect(box.left, box.top, box.width, box.height, px(style.borderTopLeftRadius));
  if (!isClear(style.backgroundColor)) {
    context.fillStyle = style.backgroundColor;
    context.fill();
  }
  const gradient = gradientOf(context, style.backgroundImage, box);
  if (gradient) {
    context.fillStyle = gradient;
    context.fill();
  }
  const sides = [style.borderTopWidth, style.borderRightWidth, style.borderBottomWidth, style.borderLeftWidth].map(px);
  context.setLineDash(style.borderLeftStyle === "dashed" ? [2 * sides[3], 2 * sides[3]] : []);
  if (sides.every((width) => width > 0)) {
    context.beginPath();
    const half = sides[0] / 2;
    const radius = Math.max(0, px(style.borderTopLeftRadius) - half);
    context.roundRect(box.left + half, box.top + half, box.width - sides[0], box.height - sides[0], radius);
    context.lineWidth = sides[0];
    context.strokeStyle = style.borderTopColor;
    context.stroke();
  } else {
    /** @param {number} width @param {string} color @param {number[]} line */
    const side = (width, color, [x, y, toX, toY]) => {
      if (width === 0) return;
      context.beginPath();
      context.moveTo(x, y);
      context.lineTo(toX, toY);
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    };
    const { left, right, top, bottom } = box;
    side(sides[3], style.borderLeftColor, [left + sides[3] / 2, top, left + sides[3] / 2, bottom]);
    side(sides[1], style.borderRightColor, [right - sides[1] / 2, top, right - sides[1] / 2, bottom]);
    side(sides[2], style.borderBottomColor, [left, bottom - sides[2] / 2, right, bottom - sides[2] / 2]);
    side(sides[0], style.borderTopColor, [left, top + sides[0] / 2, right, top + sides[0] / 2]);
  }
  context.setLineDash([]);
}

/** @param {Context} context @param {CSSStyleDeclaration} style */
function wear(context, style) {
  context.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.textAlign = "left";
  context.textBaseline = "alphabetic";
  context.letterSpacing = style.letterSpacing === "normal" ? "0px" : style.letterSpacing;
}

/**
 * The lines that a text is broken into, each with its box.
 * @param {Text} node
 * @returns {{ text: string, box: DOMRect }[]}
 */
function linesOf(node) {
  const range = document.createRange();
  const text = node.data;
  /** @type {{ text: string, box: DOMRect }[]} */
  const lines = [];
  let at = 0;
  for (const sign of text) {
    range.setStart(node, at);
    range.setEnd(node, at + sign.length);
    at += sign.length;
    const box = [...range.getClientRects()].at(-1);
    if (!box || box.width === 0) continue;
    const last = lines.at(-1);
    if (last && Math.abs(last.box.top - box.top) < 2 && box.left >= last.box.left) {
      last.text += sign;
      last.box = new DOMRect(last.box.left, last.box.top, box.right - last.box.left, last.box.height);
    } else lines.push({ text: sign, box });
  }
  return lines;
}

/** @param {Context} context @param {string} text @param {DOMRect} box of the line */
function paintLine(context, text, box) {
  const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: down } = context.measureText(text);
  context.fillText(text.replace(/[\n\t]/g, " "), box.left, box.top + (box.height - up - down) / 2 + up);
}

/**
 * A shape of an SVG: a path, or a polygon.
 * @param {Context} context
 * @param {SVGGeometryElement} shape
 * @param {CSSStyleDeclaration} style
 */
function paintShape(context, shape, style) {
  const closed = shape instanceof SVGPolygonElement ? "Z" : "";
  const points = shape.getAttribute("points");
  const path = new Path2D(points === null ? (shape.getAttribute("d") ?? "") : `M${points}${closed}`);
  const matrix = shape.getScreenCTM();
  if (matrix) context.transform(matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f);
  if (style.fill !== "none") {
    context.fillStyle = style.fill;
    context.globalAlpha *= Number(style.fillOpacity);
    context.fill(path);
    context.globalAlpha /= Number(style.fillOpacity) || 1;
  }
  if (style.stroke === "none") return;
  context.strokeStyle = style.stroke;
  context.lineWidth = px(style.strokeWidth);
  context.globalAlpha *= Number(style.strokeOpacity);
  context.lineJoin = /** @type {CanvasLineJoin} */ (style.strokeLinejoin);
  context.stroke(path);
}

/**
 * @param {Context} context in CSS pixels of the window
 * @param {Element} element
 */
export function paintElement(context, element) {
  const style = getComputedStyle(element);
  if (style.display === "none" || style.visibility === "hidden" || Number(style.opacity) === 0) return;
  const box = element.getBoundingClientRect();
  context.save();
  context.globalAlpha *= Number(style.opacity);
  if (element instanceof HTMLCanvasElement) {
    context.imageSmoothingEnabled = style.imageRendering !== "pixelated";
    // A browser, too, puts it on whole pixels of the screen.
    const { a: dpr } = context.getTransform();
    const [left, top, right, bottom] = [box.left, box.top, box.right, box.bottom].map(
      (edge) => Math.round(edge * dpr) / dpr,
    );
    if (element.width && element.height) context.drawImage(element, left, top, right - left, bottom - top);
    context.restore();
    return;
  }
  if (element instanceof SVGGeometryElement) {
    paintShape(context, element, style);
    context.restore();
    return;
  }
  paintBox(context, style, box);
  if (style.overflowX !== "visible") {
    context.beginPath();
    context.rect(box.left, box.top, box.width, box.height);
    context.clip();
  }
  const sign = /^"(.+)"$/.exec(getComputedStyle(element, "::before").content)?.[1];
  for (const [i, child] of [...element.childNodes].entries()) {
    if (child instanceof Element) paintElement(context, child);
    if (!(child instanceof Text)) continue;
    const lines = linesOf(child);
    wear(context, style);
    for (const { text, box: line } of lines) paintLine(context, text, line);
    if (sign && i === 0 && lines[0]) {
      context.fillStyle = getComputedStyle(element, "::before").color;
      paintLine(context, sign, new DOMRect(box.left + px(style.paddingLeft), lines[0].box.top, 0, lines[0].box.height));
    }
  }
  context.restore();
}
