// Spoilt logs, from a seed: what a slip, a broken disk or an ill will makes of a good one.

import zlib from "node:zlib";

const HUGE = [1e308, -1e308, 2 ** 53, 2 ** 31, 4294967296, -1, 0.5, 1e9, 65536, 4096];
const HOSTILE = [
  "<script>globalThis.spoilt = 1</script>",
  '"><img src=x onerror=alert(1)>',
  "__proto__",
  "constructor",
  "\u202Egnp.exe\u202C",
  "\u0000\u0007\u001b[31m",
  "\uD800",
  "x".repeat(3000),
  "{values}",
  "NaN",
  "",
];
const KEYS = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "length"];

/** A place within nested values: the object or list, and its key. */
function placeIn(random, value, depth = 0) {
  const keys = Object.keys(value);
  const key = random.pick(keys);
  const inner = value[key];
  const deeper = typeof inner === "object" && inner !== null && Object.keys(inner).length > 0;
  return deeper && depth < 5 && random.next() < 0.7 ? placeIn(random, inner, depth + 1) : { holder: value, key };
}

const nested = (depth) => {
  let value = 1;
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { a: value };
  return value;
};

/** Something in the stead of a value, of another kind or hardly another one. */
function another(random, value) {
  const kind = random.int(0, 12);
  if (typeof value === "number" && kind < 7) {
    if (kind < 3) return value + random.pick([-1, 1, 2, -2]);
    if (kind === 3) return 0;
    if (kind === 4) return value * random.pick([2, 10, 1000, 0.1]);
    if (kind === 5) return -value;
    return random.pick(HUGE);
  }
  if (Array.isArray(value) && kind < 6) {
    if (kind === 0) return [];
    if (kind === 1) return value.slice(0, -1);
    if (kind === 2) return [...value, ...value];
    if (kind === 3) return [...value].reverse();
    return value.slice(random.int(0, value.length + 1));
  }
  if (typeof value === "string" && kind < 6) return kind < 4 ? random.pick(HOSTILE) : value.slice(0, value.length / 2);
  return random.pick([null, true, false, "", "x", 0, -1, 1.5, [], {}, [[]], [null], nested(8), random.pick(HUGE)]);
}

/** One change of a log given as events. */
function spoil(random, events) {
  const at = random.int(0, events.length);
  const event = events[at];
  switch (random.int(0, 12)) {
    case 0: {
      const { holder, key } = placeIn(random, event);
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      return;
    }
    case 1: {
      const [a, b] = [placeIn(random, event), placeIn(random, random.pick(events))];
      const [x, y] = [a.holder[a.key], b.holder[b.key]];
      a.holder[a.key] = structuredClone(y);
      b.holder[b.key] = structuredClone(x);
      return;
    }
    case 2: {
      // A name that would mean something in an object; JSON.parse makes it one's own.
      const { holder } = placeIn(random, event);
      if (!Array.isArray(holder))
        Object.defineProperty(holder, random.pick(KEYS), {
          value: { spoilt: 1 },
          enumerable: true,
          configurable: true,
          writable: true,
        });
      return;
    }
    case 3:
      event.seq = random.pick([event.seq + 1, event.seq - 1, 0, -1, 1.5, null, 2 ** 60]);
      return;
    case 4: {
      const other = random.int(0, events.length);
      [events[at], events[other]] = [events[other], events[at]];
      if (random.next() < 0.7) renumber(events);
      return;
    }
    case 5:
      events.splice(at, random.int(1, 4));
      if (random.next() < 0.8) renumber(events);
      return;
    case 6:
      events.splice(at, 0, structuredClone(random.pick(events)));
      if (random.next() < 0.8) renumber(events);
      return;
    case 7:
      event.type = random.pick([...KEYS, "weather.changed", random.pick(events).type]);
      return;
    default: {
      const { holder, key } = placeIn(random, event);
      holder[key] = another(random, holder[key]);
    }
  }
}

/** As a writer would number them, at times that only grow: a log that is in order, and yet wrong. */
function renumber(events) {
  let t = 0;
  events.forEach((event, i) => {
    event.seq = i + 1;
    t = Math.max(t, Number.isFinite(event.t) ? event.t : t);
    event.t = t;
  });
}

/** Plain JSON has no room for these: as a writer without care would put them. */
function careless(random, text) {
  const numbers = [...text.matchAll(/:-?\d[\d.e+-]*/g)];
  if (!numbers.length) return text;
  const { index, 0: found } = random.pick(numbers);
  const put = random.pick([":NaN", ":Infinity", ":1e999", ":-1e999", ":9999999999999999999999", ":1e-400", ":0x10"]);
  return text.slice(0, index) + put + text.slice(index + found.length);
}

/**
 * A spoilt file.
 * @param {ReturnType<typeof import("./random.js").seeded>} random
 * @param {object[]} good events of a log
 * @returns {Uint8Array}
 */
export function spoilt(random, good) {
  const events = structuredClone(good);
  const changes = random.pick([1, 1, 1, 2, 3, 8]);
  const where = random.int(0, 10);
  if (where > 2) for (let i = 0; i < changes && events.length > 1; i++) spoil(random, events);
  let text = events.map((event) => JSON.stringify(event)).join("\n");
  if (where === 3) text = careless(random, text);
  if (random.next() < 0.9) text += "\n";
  let bytes = Buffer.from(text);
  if (where === 0) flip(random, bytes, changes);
  if (where === 1) bytes = bytes.subarray(0, random.int(0, bytes.length));
  if (random.next() < 0.5) {
    bytes = zlib.gzipSync(bytes, { level: 1 });
    if (where === 2) flip(random, bytes, changes);
    if (random.next() < 0.1) bytes = bytes.subarray(0, random.int(0, bytes.length));
  }
  return bytes;
}

function flip(random, bytes, times) {
  for (let i = 0; i < times && bytes.length; i++) bytes[random.int(0, bytes.length)] ^= 1 << random.int(0, 8);
}
