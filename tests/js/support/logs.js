// Logs for tests: well-formed runs with every event type, made from a seed.

import { seeded } from "./random.js";

const LAYERS = 2;
const HEADS = 3;
const BLOCK = 4;
const OWN = "run-1";
const GUEST = "guest-1";

/** Bits of a float16 that is a plain normal number. */
const half = (random) => (random.int(13, 18) << 10) | random.int(0, 1024);

/** A packed float16 array of `shape`. */
export function packed(random, shape) {
  const count = shape.reduce((a, b) => a * b, 1);
  const bytes = Buffer.alloc(2 * count);
  for (let i = 0; i < count; i++) bytes.writeUInt16LE(half(random), 2 * i);
  return { dtype: "float16", shape, data: bytes.toString("base64"), scale: 1 };
}

class Writer {
  constructor(random) {
    this.random = random;
    this.events = [];
    this.t = 0;
  }

  say(type, fields) {
    if (this.events.length) this.t += this.random.next() * 0.01;
    this.events.push({ type, seq: this.events.length + 1, t: Number(this.t.toFixed(6)), ...fields });
  }

  own(type, fields) {
    this.say(type, { request_id: OWN, sample: 0, ...fields });
  }
}

const MODEL = {
  name: "tiny",
  architecture: "TinyForCausalLM",
  num_layers: LAYERS,
  hidden_size: 12,
  num_heads: 6,
  num_kv_heads: HEADS,
  head_dim: 2,
  intermediate_size: 24,
  vocab_size: 100,
  num_parameters: 1000,
  parameter_bytes: 2000,
  dtype: "bfloat16",
  kv_bytes_per_token: 48,
  max_model_len: 128,
  license: "",
  note: "",
};

function opening(log, source) {
  log.say("log.opened", {
    schema_version: 1,
    run_id: OWN,
    source,
    opened_at: source === "live" ? 1000 : 2000,
    model: MODEL,
    hardware: {
      device: "cpu",
      name: "a machine",
      num_threads: 2,
      memory_bytes: 1e9,
      peak_flops: 1e9,
      memory_bandwidth: 1e8,
      measured_at: 900,
    },
    engine: {
      block_size: BLOCK,
      num_blocks: 64,
      max_num_seqs: 4,
      max_num_batched_tokens: 8,
      max_model_len: 128,
      policy: "continuous",
      enable_prefix_caching: true,
      drafter: null,
      num_speculative_tokens: 0,
    },
    software: null,
    params: {},
    provides: [],
    parent: null,
  });
  log.say("snapshot", {
    request_id: OWN,
    requests: [
      { request_id: GUEST, sample: 0, slot: 1, num_tokens: 9, num_computed_tokens: 8, block_ids: [60, 61] },
      { request_id: "guest-2", sample: 0, slot: null, num_tokens: 3, num_computed_tokens: 0, block_ids: [] },
    ],
    num_blocks: 64,
    num_free_blocks: 60,
    cached_block_ids: [50, 51],
  });
}

function step(log, number, start, stop, phase) {
  const { random } = log;
  const items = [{ request_id: OWN, sample: 0, slot: 0, phase, start, stop }];
  if (random.next() < 0.5) items.push({ request_id: GUEST, sample: 0, slot: 1, phase: "decode", start: 8, stop: 9 });
  const width = stop - start;
  log.say("step.started", { step: number, phase, requests: items, num_tokens: width, num_waiting: 0 });
  log.own("kv.written", { start, stop });
  const shape = [LAYERS, HEADS, width];
  log.own("probe.kv", { start, stop, keys: packed(random, shape), values: packed(random, shape) });
}

function sampled(log, number, position) {
  const { random } = log;
  const text = random.pick([" soup", "\n", "<script>", "é", "", "."]);
  const probability = 0.1 + 0.8 * random.next();
  log.own("token.sampled", {
    position,
    id: random.int(0, 100),
    text,
    logprob: Math.log(probability),
    candidates: [{ id: 1, text, logit: 3, probability }],
    rest: 1 - probability,
    origin: "target",
    step: number,
  });
}

function finished(log, number, tokens) {
  log.say("step.finished", {
    step: number,
    seconds: 0.01,
    schedule_seconds: 0.001,
    forward_seconds: 0.008,
    sample_seconds: 0.001,
    num_tokens: tokens,
    flops: 1e6 * tokens,
    weight_bytes: 2000,
    kv_read_bytes: 480,
    kv_written_bytes: 48 * tokens,
  });
}

