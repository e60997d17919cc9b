// The box. htmx sends the form; this listens: Enter sends and Shift+Enter starts a line, a chip fills the box, the run
// that was accepted takes the stage, and `?run=` stands in the address bar so that a reload loses nothing.

/** @typedef {{ run_id: string, socket_url: string, events_url: string }} NewRun */

/**
 * The run that an htmx trigger speaks of, null where it says nothing usable.
 * @param {unknown} detail
 * @returns {NewRun | null}
 */
export function runOf(detail) {
  const value = /** @type {any} */ (detail);
  const run = value?.run_id ? value : value?.value?.run_id ? value.value : null;
  return run && typeof run.run_id === "string" ? run : null;
}

/**
 * @param {HTMLFormElement} form
 * @param {{ run: (run: NewRun) => void, stop: () => void }} host
 */
export function bindPrompt(form, host) {
  const box = /** @type {HTMLTextAreaElement | null} */ (form.querySelector("textarea, input[name=prompt]"));
  box?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat) form.requestSubmit(); // a key held down asks once
  });
  form.addEventListener("submit", () => {
    performance.clearMarks("run:enter");
    performance.clearMarks("run:first-token-painted");
    performance.mark("run:enter");
  });
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const example = /** @type {HTMLElement | null} */ (target?.closest("[data-prompt]") ?? null);
    if (example && box) {
      box.value = example.dataset.prompt ?? "";
      box.dispatchEvent(new Event("input", { bubbles: true }));
      box.focus();
    }
    if (target?.closest("[data-action=stop]")) host.stop();
  });
  const refusal = document.querySelector("#prompt-error");
  // Under a long prompt it would stand below the window, and nothing would seem to have happened.
  const show = () => refusal?.firstElementChild?.scrollIntoView({ block: "nearest" });
  if (refusal) new MutationObserver(show).observe(refusal, { childList: true });
  document.addEventListener("kitchen:run", (event) => {
    const run = runOf(/** @type {CustomEvent} */ (event).detail);
    if (run) host.run(run);
  });
}

/**
 * Ask the app to end a run.
 * @param {string} runId
 * @returns {Promise<boolean>}
 */
export async function stopRun(runId) {
  const response = await fetch(new URL(`api/runs/${encodeURIComponent(runId)}`, document.baseURI), {
    method: "DELETE",
  });
  return response.ok;
}

/** The run on stage has ended: its line under the box asks for the last word. */
export function askForTheEnd() {
  document.querySelector(".run-status")?.dispatchEvent(new Event("kitchen:closed"));
}

/**
 * Put the run into the address bar.
 * @param {string | null} runId
 */
export function rememberRun(runId) {
  const url = new URL(location.href);
  if (url.searchParams.get("run") === runId) return;
  if (runId === null) url.searchParams.delete("run");
  else url.searchParams.set("run", runId);
  url.hash = "";
  history.pushState({ run: runId }, "", url);
}

/** The frame that holds the first token of what was asked is on its way to the screen. */
export function markFirstToken() {
  if (!performance.getEntriesByName("run:enter").length) return;
  if (performance.getEntriesByName("run:first-token-painted").length) return;
  const channel = new MessageChannel();
  channel.port1.onmessage = () => performance.mark("run:first-token-painted");
  channel.port2.postMessage(null);
}
