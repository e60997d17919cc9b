// What the room asks of the kitchen: the run's own token ids computed once more, and looked at. `attention`: every head,
// at a few tokens; `gaze`: a few heads, at every token of the answer's beginning.

/** @typedef {import("../state/types.d.ts").State} State */

/** Generated tokens, from 0, that every head is asked about: those that the steps stop at are among them. */
const STOPS = [17, 18, 49];
/** Tokens in a row, as many as one probe may name. */
const ROW = 64;
/** Weights that are worth their way: half a megabyte of log. */
const MOST_WEIGHTS = 2 ** 18;
/** Where the few heads are: shares of the layers from the first to the last, and of the heads. */
const DEPTHS = [0.44, 0.55, 0.58, 0.82];
const SIDES = [0, 0.5, 1];

/** @typedef {{ positions: number[], layers?: number[], heads?: number[], summary?: boolean }} AttentionProbe */

/** @param {AttentionProbe} attention */
const probe = (attention) => ({ take: "probe", probes: { attention } });

/**
 * Tokens of the answer that were computed, for the last one drawn never is; of an answer of one token, the prompt's last.
 * @param {State} state
 */
function computed({ tokens, request }) {
  const start = Math.min(request.numPromptTokens, Math.max(0, tokens.length - 2));
  return { start, count: Math.max(0, tokens.length - 1 - start) };
}

/**
 * @param {State} state of the run
 * @returns {object | null} null while there is nothing to look at
 */
export function attentionBody(state) {
  const model = state.opened?.model;
  const { start, count } = computed(state);
  if (!model || count < 1) return null;
  const positions = [...new Set(STOPS.map((stop) => start + Math.min(stop, count - 1)))];
  const all = { positions };
  // Too much of it: every second layer, every third ... and of the heads, and at one token.
  const fewer = [1, 2, 3, 4, 8, 16].flatMap((stride) =>
    [positions, positions.slice(0, 1)].map((some) => ({
      positions: some,
      layers: every(model.num_layers, stride),
      heads: every(model.num_heads, Math.ceil(stride / 2)),
    })),
  );
  const found = fewer.find((asked) => weightsOf(asked) <= MOST_WEIGHTS) ?? fewer[fewer.length - 1];
  return probe(found === fewer[0] ? all : found);
}

/**
 * @param {State} state of the run
 * @returns {object | null}
 */
export function gazeBody(state) {
  const model = state.opened?.model;
  const { start, count } = computed(state);
  if (!model || count < 1) return null;
  const positions = Array.from({ length: Math.min(ROW, count) }, (_, i) => start + i);
  const layers = spread(DEPTHS, model.num_layers);
  const heads = spread(SIDES, model.num_heads);
  // Of a long text fewer heads, and of a very long one fewer tokens.
  const fewer = [
    { positions, layers, heads },
    { positions, layers, heads: heads.slice(-1) },
    { positions, layers: layers.slice(-1), heads: heads.slice(-1) },
    { positions: positions.slice(0, 16), layers: layers.slice(-1), heads: heads.slice(-1) },
  ];
  const found = fewer.find((asked) => weightsOf(asked) <= MOST_WEIGHTS) ?? fewer[fewer.length - 1];
  return probe({ ...found, summary: false });
}

/** @param {{ positions: number[], layers: number[], heads: number[] }} asked */
const weightsOf = ({ positions, layers, heads }) =>
  layers.length * heads.length * positions.reduce((sum, position) => sum + position + 1, 0);

/** @param {number} count @param {number} stride */
const every = (count, stride) => Array.from({ length: Math.ceil(count / stride) }, (_, i) => i * stride);

/** @param {number[]} shares @param {number} count */
const spread = (shares, count) => [...new Set(shares.map((share) => Math.round(share * (count - 1))))];
