"""The page in Chromium: from Enter to the first painted token, from sampled to painted, its weight, its frames."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, Response

from benchmarks.browser import FrameWork, chromium, until
from benchmarks.figures import Figure, median, percentile, under
from benchmarks.rooms import scroll_through
from benchmarks.served import Served

RUNS = 9
TOKENS = 40
STREAMED_MS = 8000
# Fifty tokens of the reader's own, by the default model's tokenizer; the chat template comes on top. The first words
# differ from run to run, and every run has a visitor of its own, so that no run finds another's blocks in the cache.
PROMPT = (
    "{first}, please tell me in plain words how a small kitchen can cook a warm soup for eight hungry guests in one "
    "evening, which pots it should use, and what ought to be prepared early in the morning so that nobody waits."
)
FIRST_WORDS = "Friend Cook Reader Guest Baker Waiter Farmer Sailor Pilot Doctor Painter Writer Singer Gardener Teacher"

# Watches from outside: when Enter went down, and when the frame that holds a token's text had been painted. A message
# posted while an animation callback runs is handled after that frame's rendering.
WATCH = """
(() => {
  const watch = (window.__watch = { enter: 0, painted: {} });
  const now = () => performance.timeOrigin + performance.now();
  const channel = new MessageChannel();
  const waiting = [];
  channel.port1.onmessage = () => waiting.shift()();
  const afterRendering = (act) => { waiting.push(act); channel.port2.postMessage(null); };
  let inFrame = false;
  const ask = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) =>
    ask((at) => { inFrame = true; afterRendering(() => { inFrame = false; }); draw(at); });
  document.addEventListener("keydown", (event) => { if (event.key === "Enter") watch.enter = now(); }, true);
  const seen = new Set();
  const note = () => {
    const fresh = [];
    for (const span of document.querySelectorAll("#answer [data-position]")) {
      const position = span.dataset.position;
      if (!seen.has(position)) { seen.add(position); fresh.push(position); }
    }
    if (fresh.length === 0) return;
    const painted = () => { const at = now(); for (const p of fresh) watch.painted[p] ??= at; };
    if (inFrame) afterRendering(painted);
    else ask(() => afterRendering(painted));
  };
  document.addEventListener("DOMContentLoaded", () => {
    const options = { childList: true, subtree: true, characterData: true };
    new MutationObserver(note).observe(document.querySelector("#answer"), options);
  });
  window.__watchReset = () => { seen.clear(); watch.painted = {}; watch.enter = 0; };
})();
"""


def _enter(page: Page, prompt: str) -> None:
    """Type, and press Enter."""
    page.fill("#prompt-form textarea", prompt)
    page.evaluate("window.__watchReset?.()")
    page.press("#prompt-form textarea", "Enter")
    until(page, "new URL(location.href).searchParams.has('run')", seconds=30)


def _stop_after(page: Page, tokens: int) -> str:
    """Stop the answer after so many tokens; the run's id."""
    enough = f"(s => s.closed || s.tokens.length - s.request.numPromptTokens >= {tokens})(window.__kitchen.state())"
    until(page, enough, seconds=120)
    page.locator("[data-action=stop]").dispatch_event("click")
    until(page, "window.__kitchen.state().closed !== null", seconds=60)
    page.wait_for_timeout(200)  # the last frame's message
    run_id: str = page.evaluate("new URL(location.href).searchParams.get('run')")
    return run_id


