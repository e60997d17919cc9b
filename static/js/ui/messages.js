// Words of the page, from the one gettext catalogue: the key is the English text.

/** @type {Record<string, string>} */
let catalogue = {};

/** @param {Record<string, string>} messages */
export function setMessages(messages) {
  catalogue = messages;
}

/**
 * @param {string} text English, with `{name}` where a value goes
 * @param {Record<string, string | number>} [values]
 */
export function t(text, values = {}) {
  const found = Object.hasOwn(catalogue, text) && catalogue[text] ? catalogue[text] : text;
  if (!found.includes("{")) return found;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? String(values[name]) : whole));
}
