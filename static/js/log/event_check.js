// One event of a log that nobody vouches for, held against the table of fields (types/fields.js, written from the same
// source as the engine's own). What comes back is a fresh object with the known fields and nothing else: names that
// nobody knows, `__proto__` among them, stay behind. A type that nobody knows is its envelope.

import { FIELDS } from "../types/fields.js";
import { t } from "../ui/messages.js";
import {
  ANSWER_CHARACTERS,
  LINE_CHARACTERS,
  LIST_ITEMS,
  PACKED_NUMBERS,
  rangeOf,
  SECONDS,
  TEXT_CHARACTERS,
} from "./limits.js";

/** Why a log is not taken, in words for the reader. */
export class Refusal extends Error {}

/** @typedef {(value: unknown, name: string) => any} Check gives the value back, or throws a `Refusal` */

/** What a field should be, each a literal in `t` for the catalogue. @type {Record<string, () => string>} */
const EXPECTED = {
  int: () => t("a whole number"),
  num: () => t("a number"),
  str: () => t("a text"),
  bool: () => t("true or false"),
  list: () => t("a list"),
  object: () => t("an object"),
};

/** @param {string} name @param {string} expected @returns {never} */
function refuse(name, expected) {
  throw new Refusal(t("“{field}” should be {expected}.", { field: name, expected }));
}

/** @param {unknown} value @param {string} name @param {number} most */
function text(value, name, most) {
  if (typeof value !== "string") return refuse(name, EXPECTED.str());
  if (value.length > most) throw new Refusal(t("“{field}” is longer than {most} characters.", { field: name, most }));
  return value;
}

/** @param {unknown} value @param {string} name @param {boolean} whole */
function number(value, name, whole) {
  if (typeof value !== "number" || !Number.isFinite(value) || (whole && !Number.isInteger(value)))
    return refuse(name, whole ? EXPECTED.int() : EXPECTED.num());
  const [low, high] = rangeOf(name, whole);
  if (value < low || value > high)
    throw new Refusal(t("“{field}” is {value}: it should be {low} to {high}.", { field: name, value, low, high }));
  return value;
}

/** @type {Record<string, Check>} */
const PLAIN = {
  int: (value, name) => number(value, name, true),
  num: (value, name) => number(value, name, false),
  str: (value, name) => {
    const whole = text(value, name, TEXT_CHARACTERS);
    return SPOKEN.has(name) ? whole : whole.replace(UNSEEN, "");
  },
  bool: (value, name) => (typeof value === "boolean" ? value : refuse(name, EXPECTED.bool())),
  any: (value) => simple(value, 4),
};

/** What the model read and wrote stays as it is. */
const SPOKEN = new Set(["text", "texts", "pieces", "symbols", "stop"]);
/** In a name or a note: signs that are not seen, and turn the words around them about. */
const UNSEEN = /[\p{Cc}\p{Cf}]/gu;

/** Of texts that are longer than names and notes. @type {Record<string, number>} */
const LONG = { "request.finished.text": ANSWER_CHARACTERS, "Array.data": LINE_CHARACTERS };

/**
 * A knob or a parameter that this page knows nothing of: kept if it is small.
 * @param {unknown} value
 * @param {number} depth
 * @returns {any}
 */
function simple(value, depth) {
  if (typeof value === "string") return value.slice(0, TEXT_CHARACTERS);
  if (typeof value === "number" || typeof value === "boolean") return value;
  if (value === null || typeof value !== "object" || depth === 0) return null;
  if (Array.isArray(value)) return value.slice(0, 64).map((item) => simple(item, depth - 1));
  return byName(value, (item) => simple(item, depth - 1));
}

/**
 * Names from a file are keys of an object that inherits nothing, so that none of them means anything.
 * @param {object} value
 * @param {(item: unknown) => any} each
 */
function byName(value, each) {
  const made = Object.create(null);
  for (const [name, item] of Object.entries(value).slice(0, 64)) made[name] = each(item);
  return made;
}

/** @param {unknown} value @param {string} name @param {Check} item */
function list(value, name, item) {
  if (!Array.isArray(value)) return refuse(name, EXPECTED.list());
  if (value.length > LIST_ITEMS)
    throw new Refusal(t("“{field}” has more than {most} items.", { field: name, most: LIST_ITEMS }));
  return value.map((one) => item(one, name));
}

/** @type {Map<string, Check>} */
const checks = new Map();

/** @param {string} type as the table has it @returns {Check} */
function checkOf(type) {
  const known = checks.get(type);
  if (known) return known;
  const made = make(type);
  checks.set(type, made);
  return made;
}

