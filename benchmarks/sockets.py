"""What one socket reader costs an engine step, in the served kitchen: a reader comes and goes while a run goes on."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import websockets

from benchmarks.figures import Figure, median, under
from benchmarks.served import Served

RUNS = 4
SEGMENT_SECONDS = 2.5
EDGE_SECONDS = 0.4
"""Around a coming and a going: connecting, and catching up, are not reading along."""
PROMPT = "Tell me a long story about a lighthouse keeper and the sea, number {number}."

Window = tuple[float, float]


async def _come_and_go(url: str) -> tuple[list[Window], list[Window]]:
    """Read for a while, stay away for a while, until the run is over. Unix times of both, without their edges."""
    watched: list[Window] = []
    alone: list[Window] = []
    after = 0
    while True:
        began = time.time()
        async with websockets.connect(
            f"{url}?after={after}", subprotocols=[websockets.Subprotocol("trace.v1")], max_size=None
        ) as socket:
            try:
                async with asyncio.timeout(SEGMENT_SECONDS):
                    async for frame in socket:
                        last = json.loads(frame)
                        after = last["seq"] + len(last["events"]) - 1
                    return watched, alone  # the log has closed
            except TimeoutError:
                pass
        watched.append((began + EDGE_SECONDS, time.time() - EDGE_SECONDS))
        began = time.time()
        await asyncio.sleep(SEGMENT_SECONDS)
        alone.append((began + EDGE_SECONDS, time.time() - EDGE_SECONDS))


def _periods(events: list[dict[str, Any]], windows: list[Window]) -> list[float]:
    """Seconds from one decode step's start to the next, of the steps that lie in a window."""
    opened_at = events[0]["opened_at"]
    starts = [opened_at + e["t"] for e in events if e["type"] == "step.started" and e["phase"] == "decode"]
    return [
        later - earlier
        for earlier, later in pairwise(starts)
        if any(start <= earlier and later <= stop for start, stop in windows)
    ]


def _cost(served: Served, number: int) -> float:
    """Percent of a step, of one run."""
    created = served.start_run(PROMPT.format(number=number), max_tokens=400, temperature=0, probes=["kv"])
    url = f"{served.url.replace('http', 'ws', 1)}api/runs/{created['run_id']}/socket"
    watched, alone = asyncio.run(_come_and_go(url))
    while json.loads(served.get(f"api/runs/{created['run_id']}"))["status"] != "closed":
        time.sleep(0.5)
    events = served.events(created["run_id"])
    without = median(_periods(events, alone))
    return 100 * (median(_periods(events, watched)) - without) / without


def run() -> list[Figure]:
    with Served() as served:
        _cost(served, 0)
        costs = [_cost(served, number) for number in range(1, RUNS + 1)]
    return [
        under(f"events with one socket reader, median of {RUNS} runs", median(costs), "% of a step", 3.0),
        Figure("  the least of them", min(costs), "% of a step"),
        Figure("  the most of them", max(costs), "% of a step"),
    ]
