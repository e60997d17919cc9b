// Written by tools/generate_types.py from inference/events.py, schema version 1.

/**
 * First event of every log (`seq` 1, `t` 0). `model`, `hardware` and `engine` are null only in the log
 * of a run whose engine never came up; `engine` also in that of a sharded run, which no engine of ours serves.
 */
export interface LogOpened {
  type: "log.opened";
  seq: number;
  t: number;
  schema_version: number;
  run_id: string;
  source: "attached" | "live" | "recorded";
  opened_at: number;
  model: ModelCard | null;
  hardware: Hardware | null;
  engine: EngineCard | null;
  software: Software | null;
  params: Record<string, any>;
  provides: string[];
  parent: string | null;
  take: string | null;
  knobs: Record<string, any>;
}

/** The model that answers. `note` says in words where the weights come from and what was done to them. */
export interface ModelCard {
  name: string;
  architecture: string;
  num_layers: number;
  hidden_size: number;
  num_heads: number;
  num_kv_heads: number;
  head_dim: number;
  intermediate_size: number;
  vocab_size: number;
  num_parameters: number;
  parameter_bytes: number;
  dtype: string;
  kv_bytes_per_token: number;
  max_model_len: number;
  license: string;
  note: string;
  sliding_window: number | null;
  num_sliding_layers: number;
  sliding_layers: number[];
  attention_sinks: boolean;
  tied_embeddings: boolean | null;
  num_experts: number;
  num_experts_per_token: number;
  expert_parameters: number;
  expert_bytes: number;
  quantization: string;
  head_bytes: number;
}

/** The machine, with its roofs as measured there (`inference/roofline.py`), not as advertised. */
export interface Hardware {
  device: string;
  name: string;
  num_threads: number;
  memory_bytes: number;
  peak_flops: number;
  memory_bandwidth: number;
  measured_at: number;
  peaks: Record<string, any>;
}

/** The engine's configuration, in the field's own words. */
export interface EngineCard {
  block_size: number;
  num_blocks: number;
  max_num_seqs: number;
  max_num_batched_tokens: number;
  max_model_len: number;
  policy: string;
  enable_prefix_caching: boolean;
  allocator: string;
  drafter: string | null;
  num_speculative_tokens: number;
  kv_cache_dtype: string;
  drafter_bytes: Record<string, any>;
}

/** What ran: versions, and the commit of this project where it is known. */
export interface Software {
  openkitchen: string;
  commit: string;
  torch: string;
  transformers: string;
  python: string;
}

/** What is already there when the run comes to the engine: other requests, and the pool. */
export interface Snapshot {
  type: "snapshot";
  seq: number;
  t: number;
  request_id: string;
  requests: SnapshotRequest[];
  num_blocks: number;
  num_free_blocks: number;
  cached_block_ids: number[];
}

/** A request that was already running when the log opened. */
export interface SnapshotRequest {
  request_id: string;
  sample: number;
  slot: number | null;
  num_tokens: number;
  num_computed_tokens: number;
  block_ids: number[];
}

/**
 * Last event of every log. `reason`: `finished` (the request ended by itself), `stopped` (its creator stopped
 * it), `rejected` (found impossible after it was accepted), `crashed` (the engine died), `interrupted` (the app
 * died; written at the next start; or a take made way for an ordinary run), `error`.
 */
export interface LogClosed {
  type: "log.closed";
  seq: number;
  t: number;
  reason: "crashed" | "error" | "finished" | "interrupted" | "rejected" | "stopped";
  detail: string;
  totals: Totals;
}

/** Sums over the log. */
export interface Totals {
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  num_steps: number;
  num_preemptions: number;
  seconds: number;
}

/**
 * In the waiting line. Said again whenever `position` changes. Position 0 is next. A kitchen with a line of its
 * own before the engine's counts everybody in both; visitors take turns there, so that a place may also be lost to
 * another visitor's first run.
 */
export interface RequestQueued {
  type: "request.queued";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  position: number;
  num_waiting: number;
  detail: string;
}

/**
 * The prompt as ids. `pieces` are the characters each token adds (joined they are the templated text; a token
 * that ends inside a character has an empty piece, and the one that completes it carries the whole character).
 */
export interface RequestTokenized {
  type: "request.tokenized";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  token_ids: number[];
  pieces: string[];
  own: [number, number][];
  seconds: number;
  merges: BPEMerges | null;
}

/**
 * How byte-pair encoding made the first `num_tokens` tokens of a prompt. Of a long prompt with many different
 * words that may be fewer than it has.
 */
export interface BPEMerges {
  words: BPEWord[];
  order: number[];
  num_tokens: number;
}

/** One word, or one added token, on its way from symbols to tokens. */
export interface BPEWord {
  symbols: string[];
  merges: [number, number][];
}

