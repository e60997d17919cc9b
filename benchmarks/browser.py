"""A real Chromium for benchmarks and browser tests, and what its own trace says of the main thread."""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_left
from collections import Counter
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

Thread = tuple[int, int]
"""Process and thread, as a trace numbers them."""


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

    ``threads``: ``total`` of every main thread that drew, the page's own first: frames of other origins have theirs.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._browser = page.context.browser
        self.total: list[float] = []
        self.scripting: list[float] = []
        self.elapsed: list[float] = []
        self.threads: list[list[float]] = []

    def __enter__(self) -> FrameWork:
        assert self._browser is not None, "a page of a launched browser"
        self._browser.start_tracing(page=self._page, categories=TRACE_CATEGORIES)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._browser is not None, "a page of a launched browser"
        events: list[dict[str, Any]] = json.loads(self._browser.stop_tracing())["traceEvents"]
        threads = self._main_threads(events)
        own, frames, tasks = _work_of(events, threads[0])
        scripts = _outermost([event for event in own if event["name"] in SCRIPTING])
        self.total = _per_frame(tasks, frames, "tdur")
        self.scripting = _per_frame(scripts, frames, "tdur")
        self.elapsed = _per_frame(tasks, frames, "dur")
        works = [_work_of(events, thread) for thread in threads[1:]]
        self.threads = [self.total, *(_per_frame(tasks, frames, "tdur") for _, frames, tasks in works if frames)]

    @staticmethod
    def _main_threads(events: list[dict[str, Any]]) -> list[Thread]:
        """The renderers' main threads that drew, that with most animation frames first: the page under test."""
        named = {
            (event["pid"], event["tid"]): event["args"]["name"] for event in events if event["name"] == "thread_name"
        }
        counts = Counter((event["pid"], event["tid"]) for event in events if event["name"] == "FireAnimationFrame")
        if not counts:
            raise RuntimeError("the trace holds no animation frame: nothing was drawn while it ran")
        drew = {(event["pid"], event["tid"]) for event in events if event["name"] == "Commit"}
        others = [thread for thread in drew - counts.keys() if named.get(thread) == "CrRendererMain"]
        return [*(thread for thread, _ in counts.most_common()), *others]


def _work_of(events: list[dict[str, Any]], thread: Thread) -> tuple[list[dict[str, Any]], list[float], list[Any]]:
    """What a thread did, when its frames were committed, and its tasks."""
    own = [event for event in events if (event["pid"], event["tid"]) == thread and event.get("ph") == "X"]
    frames = sorted(event["ts"] for event in own if event["name"] == "Commit")
    return own, frames, [event for event in own if event["name"] == "RunTask"]


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
