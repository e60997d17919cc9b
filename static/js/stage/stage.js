// The stage: the project's only requestAnimationFrame. A frame is drawn when something changed (playhead, scroll, size,
// theme, pointer) or while something is on its way (a room change, the clock, a token growing), and not otherwise.
//
// Order within a frame: hands move (scroll and clock set the playhead), then rooms draw, then the rest of the page
// hears of it. Nobody reads layout in a frame; sizes come from a ResizeObserver.

import { easeOut, Marks } from "./marks.js";
import { readPalette, themeOf, watchPalette } from "./palette.js";
import { viewAtRest } from "./view.js";

/** @typedef {import("./types.d.ts").Scene} Scene */
/** @typedef {import("./types.d.ts").View} View */
/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Frame} Frame */
/** @typedef {import("../log/player.js").Player} Player */
/** @typedef {import("../log/cast.js").Cast} Cast */
/** @typedef {import("../ui/scroll.js").Place} Place */
/** @typedef {Scene | (() => Promise<{ default: Scene }>)} Offer a scene, or how it is fetched when a reader comes near */

const CROSSFADE_MS = 600;
const MAX_DPR = 2;
/** A machine whose frames come this far apart cannot keep the display's pace ... */
const SLOW_MS = 20;
/** ... and is asked for movement this often only, so that what is new is not kept waiting behind what merely moves. */
const RELAXED_MS = 45;
/** Longer gaps are pauses of ours, not frames. */
const PAUSE_MS = 250;

/**
 * The share of a change of rooms that has passed after `elapsed` ms.
 * @param {number} elapsed
 * @param {boolean} reduced
 */
const shareOf = (elapsed, reduced) => (reduced ? 1 : Math.min(1, Math.max(0, elapsed / CROSSFADE_MS)));

/**
 * How a room change stands after `elapsed` ms: the dots lead (`travel.js` says how), the furniture follows.
 * @param {number} elapsed
 * @param {boolean} reduced
 */
export function crossfade(elapsed, reduced) {
  const x = shareOf(elapsed, reduced);
  return { leaving: 1 - easeOut(x / 0.55), entering: easeOut((x - 0.3) / 0.7), done: x >= 1 };
}

/**
 * @param {Record<string, unknown>} a
 * @param {Record<string, unknown>} b
 */