/** Given a slot. After a preemption a request is admitted again. */
export interface RequestAdmitted {
  type: "request.admitted";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  slot: number;
  num_tokens: number;
  cached_tokens: number;
  queue_seconds: number;
}

/** Lost its slot and blocks because the pool was full; its tokens will be computed again (recompute). */
export interface RequestPreempted {
  type: "request.preempted";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  slot: number;
  num_computed_tokens: number;
}

/** A sample of a request ended. `text` is its whole answer (cut at the stop string, without special tokens). */
export interface RequestFinished {
  type: "request.finished";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  slot: number | null;
  reason: "aborted" | "error" | "length" | "stop";
  stop: string | null;
  text: string | null;
  usage: Usage | null;
  detail: string;
  num_samples_left: number;
}

/** Tokens: read, of those found in the cache, and written (the EOS that ended a request included). */
export interface Usage {
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
}

/** One engine step begins. `phase` is `prefill` if any request in it prefills, else what they all do. */
export interface StepStarted {
  type: "step.started";
  seq: number;
  t: number;
  step: number;
  phase: "decode" | "prefill" | "verify";
  requests: StepItem[];
  num_tokens: number;
  num_waiting: number;
  num_idle_slots: number | null;
}

/** One request's share of a step: its tokens `start <= position < stop` are computed. */
export interface StepItem {
  request_id: string;
  sample: number;
  slot: number;
  phase: "decode" | "prefill" | "verify";
  start: number;
  stop: number;
}

/** The step is done. Seconds are measured; FLOPs and bytes follow from the shapes (`inference/costs.py`). */
export interface StepFinished {
  type: "step.finished";
  seq: number;
  t: number;
  step: number;
  seconds: number;
  schedule_seconds: number;
  forward_seconds: number;
  sample_seconds: number;
  num_tokens: number;
  flops: number;
  weight_bytes: number;
  kv_read_bytes: number;
  kv_written_bytes: number;
  kv_held_bytes: number | null;
  kv_unused_bytes: number | null;
  draft_seconds: number;
}

/** Ranks that share a model have exchanged numbers. Each rank says its own; `t` is when it had the result. */
export interface CollectiveFinished {
  type: "collective.finished";
  seq: number;
  t: number;
  step: number;
  kind: "all_gather" | "all_reduce" | "all_to_all" | "broadcast" | "reduce_scatter";
  module: string;
  rank: number;
  num_ranks: number;
  bytes: number;
  seconds: number;
}

/** Fresh blocks at the end of a block table: `block_table[start:start + len(block_ids)] = block_ids`. */
export interface BlockAllocated {
  type: "block.allocated";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  block_ids: number[];
  start: number;
}

/**
 * Computed blocks enter the beginning of a block table: found by hash, or all of the parent's at a fork (then the
 * last may be partly full). `ref_counts` are those after.
 */
export interface BlockShared {
  type: "block.shared";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  block_ids: number[];
  ref_counts: number[];
  start: number;
}

/**
 * Copy-on-write: a shared block was about to be written, so `block_id`, a copy of its own, takes its place in the
 * block table. The source has one holder fewer.
 */
export interface BlockCopied {
  type: "block.copied";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  source_block_id: number;
  block_id: number;
  index: number;
}

/** A request lets its blocks go; `ref_counts` are those after. */
export interface BlockReleased {
  type: "block.released";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  block_ids: number[];
  ref_counts: number[];
  cached: boolean[];
}

/** A cached block gives up its contents to be used anew (least recently used first). */
export interface BlockEvicted {
  type: "block.evicted";
  seq: number;
  t: number;
  block_id: number;
}

/** Keys and values of tokens `start <= position < stop` now stand in the cache. */
export interface KVWritten {
  type: "kv.written";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  start: number;
  stop: number;
}

/**
 * A token was chosen for `position`. `text` is what it adds to the answer (empty inside a character, and for
 * special tokens).
 */
export interface TokenSampled {
  type: "token.sampled";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  position: number;
  id: number;
  text: string;
  logprob: number;
  candidates: Candidate[];
  rest: number;
  origin: "bonus" | "draft" | "recovered" | "target";
  step: number;
}

/** One of the most likely next tokens. `text` is the token alone (special tokens by their name). */
export interface Candidate {
  id: number;
  text: string;
  logit: number;
  probability: number;
}

/** A drafter guessed the tokens at `position` and on, which step `step` is going to verify. */
export interface SpeculationDrafted {
  type: "speculation.drafted";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  step: number;
  drafter: string;
  position: number;
  ids: number[];
  texts: string[];
  q: number[];
  seconds: number;
}

/**
 * The target has computed the drafts: `num_accepted` of them are kept, and `id` follows. A draft x is accepted
 * if its draw is below p(x) / q(x); the first that is not ends it, and the token in its place is recovered from the
 * residual (p - q)+; where all are accepted a bonus follows. (Tokens beyond the end of an answer, behind an EOS, are
 * judged but not said: they have no `token.sampled`.)
 */
