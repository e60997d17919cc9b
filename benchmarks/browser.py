"""A real Chromium for benchmarks and browser tests, and what its own trace says of the main thread."""

from __future__ import annotations

import json
import os
import shutil
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

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


def chromium_path() -> str | None:
    """The system's Chromium, or None for the one that Playwright downloaded."""
    return os.environ.get("OPENKITCHEN_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


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
    """Milliseconds of main-thread work per frame between ``start`` and ``stop``, from Chromium's own trace.

    A frame is what the main thread did since the last animation callback, up to the end of the task with the next.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._browser = page.context.browser
        self.total: list[float] = []
        self.scripting: list[float] = []

    def __enter__(self) -> FrameWork:
        assert self._browser is not None, "a page of a launched browser"
        self._browser.start_tracing(page=self._page, categories=TRACE_CATEGORIES)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._browser is not None, "a page of a launched browser"
        events: list[dict[str, Any]] = json.loads(self._browser.stop_tracing())["traceEvents"]
        thread = self._main_thread(events)
        own = [event for event in events if (event["pid"], event["tid"]) == thread and event.get("ph") == "X"]
        frames = sorted(event["ts"] for event in own if event["name"] == "FireAnimationFrame")
        tasks = [(event["ts"], event["dur"]) for event in own if event["name"] == "RunTask"]
        scripts = _outermost([(event["ts"], event["dur"]) for event in own if event["name"] in SCRIPTING])
        self.total = _per_frame(tasks, frames)
        self.scripting = _per_frame(scripts, frames)

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


def _outermost(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that lie in no other, so that nothing is counted twice."""
    kept: list[tuple[float, float]] = []
    end = float("-inf")
    for start, duration in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end:
            kept.append((start, duration))
            end = start + duration
    return kept


def _per_frame(spans: list[tuple[float, float]], frames: list[float]) -> list[float]:
    """Milliseconds per frame: a span belongs to the first frame that fires at or after its end, or inside it."""
    work = [0.0] * len(frames)
    for start, duration in spans:
        index = bisect_left(frames, start)
        if index < len(frames):
            work[index] += duration / 1000
    return work
