// Hands on the strip: press and drag to seek, point for words, wheel or two fingers to zoom and to move along.

import { wordsAt } from "./timeline_words.js";

/** @typedef {import("./timeline.js").Timeline} Timeline */
/** @typedef {{ log: () => import("../log/log.js").EventLog, seek: (t: number) => void, tooltip: import("./tooltip.js").Tooltip, zoomed: () => void }} Host */

/** How much closer a notch of the wheel (or as many pixels of a trackpad's) comes. */
const NOTCH = 100;
const CLOSER = 1.35;

/** @param {WheelEvent} event pixels, whatever the wheel counts in */
const pixelsOf = ({ deltaX, deltaY, deltaMode }) => [deltaX, deltaY].map((delta) => delta * (deltaMode ? 33 : 1));

/**
 * @param {HTMLElement} strip
 * @param {Timeline} timeline
 * @param {Host} host
 */
export function bindHands(strip, timeline, host) {
  /** Fingers (or the mouse) that are down: where each was last, from the left edge. @type {Map<number, number>} */
  const down = new Map();
  /** @param {MouseEvent} event */
  const placeOf = (event) => event.clientX - strip.getBoundingClientRect().left;

  /** @param {PointerEvent} event */
  const point = (event) => {
    timeline.pointer = placeOf(event);
    timeline.redraw();
    const { top, height } = strip.getBoundingClientRect();
    const words = wordsAt(host.log(), timeline.timeAt(timeline.pointer));
    host.tooltip.showText(words, new DOMRect(event.clientX, top, 0, height));
  };
  const leave = () => {
    timeline.pointer = null;
    timeline.redraw();
    host.tooltip.hide();
  };

  /** Two fingers: their distance zooms, their middle moves. @param {PointerEvent} event */
  const pinch = (event) => {
    const before = [...down.values()];
    down.set(event.pointerId, placeOf(event));
    const after = [...down.values()];
    const middle = (before[0] + before[1]) / 2;
    const spread = Math.abs(after[0] - after[1]) / Math.max(8, Math.abs(before[0] - before[1]));
    timeline.zoom(spread, timeline.timeAt(middle));
    timeline.pan(middle - (after[0] + after[1]) / 2);
    host.zoomed();
  };

  strip.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    strip.setPointerCapture(event.pointerId);
    down.set(event.pointerId, placeOf(event));
    strip.focus({ preventScroll: true });
    if (down.size === 1) host.seek(timeline.timeAt(placeOf(event)));
  });
  strip.addEventListener("pointermove", (event) => {
    if (down.size >= 2 && down.has(event.pointerId)) return pinch(event);
    if (down.has(event.pointerId)) host.seek(timeline.timeAt(placeOf(event)));
    if (event.pointerType !== "touch" || down.size) point(event);
  });
  for (const up of /** @type {const} */ (["pointerup", "pointercancel"])) {
    strip.addEventListener(up, (event) => {
      down.delete(event.pointerId);
      if (event.pointerType === "touch") leave();
    });
  }
  strip.addEventListener("pointerleave", leave);
  strip.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const [x, y] = pixelsOf(event);
      // A trackpad's pinch comes as a wheel with Ctrl, in steps a tenth as large.
      const turns = (event.ctrlKey ? 8 : 1) * (y / NOTCH);
      if (event.shiftKey || Math.abs(x) > Math.abs(y)) timeline.pan(x || y);
      else timeline.zoom(CLOSER ** -turns, timeline.timeAt(placeOf(event)));
      host.zoomed();
    },
    { passive: false },
  );
}
