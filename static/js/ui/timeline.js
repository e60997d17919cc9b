// The strip under the transport: the run as bars, the playhead, and what is under the pointer. It can be zoomed (wheel,
// two fingers, buttons, keys) and dragged; beyond the playhead it is dim. A function of the log and the playhead, but
// for which stretch of them is in sight.

import { label } from "../stage/text.js";
import { seconds } from "../state/format.js";
import { bars } from "./timeline_bars.js";
import { following, shifted, ticks, zoomed } from "./timeline_span.js";

/** @typedef {import("../log/log.js").EventLog} EventLog */
/** @typedef {import("../stage/types.d.ts").Palette} Palette */
/** @typedef {import("../stage/types.d.ts").ColorName} ColorName */
/** @typedef {import("./timeline_span.js").Span} Span */
/** @typedef {import("./timeline_bars.js").Bar} Bar */
/** @typedef {{ log: EventLog, shift: number }} Beside a lane of a race: how much later its clock began than that of the run on stage */
/** @typedef {{ log: EventLog, t: number, total: number, palette: Palette, beside: Beside[] }} Picture `total`: seconds until the last that plays has ended */

/** Below this height, in pixels, the bars take the axis's room. */
const WITH_AXIS = 44;
const AXIS = 15;
const TICK_ROOM = 84;
/** A lane of a race beside the run on stage: its line, and from one to the next. */
const LANE = 3;
const LANES_APART = 5;

