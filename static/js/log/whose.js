// Whose an event is. The run on stage is the first sample of its own request; its other samples, like other people's
// requests, are told by their slots, lengths and blocks.

/** @typedef {{ request_id: string, sample: number }} Named an event, or one share of a step */

/**
 * @param {{ ownId: string | null }} log a state, or the log itself
 * @param {Named} named
 */
export const isOwn = (log, named) => named.request_id === log.ownId && !named.sample;

/**
 * What a sequence goes by among the others: each sample of a request is one.
 * @param {Named} named
 */
export const nameOf = ({ request_id, sample }) => (sample ? `${request_id}#${sample}` : request_id);