export interface SpeculationJudged {
  type: "speculation.judged";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  step: number;
  position: number;
  p: number[];
  q: number[];
  draws: number[] | null;
  num_drafts: number;
  num_accepted: number;
  id: number;
  text: string;
  origin: "bonus" | "recovered";
  seconds: number;
}

/**
 * Euclidean norms of the keys (after rotary embedding) and values as they stand in the cache:
 * of what a step wrote, and with a request's first step also of what it found there (the prefix cache).
 * `shape` of both: [num_layers, num_kv_heads, stop - start], float16.
 */
export interface ProbeKV {
  type: "probe.kv";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  start: number;
  stop: number;
  keys: Array;
  values: Array;
}

/** A numeric array: `value = decode(data) * scale`, row-major over `shape`, little-endian, base64. */
export interface Array {
  dtype: "float16" | "float32" | "uint8";
  shape: number[];
  data: string;
  scale: number;
}

/**
 * The raw logits of the whole vocabulary after the token at `position`: what the token at `position + 1` is
 * drawn from, before penalty, temperature and cuts. `shape`: [vocab_size], float32.
 */
export interface ProbeLogits {
  type: "probe.logits";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  position: number;
  logits: Array;
}

/**
 * Attention weights: how the query of the token at `position` shares itself out over the keys 0 to `position`,
 * in `heads` of `layers`. Worked out after the step, in float32, from the query and the cached keys; causality,
 * sliding window, soft-cap and sinks are the model's. `shape` of `weights`: [len(layers), len(heads),
 * position + 1], float16; a row sums to 1 within 1e-3, its sink (if any) included.
 */
export interface ProbeAttention {
  type: "probe.attention";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  position: number;
  layers: number[];
  heads: number[];
  weights: Array;
  sinks: Array | null;
}

/**
 * Where every head of every layer looks from `position`: near, far, or at the first token. Each array:
 * [num_layers, num_heads], float16.
 */
export interface ProbeAttentionSummary {
  type: "probe.attention_summary";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  position: number;
  near_tokens: number;
  first: Array;
  near: Array;
  distance: Array;
  entropy: Array;
}

/**
 * A flash-attention pass over the first `num_tokens` of the prompt in one head of one layer, from an instrumented
 * kernel (`inference/attention/tiles.py`) on the queries, keys and values of this run. `tiles`: (query tile, key
 * tile) in the order visited. Each array is [len(tiles), block_q], float32, a number for each row of the query tile
 * (0 past `num_tokens`), after that tile but for `tile_max`; -inf is the maximum of a row that has seen no key.
 */
export interface ProbeTiles {
  type: "probe.tiles";
  seq: number;
  t: number;
  request_id: string;
  sample: number;
  layer: number;
  head: number;
  num_tokens: number;
  block_q: number;
  block_k: number;
  tiles: [number, number][];
  tile_max: Array;
  row_max: Array;
  row_sum: Array;
  rescale: Array;
  output_norm: Array;
  largest_error: number;
}

/** Any event of a log, told apart by `type`. */
export type AnyEvent =
  | LogOpened
  | Snapshot
  | LogClosed
  | RequestQueued
  | RequestTokenized
  | RequestAdmitted
  | RequestPreempted
  | RequestFinished
  | StepStarted
  | StepFinished
  | CollectiveFinished
  | BlockAllocated
  | BlockShared
  | BlockCopied
  | BlockReleased
  | BlockEvicted
  | KVWritten
  | TokenSampled
  | SpeculationDrafted
  | SpeculationJudged
  | ProbeKV
  | ProbeLogits
  | ProbeAttention
  | ProbeAttentionSummary
  | ProbeTiles;

/** The event of each `type`. */
export interface EventByType {
  "log.opened": LogOpened;
  "snapshot": Snapshot;
  "log.closed": LogClosed;
  "request.queued": RequestQueued;
  "request.tokenized": RequestTokenized;
  "request.admitted": RequestAdmitted;
  "request.preempted": RequestPreempted;
  "request.finished": RequestFinished;
  "step.started": StepStarted;
  "step.finished": StepFinished;
  "collective.finished": CollectiveFinished;
  "block.allocated": BlockAllocated;
  "block.shared": BlockShared;
  "block.copied": BlockCopied;
  "block.released": BlockReleased;
  "block.evicted": BlockEvicted;
  "kv.written": KVWritten;
  "token.sampled": TokenSampled;
  "speculation.drafted": SpeculationDrafted;
  "speculation.judged": SpeculationJudged;
  "probe.kv": ProbeKV;
  "probe.logits": ProbeLogits;
  "probe.attention": ProbeAttention;
  "probe.attention_summary": ProbeAttentionSummary;
  "probe.tiles": ProbeTiles;
}
