// What holds between the events of a log, for one from a file: their order, and that what each speaks of is there. The
// page's own reducer is run along, so that what it cannot take is found here, with the line it stands on.

import { apply } from "../state/apply.js";
import { createState } from "../state/create.js";
import { slotsOf } from "../state/seats.js";
import { t } from "../ui/messages.js";
import { checkEvent, Refusal } from "./event_check.js";
import { BLOCKS, EVENTS, NORMS, SEARCHED, SEATS, SEQUENCES, TABLE_BLOCKS, TOKENS } from "./limits.js";
import { isOwn, nameOf } from "./whose.js";

/** @typedef {import("../state/types.d.ts").State} State */
/** @typedef {import("../types/events.d.ts").AnyEvent} AnyEvent */
/** @typedef {import("../types/events.d.ts").EventByType} EventByType */
/** @typedef {{ shape: number[] }} Shaped */
/** @typedef {{ blocks: number, searched: number }} Spent of what a whole log may: blocks that were named, and tables' lengths that were searched for them */

/** @param {boolean} holds @param {() => string} words of the refusal */
function hold(holds, words) {
  if (!holds) throw new Refusal(words());
}

const lengths = () => t("Its lists are not of one length.");
const place = () => t("It speaks of a place that is not there.");
const shape = () => t("The shape of its numbers is another than the model's.");

/** @param {Shaped} array @param {number[]} wanted */
const has = ({ shape: sides }, wanted) =>
  sides.length === wanted.length && wanted.every((side, i) => sides[i] === side);

/** @param {State} state @param {import("./whose.js").Named} named */
const tableOf = (state, named) =>
  isOwn(state, named) ? state.cache.blockTable : (state.others.get(nameOf(named))?.blockTable ?? []);

/** @param {State} state @param {number[]} ids @param {Spent} spent */
function inPool({ opened, pool }, ids, spent) {
  spent.blocks += ids.length;
  hold(spent.blocks <= BLOCKS, blocks);
  hold(!opened?.engine || ids.every((id) => id < pool.numBlocks), () =>
    t("It speaks of a block that the pool does not have."),
  );
}

/** @param {State} state @param {import("./whose.js").Named} named @param {number[]} ids @param {number} start @param {Spent} spent */
function enters(state, named, ids, start, spent) {
  inPool(state, ids, spent);
  hold(start <= tableOf(state, named).length, place);
  hold(start + ids.length <= TABLE_BLOCKS, blocks);
}

