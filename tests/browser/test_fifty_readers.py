"""Fifty readers join one live run at random moments, some are cut off and come back: all end with the same state."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import websockets

from benchmarks.served import ROOT, Served

NUM_READERS = 50


async def read(url: str, rng: random.Random) -> list[dict[str, object]]:
    """Follow the run to its end; every fourth connection is dropped after a few frames and resumed with ``after``."""
    await asyncio.sleep(rng.uniform(0, 5))
    events: list[dict[str, object]] = []
    while True:
        cut_after = rng.randint(1, 12) if rng.random() < 0.25 else None
        frames = 0
        async with websockets.connect(
            f"{url}?after={len(events)}", subprotocols=[websockets.Subprotocol("trace.v1")], max_size=None
        ) as socket:
            async for message in socket:
                frame = json.loads(message)
                assert frame["v"] == 1
                assert frame["seq"] == len(events) + 1 == frame["events"][0]["seq"]
                events += frame["events"]
                frames += 1
                if frames == cut_after:
                    break
            else:
                assert socket.close_code == 1000
                return events


async def read_all(url: str) -> list[list[dict[str, object]]]:
    return await asyncio.gather(*(read(url, random.Random(seed)) for seed in range(NUM_READERS)))


def state_hashes(paths: list[Path]) -> list[str]:
    """What the browser's own fold makes of each log."""
    command = ["node", str(ROOT / "tests/js/hash_logs.js"), *map(str, paths)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_every_reader_ends_with_the_same_state(served: Served, tmp_path: Path) -> None:
    created = served.start_run("Write a long story about the sea.", max_tokens=120, temperature=0, probes=["kv"])
    url = f"{served.url.replace('http', 'ws', 1)}api/runs/{created['run_id']}/socket"
    with ThreadPoolExecutor(1) as thread:  # this one may have Playwright's loop in it
        logs = thread.submit(asyncio.run, read_all(url)).result()
    log = served.events(created["run_id"])
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert log[-1]["type"] == "log.closed"
    paths = []
    for number, events in enumerate([log, *logs]):
        assert [event["seq"] for event in events] == list(range(1, len(log) + 1)), f"reader {number}: gap or repeat"
        paths.append(tmp_path / f"{number}.jsonl")
        paths[-1].write_text("".join(json.dumps(event) + "\n" for event in events))
    hashes = state_hashes(paths)
    assert len(hashes) == NUM_READERS + 1
    assert len(set(hashes)) == 1
