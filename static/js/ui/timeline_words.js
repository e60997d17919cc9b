// What a moment of the strip is, in words: the step that ran then, what it brought, and when.

import { isOwn } from "../log/whose.js";
import { visible } from "../stage/text.js";
import { count, seconds } from "../state/format.js";
import { t } from "./messages.js";

/** @typedef {import("../log/log.js").EventLog} EventLog */
/** @typedef {import("../log/log.js").StepMark} StepMark */

/**
 * The step that was running at a moment, or that ran last before it.
 * @param {StepMark[]} steps in order
 * @param {number} at log seconds
 * @returns {StepMark | null}
 */
export const stepAt = (steps, at) => steps.findLast((step) => step.startedAt <= at) ?? null;

/**
 * The text of the tokens that a step brought to this run.
 * @param {EventLog} log
 * @param {StepMark} step
 */
function broughtBy(log, { startSeq, stopSeq }) {
  const events = log.events.slice((startSeq ?? 1) - 1, stopSeq ?? log.seq);
  return events.flatMap((event) => (event.type === "token.sampled" && isOwn(log, event) ? visible(event.text) : []));
}

/**
 * @param {EventLog} log
 * @param {number} at log seconds
 */
export function wordsAt(log, at) {
  const { steps, guestSteps } = log.index;
  const time = seconds(at);
  const own = stepAt(steps, at);
  const guests = stepAt(guestSteps, at);
  if (guests && guests.startedAt > (own?.startedAt ?? -1) && at <= (guests.finishedAt ?? log.t))
    return t("{time}: step {step}, others only", { time, step: count(guests.step) });
  if (!own) return t("{time}: before the first step", { time });
  const between = own.finishedAt !== null && at > own.finishedAt;
  if (between && own === steps.at(-1) && log.complete) return t("{time}: after the last step", { time });
  const text = broughtBy(log, own).join("");
  const values = { time, step: count(own.step), tokens: count(own.tokens), text };
  if (own.phase === "prefill")
    return own.tokens === 1
      ? t("{time}: step {step}, prefill of one token", values)
      : t("{time}: step {step}, prefill of {tokens} tokens", values);
  if (own.phase === "verify") return t("{time}: step {step}, verify: “{text}”", values);
  return text ? t("{time}: step {step}, decode: “{text}”", values) : t("{time}: step {step}, decode", values);
}
