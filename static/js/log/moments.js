// Names for moments of a run, as scroll steps say them, resolved to a place in the log.
//
//   opened, queued, tokenized, admitted          the request's way in
//   prefill-start                                the first step that computes our tokens begins
//   prefill-written                              the prompt's keys and values stand; no token is drawn yet
//   prefill-end = first-token                    that step is over: its times are known, the first token stands
//   second-token, token:N, token:P%              the n-th generated token stands (N counts from 1); P% of all of them
//   computed:N                                   what the n-th generated token left in the cache stands; the next is not drawn
//   finished, closed                             the request ended; the log ended
//   event:TYPE:N                                 the n-th event of a type (from 1; -1 is the last that there will be)
//   drafted, judged                              guesses of which some were kept and one was not, and their verdict; which
//                                                ones show the most is known when the log is complete
//   end                                          every run on stage has ended (a race: the slower one too)

import { isOwn } from "./whose.js";

/** @typedef {import("./log.js").EventLog} EventLog */

/**
 * Where a moment is, and whether the log has reached it. A moment that has not come stands at the live edge.
 * @param {EventLog} log
 * @param {string} name
 * @returns {{ seq: number, reached: boolean }}
 */
export function resolve(log, name) {
  const seq = find(log, name);
  if (seq > 0) return { seq, reached: true };
  return { seq: log.seq, reached: log.complete };
}

/**
 * The `seq` of a moment, the live edge where it has not come.
 * @param {EventLog} log
 * @param {string} name
 */
export function moment(log, name) {
  return resolve(log, name).seq;
}

/**
 * @param {EventLog} log
 * @param {string} name
 * @returns {number} 0 where the log does not have it
 */
function find(log, name) {
  const { index } = log;
  switch (name) {
    case "opened":
      return Math.min(log.seq, 1);
    case "queued":
      return index.queued;
    case "tokenized":
      return index.tokenized;
    case "admitted":
      return index.admitted;
    case "prefill-start":
      return index.prefillStart;
    case "prefill-written":
      return index.prefillWritten;
    case "prefill-end":
    case "first-token":
      return index.tokens[0] ?? 0;
    case "second-token":
      return index.tokens[1] ?? 0;
    case "finished":
      return index.finished;
    case "closed":
    case "end":
      return index.closed;
  }
  if (name === "drafted" || name === "judged") return tellingRound(log, name);
  const nth = /^event:([\w.]+):(-?\d+)$/.exec(name);
  if (nth) return nthEvent(log, nth[1], Number(nth[2]));
  const left = /^computed:(\d+)$/.exec(name);
  if (left) return beforeToken(log, Number(left[1]));
  const match = /^token:(\d+)(%?)$/.exec(name);
  if (!match) return 0;
  const number = Number(match[1]);
  if (match[2] === "") return index.tokens[Math.max(1, number) - 1] ?? 0;
  // A share of an answer that is still being written is not known yet.
  if (!index.finished && !log.complete) return 0;
  const count = index.tokens.length;
  return index.tokens[Math.min(count, Math.max(1, Math.ceil((count * number) / 100))) - 1] ?? 0;
}

/**
 * The event before the next token is drawn, once the n-th is computed.
 * @param {EventLog} log
 * @param {number} n from 1
 */
function beforeToken({ index, events }, n) {
  let seq = index.tokens[n] ?? 0;
  while (seq > 0 && events[seq - 1].type !== "token.sampled") seq -= 1;
  return Math.max(0, seq - 1);
}

/**
 * @param {EventLog} log
 * @param {string} type
 * @param {number} n from 1; counted from the end where it is negative, which is not known before the end
 */
function nthEvent({ index, complete }, type, n) {
  const all = index.byType.get(type) ?? [];
  if (n < 0) return complete ? (all.at(n) ?? 0) : 0;
  return all[n - 1] ?? 0;
}

/** A row is chosen after the first few, so that there are some to count, and while the answer is still short. */
const ROWS = [4, 30];

/**
 * The drafts that show most: both verdicts, a coin that mattered, many kept.
 * @param {EventLog} log
 * @param {"drafted" | "judged"} name
 */
function tellingRound(log, name) {
  if (!log.complete) return 0;
  const verdicts = (log.index.byType.get("speculation.judged") ?? []).filter((seq) => isOwn(log, eventAt(log, seq)));
  const mixed = verdicts.filter((seq) => shows(eventAt(log, seq)) > 0);
  // What the last one guessed lies beyond the end of the answer, in part.
  const among = verdicts.slice(ROWS[0], Math.min(ROWS[1], verdicts.length - 1)).filter((seq) => mixed.includes(seq));
  const most = Math.max(...among.map((seq) => shows(eventAt(log, seq))));
  const judged = among.find((seq) => shows(eventAt(log, seq)) === most) ?? mixed[0] ?? verdicts[0] ?? 0;
  if (!judged || name === "judged") return judged;
  const drafted = log.index.byType.get("speculation.drafted") ?? [];
  return drafted.findLast((seq) => seq < judged && isOwn(log, eventAt(log, seq))) ?? 0;
}

/**
 * How much a verdict shows: nothing where it is one and the same for all.
 * @param {{ num_accepted: number, num_drafts: number, p: number[], q: number[] }} verdict
 */
function shows({ num_accepted: kept, num_drafts: drafts, p, q }) {
  if (kept === 0 || kept === drafts) return 0;
  const mattered = p.slice(0, kept).some((each, place) => each < q[place]) ? 2 : 0;
  // A bar of a few hundredths is no bar to look at.
  const lowest = Math.min(...q.slice(0, kept + 1).map((each, place) => Math.max(each, p[place])));
  return kept + mattered + 8 * Math.min(0.3, lowest);
}

/** @param {EventLog} log @param {number} seq @returns {any} an event whose type is known from the index */
const eventAt = (log, seq) => log.events[seq - 1];

/**
 * The place one token before or after `seq`: where arrow keys go. Ends at the log's own ends.
 * @param {EventLog} log
 * @param {number} seq
 * @param {1 | -1} direction
 */
export function neighbour(log, seq, direction) {
  const { tokens, tokenized } = log.index;
  const stops = tokenized ? [1, tokenized, ...tokens, log.seq] : [1, log.seq];
  if (direction > 0) return stops.find((stop) => stop > seq) ?? log.seq;
  return stops.findLast((stop) => stop < seq) ?? Math.min(1, log.seq);
}
