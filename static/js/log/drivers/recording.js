// Driver: a closed log in one file, NDJSON, gzipped or not. It is parsed as it arrives, and a file that was cut short
// gives what it has.

/** @typedef {import("./driver.d.ts").Hooks} Hooks */
/** @typedef {import("./driver.d.ts").Driver} Driver */

const GZIP = [0x1f, 0x8b];

/**
 * Put the first chunk back, unpacked if it begins like gzip (a server may have unpacked it on the way already).
 * @param {ReadableStream<Uint8Array>} body
 * @returns {Promise<ReadableStream<Uint8Array>>}
 */
async function unpacked(body) {
  const reader = body.getReader();
  const { value: first } = await reader.read();
  /** @type {ReadableStream<any>} */
  const whole = new ReadableStream({
    start(controller) {
      if (first) controller.enqueue(first);
      else controller.close();
    },
    async pull(controller) {
      const { value, done } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  const packed = first && first[0] === GZIP[0] && first[1] === GZIP[1];
  return packed ? whole.pipeThrough(new DecompressionStream("gzip")) : whole;
}

/**
 * Each whole line of NDJSON as an event, by the chunk. A last line without its newline counts if it parses.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {(events: unknown[]) => void} dispatch
 */
export async function readLines(stream, dispatch) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  /** @param {string} text */
  const take = (text) => {
    const lines = text.split("\n");
    rest = lines.pop() ?? "";
    const events = lines.filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
    if (events.length) dispatch(events);
  };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      take(rest + decoder.decode(value, { stream: true }));
    }
  } finally {
    if (rest.trim() !== "" && isJson(rest)) take(`${rest}\n`);
  }
}

/** @param {string} text */
function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {string} src URL of the file
 * @param {Hooks} hooks
 * @param {{ fetch?: typeof fetch }} [options]
 * @returns {Driver}
 */
export function recording(src, { dispatch, status }, { fetch: fetchImpl = (...args) => fetch(...args) } = {}) {
  const abort = new AbortController();
  const run = async () => {
    status({ state: "connecting" });
    let any = false;
    try {
      const response = await fetchImpl(src, { signal: abort.signal, headers: { Accept: "application/x-ndjson" } });
      if (response.status === 404) return status({ state: "not-found" });
      if (!response.ok || !response.body) return status({ state: "lost", detail: `HTTP ${response.status}` });
      status({ state: "open" });
      await readLines(await unpacked(response.body), (events) => {
        any = true;
        dispatch(events);
      });
      status({ state: "ended" });
    } catch (error) {
      if (abort.signal.aborted) return;
      status(any ? { state: "ended", detail: "truncated" } : { state: "lost", detail: String(error) });
    }
  };
  return { start: () => void run(), stop: () => abort.abort() };
}
