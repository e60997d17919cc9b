// What a log from a file may not go beyond. No run is near these; a page that drew one would stand still.

/** Bytes of the file, of what is packed in it, and of one line (a probe of a whole vocabulary takes a megabyte). */
export const PACKED_BYTES = 64e6;
export const UNPACKED_BYTES = 256e6;
export const LINE_CHARACTERS = 8e6;
export const EVENTS = 400_000;
/** How deep brackets may stand in each other. Events have five. */
export const DEPTH = 12;
/** Of names and notes, of a whole answer; of things in a list. */
export const TEXT_CHARACTERS = 4000;
export const ANSWER_CHARACTERS = 1e6;
export const LIST_ITEMS = 2 ** 18;
/** Numbers in one packed array. */
export const PACKED_NUMBERS = 2 ** 22;
/** Seconds that a run goes on. */
export const SECONDS = 1e6;
/** Tokens of the run; its keys' and values' norms in all (layers × heads × tokens); slots times steps. */
export const TOKENS = 2 ** 16;
export const NORMS = 2 ** 23;
export const SEATS = 2 ** 23;
/** Blocks in one table; that events name, in all; in the tables that blocks are let go from, in all. */
export const TABLE_BLOCKS = 2 ** 17;
export const BLOCKS = 2 ** 21;
export const SEARCHED = 2 ** 24;
/** Requests, and samples, that one log tells of. */
export const SEQUENCES = 4096;

const COUNT = [0, 2 ** 22];
const SHARE = [0, 1.001];
const SIZE = [0, 1e18];

/** Lowest and highest of a number by its name, where it is not one of the rest. @type {Map<string, number[]>} */
const RANGES = new Map(
  Object.entries({
    num_layers: [1, 512],
    num_sliding_layers: [0, 512],
    sliding_layers: [0, 511],
    num_experts: [0, 65536],
    layer: [0, 511],
    layers: [0, 511],
    num_heads: [1, 512],
    num_kv_heads: [1, 512],
    head: [0, 511],
    heads: [0, 511],
    head_dim: [1, 2 ** 16],
    vocab_size: [1, 2 ** 22],
    block_size: [1, 2 ** 16],
    block_q: [1, 4096],
    block_k: [1, 4096],
    num_blocks: [0, 2 ** 17],
    max_num_seqs: [1, 1024],
    max_num_batched_tokens: [1, 2 ** 22],
    num_idle_slots: [0, 1024],
    slot: [0, 1023],
    sample: [0, 1023],
    n: [1, 1024],
    seed: [0, 2 ** 64],
    num_threads: [1, 2 ** 16],
    peak_flops: [1, 1e24],
    peaks: [0, 1e24],
    flops: [0, 1e30],
    memory_bandwidth: [1, 1e18],
    opened_at: [0, 1e11],
    measured_at: [0, 1e11],
    logit: [-1e9, 1e9],
    logprob: [-1e9, 0.001],
    scale: [-1e9, 1e9],
    temperature: [0, 100],
    repetition_penalty: [1e-9, 100],
    probability: SHARE,
    rest: [-0.001, 1.001],
    p: SHARE,
    q: SHARE,
    draws: SHARE,
    top_p: SHARE,
    min_p: SHARE,
  }),
);

/**
 * @param {string} name of a field
 * @param {boolean} whole
 * @returns {number[]} lowest and highest
 */
export function rangeOf(name, whole) {
  const known = RANGES.get(name);
  if (known) return known;
  if (/bytes|parameters/.test(name)) return SIZE;
  if (whole) return COUNT;
  return /seconds$/.test(name) ? [0, SECONDS] : [0, 1e30];
}
