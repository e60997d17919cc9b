"""Ten rooms in sandboxed frames on one page of another origin, scrolled past in Chromium: what a frame costs the main
threads of the page and of the rooms, which stand or play by themselves."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser

from app.pages.chapters import rooms
from benchmarks.browser import FrameWork, chromium
from benchmarks.figures import Figure, percentile, under
from benchmarks.rooms import scroll_through
from benchmarks.served import Served

FRAMES = 10
SECONDS = 30.0
WORDS = "<p>A column of somebody's page, with a room of the kitchen between its paragraphs.</p>" * 6
STYLE = "body { max-width: 760px; margin: 40px auto; font: 18px/1.6 serif } iframe { border: 0 }"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def host_of(kitchen: str, query: str) -> Iterator[str]:
    """The address of a page of another origin with ten rooms in frames that come when they are near."""
    slugs = list(rooms())
    frames = "".join(
        f'{WORDS}<iframe src="{kitchen}embed/{slugs[i % len(slugs)]}{query}" title="a room" width="100%" height="760" '
        'sandbox="allow-scripts" loading="lazy"></iframe>'
        for i in range(FRAMES)
    )
    script = f'<script src="{kitchen}static/js/embed_host.js"></script>'
    with tempfile.TemporaryDirectory() as folder:
        page = f"<!doctype html><title>host</title><style>{STYLE}</style>{script}{frames}{WORDS}"
        Path(folder, "index.html").write_text(page)
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()


def _scrolled(browser: Browser, address: str, words: str) -> list[Figure]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address)
    page.wait_for_timeout(1500)
    with FrameWork(page) as scrolling:
        scroll_through(page, SECONDS)
    seen = sum("/embed/" in frame.url for frame in page.frames)
    context.close()
    worst = max(scrolling.threads, key=lambda work: percentile(work, 95))
    drawn = sum(map(len, scrolling.threads))
    return [
        under(f"main-thread work, p95, {seen} rooms {words}, {drawn} frames", percentile(worst, 95), "ms", 16),
        Figure("  the median of them", percentile(worst, 50), "ms"),
        Figure("  the longest of them", max(max(work) for work in scrolling.threads), "ms"),
        Figure("  main threads that drew", len(scrolling.threads), ""),
    ]


def run() -> Iterator[Figure]:
    with Served(wait_ready=False) as served, chromium() as browser:
        for query, words in (("", "standing"), ("?autoplay=1", "playing")):
            with host_of(served.url, query) as address:
                yield from _scrolled(browser, address, words)


if __name__ == "__main__":
    for figure in run():
        print(figure.line(), flush=True)