function sameData(a, b) {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/**
 * @typedef {object} Room
 * @property {Scene} scene
 * @property {HTMLElement} layer
 * @property {any} surfaces
 */

export class Stage {
  /**
   * @param {HTMLElement} root `#stage`
   * @param {Record<string, Offer>} scenes by slug, in the order of the page
   * @param {{ player: () => Player, cast: () => Cast, beforeFrame: (now: number) => void, reduced: () => boolean, timed: (milliseconds: number) => void }} host
   */
  constructor(root, scenes, host) {
    this.root = root;
    this.scenes = new Map(Object.entries(scenes));
    this.host = host;
    this.layers = /** @type {HTMLElement} */ (root.querySelector("#layers"));
    this.marks = new Marks(/** @type {HTMLCanvasElement} */ (root.querySelector("#dots")));
    const palette = readPalette();
    /** @type {View} */
    this.view = { ...viewAtRest(palette), reduced: host.reduced() };
    watchPalette((fresh) => {
      this.view = { ...this.view, palette: fresh, theme: themeOf(fresh.rgb.ground) };
      this.marks.recolor();
      this.invalidate();
    });
    new ResizeObserver(([entry]) => this.#resize(entry.contentRect.width, entry.contentRect.height)).observe(root);
    document.addEventListener("visibilitychange", () => {
      host.player().wake();
      this.invalidate();
    });
  }

  /** The last room whose scene could not be had. @type {string | null} */
  missing = null;
  /** @type {Map<string, Room>} */
  #rooms = new Map();
  /** @type {Room | null} */
  #room = null;
  /** @type {Room | null} */
  #leaving = null;
  #changedAt = Number.NEGATIVE_INFINITY;
  /** When the dots set out last: with a change of rooms, or with another run in the same one. */
  #departedAt = Number.NEGATIVE_INFINITY;
  #scheduled = false;
  #seen = true;
  /** Milliseconds between frames, smoothed; the last frame; the last one that drew. */
  #pace = 16;
  #lastFrame = Number.NEGATIVE_INFINITY;
  #lastDrawn = Number.NEGATIVE_INFINITY;
  /** The last frame left its picture to the next. */
  #owed = false;
  #dirty = { playhead: true, log: true, run: true, view: true, scene: true };
  /** @type {((frame: Frame) => void)[]} */
  #listeners = [];
  /** @type {{ seq: number, state: unknown }} */
  #drawn = { seq: -1, state: null };
  /** Of the run on stage. @type {Player | null} */
  #player = null;

  /** @param {(frame: Frame) => void} listener called once a frame in which something changed, after the drawing */
  listen(listener) {
    this.#listeners.push(listener);
  }

  /** Something changed: draw a frame soon. @param {keyof Frame["changed"]} [what] */
  invalidate(what = "view") {
    this.#dirty[what] = true;
    this.#schedule();
  }

  /** In sight: what nobody sees is not drawn, and its clock stands. @param {boolean} seen */
  show(seen) {
    if (seen === this.#seen) return;
    this.#seen = seen;
    this.host.player().wake();
    if (seen) this.#schedule();
  }

  #schedule() {
    if (this.#scheduled || !this.#seen) return;
    this.#scheduled = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  /**
   * Where the reader is in the article.
   * @param {Place} place
   */
  setPlace(place) {
    const { view } = this;
    if (place.chapter !== view.chapter) this.#change(place.chapter);
    const { chapter, progress, step, stepProgress, data } = place;
    // Most of a scroll moves words past a picture that stands: then nothing is drawn.
    const stands = place.chapter === view.chapter && sameData(data, view.data);
    this.view = { ...this.view, chapter, progress, step, stepProgress, data: stands ? view.data : data };
    if (!stands) this.#dirty.view = true;
  }

  /**
   * Build a room and its neighbours before anybody enters them, so that entering one costs no frame.
   * @param {string} slug
   */
  prepare(slug) {
    const slugs = [...this.scenes.keys()];
    const at = slugs.indexOf(slug);
    for (const near of slugs.slice(Math.max(0, at - 1), at + 2)) void this.#build(near);
  }

  /** @param {Partial<View>} part */
  setView(part) {
    this.view = { ...this.view, ...part };
    this.invalidate("view");
  }

  /** The scene on stage. */
  get scene() {
    return this.#room?.scene ?? null;
  }

  /** The scene of the chapter that is read; null while it is fetched, and the last one's stands yet. */
  get sceneHere() {
    return this.#rooms.get(this.view.chapter)?.scene ?? null;
  }

  /**
   * What stands at a point of the stage: a token dot before the furniture, but not before what can be chosen.
   * @param {number} x CSS pixels
   * @param {number} y
   * @param {import("../state/types.d.ts").State} state
   * @returns {{ position: number, hit: import("./types.d.ts").Hit | null }} position -1: no dot
   */
  hit(x, y, state) {
    const position = this.marks.hit(x, y);
    const hit = this.#room?.scene.hit(x, y, state, this.view) ?? null;
    return { position, hit: position >= 0 && !hit?.set ? null : hit };
  }

  /** Another run is on stage. */
  rebind() {
    this.marks.reset();
    this.view = { ...this.view, hover: -1 };
    this.#drawn = { seq: -1, state: null };
    this.#player = null;
    this.invalidate("run");
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  #resize(width, height) {
    const dpr = Math.min(MAX_DPR, globalThis.devicePixelRatio || 1);
    if (width === this.view.width && height === this.view.height && dpr === this.view.dpr) return;
    this.view = { ...this.view, width, height, dpr };
    this.marks.resize(width, height, dpr);
    this.invalidate("view");
  }

  /**
   * What stands on stage, at rest and as sharp as asked, for as long as somebody copies it.
   * @param {number} dpr
   * @param {(layer: HTMLElement, dots: HTMLCanvasElement, view: View) => void} copy
   */
  shown(dpr, copy) {
    const room = this.#room;
    if (!room || this.view.width === 0) return;
    const player = this.host.player();
    const states = /** @type {[State, ...(State | null)[]]} */ (this.host.cast().states());
    /** @param {View} view */
    const draw = (view) => {
      this.marks.resize(view.width, view.height, view.dpr);
      room.scene.draw(room.surfaces, states, view, player.t);
      const time = { t: player.t, speed: player.speed, moving: false, elapsed: 1 };
      this.marks.draw(room.scene.places(player.state, view), player.state, view, time);
    };
    const view = { ...this.view, dpr, entered: 1 };
    draw(view);
    copy(room.layer, this.marks.canvas, view);
    draw(this.view);
  }

  /** @param {string} slug */
  #change(slug) {
    const next = this.#rooms.get(slug) ?? null;
    if (!next) void this.#build(slug);
    if (next === this.#room || !next) return;
    if (this.#leaving && this.#leaving !== next) this.#show(this.#leaving, 0);
    this.#leaving = this.#room;
    this.#room = next;
    this.marks.depart();
    this.#changedAt = this.#leaving ? performance.now() : Number.NEGATIVE_INFINITY;
    this.#departedAt = this.#changedAt;
    this.invalidate("scene");
  }

  /**
   * Fetch a scene and make its layer. Who waits for it at the door enters then.
   * @param {string} slug
   */
  async #build(slug) {
    const offer = this.scenes.get(slug);
    if (!offer || this.#rooms.has(slug)) return;
    const scene = typeof offer === "function" ? await this.#fetch(slug, offer) : offer;
    if (!scene || this.#rooms.has(slug)) return;
    const layer = document.createElement("div");
    layer.className = "layer";
    layer.dataset.scene = slug;
    this.layers.append(layer);
    const room = { scene, layer, surfaces: scene.mount(layer) };
    this.#rooms.set(slug, room);
    this.#show(room, 0);
    if (this.view.chapter === slug) this.#change(slug);
  }

  /**
   * @param {string} slug
   * @param {() => Promise<{ default: Scene }>} offer
   * @returns {Promise<Scene | null>} null where it could not be had now; the next visit asks again
   */
  async #fetch(slug, offer) {
    try {
      const { default: scene } = await offer();
      if (this.missing === slug) this.missing = null;
      return scene;
    } catch (error) {
      console.warn(`the room ${slug} could not be loaded`, error);
      this.missing = slug;
      this.invalidate("scene");
      return null;
    }
  }

  /**
   * @param {Room} room
   * @param {number} opacity
   */
  #show(room, opacity) {
    room.layer.style.opacity = opacity >= 1 ? "" : String(opacity);
    room.layer.style.visibility = opacity > 0 ? "" : "hidden";
  }

  /** @param {number} now */
  #frame(now) {
    this.#scheduled = false;
    if (!this.#seen) return;
    const started = performance.now();
    // How long the last drawn frame kept the next one waiting.
    const gap = now - this.#lastFrame;
    if (this.#lastFrame === this.#lastDrawn && gap < PAUSE_MS) this.#pace += 0.15 * (gap - this.#pace);
    this.#lastFrame = now;
    this.host.beforeFrame(now);
    const cast = this.host.cast();
    const player = this.host.player();
    const hurried = this.#pace > SLOW_MS;
    if (hurried && this.#merelyMoves(player) && now - this.#lastDrawn < RELAXED_MS) {
      this.#schedule();
      return;
    }
    const ticked = player.tick(now);
    cast.align();
    if (player !== this.#player) this.#recast(player, now);
    const fade = crossfade(now - this.#changedAt, this.view.reduced);
    const travelled = shareOf(now - this.#departedAt, this.view.reduced);
    const still = fade.done && travelled === 1;
    const moved = player.seq !== this.#drawn.seq || player.state !== this.#drawn.state;
    if (moved) this.#dirty.playhead = true;
    const changed = { ...this.#dirty };
    const any = this.#owed || ticked || !still || Object.values(changed).some(Boolean);
    if (any && this.view.width > 0) {
      this.#lastDrawn = now;
      this.view = { ...this.view, hurried, cast: cast.view() };
      this.#dirty = { playhead: false, log: false, run: false, view: false, scene: false };
      this.#drawn = { seq: player.seq, state: player.state };
      // A machine in a hurry gets the words first, and the picture of them in a frame of its own.
      const news = changed.playhead && !changed.run && !changed.view && !changed.scene;
      this.#owed = hurried && news && still && !this.#owed;
      const states = /** @type {[State, ...(State | null)[]]} */ (cast.states());
      if (!this.#owed) this.#draw(player, states, fade, travelled, ticked);
      const frame = { now, state: player.state, states, view: this.view, t: player.t, changed };
      for (const listener of this.#listeners) listener(frame);
    }
    this.host.timed(performance.now() - started);
    if (this.#owed || ticked || !still || player.drive === "clock") this.#schedule();
  }

  /**
   * Another run is in the main role: its dots set out from where the last one's were.
   * @param {Player} player
   * @param {number} now
   */
  #recast(player, now) {
    if (this.#player) {
      this.marks.depart();
      this.#departedAt = now;
    }
    this.#player = player;
  }

  /** Nothing new is to be shown, only movement to go on. @param {Player} player */
  #merelyMoves(player) {
    const { seq, state } = this.#drawn;
    return !this.#owed && player.seq === seq && player.state === state && !Object.values(this.#dirty).some(Boolean);
  }

  /**
   * @param {Player} player
   * @param {[State, ...(State | null)[]]} states
   * @param {ReturnType<typeof crossfade>} fade
   * @param {number} travelled share of the dots' time that has passed
   * @param {boolean} moving
   */
  #draw(player, states, fade, travelled, moving) {
    const room = this.#room;
    if (this.#leaving) {
      this.#show(this.#leaving, fade.done ? 0 : fade.leaving);
      if (fade.done) this.#leaving = null;
    }
    if (!room) return;
    this.#show(room, this.#leaving ? fade.entering : 1);
    const view = this.view.entered === fade.entering ? this.view : { ...this.view, entered: fade.entering };
    this.view = view;
    room.scene.draw(room.surfaces, states, view, player.t);
    this.marks.draw(room.scene.places(player.state, view), player.state, view, {
      t: player.t,
      speed: player.speed,
      moving: moving && !view.reduced,
      elapsed: travelled,
    });
  }
}
