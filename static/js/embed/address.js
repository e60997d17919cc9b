// What the address of an embedded room says of how it is to be shown. Nonsense says nothing.

/**
 * @typedef {object} Wishes
 * @property {string | null} run whose log plays; null: the recorded one
 * @property {number | null} time the moment to begin at, log seconds
 * @property {number} step of the prose, from 0
 * @property {boolean} autoplay
 */

/**
 * @param {string} search a query, with or without its `?`
 * @param {number} steps how many the room has
 * @returns {Wishes}
 */
export function wishesOf(search, steps) {
  const query = new URLSearchParams(search);
  const time = numberOf(query.get("t"));
  const step = numberOf(query.get("step"));
  const autoplay = query.get("autoplay");
  return {
    run: query.get("run") || null,
    time,
    step: step === null ? 0 : Math.min(steps, Math.max(1, Math.trunc(step))) - 1,
    autoplay: autoplay !== null && autoplay !== "0" && autoplay !== "false",
  };
}

/** @param {string | null} text @returns {number | null} null for what is no number, or less than nought */
function numberOf(text) {
  const value = text === null || text.trim() === "" ? Number.NaN : Number(text);
  return Number.isFinite(value) && value >= 0 ? value : null;
}