/** Each of the other probes once, at `position`: a vocabulary of 3, and 2 layers of 2 heads. */
function probes(log, random, position) {
  const heads = () => packed(random, [2, 2]);
  const tiles = () => packed(random, [1, 2]);
  log.own("probe.logits", { position, logits: packed(random, [3]) });
  log.own("probe.attention_summary", {
    position,
    near_tokens: 8,
    first: heads(),
    near: heads(),
    distance: heads(),
    entropy: heads(),
  });
  const weights = packed(random, [2, 2, position + 1]);
  log.own("probe.attention", { position, layers: [0, 1], heads: [0, 1], weights, sinks: null });
  log.own("probe.tiles", {
    layer: 0,
    head: 1,
    num_tokens: 2,
    block_q: 2,
    block_k: 2,
    tiles: [[0, 0]],
    tile_max: tiles(),
    row_max: tiles(),
    row_sum: tiles(),
    rescale: tiles(),
    output_norm: tiles(),
    largest_error: 1e-7,
  });
}

/**
 * A whole run. Its own numbers are returned beside it, as an oracle for what the state must come to.
 * @param {{ seed?: number, source?: string, preempt?: boolean, reason?: string }} [options]
 */
export function makeLog({ seed = 1, source = "live", preempt = false, reason = "finished" } = {}) {
  const random = seeded(seed);
  const log = new Writer(random);
  const prompt = random.int(5, 20);
  const answer = random.int(4, 30);
  opening(log, source);
  log.own("request.queued", { position: 1, num_waiting: 2 });
  log.own("request.queued", { position: 0, num_waiting: 1 });
  log.own("request.tokenized", {
    token_ids: Array.from({ length: prompt }, () => random.int(0, 100)),
    pieces: Array.from({ length: prompt }, (_, i) => (i === 0 ? "<|im_start|>" : ` w${i}`)),
    own: [[1, prompt - 1]],
    seconds: 0.001,
  });
  log.own("block.shared", { block_ids: [50], ref_counts: [1], start: 0 });
  log.own("request.admitted", { slot: 0, num_tokens: prompt, cached_tokens: BLOCK, queue_seconds: 0.02 });
  let blocks = 1;
  let fresh = 0;
  const cover = (tokens) => {
    const ids = [];
    while (blocks * BLOCK < tokens) {
      ids.push(fresh++);
      blocks += 1;
    }
    if (ids.length) log.own("block.allocated", { block_ids: ids, start: blocks - ids.length });
  };
  cover(prompt);
  let number = 1;
  step(log, number, BLOCK, prompt, "prefill");
  probes(log, random, prompt - 1);
  for (let i = 0; i < answer; i++) {
    const position = prompt + i;
    sampled(log, number, position);
    finished(log, number, 1);
    if (preempt && i === 2) {
      log.own("request.preempted", { slot: 0, num_computed_tokens: position });
      log.own("block.released", {
        block_ids: [50, ...Array.from({ length: blocks - 1 }, (_, k) => k)],
        ref_counts: Array(blocks).fill(0),
        cached: Array.from({ length: blocks }, (_, k) => k === 0),
      });
      log.own("request.queued", { position: 0, num_waiting: 1 });
      log.own("request.admitted", { slot: 2, num_tokens: position + 1, cached_tokens: 0, queue_seconds: 0.01 });
      blocks = 0;
      cover(position + 1);
      number += 1;
      step(log, number, 0, position + 1, "prefill");
    } else if (i < answer - 1) {
      cover(position + 1);
      number += 1;
      step(log, number, position, position + 1, "decode");
    }
  }
  log.say("block.evicted", { block_id: 51 });
  log.own("block.copied", { source_block_id: 50, block_id: 40, index: 0 });
  const draft = { step: 1, position: 0, q: [0.5] };
  log.own("speculation.drafted", { ...draft, drafter: "ngram", ids: [7], texts: [" pan"], seconds: 0.001 });
  const verdict = { num_drafts: 1, num_accepted: 0, id: 8, text: " pot", origin: "recovered" };
  log.own("speculation.judged", { ...draft, ...verdict, p: [0.1], draws: [0.4], seconds: 0.002 });
  const exchange = { kind: "all_reduce", module: "model.layers.0.mlp.down_proj", bytes: 2304, seconds: 0.0004 };
  log.say("collective.finished", { step: 1, rank: 0, num_ranks: 3, ...exchange });
  log.say("request.finished", {
    request_id: GUEST,
    sample: 0,
    slot: 1,
    reason: "length",
    stop: null,
    text: null,
    usage: null,
    detail: "",
  });
  const usage = { prompt_tokens: prompt, cached_tokens: BLOCK, completion_tokens: answer };
  const text = log.events.filter(({ type }) => type === "token.sampled").map((event) => event.text);
  log.own("request.finished", { slot: 0, reason: "length", stop: null, text: text.join(""), usage, detail: "" });
  log.say("log.closed", {
    reason,
    detail: "",
    totals: { ...usage, num_steps: number, num_preemptions: 0, seconds: 1 },
  });
  return { events: log.events, prompt, answer, steps: number };
}
