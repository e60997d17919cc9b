// The steps of a log as bars of the strip: as wide as a step took and as high as it is slow. Blue where the prompt was
// read, gold where a token was written, violet where drafts were verified, grey where others were served and this run
// had no part in the step.

/** @typedef {import("../log/log.js").EventLog} EventLog */
/** @typedef {import("../log/log.js").StepMark} StepMark */
/** @typedef {import("../stage/types.d.ts").ColorName} ColorName */
/** @typedef {import("./timeline_span.js").Span} Span */
/** @typedef {{ x: number, width: number, height: number, color: ColorName }} Bar height 0 to 1 */

/** Heights: of the fastest and the slowest step of a token or a few, and of a step of others. */
const LOW = 0.36;
const HIGH = 0.86;
const GUESTS = 0.3;

/** @type {Record<string, ColorName>} */
const COLORS = { prefill: "prefill", decode: "decode", verify: "draft" };

/**
 * The slowest step that writes, but for the slowest few in a hundred: one hiccup must not flatten the rest.
 * @param {EventLog} log
 */
function slowestOf(log) {
  const times = log.index.steps
    .filter(({ phase, finishedAt }) => phase !== "prefill" && finishedAt !== null)
    .map((step) => secondsOf(step))
    .sort((a, b) => a - b);
  return times[Math.ceil(times.length * 0.98) - 1] || 1e-9;
}

/**
 * Bars of a log over `width` pixels. Steps of one colour that fall on one pixel become one bar of the slowest.
 * @param {EventLog} log
 * @param {number} width
 * @param {Span} span log seconds that the width stands for
 * @returns {Bar[]}
 */
export function bars(log, width, span) {
  const scale = span.to > span.from ? width / (span.to - span.from) : 0;
  const slowest = slowestOf(log);
  /** @type {Bar[]} */
  const result = [];
  /** @param {StepMark[]} steps @param {(step: StepMark) => { color: ColorName, height: number }} look */
  const add = (steps, look) => {
    let last = null;
    for (const step of steps) {
      if ((step.finishedAt ?? log.t) < span.from || step.startedAt > span.to) continue;
      const { color, height } = look(step);
      const x = (step.startedAt - span.from) * scale;
      const barWidth = Math.max(1, secondsOf(step, log.t) * scale);
      if (last && last.color === color && x < last.x + 1) {
        last.height = Math.max(last.height, height);
        last.width = Math.max(last.width, x + barWidth - last.x);
      } else {
        last = { x, width: barWidth, height, color };
        result.push(last);
      }
    }
  };
  add(log.index.guestSteps, () => ({ color: "muted", height: GUESTS }));
  add(log.index.steps, (step) => {
    const color = COLORS[step.phase] ?? "decode";
    const share = Math.min(1, secondsOf(step, log.t) / slowest);
    return { color, height: color === "prefill" ? 1 : LOW + (HIGH - LOW) * share };
  });
  return result;
}

/**
 * @param {StepMark} step
 * @param {number} [now] log seconds, for a step that is not done
 */
export function secondsOf(step, now = step.startedAt) {
  return Math.max(0, (step.finishedAt ?? now) - step.startedAt);
}
