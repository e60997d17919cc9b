"""A first visit to the article: what it asks for, and what that costs the server, with the page's scripts as they are
and as a bundle (`./kitchen bundle`)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from app.pages import bundle
from benchmarks.browser import chromium, until
from benchmarks.figures import Figure, median, under
from benchmarks.served import Served

ROUNDS = 8
REQUESTS = 25


def run() -> Iterator[Figure]:
    """In turns, so that a machine that slows down slows both."""
    with tempfile.TemporaryDirectory(prefix="openkitchen-dist-") as folder:
        dist, none = Path(folder) / "dist", Path(folder) / "none"
        bundle.make(dist)
        with (
            Served(engine="none", wait_ready=False, dist_dir=none) as plain,
            Served(engine="none", wait_ready=False, dist_dir=dist) as bundled,
        ):
            sites = {"single modules": plain, "bundled": bundled}
            asked = {name: _requests(site) for name, site in sites.items()}
            costs = {name: [0.0] * ROUNDS for name in sites}
            for turn in range(ROUNDS):
                for name, site in sites.items():
                    costs[name][turn] = _cost(site, asked[name])
    for name, urls in asked.items():
        if name == "bundled":
            yield under(f"a first visit, {name}: requests", len(urls), "", REQUESTS)
        else:
            yield Figure(f"a first visit, {name}: requests", len(urls), "")
        yield Figure(f"a first visit, {name}: the server's processor time, median", 1000 * median(costs[name]), "ms")


def _requests(site: Served) -> list[str]:
    """All that a browser asks of the site before the recorded run is there."""
    asked: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(site.url)
        until(page, "window.__kitchen?.log.complete", seconds=30)
        page.wait_for_timeout(2_000)
    return [url for url in asked if url.startswith(site.url)]


def _cost(site: Served, urls: list[str]) -> float:
    """Seconds of the server's processor for all of them, on one connection."""
    process = psutil.Process(site.pid)
    with httpx.Client(headers={"accept-encoding": "gzip"}) as client:
        for url in urls:  # (What is made once is made by now.)
            client.get(url)
        before = process.cpu_times()
        for _ in range(5):
            for url in urls:
                client.get(url)
        after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / 5
