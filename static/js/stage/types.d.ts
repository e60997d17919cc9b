// Between the stage and a room.

import type { Rule } from "../state/fact.js";
import type { State } from "../state/types.d.ts";

/**
 * How a run in a role stands: the reader's own; or a take that was asked for, stands in line, is cooked, is done; or the
 * recorded take of the default run in its place; or none.
 */
export type LaneStatus = "own" | "asking" | "queued" | "cooking" | "done" | "recorded" | "missing";

/** A run in a role of the stage. */
export interface Lane {
  /** "own", or the key of a take. */
  key: string;
  status: LaneStatus;
  /** One sentence on why it stands so; empty where nothing is to be said. */
  words: string;
  /** Where it stands at the stage's moment; null before its log begins. */
  state: State | null;
}

export type Rgb = readonly [number, number, number];

/** The colours of the current theme by what they mean, as CSS text and as numbers. */
export interface Palette {
  css: Record<ColorName, string>;
  rgb: Record<ColorName, Rgb>;
}

export type ColorName =
  | "ground"
  | "panel"
  | "line"
  | "ink"
  | "muted"
  | "prefill"
  | "decode"
  | "draft"
  | "accepted"
  | "rejected"
  | "shared"
  | "idle";

/** Everything a picture depends on besides the state and the time. */
export interface View {
  /** Stage, in CSS pixels. */
  width: number;
  height: number;
  /** Canvas pixels to a CSS pixel, at most 2. */
  dpr: number;
  theme: "dark" | "light";
  reduced: boolean;
  /** Frames come late on this machine: what merely moves may be drawn coarsely. */
  hurried: boolean;
  palette: Palette;
  /** Slug of the chapter on stage. */
  chapter: string;
  /** How far through the chapter the reader is, 0 to 1. It brings no frame by itself: a picture that moves with the
   * scroll takes its numbers from `data`. */
  progress: number;
  /** Index of the active step, and how far towards the next one, 0 to 1. No frames by themselves either. */
  step: number;
  stepProgress: number;
  /** Numbers of the steps' `data-view`, interpolated from step to step; other values are those of the active step. */
  data: Record<string, any>;
  /** Values of the chapter's inputs by their `data-control`. */
  controls: Record<string, any>;
  /** 0 to 1 while this chapter comes on stage, 1 once it stands. */
  entered: number;
  /** Position of the token under the pointer or focus, -1 for none. */
  hover: number;
  /** Whose run is on stage, and who runs beside it; `span`: seconds from its seat to the end of the last of them. */
  cast: { main: Lane; lanes: Lane[]; span?: number };
}

export interface Hit {
  text: string;
  /** Moment that a click goes to. */
  seq: number | null;
  /** What a click chooses instead: values of the chapter's inputs, by their `data-control`. */
  set?: Record<string, number | string>;
}

export interface Table {
  caption: string;
  columns: string[];
  rows: (string | number)[][];
}

/** A room. `S` is whatever `mount` returns. */
export interface Scene<S = any> {
  mount(layer: HTMLElement): S;
  /** x, y, r of each token in CSS pixels of the stage; r 0 hides a token. */
  places(state: State, view: View): Float32Array;
  /** `states[0]` is the run on stage, the others its lanes in the order of `view.cast.lanes` (null: not there yet). */
  draw(surfaces: S, states: [State, ...(State | null)[]], view: View, t: number): void;
  hit(x: number, y: number, state: State, view: View): Hit | null;
  describe(state: State, view: View, states: (State | null)[]): string;
  table(state: State, view: View, states: (State | null)[]): Table;
  /** Takes that the room may ask for, by their keys: the body of the request, null where it cannot be asked (yet). */
  takes?: Record<string, (state: State, controls: Record<string, any>) => object | null>;
  /** Numbers that only this room's prose says. */
  facts?: Record<string, Rule>;
  unmount?(surfaces: S): void;
}

/** What the rest of the page hears once a frame in which something changed. */
export interface Frame {
  now: number;
  state: State;
  /** The run on stage and its lanes. */
  states: [State, ...(State | null)[]];
  view: View;
  /** Playhead, log seconds. */
  t: number;
  changed: { playhead: boolean; log: boolean; run: boolean; view: boolean; scene: boolean };
}
