// The bar at the foot of the stage: play and pause, the strip, the time, the speed, the edge, and in a word what one is
// looking at. A real toolbar: every control can be tabbed to, and the strip is a slider.
//
//   Space play/pause    left, right: one token    page up, page down: ten    Home: start    End: the live edge
//   + and - zoom the strip about the playhead, 0 shows the whole run

import { fileOf } from "../log/from_file.js";
import { neighbour } from "../log/moments.js";
import { SPEEDS } from "../log/player.js";
import { seconds } from "../state/format.js";
import { element, say, seldom } from "./dom.js";
import { t } from "./messages.js";
import { Timeline } from "./timeline.js";
import { bindHands } from "./timeline_hands.js";

/** @typedef {import("../log/player.js").Player} Player */
/** @typedef {import("../stage/types.d.ts").Frame} Frame */
/** @typedef {import("../log/drivers/driver.d.ts").Status} Status */
/** @typedef {{ player: () => Player, status: () => Status, gesture: () => void, beside: () => import("./timeline.js").Beside[], tooltip: import("./tooltip.js").Tooltip }} Host `gesture` is told of every hand on the bar */

const CLOSER = 2;
/** A press this near the end of a run that goes on is meant for its edge. */
const EDGE_SHARE = 0.998;

/** What `statusWord` says, each a literal in `t` for the catalogue. */
const WORDS = {
  reconnecting: () => t("reconnecting"),
  "connection lost": () => t("connection lost"),
  "not found": () => t("not found"),
  loading: () => t("loading"),
  recorded: () => t("recorded"),
  "recorded, ended": () => t("recorded, ended"),
  paused: () => t("paused"),
  queued: () => t("queued"),
  live: () => t("live"),
  replaying: () => t("replaying"),
  finished: () => t("finished"),
  stopped: () => t("stopped"),
  rejected: () => t("rejected"),
  crashed: () => t("crashed"),
  interrupted: () => t("interrupted"),
  error: () => t("error"),
};

/**
 * What the reader is looking at, in a word.
 * @param {Player} player
 * @param {Status} status
 * @returns {keyof typeof WORDS}
 */
export function statusWord(player, status) {
  if (status.state === "reconnecting") return "reconnecting";
  if (status.state === "lost") return "connection lost";
  if (status.state === "not-found") return "not found";
  if (player.log.seq === 0) return "loading";
  if (player.mode === "recording")
    return player.moving && !player.atEnd ? "recorded" : player.atEnd ? "recorded, ended" : "paused";
  if (player.log.closed && player.atEnd) return player.log.closed.reason;
  if (player.drive === "edge") return player.state.request.status === "queued" ? "queued" : "live";
  return player.drive === "clock" ? "replaying" : "paused";
}

export class Transport {
  /**
   * @param {HTMLElement} root `#transport`
   * @param {Host} host
   */
  constructor(root, host) {
    this.root = root;
    this.host = host;
    root.classList.add("transport");
    root.setAttribute("role", "toolbar");
    if (!root.hasAttribute("aria-label")) root.setAttribute("aria-label", t("Playback"));
    this.play = element("button", { type: "button", class: "transport-play" });
    this.canvas = element("canvas", { class: "timeline-canvas", "aria-hidden": "true" });
    this.slider = element(
      "div",
      { class: "timeline", role: "slider", tabindex: "0", "aria-label": t("Moment of the run"), "aria-valuemin": "0" },
      [this.canvas],
    );
    this.time = element("span", { class: "transport-time" });
    this.status = element("span", { class: "transport-status", role: "status" });
    this.speed = element(
      "select",
      { class: "transport-speed", "aria-label": t("Speed") },
      SPEEDS.map((speed) => element("option", { value: String(speed), text: `${speed}×` })),
    );
    this.speed.value = "1";
    this.edgeWords = element("span", {});
    this.edge = element("button", { type: "button", class: "transport-live" }, [this.edgeWords]);
    this.out = zoomButton("−", t("Show more of the run"));
    this.closer = zoomButton("+", t("Show less of the run, larger"));
    const zoom = element("div", { class: "transport-zoom", role: "group", "aria-label": t("Zoom") }, [
      this.out,
      this.closer,
    ]);
    root.replaceChildren(this.play, this.slider, zoom, this.time, this.speed, this.edge, this.status);
    this.timeline = new Timeline(this.canvas);
    this.#listen();
  }

