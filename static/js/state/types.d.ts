// What the page knows at one moment of a run. `apply` writes it, everybody else reads it.

import type {
  Candidate,
  LogClosed,
  LogOpened,
  ProbeAttention,
  ProbeAttentionSummary,
  ProbeLogits,
  ProbeTiles,
  Snapshot,
  StepItem,
  Usage,
} from "../types/events.d.ts";

export interface Token {
  /** Also the index in `State.tokens`. */
  position: number;
  id: number;
  /** The characters it adds; empty inside a character and for special tokens. */
  text: string;
  kind: "prompt" | "generated";
  /** Part of the reader's own words; the rest of a prompt is the chat template. */
  own: boolean;
  special: boolean;
  /** Log seconds at which it was there. */
  t: number;
  /** `seq` of the event that brought it. */
  seq: number;
  /** The engine step that sampled it; null in the prompt. */
  step: number | null;
  logprob: number | null;
  probability: number | null;
  candidates: Candidate[];
  rest: number;
  origin: string | null;
}

export interface Step {
  step: number;
  phase: string;
  /** Null where this run had no part in the step. */
  ownPhase: string | null;
  ownStart: number | null;
  ownStop: number | null;
  /** Of a run that was preempted and reads all again, its tokens that had been computed before; null of other steps. */
  ownAgain: number | null;
  startedAt: number;
  finishedAt: number | null;
  seconds: number | null;
  scheduleSeconds: number | null;
  forwardSeconds: number | null;
  sampleSeconds: number | null;
  numTokens: number;
  flops: number | null;
  weightBytes: number | null;
  kvReadBytes: number | null;
  kvWrittenBytes: number | null;
  /** Of the blocks that sequences hold after the step, and of those, where nothing stands; null: the log does not say. */
  kvHeldBytes: number | null;
  kvUnusedBytes: number | null;
  items: StepItem[];
  numRequests: number;
  /** Requests in line as it began; null where the source does not say. */
  numWaiting: number | null;
  /** Slots it computes nothing for; null where the source does not say. */
  idleSlots: number | null;
}

export interface Request {
  status: "none" | "queued" | "admitted" | "preempted" | "finished";
  position: number | null;
  numWaiting: number | null;
  queuedAt: number | null;
  tokenizedAt: number | null;
  tokenizeSeconds: number | null;
  admittedAt: number | null;
  queueSeconds: number | null;
  slot: number | null;
  numPromptTokens: number;
  cachedTokens: number;
  numPreemptions: number;
  /** Tokens that have been computed at some time, whether or not they still are. */
  numReached: number;
  firstTokenAt: number | null;
  lastTokenAt: number | null;
  finishedAt: number | null;
  reason: string | null;
  stop: string | null;
  text: string | null;
  usage: Usage | null;
  detail: string;
}

/** Norms of keys and values: `keys[row * capacity + position]`, row = layer * heads + head. NaN: not measured. */
export interface Norms {
  layers: number;
  heads: number;
  /** Places written so far. */
  length: number;
  capacity: number;
  /** Counts writes over places that already stood (after a preemption): a cached picture must start again. */
  revision: number;
  /** The log that these come from: what was worked out of them holds for every replay of it. */
  log: LogOpened | null;
  keys: Float32Array;
  values: Float32Array;
}

/** What a drafter guessed for one pass, and what became of it. */
export interface Round {
  step: number;
  drafter: string;
  /** Of the first guess, as in `State.tokens`. */
  position: number;
  ids: number[];
  texts: string[];
  q: number[];
  /** What drafting took. */
  seconds: number;
  /** Null until the model has looked. */
  verdict: {
    /** Of the guesses that were judged. */
    p: number[];
    draws: number[] | null;
    kept: number;
    judged: number;
    /** The model's own token, which follows what was kept. */
    id: number;
    text: string;
    origin: "recovered" | "bonus";
    seconds: number;
  } | null;
}

export interface Other {
  slot: number | null;
  status: "queued" | "admitted" | "preempted" | "finished";
  numTokens: number;
  numComputedTokens: number;
  numPreemptions: number;
  blockTable: number[];
}

export interface State {
  seq: number;
  t: number;
  opened: LogOpened | null;
  closed: LogClosed | null;
  snapshot: Snapshot | null;
  ownId: string | null;
  request: Request;
  tokens: Token[];
  answer: string;
  steps: Step[];
  cache: {
    /** Places of this run that stand in the cache. */
    numTokens: number;
    bytes: number;
    blockTable: number[];
    /** The table as it was when the blocks were last let go: where the tokens lay; -1 where others have written since. */
    lastTable: number[];
    /** Blocks taken from the prefix cache. */
    sharedCount: number;
    norms: Norms;
  };
  pool: {
    numBlocks: number;
    refCounts: Map<number, number>;
    cached: Set<number>;
    owners: Map<number, string>;
    /** Copies at a first write, and blocks whose contents were given up, in their order. */
    copies: { source: number; id: number; index: number; owner: string; t: number }[];
    evictions: { id: number; t: number }[];
    /** Who was preempted and holds its blocks for one moment more. */
    losing: string | null;
  };
  /** What this run's probes showed, by position. */
  probes: {
    logits: Map<number, ProbeLogits>;
    attention: Map<number, ProbeAttention>;
    summaries: Map<number, ProbeAttentionSummary>;
    tiles: ProbeTiles | null;
  };
  speculation: Round[];
  others: Map<string, Other>;
  /** From one step that brought tokens of the answer to the next: several that came together have one gap. */
  interTokenSeconds: number[];
  /** Which of them a step ended. */
  gapOfStep: Map<number, number>;
}
