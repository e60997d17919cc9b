// A log out of a file of the reader's own: it is unpacked, read and checked here, in the page, and goes nowhere. Nothing
// in it is trusted. A file that ends early gives what it has; one that is wrong gives a sentence that says where.

import { t } from "../ui/messages.js";
import { Refusal } from "./event_check.js";
import { DEPTH, LINE_CHARACTERS, PACKED_BYTES, UNPACKED_BYTES } from "./limits.js";
import { LogCheck } from "./log_check.js";

/** @typedef {{ name: string, events: import("../types/events.d.ts").AnyEvent[], cut: boolean }} Opened `cut`: the log has no end */

/** Of the packed file at once: what it unpacks to, a thousand times as much at the worst, must be no burden. */
const SLICE = 65_536;
/** How long the page may be kept from its own work, in milliseconds. */
const WORK_MS = 12;
const GZIP = [0x1f, 0x8b];

/** A turn of the event loop; a timer would be put off in a page that is not in sight. */
const turn = () =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(undefined);
    };
    port2.postMessage(null);
  });

/** @param {number} bytes */
const megabytes = (bytes) => `${Math.round(bytes / 1e6)}\u202fMB`;

/** A file's name as it may stand in a sentence: nothing unseen in it, and no longer than one reads. @param {string} name */
export function plainName(name) {
  const seen = name.replace(/[\p{C}]/gu, "").trim();
  return [...seen].length > 60 ? `${[...seen].slice(0, 59).join("")}…` : seen || t("a file without a name");
}

/** @param {Blob} file @returns {AsyncGenerator<Uint8Array>} */
async function* slicesOf(file) {
  for (let at = 0; at < file.size; at += SLICE) yield new Uint8Array(await file.slice(at, at + SLICE).arrayBuffer());
}

/**
 * What slices unpack to. Where they are damaged or end early it ends, and `broken` is told: all that could be unpacked
 * has been given by then. (A stream piped through loses what waits in it when the end is bad.)
 * @param {AsyncGenerator<Uint8Array>} slices
 * @param {() => void} broken
 * @returns {AsyncGenerator<Uint8Array>}
 */
async function* unpacked(slices, broken) {
  const { readable, writable } = new DecompressionStream("gzip");
  const reader = readable.getReader();
  const writer = writable.getWriter();
  /** @type {Uint8Array[]} */
  let out = [];
  let bad = false;
  const fail = () => {
    bad = true;
  };
  const reading = (async () => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      out.push(value);
    }
  })().catch(fail);
  /** Until nothing more comes of what was written. */
  const settled = async () => {
    let count = -1;
    while (count !== out.length) {
      count = out.length;
      await turn();
    }
  };
  /** @param {Promise<void>} written */
  async function* after(written) {
    await written.catch(fail);
    await settled();
    const some = out;
    out = [];
    yield* some;
  }
  try {
    for await (const slice of slices) {
      if (bad) break;
      yield* after(writer.write(/** @type {any} */ (slice)));
    }
    if (!bad) {
      yield* after(writer.close());
      await reading;
      yield* out;
    }
    if (bad) broken();
  } finally {
    if (!bad) void writer.abort().catch(() => {});
  }
}

/** How deep its brackets stand in each other; those in texts are none. @param {string} line */
function depthOf(line) {
  let [depth, most] = [0, 0];
  for (let i = 0; i < line.length; i++) {
    const sign = line.charCodeAt(i);
    if (sign === 34) {
      do i = line.indexOf('"', i + 1);
      while (i > 0 && isEscaped(line, i));
      if (i < 0) return most; // a text without its end: no JSON either
    } else if (sign === 91 || sign === 123) {
      depth += 1;
      if (depth > most) most = depth;
    } else if (sign === 93 || sign === 125) depth -= 1;
  }
  return most;
}

/** Whether an odd number of backslashes stands before it. @param {string} line @param {number} at */
function isEscaped(line, at) {
  let before = at - 1;
  while (line.charCodeAt(before) === 92) before -= 1;
  return (at - before) % 2 === 0;
}

