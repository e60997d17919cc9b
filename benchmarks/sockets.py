"""What one socket reader costs an engine step, in the served kitchen: runs with and without a reader, in turns."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import websockets

from benchmarks.figures import Figure, median, under
from benchmarks.served import Served

PAIRS = 6
PROMPT = "Tell me a long story about a lighthouse keeper and the sea, number {number}."


async def _follow(url: str) -> None:
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol("trace.v1")], max_size=None) as socket:
        async for _ in socket:
            pass


def _period(events: list[dict[str, Any]]) -> float:
    """Median seconds from one decode step's start to the next: what a reader of the run waits for a token."""
    starts = [event["t"] for event in events if event["type"] == "step.started" and event["phase"] == "decode"]
    return median([later - earlier for earlier, later in pairwise(starts)])


def _measure(served: Served, number: int, *, read: bool) -> float:
    """One run's period. The log is fetched after the end: asking for it before would be a reader."""
    created = served.start_run(PROMPT.format(number=number), max_tokens=120, temperature=0, probes=["kv"])
    if read:
        asyncio.run(_follow(f"{served.url.replace('http', 'ws', 1)}api/runs/{created['run_id']}/socket"))
    while json.loads(served.get(f"api/runs/{created['run_id']}"))["status"] != "closed":
        time.sleep(0.5)
    return _period(served.events(created["run_id"]))


def run() -> list[Figure]:
    with Served() as served:
        _measure(served, 0, read=False)
        costs = []
        for pair in range(PAIRS):
            silent = _measure(served, 2 * pair + 1, read=False)
            watched = _measure(served, 2 * pair + 2, read=True)
            costs.append(100 * (watched - silent) / silent)
    return [under("events with one socket reader", median(costs), "% of a step", 3.0)]