/** @param {string} type @returns {Check} */
function make(type) {
  if (Object.hasOwn(PLAIN, type)) return PLAIN[type];
  if (type.endsWith("?")) {
    const inner = checkOf(type.slice(0, -1));
    return (value, name) => (value === null ? null : inner(value, name));
  }
  if (type.endsWith("[]")) {
    const inner = checkOf(type.slice(0, -2));
    return (value, name) => list(value, name, inner);
  }
  if (type.startsWith("(")) {
    const parts = type.slice(1, -1).split(",").map(checkOf);
    return (value, name) =>
      Array.isArray(value) && value.length === parts.length
        ? parts.map((part, i) => part(value[i], name))
        : refuse(name, t("a pair"));
  }
  if (type.startsWith("{")) {
    const inner = checkOf(type.slice(1, -1));
    return (value, name) => byName(objectOf(value, name), (item) => inner(item, name));
  }
  if (Object.hasOwn(FIELDS, type)) return struct(type);
  const words = type.split("|");
  return (value, name) => (words.includes(/** @type {any} */ (value)) ? value : refuse(name, words.join(", ")));
}

/** @param {unknown} value @param {string} name @returns {object} */
function objectOf(value, name) {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : refuse(name, EXPECTED.object());
}

/** @typedef {{ name: string, check: Check, byDefault: string | null }} Field */

/** @param {string} name of a struct @returns {Field[]} */
function fieldsOf(name) {
  const words = FIELDS[name] ? FIELDS[name].split(" ") : [];
  return words.map((word) => {
    const [, field, type, , byDefault = null] = /** @type {string[]} */ (/^(\w+):([^=]+)(=(.*))?$/.exec(word));
    const most = Object.hasOwn(LONG, `${name}.${field}`) ? LONG[`${name}.${field}`] : 0;
    /** @type {Check} */
    const long = (value, at) => (value === null && type.endsWith("?") ? null : text(value, at, most));
    return { name: field, check: most ? long : checkOf(type), byDefault };
  });
}

/** @param {string} name @returns {Check} */
function struct(name) {
  /** @type {Field[] | null} made at the first use: structs stand in each other */
  let fields = null;
  return (value, at) => {
    const from = /** @type {Record<string, unknown>} */ (objectOf(value, at));
    fields ??= fieldsOf(name);
    /** @type {Record<string, any>} */
    const made = {};
    for (const { name: field, check, byDefault } of fields) {
      const there = Object.hasOwn(from, field);
      if (!there && byDefault === null) throw new Refusal(t("“{field}” is missing.", { field }));
      made[field] = there ? check(from[field], field) : JSON.parse(byDefault ?? "null");
    }
    if (name === "Array") checkArray(made, at);
    return made;
  };
}

const WIDTHS = { uint8: 1, float16: 2, float32: 4 };

/** Its bytes are as many as its shape says. @param {Record<string, any>} array @param {string} name */
function checkArray({ dtype, shape, data }, name) {
  const count = shape.reduce((/** @type {number} */ product, /** @type {number} */ side) => product * side, 1);
  const filled = data.endsWith("==") ? 2 : Number(data.endsWith("="));
  const bytes = (data.length / 4) * 3 - filled;
  const fits = count <= PACKED_NUMBERS && bytes === count * WIDTHS[/** @type {"uint8"} */ (dtype)];
  if (!fits || !/^[A-Za-z0-9+/]*={0,2}$/.test(data))
    throw new Refusal(t("“{field}” does not hold what its shape says.", { field: name }));
}

/**
 * @param {unknown} value as JSON has it
 * @returns {import("../types/events.d.ts").AnyEvent} throws a `Refusal`
 */
export function checkEvent(value) {
  const from = /** @type {Record<string, unknown>} */ (objectOf(value, t("an event")));
  const type = Object.hasOwn(from, "type") ? from.type : undefined;
  if (typeof type !== "string" || type.length > 64) return refuse("type", EXPECTED.str());
  const { seq, t: at } = from;
  if (!Number.isSafeInteger(seq)) return refuse("seq", EXPECTED.int());
  if (typeof at !== "number" || !(at >= 0 && at <= SECONDS)) return refuse("t", t("seconds since the log began"));
  const event = { type, seq, t: at };
  // A capital letter begins what is no event but a part of one.
  if (!Object.hasOwn(FIELDS, type) || /^[A-Z]/.test(type)) return /** @type {any} */ (event);
  Object.assign(event, checkOf(type)(from, type));
  if (type === "log.opened") checkParams(/** @type {any} */ (event).params);
  return /** @type {any} */ (event);
}

/** What was asked for: of what the page knows, only what it can use. @param {Record<string, unknown>} params */
function checkParams(params) {
  for (const { name, check } of fieldsOf("SamplingParams")) if (name in params) check(params[name], name);
}