export class Timeline {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no 2d context");
    this.#context = context;
    this.width = 0;
    this.height = 0;
    /** The stretch in sight; null: all of it. @type {Span | null} */
    this.span = null;
    /** Where the pointer is, in pixels; null: elsewhere. @type {number | null} */
    this.pointer = null;
  }

  #context;
  #dpr = 1;
  /** @type {Bar[]} */
  #bars = [];
  /** Of the other lanes, with where each ends. @type {{ bars: Bar[], end: number }[]} */
  #lanes = [];
  #key = "";
  #run = "";
  /** @type {Picture | null} */
  #picture = null;

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
    this.redraw();
  }

  get total() {
    return this.#picture?.total ?? 0;
  }

  /** @returns {Span} what the whole width stands for */
  get #shown() {
    return this.span ?? { from: 0, to: this.total };
  }

  /**
   * The moment at a place of the strip.
   * @param {number} x CSS pixels from its left edge
   */
  timeAt(x) {
    const { from, to } = this.#shown;
    return from + Math.min(1, Math.max(0, x / Math.max(1, this.width))) * (to - from);
  }

  /**
   * @param {number} factor over 1: closer
   * @param {number} [at] log seconds that keep their place; the playhead
   */
  zoom(factor, at = this.#picture?.t ?? 0) {
    this.span = zoomed(this.span, this.total, factor, at);
    this.redraw();
  }

  /** @param {number} pixels to the right */
  pan(pixels) {
    const { from, to } = this.#shown;
    this.span = shifted(this.span, this.total, (pixels / Math.max(1, this.width)) * (to - from));
    this.redraw();
  }

  /** @param {Picture} picture */
  draw(picture) {
    const run = picture.log.opened?.run_id ?? "";
    if (run !== this.#run) this.span = null;
    else if (picture.t !== this.#picture?.t) this.span = following(this.span, picture.total, picture.t);
    this.#run = run;
    this.#picture = picture;
    this.redraw();
  }

  redraw() {
    const { width, height } = this;
    if (!width || !this.#picture) return;
    const { log, t, total, palette, beside } = this.#picture;
    const { from, to } = this.#shown;
    const lanes = beside.map((lane) => `${lane.log.opened?.run_id} ${lane.log.seq}`);
    const key = [this.#run, log.seq, width, from, to, ...lanes].join();
    if (key !== this.#key) {
      this.#key = key;
      this.#bars = bars(log, width, { from, to });
      this.#lanes = beside.map((lane) => ({
        bars: bars(lane.log, width, { from: from + lane.shift, to: to + lane.shift }),
        end: to > from ? ((lane.log.t - lane.shift - from) / (to - from)) * width : 0,
      }));
    }
    const context = this.#context;
    context.setTransform(this.#dpr, 0, 0, this.#dpr, 0, 0);
    context.clearRect(0, 0, width, height);
    const head = to > from ? ((t - from) / (to - from)) * width : 0;
    this.#waiting(log, palette);
    for (const color of /** @type {ColorName[]} */ (["muted", "prefill", "decode", "draft"])) {
      for (const past of [true, false]) this.#fill(color, past, head, palette);
    }
    this.#others(head, palette);
    context.globalAlpha = 1;
    if (height >= WITH_AXIS) this.#axis(palette);
    if (this.span) this.#overview(total, palette);
    if (this.pointer !== null) this.#line(this.pointer, 1, palette.css.muted);
    if (head >= 0 && head <= width) this.#line(head, 2, palette.css.ink);
  }

  /** Pixels that the bars stand on. */
  get #floor() {
    return this.height >= WITH_AXIS ? this.height - AXIS : this.height - 4;
  }

  /**
   * A line through what was no step: the way in and the end of a race.
   * @param {EventLog} log
   * @param {Palette} palette
   */
  #waiting(log, palette) {
    if (log.seq === 0) return;
    this.#context.fillStyle = palette.css.idle;
    this.#context.fillRect(0, this.#floor - 2, this.width, 2);
  }

  /**
   * @param {ColorName} color
   * @param {boolean} past
   * @param {number} head
   * @param {Palette} palette
   */
  #fill(color, past, head, palette) {
    const context = this.#context;
    const floor = this.#floor;
    const room = floor - 5 - LANES_APART * this.#lanes.length;
    context.globalAlpha = (past ? 1 : 0.3) * (color === "muted" ? 0.55 : 1);
    context.fillStyle = palette.css[color];
    context.beginPath();
    for (const bar of this.#bars) {
      if (bar.color !== color || bar.x <= head !== past) continue;
      const gap = Math.min(1, bar.width / 4);
      context.rect(bar.x, floor - room * bar.height, bar.width - gap, room * bar.height);
    }
    context.fill();
  }

  /**
   * The other lanes of a race, a thin line each along the top, from their first step to their end.
   * @param {number} head
   * @param {Palette} palette
   */
  #others(head, palette) {
    const context = this.#context;
    this.#lanes.forEach((lane, i) => {
      const y = 3 + i * LANES_APART;
      for (const { x, width, color } of lane.bars) {
        const done = Math.max(0, Math.min(width, head - x));
        context.fillStyle = palette.css[color];
        context.globalAlpha = 0.9;
        context.fillRect(x, y, done, LANE);
        context.globalAlpha = 0.3;
        context.fillRect(x + done, y, width - done, LANE);
      }
      context.globalAlpha = 1;
      context.fillStyle = palette.css.ink;
      context.fillRect(Math.min(this.width - 2, lane.end), y - 1, 1.5, LANE + 2);
    });
  }

  /** @param {Palette} palette */
  #axis(palette) {
    const { from, to } = this.#shown;
    const context = this.#context;
    const { at } = ticks({ from, to }, this.width / TICK_ROOM);
    for (const moment of at) {
      const x = Math.round(((moment - from) / (to - from)) * this.width);
      context.fillStyle = palette.css.line;
      context.fillRect(x, this.#floor, 1, 4);
      if (x > this.width - 44) continue;
      const words = moment === 0 ? "0" : seconds(Number(moment.toPrecision(6)));
      label(context, words, x + 4, this.height - 2, { size: 11, color: palette.css.muted });
    }
  }

  /**
   * Which part of the run is in sight, along the top edge.
   * @param {number} total
   * @param {Palette} palette
   */
  #overview(total, palette) {
    const { from, to } = this.#shown;
    const context = this.#context;
    context.fillStyle = palette.css.line;
    context.fillRect(0, 0, this.width, 2);
    context.fillStyle = palette.css.muted;
    context.fillRect((from / total) * this.width, 0, Math.max(6, ((to - from) / total) * this.width), 2);
  }

  /**
   * @param {number} x
   * @param {number} thick
   * @param {string} color
   */
  #line(x, thick, color) {
    this.#context.fillStyle = color;
    const left = Math.min(this.width - thick, Math.max(0, x - thick / 2));
    this.#context.fillRect(left, 0, thick, this.#floor + 3);
  }
}
