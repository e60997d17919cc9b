// A room's canvas: as large as the stage, sharp on its display, and empty when a frame begins.

/** @typedef {import("./types.d.ts").View} View */
/** @typedef {{ canvas: HTMLCanvasElement, context: CanvasRenderingContext2D }} Sheet */

/**
 * @param {HTMLElement} layer
 * @returns {Sheet}
 */
export function mountCanvas(layer) {
  const canvas = document.createElement("canvas");
  layer.append(canvas);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no 2d context");
  return { canvas, context };
}

/**
 * Begin a frame: CSS pixels, nothing drawn.
 * @param {Sheet} sheet
 * @param {View} view
 */
export function wipe({ canvas, context }, { width, height, dpr }) {
  const [wide, high] = [Math.round(width * dpr), Math.round(height * dpr)];
  // Setting a size, even the same, costs a new canvas.
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  context.setTransform(dpr, 0, 0, dpr, 0, 0);
  context.clearRect(0, 0, width, height);
}