  /** @param {(player: Player) => void} act */
  #act(act) {
    act(this.host.player());
    this.host.gesture();
  }

  #listen() {
    this.play.addEventListener("click", () => this.#act((player) => player.toggle()));
    this.edge.addEventListener("click", () => this.#act((player) => player.live()));
    this.speed.addEventListener("change", () => this.#act((player) => player.setSpeed(Number(this.speed.value))));
    this.root.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(([entry]) => {
      this.timeline.resize(entry.contentRect.width, entry.contentRect.height);
    }).observe(this.slider);
    bindHands(this.slider, this.timeline, {
      log: () => this.host.player().log,
      tooltip: this.host.tooltip,
      zoomed: () => this.words(),
      seek: (moment) => {
        const total = this.timeline.total;
        this.#act((player) =>
          player.growing && moment >= EDGE_SHARE * total ? player.live() : player.seekTime(moment),
        );
      },
    });
    this.closer.addEventListener("click", () => this.#zoom(CLOSER));
    this.out.addEventListener("click", () => this.#zoom(1 / CLOSER));
  }

  /** @param {number} factor 0: the whole run */
  #zoom(factor) {
    this.timeline.zoom(factor || 1e-9);
    this.words();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = /** @type {HTMLElement} */ (event.target);
    if (target === this.speed || (target instanceof HTMLButtonElement && (event.key === " " || event.key === "Enter")))
      return;
    const factor = { "+": CLOSER, "=": CLOSER, "-": 1 / CLOSER, 0: 0 }[event.key];
    if (factor !== undefined) {
      event.preventDefault();
      this.#zoom(factor);
      return;
    }
    const act = this.#actionOf(event.key);
    if (!act) return;
    event.preventDefault();
    this.#act(act);
  }

  /**
   * @param {string} key
   * @returns {((player: Player) => void) | null}
   */
  #actionOf(key) {
    /** @param {1 | -1} direction @param {number} times */
    const move = (direction, times) => (/** @type {Player} */ player) => {
      let { seq } = player;
      for (let i = 0; i < times; i++) seq = neighbour(player.log, seq, direction);
      player.pause();
      player.seek(seq);
    };
    switch (key) {
      case " ":
        return (player) => player.toggle();
      case "ArrowRight":
      case "ArrowUp":
        return move(1, 1);
      case "ArrowLeft":
      case "ArrowDown":
        return move(-1, 1);
      case "PageUp":
        return move(1, 10);
      case "PageDown":
        return move(-1, 10);
      case "Home":
        return (player) => {
          player.pause();
          player.seek(Math.min(1, player.log.seq));
        };
      case "End":
        return (player) => player.live();
    }
    return null;
  }

  /** @param {Frame} frame */
  update(frame) {
    const { log, end } = this.host.player();
    this.timeline.draw({ log, t: frame.t, total: end, palette: frame.view.palette, beside: this.host.beside() });
    this.words();
  }

  /** The words and ARIA values, not in every frame: a screen reader could not follow. */
  words = seldom(100, () => {
    const player = this.host.player();
    const { log, state } = player;
    const playing = player.moving && !(player.drive === "edge" && log.complete);
    if (this.play.dataset.playing !== String(playing)) {
      this.play.dataset.playing = String(playing);
      this.play.setAttribute("aria-label", playing ? t("Pause") : t("Play"));
      say(this.play, playing ? "❚❚" : "▶");
    }
    const word = statusWord(player, this.host.status());
    const file = fileOf(log.opened);
    say(this.status, file === null ? WORDS[word]() : t("opened file"));
    this.status.title = file ?? "";
    this.root.dataset.status = word;
    say(this.time, `${player.t < 9.9995 ? player.t.toFixed(2) : player.t.toFixed(1)}\u202fs`);
    say(this.edgeWords, player.mode === "live" && !log.complete ? t("go live") : t("to the end"));
    this.out.disabled = this.timeline.span === null;
    this.edge.setAttribute("aria-pressed", String(player.drive === "edge"));
    const total = log.index.tokens.length;
    const now = Math.max(0, state.tokens.length - state.request.numPromptTokens);
    this.slider.setAttribute("aria-valuemax", String(total));
    this.slider.setAttribute("aria-valuenow", String(now));
    this.slider.setAttribute(
      "aria-valuetext",
      t("token {now} of {total}, {time}", { now, total, time: seconds(player.t) }),
    );
    if (this.speed.value !== String(player.speed)) this.speed.value = String(player.speed);
  });
}

/** @param {string} sign @param {string} words */
function zoomButton(sign, words) {
  return element("button", {
    type: "button",
    class: "transport-zoom-button",
    title: words,
    "aria-label": words,
    text: sign,
  });
}
