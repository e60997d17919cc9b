// Which logs came out of a file of the reader's: wherever the page says where a number is from, it names the file.

/** @type {WeakMap<object, string>} by the log's first event */
const names = new WeakMap();

/** @param {object} opened @param {string} name */
export function nameFile(opened, name) {
  names.set(opened, name);
}

/** @param {object | null | undefined} opened the first event of a log @returns {string | null} */
export const fileOf = (opened) => (opened ? (names.get(opened) ?? null) : null);
