// Seats of the batch: which sequence held which slot in which step, and which slots a step found empty. A seat-step
// (the field's slot-step) is one slot in one step. The engine counts the idle ones itself (`num_idle_slots`); a log
// that does not say so is counted from the shares of its steps.

import { isOwn, nameOf } from "../log/whose.js";

/** @typedef {import("./types.d.ts").State} State */
/** @typedef {import("./types.d.ts").Step} Step */
/**
 * A sequence in its seat, from its first step there to its last.
 * @typedef {object} Sitting
 * @property {string} name
 * @property {string} guest what it is called on the picture: a number, or nothing for the run's own
 * @property {boolean} own
 * @property {number} slot
 * @property {Stretch[]} stretches
 * @property {number} steps
 * @property {number} read tokens of its prompt that were computed here
 * @property {number} written tokens that its steps here came to: one a step once its prompt is read
 */
/** Steps `from` to `to`, both counted, that were alike. @typedef {{ phase: string, from: number, to: number }} Stretch */
/** An empty slot. @typedef {{ slot: number, from: number, to: number, wanted: boolean }} Gap `wanted`: somebody waited in line meanwhile */
/**
 * @typedef {object} Seats
 * @property {number} slots
 * @property {Step[]} steps
 * @property {Sitting[]} sittings
 * @property {Gap[]} gaps
 * @property {number} total seat-steps
 * @property {number} idle of them, empty
 * @property {number} wanted of those, while somebody waited in line
 */

/** @param {State} state */
export function slotsOf(state) {
  const said = state.opened?.engine;
  // A step gives everybody who runs a token: there are never more seats than its budget has tokens.
  if (said) return Math.min(said.max_num_seqs, said.max_num_batched_tokens);
  return state.steps.reduce((most, step) => step.items.reduce((top, { slot }) => Math.max(top, slot + 1), most), 0);
}

/** Slots that a step computed nothing for. @param {Step} step @param {number} slots */
export const idleIn = (step, slots) => step.idleSlots ?? Math.max(0, slots - step.items.length);

/** The end of a name that a log gives a guest (`guest-3`), or its place in the order of coming. @param {string} name @param {number} order */
const numberOf = (name, order) => /(\d+(?:#\d+)?)$/.exec(name)?.[1] ?? String(order);

/** @param {State} state @returns {Seats} */
function count(state) {
  const { steps } = state;
  const slots = slotsOf(state);
  /** @type {Sitting[]} */
  const sittings = [];
  /** @type {Gap[]} */
  const gaps = [];
  /** Who sat, or what was empty, in each slot a step ago. @type {(Sitting | Gap | undefined)[]} */
  const last = [];
  const guests = new Map();
  const seats = { slots, steps, sittings, gaps, total: slots * steps.length, idle: 0, wanted: 0 };
  steps.forEach((step, i) => {
    const waited = (step.numWaiting ?? 0) > 0;
    const idle = idleIn(step, slots);
    seats.idle += idle;
    if (waited) seats.wanted += idle;
    const taken = new Set();
    for (const item of step.items) {
      taken.add(item.slot);
      const name = nameOf(item);
      let sitting = last[item.slot];
      if (!sitting || !("name" in sitting) || sitting.name !== name) {
        const own = isOwn(state, item);
        if (!own && !guests.has(name)) guests.set(name, numberOf(name, guests.size + 1));
        const guest = guests.get(name) ?? "";
        sitting = { name, guest, own, slot: item.slot, stretches: [], steps: 0, read: 0, written: 0 };
        sittings.push(sitting);
        last[item.slot] = sitting;
      }
      sit(sitting, item, i);
    }
    for (let slot = 0; slot < slots; slot++) {
      if (taken.has(slot)) continue;
      const gap = last[slot];
      if (gap && "wanted" in gap && gap.wanted === waited && gap.to === i - 1) gap.to = i;
      else {
        const fresh = { slot, from: i, to: i, wanted: waited };
        gaps.push(fresh);
        last[slot] = fresh;
      }
    }
  });
  return seats;
}

/** @param {Sitting} sitting @param {import("../types/events.d.ts").StepItem} item @param {number} i */
function sit(sitting, item, i) {
  const stretch = sitting.stretches.at(-1);
  if (stretch && stretch.phase === item.phase && stretch.to === i - 1) stretch.to = i;
  else sitting.stretches.push({ phase: item.phase, from: i, to: i });
  sitting.steps += 1;
  if (item.phase === "prefill") sitting.read += item.stop - item.start;
  else sitting.written += 1;
}

/** @type {WeakMap<State, { seq: number, seats: Seats }>} */
const known = new WeakMap();

/** @param {State} state @returns {Seats} */
export function seatsOf(state) {
  const found = known.get(state);
  if (found?.seq === state.seq) return found.seats;
  const seats = count(state);
  known.set(state, { seq: state.seq, seats });
  return seats;
}

/** When a step was over, or how far it is. @param {Step} step @param {State} state */
export const endOf = (step, state) => step.finishedAt ?? state.t;

/** Log seconds at which the clock of a race starts: when the run itself was given a seat. @param {State} state */
export const raceStart = (state) => state.request.admittedAt ?? state.steps[0]?.startedAt ?? 0;

/** Seconds from there to the end of the last step; null before the first. @param {State} state */
export function raceSeconds(state) {
  const last = state.steps.at(-1);
  return last ? endOf(last, state) - raceStart(state) : null;
}
