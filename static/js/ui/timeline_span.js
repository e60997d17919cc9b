// The stretch of a run that the strip shows, in log seconds. Null stands for the whole run, which grows with the log.

/** @typedef {{ from: number, to: number }} Span */

/** The finest stretch: a few steps of a fast engine. */
const LEAST = 0.05;
/** Where the playhead is kept while it walks through a stretch: this share of it lies behind. */
const AHEAD = 0.8;

/**
 * A stretch of the same length (as far as there is one) that lies within the run; null where it is all of it.
 * @param {Span} span
 * @param {number} total seconds of the run
 * @returns {Span | null}
 */
export function within({ from, to }, total) {
  const length = Math.max(Math.min(LEAST, total), to - from);
  if (length >= total * 0.999) return null;
  const start = Math.min(Math.max(0, from), total - length);
  return { from: start, to: start + length };
}

/**
 * Enlarge about a moment, which keeps its place.
 * @param {Span | null} span
 * @param {number} total
 * @param {number} factor over 1: closer
 * @param {number} at log seconds
 */
export function zoomed(span, total, factor, at) {
  const { from, to } = span ?? { from: 0, to: total };
  return within({ from: at - (at - from) / factor, to: at + (to - at) / factor }, total);
}

/**
 * @param {Span | null} span
 * @param {number} total
 * @param {number} seconds
 */
export const shifted = (span, total, seconds) =>
  span && within({ from: span.from + seconds, to: span.to + seconds }, total);

/**
 * The stretch that keeps a moment in sight: it follows a playhead that walks, and jumps with one that jumps.
 * @param {Span | null} span
 * @param {number} total
 * @param {number} t log seconds
 */
export function following(span, total, t) {
  if (!span) return null;
  const length = span.to - span.from;
  const edge = span.from + AHEAD * length;
  if (t > span.to + length || t < span.from) return shifted(span, total, t - (span.from + span.to) / 2);
  return t > edge ? shifted(span, total, t - edge) : span;
}

/**
 * Moments for the axis, 1, 2 or 5 times a power of ten apart.
 * @param {Span} span
 * @param {number} most of them
 * @returns {{ every: number, at: number[] }}
 */
export function ticks({ from, to }, most) {
  const rough = (to - from) / Math.max(1, most);
  if (!(rough > 0)) return { every: 0, at: [] };
  const power = 10 ** Math.floor(Math.log10(rough));
  const every = power * (rough <= power ? 1 : rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10);
  const first = Math.ceil(from / every - 1e-9);
  const count = Math.floor(to / every + 1e-9) - first + 1;
  return { every, at: Array.from({ length: count }, (_, i) => (first + i) * every) };
}
