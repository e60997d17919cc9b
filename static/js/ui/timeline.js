// The run as one strip: a bar for each step, as wide as it took and as high as it is slow; blue where the prompt was
// read, gold where a token was written; grey where the request waited. Beyond the playhead it is dim.

/** @typedef {import("../log/log.js").EventLog} EventLog */
/** @typedef {import("../log/log.js").StepMark} StepMark */
/** @typedef {import("../stage/types.d.ts").Palette} Palette */
/** @typedef {import("../stage/types.d.ts").ColorName} ColorName */
/** @typedef {{ x: number, width: number, height: number, color: ColorName }} Bar */

const LEAST_HEIGHT = 0.3;

/**
 * Bars of a log over `width` pixels. Steps that fall on one pixel become one bar of the slowest.
 * @param {EventLog} log
 * @param {number} width
 * @param {number} total log seconds that the whole width stands for
 * @returns {Bar[]} heights 0 to 1
 */
export function bars(log, width, total) {
  const { steps } = log.index;
  const decode = steps.filter((step) => step.phase !== "prefill" && step.finishedAt !== null);
  const slowest = Math.max(
    1e-9,
    ...decode
      .map(secondsOf)
      .sort((a, b) => a - b)
      .slice(0, Math.ceil(decode.length * 0.98)),
  );
  const scale = total > 0 ? width / total : 0;
  /** @type {Bar[]} */
  const result = [];
  for (const step of steps) {
    const prefill = step.phase === "prefill";
    const x = step.startedAt * scale;
    const barWidth = Math.max(1, secondsOf(step, log.t) * scale);
    const height = prefill ? 1 : LEAST_HEIGHT + (0.8 - LEAST_HEIGHT) * Math.min(1, secondsOf(step, log.t) / slowest);
    const color = prefill ? "prefill" : "decode";
    const last = result.at(-1);
    if (last && last.color === color && x < last.x + 1) {
      last.height = Math.max(last.height, height);
      last.width = Math.max(last.width, x + barWidth - last.x);
    } else result.push({ x, width: barWidth, height, color });
  }
  return result;
}

/**
 * @param {StepMark} step
 * @param {number} [now] log seconds, for a step that is not done
 */
function secondsOf(step, now = step.startedAt) {
  return Math.max(0, (step.finishedAt ?? now) - step.startedAt);
}

export class Timeline {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no 2d context");
    this.#context = context;
    this.width = 0;
    this.height = 0;
  }

  #context;
  #dpr = 1;
  /** @type {Bar[]} */
  #bars = [];
  #key = "";

  /**
   * @param {number} width CSS pixels
   * @param {number} height
   */
  resize(width, height) {
    this.#dpr = Math.min(2, devicePixelRatio || 1);
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * this.#dpr));
    this.canvas.height = Math.max(1, Math.round(height * this.#dpr));
    this.#key = "";
  }

  /**
   * @param {EventLog} log
   * @param {number} t playhead, log seconds
   * @param {Palette} palette
   */
  draw(log, t, palette) {
    const { width, height } = this;
    if (!width) return;
    const total = log.t;
    const key = `${log.opened?.run_id}:${log.seq}:${width}`;
    if (key !== this.#key) {
      this.#key = key;
      this.#bars = bars(log, width, total);
    }
    const context = this.#context;
    context.setTransform(this.#dpr, 0, 0, this.#dpr, 0, 0);
    context.clearRect(0, 0, width, height);
    const head = total > 0 ? Math.min(1, t / total) * width : 0;
    const begin = this.#bars[0]?.x ?? width;
    context.fillStyle = palette.css.idle;
    context.fillRect(0, height / 2 - 1, Math.max(0, begin - 1), 2);
    for (const color of /** @type {ColorName[]} */ (["prefill", "decode"])) {
      for (const past of [true, false]) this.#fill(color, past, head, palette);
    }
    context.globalAlpha = 1;
    context.fillStyle = palette.css.ink;
    context.fillRect(Math.min(width - 2, Math.max(0, head - 1)), 0, 2, height);
  }

  /**
   * @param {ColorName} color
   * @param {boolean} past
   * @param {number} head
   * @param {Palette} palette
   */
  #fill(color, past, head, palette) {
    const context = this.#context;
    const inset = 4;
    const room = this.height - 2 * inset;
    context.globalAlpha = past ? 1 : 0.28;
    context.fillStyle = palette.css[color];
    context.beginPath();
    for (const bar of this.#bars) {
      if (bar.color !== color || bar.x <= head !== past) continue;
      const gap = Math.min(1, bar.width / 4);
      context.rect(bar.x, inset + room * (1 - bar.height), bar.width - gap, room * bar.height);
    }
    context.fill();
  }
}
