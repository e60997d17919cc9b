"""A walk through all rooms in Chromium while a run streams: frames, shifts of the layout, memory, and what it loads."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from playwright.sync_api import Browser, CDPSession, Page, Response

from benchmarks.browser import FrameWork, chromium, until
from benchmarks.figures import Figure, percentile, under
from benchmarks.served import Served

# A prompt whose answer outlasts the walk.
PROMPT = "Write a long story about a small kitchen that cooks for a whole town, with all of its dishes."
SECONDS_A_ROOM = 4.0
PASSES = 3
# Shifts of the layout that no hand of the reader's caused, as the browser itself counts them: [milliseconds, value].
SHIFTS = """
window.__shifts = [];
new PerformanceObserver((list) => {
  for (const { hadRecentInput, startTime, value } of list.getEntries())
    if (!hadRecentInput) window.__shifts.push([startTime, value]);
}).observe({ type: 'layout-shift', buffered: true });
"""


def scroll_through(page: Page, seconds: float) -> None:
    """Roll the wheel from where the page stands to the foot of the article, at a steady pace."""
    height: int = page.evaluate("document.documentElement.scrollHeight - scrollY")
    page.mouse.move(200, 450)
    ticks = int(seconds * 20)
    for _ in range(ticks):
        page.mouse.wheel(0, height / ticks)
        page.wait_for_timeout(50)


def worst_window(shifts: list[list[float]]) -> float:
    """CLS as it is defined: the largest sum of shifts less than a second apart within five seconds."""
    worst = total = 0.0
    began = last = float("-inf")
    for at, value in shifts:
        if at - last > 1000 or at - began > 5000:
            began, total = at, 0.0
        last = at
        total += value
        worst = max(worst, total)
    return worst


def _kilobytes(bodies: dict[str, bytes]) -> float:
    return sum(len(gzip.compress(body, 6)) for body in bodies.values()) / 1000


def _heap(session: CDPSession) -> float:
    """Megabytes in use after everything that can be let go is gone."""
    session.send("HeapProfiler.collectGarbage")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return used / 1e6


def _frames(browser: Browser, served: Served) -> list[Figure]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(SHIFTS)
    bodies: dict[str, bytes] = {}

    def keep(response: Response) -> None:
        if response.request.resource_type in ("script", "stylesheet"):
            bodies[response.url] = response.body()

    page.on("response", keep)
    page.goto(served.url)
    until(page, "window.__kitchen?.state().opened")
    page.wait_for_timeout(1000)
    first = _kilobytes(bodies)
    rooms: int = page.evaluate("document.querySelectorAll('.chapter').length")
    page.fill("#prompt-form textarea", PROMPT)
    page.press("#prompt-form textarea", "Enter")
    until(page, "window.__kitchen.state().request.firstTokenAt !== null", seconds=90)
    with FrameWork(page) as walking:
        scroll_through(page, rooms * SECONDS_A_ROOM)
    streamed = page.evaluate("window.__kitchen.log.closed === null")
    shift = worst_window(page.evaluate("window.__shifts"))
    everything = _kilobytes(bodies)
    context.close()
    while_words = "while a run streams" if streamed else "while a run streams (it ended on the way)"
    label = f"{len(walking.total)} frames, {rooms} rooms scrolled {while_words}"
    return [
        under(f"main-thread work, p95 of {label}", percentile(walking.total, 95), "ms", 16),
        under("  the longest of them", max(walking.total), "ms", 50),
        Figure("  by the clock, waiting for a core too, p95", percentile(walking.elapsed, 95), "ms"),
        under("shift of the layout on the way (CLS)", shift, "", 0.05),
        Figure("script and style when the page opens, gzip", first, "kB"),
        under("script and style with every room visited, gzip", everything, "kB", 220),
    ]


def _memory(browser: Browser, served: Served) -> list[Figure]:
    """The recorded run, walked through again and again."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(served.url)
    until(page, "window.__kitchen?.log.complete")
    session = context.new_cdp_session(page)
    rooms: int = page.evaluate("document.querySelectorAll('.chapter').length")
    sizes: list[float] = []
    for _ in range(2 * PASSES):
        page.evaluate("scrollTo(0, 0)")
        scroll_through(page, rooms * SECONDS_A_ROOM / 2)
        page.wait_for_timeout(500)
        sizes.append(_heap(session))
    context.close()
    return [
        Figure("heap after one walk through all rooms", sizes[0], "MB"),
        Figure(f"heap after {PASSES} walks", sizes[PASSES - 1], "MB"),
        under(f"  after {PASSES} more, over that", sizes[-1] / sizes[PASSES - 1], "x", 1.05),
    ]


def run() -> Iterator[Figure]:
    with Served() as served, chromium() as browser:
        yield from _frames(browser, served)
        yield from _memory(browser, served)


if __name__ == "__main__":
    for figure in run():
        print(figure.line(), flush=True)
