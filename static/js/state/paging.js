// Who holds which page, and what in it is empty: counted from the block tables, never told by a picture.
//
// A page (the engine's word is block) is `block_size` places for tokens. A sequence is this run, another sample of its
// request, or somebody else's request.

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {{ name: string, own: boolean, sample: number, table: number[], numTokens: number, numPrompt: number, numComputed: number, status: string, numPreemptions: number, losing: boolean, held: boolean }} Sequence `table`: its pages in order; `numComputed`: places of it where keys and values stand; `losing`: preempted, and about to let its pages go; `held`: false of our own pages after the run let go of them */
/** @typedef {{ holders: number[], index: number, filled: number }} Page `holders`: indices of sequences; `index`: its place in their tables; `filled`: places that hold something */
/** @typedef {{ blockSize: number, total: number, sequences: Sequence[], pages: Map<number, Page>, held: number, kept: number, free: number, shared: number, places: number, unused: number }} Tally */

/** @type {WeakMap<State, { seq: number, tally: Tally }>} */
const known = new WeakMap();

/** Whether the source of this run tells where its pages lie. @param {State} state */
export const tellsBlocks = ({ opened }) => Boolean(opened?.engine && opened.provides.includes("blocks"));

/** Whether each request reserves one piece for its worst case. @param {State} state */
export const isSlab = ({ opened }) => opened?.engine?.allocator === "slab";

/**
 * The sequences of the log, ours first, then its other samples, then the guests by their number.
 * @param {State} state
 * @returns {Sequence[]}
 */
export function sequencesOf(state) {
  const { cache, pool, request, tokens, ownId } = state;
  const blockSize = blockSizeOf(state);
  const left = cache.blockTable.length === 0 && request.status === "finished";
  const own = {
    name: ownId ?? "",
    own: true,
    sample: 0,
    table: left ? cache.lastTable : cache.blockTable,
    numTokens: tokens.length,
    numPrompt: request.numPromptTokens,
    numComputed: standing(pool.losing === ownId, cache.blockTable, tokens.length - 1, cache.numTokens, blockSize),
    status: request.status,
    numPreemptions: request.numPreemptions,
    losing: pool.losing === ownId,
    held: !left,
  };
  const others = [...state.others].map(([name, other]) => ({
    name,
    own: false,
    sample: name.startsWith(`${ownId}#`) ? Number(name.slice(name.indexOf("#") + 1)) : 0,
    table: other.blockTable,
    numTokens: other.numTokens,
    numPrompt: name.startsWith(`${ownId}#`) ? request.numPromptTokens : 0,
    numComputed: standing(pool.losing === name, other.blockTable, other.numTokens, other.numComputedTokens, blockSize),
    status: other.status,
    numPreemptions: other.numPreemptions,
    losing: pool.losing === name,
    held: true,
  }));
  others.sort((a, b) => Number(b.sample > 0) - Number(a.sample > 0) || a.sample - b.sample || number(a) - number(b));
  return [own, ...others];
}

/** @param {State} state */
const blockSizeOf = ({ opened }) => Math.max(1, opened?.engine?.block_size ?? 1);

/**
 * Places of a sequence where something stands. Who is preempted computes anew, but until its pages are let go they hold
 * what they held.
 * @param {boolean} losing @param {number[]} table @param {number} numTokens @param {number} numComputed @param {number} blockSize
 */
function standing(losing, table, numTokens, numComputed, blockSize) {
  return losing ? Math.min(numTokens, table.length * blockSize) : numComputed;
}

/** What an opaque name counts up to: `guest-3` is 3. @param {{ name: string }} sequence */
export function number({ name }) {
  return Number(/(\d+)$/.exec(name)?.[1] ?? 0);
}

/**
 * Everything about the pool at this moment.
 * @param {State} state
 * @returns {Tally}
 */
export function tally(state) {
  const last = known.get(state);
  if (last?.seq === state.seq) return last.tally;
  const made = count(state);
  known.set(state, { seq: state.seq, tally: made });
  return made;
}

/** @param {State} state @returns {Tally} */
function count(state) {
  const blockSize = blockSizeOf(state);
  const sequences = sequencesOf(state);
  /** @type {Map<number, Page>} */
  const pages = new Map();
  sequences.forEach(({ table, numComputed, held }, holder) => {
    if (!held) return;
    table.forEach((id, index) => {
      const filled = Math.min(blockSize, Math.max(0, numComputed - index * blockSize));
      const page = pages.get(id);
      if (!page) pages.set(id, { holders: [holder], index, filled });
      else {
        page.holders.push(holder);
        page.filled = Math.max(page.filled, filled);
      }
    });
  });
  let [unused, shared] = [0, 0];
  for (const { holders, filled } of pages.values()) {
    unused += blockSize - filled;
    if (holders.length > 1) shared += 1;
  }
  const kept = [...state.pool.cached].filter((id) => !pages.has(id)).length;
  const total = state.pool.numBlocks;
  const held = pages.size;
  const free = Math.max(0, total - held - kept);
  return { blockSize, total, sequences, pages, held, kept, free, shared, places: held * blockSize, unused };
}

/**
 * Share of the held memory in which nothing stood, over all steps so far: bytes and seconds as the engine counted them.
 * @param {State | null | undefined} state
 * @returns {number | null} null where the log does not say
 */
export function wasteOver(state) {
  let [held, unused] = [0, 0];
  for (const { kvHeldBytes, kvUnusedBytes, seconds } of state?.steps ?? []) {
    if (kvHeldBytes === null || kvUnusedBytes === null || seconds === null) continue;
    held += kvHeldBytes * seconds;
    unused += kvUnusedBytes * seconds;
  }
  return held > 0 ? unused / held : null;
}

/**
 * What would be empty if sequences of these lengths lay in pages of `blockSize`: the rest of their last pages.
 * @param {number[]} lengths
 * @param {number} blockSize
 * @returns {{ pages: number, unused: number, share: number }}
 */
export function fragmentation(lengths, blockSize) {
  let [pages, tokens] = [0, 0];
  for (const length of lengths) {
    pages += Math.ceil(length / blockSize);
    tokens += length;
  }
  const unused = pages * blockSize - tokens;
  return { pages, unused, share: pages ? unused / (pages * blockSize) : 0 };
}

/** Lengths of the sequences that hold pages now. @param {Tally} counted */
export const lengthsOf = ({ sequences }) =>
  sequences.filter(({ held, table, numComputed }) => held && table.length && numComputed > 0).map((s) => s.numComputed);

/**
 * Pages that there should be for everybody in the kitchen, and everybody sent back to the line, to go on by one token:
 * those that are held, and those that are missing.
 * @param {Tally} counted
 */
export function wanted({ sequences, blockSize, held }) {
  return sequences
    .filter(({ status }) => status === "admitted" || status === "preempted")
    .map(
      ({ numTokens, numComputed, table }) => Math.ceil(Math.max(numTokens, numComputed + 1) / blockSize) - table.length,
    )
    .reduce((sum, missing) => sum + Math.max(0, missing), held);
}

/** Requests that lost their pages, this one among them. @param {State} state */
export const preemptions = (state) => sequencesOf(state).reduce((sum, { numPreemptions }) => sum + numPreemptions, 0);

/**
 * The page that most sequences hold, and how many they are.
 * @param {Tally} counted
 */
export function mostShared({ pages }) {
  let best = { id: -1, holders: 0 };
  for (const [id, { holders }] of pages) if (holders.length > best.holders) best = { id, holders: holders.length };
  return best;
}