class Reading {
  check = new LogCheck();
  /** Lines so far. */
  line = 0;
  #decoder = new TextDecoder("utf-8", { fatal: true });
  /** Of a line whose end has not come. @type {string[]} */
  #begun = [];
  #length = 0;

  /** @param {Uint8Array} bytes @returns {Generator<void>} stands still after each line */
  *feed(bytes) {
    let text = "";
    try {
      text = this.#decoder.decode(bytes, { stream: true });
    } catch {
      throw new Refusal(t("This is no text (UTF-8)."));
    }
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.#add(text.slice(from, end));
      this.#take(this.#whole());
      from = end + 1;
      yield;
    }
    this.#add(text.slice(from));
  }

  /** No more comes. @returns {boolean} whether it ends in the middle of a line */
  end() {
    const rest = this.#whole();
    if (rest.trim() === "") return false;
    try {
      JSON.parse(rest);
    } catch {
      return true;
    }
    this.#take(rest);
    return false;
  }

  /** @param {string} part */
  #add(part) {
    this.#length += part.length;
    if (this.#length > LINE_CHARACTERS) {
      this.line += 1;
      throw new Refusal(t("This line is longer than {most}.", { most: megabytes(LINE_CHARACTERS) }));
    }
    this.#begun.push(part);
  }

  #whole() {
    const whole = this.#begun.join("");
    this.#begun = [];
    this.#length = 0;
    return whole;
  }

  /** @param {string} line */
  #take(line) {
    this.line += 1;
    if (line.trim() === "") return;
    if (depthOf(line) > DEPTH) throw new Refusal(t("Its brackets stand too deep in each other."));
    let value;
    try {
      value = JSON.parse(line);
    } catch {
      throw new Refusal(t("This is not JSON."));
    }
    this.check.take(value);
  }
}

/**
 * @param {Blob & { name?: string }} file
 * @param {{ progress?: (share: number) => void, signal?: AbortSignal }} [options] `progress`: 0 to 1
 * @returns {Promise<Opened>} throws a `Refusal`, in words for the reader
 */
export async function openFile(file, { progress = () => {}, signal } = {}) {
  const name = plainName(file.name ?? "");
  if (file.size === 0) throw new Refusal(t("{name} is empty.", { name }));
  if (file.size > PACKED_BYTES) {
    const values = { name, size: megabytes(file.size), most: megabytes(PACKED_BYTES) };
    throw new Refusal(t("{name} has {size}; this page opens up to {most}.", values));
  }
  const head = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const packed = head[0] === GZIP[0] && head[1] === GZIP[1];
  let read = 0;
  const slices = (async function* () {
    for await (const slice of slicesOf(file)) {
      read += slice.length;
      yield slice;
    }
  })();
  let broken = false;
  const body = packed
    ? unpacked(slices, () => {
        broken = true;
      })
    : slices;
  const reading = new Reading();
  let size = 0;
  let rested = performance.now();
  try {
    for await (const bytes of body) {
      size += bytes.length;
      if (size > UNPACKED_BYTES)
        throw new Refusal(t("It unpacks to more than {most}.", { most: megabytes(UNPACKED_BYTES) }));
      for (const _ of reading.feed(bytes)) {
        if (performance.now() - rested < WORK_MS) continue;
        progress(read / file.size);
        await turn();
        signal?.throwIfAborted();
        rested = performance.now();
      }
    }
    broken = reading.end() || broken;
  } catch (error) {
    throw explained(error, name, reading.line);
  }
  const { check } = reading;
  if (check.events.length === 0)
    throw new Refusal(t("{name} is no log of a run: it should be NAME.jsonl.gz or NAME.jsonl.", { name }));
  return { name, events: check.events, cut: !check.closed };
}

/**
 * @param {unknown} error
 * @param {string} name
 * @param {number} line the one that it happened in, from 1; 0 before the first
 */
function explained(error, name, line) {
  if (error instanceof DOMException && error.name === "AbortError") return error;
  const why = error instanceof Refusal ? error.message : t("This page cannot read it.");
  if (!line) return new Refusal(t("{name} is no log of a run. {why}", { name, why }));
  return new Refusal(t("{name} cannot be opened. Line {line}: {why}", { name, line, why }));
}