def _latency(browser: Browser, served: Served) -> list[Figure]:
    """Milliseconds; both clocks are this machine's Unix time."""
    parts: dict[str, list[float]] = {name: [] for name in ("enter", "tokenizer", "queue", "prefill", "paint", "post")}
    delays: list[float] = []
    prompt_tokens = 0
    for first in FIRST_WORDS.split()[:RUNS]:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(served.url)
        until(page, "window.__kitchen?.state().opened")
        _enter(page, PROMPT.format(first=first))
        run_id = _stop_after(page, TOKENS)
        events = served.events(run_id)
        watch: dict[str, Any] = page.evaluate("window.__watch")
        context.close()
        by_type = {event["type"]: event for event in reversed(events)}
        opened_at = by_type["log.opened"]["opened_at"]
        prompt_tokens = len(by_type["request.tokenized"]["token_ids"])
        sampled = {e["position"]: 1000 * (opened_at + e["t"]) for e in events if e["type"] == "token.sampled"}
        painted = {int(position): at for position, at in watch["painted"].items() if int(position) in sampled}
        first_position = min(sampled)
        parts["enter"].append(painted[first_position] - watch["enter"])
        parts["post"].append(1000 * (opened_at + by_type["request.queued"]["t"]) - watch["enter"])
        parts["tokenizer"].append(1000 * by_type["request.tokenized"]["seconds"])
        parts["queue"].append(1000 * by_type["request.admitted"]["queue_seconds"])
        parts["prefill"].append(1000 * by_type["step.finished"]["seconds"])
        parts["paint"].append(painted[first_position] - sampled[first_position])
        delays += [painted[position] - sampled[position] for position in painted]
    return [
        under(f"Enter to first painted token, p50 ({prompt_tokens} tokens read)", median(parts["enter"]), "ms", 1000),
        Figure("  of it: key to the engine's line", median(parts["post"]), "ms"),
        Figure("  of it: tokenizer", median(parts["tokenizer"]), "ms"),
        Figure("  of it: queue", median(parts["queue"]), "ms"),
        Figure("  of it: prefill and sampling", median(parts["prefill"]), "ms"),
        Figure("  of it: sampled to painted", median(parts["paint"]), "ms"),
        under(f"sampled to painted, p95 of {len(delays)} tokens", percentile(delays, 95), "ms", 100),
    ]


def _weight(browser: Browser, served: Served) -> list[Figure]:
    """Kilobytes (1,000 bytes), gzip level 6, of everything the article asks for before a run."""
    bodies: dict[str, tuple[str, bytes]] = {}

    def keep(response: Response) -> None:
        kind = response.request.resource_type
        path = response.url.removeprefix(served.url)
        if kind in ("script", "stylesheet") or path.endswith(".jsonl.gz"):
            bodies[path] = (kind, response.body())

    page = browser.new_page()
    page.on("response", keep)
    page.goto(served.url, wait_until="networkidle")
    until(page, "window.__kitchen?.state().opened")
    page.wait_for_timeout(500)
    page.close()
    code = sum(len(gzip.compress(body, 6)) for kind, body in bodies.values() if kind in ("script", "stylesheet"))
    recording = sum(len(body) for path, (_, body) in bodies.items() if path.endswith(".jsonl.gz"))
    return [
        under("script and style before a run, gzip", code / 1000, "kB", 150),
        under("first recording", recording / 1000, "kB", 300),
    ]


def _throttle(page: Page, rate: int) -> CDPSession:
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": rate})
    return session


def _frames(browser: Browser, served: Served, throttle: int) -> list[Figure]:
    """Milliseconds of main-thread work a frame, while a run streams and while the article is scrolled."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(served.url)
    until(page, "window.__kitchen?.state().opened")
    _throttle(page, throttle)
    _enter(page, PROMPT.format(first="Throttled" if throttle > 1 else "Plain"))
    until(page, "window.__kitchen.state().request.firstTokenAt !== null", seconds=60)
    with FrameWork(page) as streaming:
        page.wait_for_timeout(STREAMED_MS)  # (asking the page anything would be work of its own)
    _stop_after(page, 0)
    with FrameWork(page) as scrolling:
        scroll_through(page, 12)
    page.close()
    words = f"at {throttle}x CPU throttle" if throttle > 1 else "unthrottled"
    figures = []
    for name, frames in (("streaming", streaming), ("scrolling", scrolling)):
        label = f"p95 of {len(frames.total)} frames, {name}, {words}"
        if throttle == 1:
            figures.append(under(f"main-thread work, {label}", percentile(frames.total, 95), "ms", 16))
            figures.append(Figure("  of it by the clock, waiting for a core too", percentile(frames.elapsed, 95), "ms"))
        figures.append(under(f"scripting alone, {label}", percentile(frames.scripting, 95), "ms", 16))
    return figures


def run() -> Iterator[Figure]:
    with Served() as served, chromium() as browser:
        yield from _latency(browser, served)
        yield from _weight(browser, served)
        yield from _frames(browser, served, 1)
        yield from _frames(browser, served, 4)
    with Served(wait_ready=False) as again:
        yield under("start to a served page, everything installed", again.seconds_to_page, "s", 5)
