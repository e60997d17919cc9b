"""A real Chromium for benchmarks and browser tests, and what its own trace says of the main thread."""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.chromium import chromium_path

TRACE_CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline", "__metadata"]
SCRIPTING = {
    "EvaluateScript",
    "EventDispatch",
    "FireAnimationFrame",
    "FunctionCall",
    "MajorGC",
    "MinorGC",
    "RunMicrotasks",
    "TimerFire",
    "v8.compile",
    "V8.GC_MC_INCREMENTAL",
}


@contextmanager
def chromium() -> Iterator[Browser]:
    arguments = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def until(page: Page, condition: str, argument: object = None, *, seconds: float = 30) -> None:
    """Wait until the script ``condition`` (an expression, or a function of ``argument``) is true.

    Playwright's own wait_for_function evaluates inside the page, which the page's policy forbids; the debugger may.
    """
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition, argument):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {condition}")
        page.wait_for_timeout(20)


class FrameWork:
    """Milliseconds of main-thread work per frame while the block runs, from Chromium's own trace.

    A frame is what the main thread did since the last commit, up to the next. Work is the thread's own processor time
    (``total``, and ``scripting`` of it): the two cores also run the engine, the server and Chromium's software
    rasteriser, and what these take is not the page's work. ``elapsed`` is the same by the clock on the wall.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._browser = page.context.browser
        self.total: list[float] = []
        self.scripting: list[float] = []
        self.elapsed: list[float] = []

    def __enter__(self) -> FrameWork:
        assert self._browser is not None, "a page of a launched browser"
        self._browser.start_tracing(page=self._page, categories=TRACE_CATEGORIES)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._browser is not None, "a page of a launched browser"
        events: list[dict[str, Any]] = json.loads(self._browser.stop_tracing())["traceEvents"]
        thread = self._main_thread(events)
        own = [event for event in events if (event["pid"], event["tid"]) == thread and event.get("ph") == "X"]
        frames = sorted(event["ts"] for event in own if event["name"] == "Commit")
        tasks = [event for event in own if event["name"] == "RunTask"]
        scripts = _outermost([event for event in own if event["name"] in SCRIPTING])
        self.total = _per_frame(tasks, frames, "tdur")
        self.scripting = _per_frame(scripts, frames, "tdur")
        self.elapsed = _per_frame(tasks, frames, "dur")

    @staticmethod
    def _main_thread(events: list[dict[str, Any]]) -> tuple[int, int]:
        """The renderer's main thread that drew most animation frames: the page under test."""
        counts: dict[tuple[int, int], int] = {}
        for event in events:
            if event["name"] == "FireAnimationFrame":
                key = (event["pid"], event["tid"])
                counts[key] = counts.get(key, 0) + 1
        if not counts:
            raise RuntimeError("the trace holds no animation frame: nothing was drawn while it ran")
        return max(counts, key=lambda key: counts[key])


def _outermost(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events that lie in no other, so that nothing is counted twice."""
    kept: list[dict[str, Any]] = []
    end = float("-inf")
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        if event["ts"] >= end:
            kept.append(event)
            end = event["ts"] + event["dur"]
    return kept


def _per_frame(events: list[dict[str, Any]], frames: list[float], measure: str) -> list[float]:
    """Milliseconds per frame: an event belongs to the first frame that is committed at or after its beginning."""
    work = [0.0] * len(frames)
    for event in events:
        index = bisect_left(frames, event["ts"])
        if index < len(frames):
            work[index] += event.get(measure, 0) / 1000
    return work