/** @type {{ [T in keyof EventByType]?: (event: EventByType[T], state: State, spent: Spent) => void }} */
const RULES = {
  "log.opened": (_, state) => hold(state.opened === null, () => t("A log is opened once.")),
  snapshot(event, state, spent) {
    hold(event.num_blocks === state.pool.numBlocks || !state.opened?.engine, place);
    hold(event.requests.length <= SEQUENCES, () => tooMany());
    inPool(state, event.cached_block_ids, spent);
    for (const { block_ids: ids } of event.requests) {
      inPool(state, ids, spent);
      hold(ids.length <= TABLE_BLOCKS, blocks);
    }
  },
  "request.tokenized"(event, state) {
    if (!isOwn(state, event)) return;
    const { token_ids: ids, pieces, own, merges } = event;
    hold(state.tokens.length === 0, () => t("A prompt is read once."));
    hold(ids.length === pieces.length && ids.length <= TOKENS, lengths);
    hold(
      own.every(([start, stop]) => start <= stop && stop <= ids.length),
      place,
    );
    if (!merges) return;
    const parts = merges.words.map(({ symbols, merges: joined }) => symbols.length - joined.length);
    hold(merges.order.every((word) => word < parts.length) && parts.every((left) => left > 0), place);
    hold(merges.num_tokens <= ids.length, place);
  },
  "step.started"(event, state) {
    hold(event.requests.length <= SEQUENCES, tooMany);
    hold(
      event.requests.every(({ start, stop }) => start <= stop),
      place,
    );
    hold((state.steps.length + 1) * slotsOf(state) <= SEATS, tooMany);
  },
  "block.allocated": (event, state, spent) => enters(state, event, event.block_ids, event.start, spent),
  "block.shared"(event, state, spent) {
    hold(event.ref_counts.length === event.block_ids.length, lengths);
    enters(state, event, event.block_ids, event.start, spent);
  },
  "block.copied"(event, state, spent) {
    inPool(state, [event.source_block_id], spent);
    enters(state, event, [event.block_id], event.index, spent);
  },
  "block.released"(event, state, spent) {
    const { length } = event.block_ids;
    hold(event.ref_counts.length === length && event.cached.length === length, lengths);
    inPool(state, event.block_ids, spent);
    spent.searched += tableOf(state, event).length;
    hold(spent.searched <= SEARCHED, blocks);
  },
  "block.evicted": (event, state, spent) => inPool(state, [event.block_id], spent),
  "kv.written"(event, state) {
    hold(event.start <= event.stop, place);
    if (isOwn(state, event)) hold(event.stop <= state.tokens.length, place);
  },
  "token.sampled"(event, state) {
    if (!isOwn(state, event)) return;
    hold(event.position === state.tokens.length && event.position < TOKENS, place);
  },
  "speculation.drafted"({ ids, texts, q, position }) {
    hold(ids.length === texts.length && ids.length === q.length && ids.length <= 64, lengths);
    hold(position < TOKENS, place);
  },
  "speculation.judged"({ p, q, draws, num_drafts: drafts, num_accepted: kept }) {
    const judged = Math.min(kept + 1, drafts);
    hold(kept <= drafts && drafts <= 64 && p.length >= judged && q.length >= judged, lengths);
    hold(draws === null || draws.length >= judged, lengths);
  },
  "probe.kv"(event, state) {
    const { start, stop, keys, values } = event;
    hold(start <= stop && stop <= TOKENS, place);
    if (!isOwn(state, event)) return;
    const [layers = 0, heads = 0] = keys.shape;
    const { model } = state.opened ?? {};
    const fits = !model || (model.num_layers === layers && model.num_kv_heads === heads);
    hold(fits && [keys, values].every((array) => has(array, [layers, heads, stop - start])), shape);
    hold(layers * heads * stop <= NORMS, tooMany);
  },
  "probe.logits"({ position, logits }) {
    hold(position < TOKENS, place);
    hold(logits.shape.length === 1 && logits.shape[0] > 0, shape);
  },
  "probe.attention"({ position, layers, heads, weights, sinks }, state) {
    hold(position < TOKENS, place);
    hold(has(weights, [layers.length, heads.length, position + 1]), shape);
    hold(sinks === null || has(sinks, [layers.length, heads.length]), shape);
    const { model } = state.opened ?? {};
    hold(
      !model || (layers.every((layer) => layer < model.num_layers) && heads.every((head) => head < model.num_heads)),
      place,
    );
  },
  "probe.attention_summary"({ position, first, near, distance, entropy }) {
    hold(position < TOKENS, place);
    const fits = first.shape.length === 2 && first.shape.every((side) => side > 0 && side <= 512);
    hold(fits && [near, distance, entropy].every((array) => has(array, first.shape)), shape);
  },
  "probe.tiles"(event) {
    const { tiles, block_q: rows, tile_max: most, row_max: running, row_sum: sum, rescale, output_norm: norm } = event;
    hold(
      [most, running, sum, rescale, norm].every((array) => has(array, [tiles.length, rows])),
      shape,
    );
    hold(event.num_tokens <= TOKENS, tooMany);
  },
};

const tooMany = () => t("It holds more than this page can show.");
const blocks = () => t("It tells of more blocks than this page can follow.");

/** @type {Map<string, (event: any, state: State, spent: Spent) => void>} */
const rules = new Map(Object.entries(RULES));

export class LogCheck {
  /** @type {AnyEvent[]} what was taken */
  events = [];
  #state = createState();
  /** @type {Spent} */
  #spent = { blocks: 0, searched: 0 };

  /** Whether the log has its end. */
  get closed() {
    return this.#state.closed !== null;
  }

  /** @param {unknown} value as JSON has it; throws a `Refusal` where it cannot be the next event */
  take(value) {
    const event = checkEvent(value);
    const state = this.#state;
    hold(this.events.length > 0 || event.type === "log.opened", () => t("A log begins with log.opened."));
    hold(!this.closed, () => t("This log was closed before."));
    hold(event.seq === state.seq + 1, () =>
      t("Event {seq} cannot follow event {last}.", { seq: event.seq, last: state.seq }),
    );
    hold(event.t >= state.t, () => t("Time runs backwards."));
    hold(event.seq <= EVENTS && state.others.size <= SEQUENCES, tooMany);
    rules.get(event.type)?.(event, state, this.#spent);
    apply(state, event);
    this.events.push(event);
  }
}
