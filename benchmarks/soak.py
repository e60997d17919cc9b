"""A day's runs in twenty minutes, of readers who come, stay, stop, vanish and ask for nonsense; and whether anything
grows. ``./kitchen soak``: not part of the tests.

Traffic goes in rounds. Between two rounds everything comes to rest, and there memory, file handles, threads, tasks and
blocks are counted: what a round left behind would show in the next rest. ``A day`` is a run a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import websockets

from benchmarks.served import Served

RUNS_A_DAY = 24 * 60
VISITORS = 6
ROUND_SECONDS = 60.0
REST_SECONDS = 60.0
"""Longest wait for everything to come to rest."""
WARM_ROUNDS = 0.25
"""Of all rounds: caches fill, allocators find their size; growth counts from there."""
MOST_GROWTH = 0.05
"""Of resident memory, from the first rest that counts to the last, along a fitted line."""
MOST_MORE = 2.0
"""Of files, threads, tasks, likewise: pools take their last thread when they first need it."""
KEEP_RUNS = 200
WORDS = ("sea", "salt", "lamp", "stair", "bread", "storm", "clock", "garden", "letter", "fox", "moon", "kettle", "snow")
TAKES: tuple[dict[str, Any], ...] = (
    {"take": "again"},
    {"take": "samples", "n": 3},
    {"take": "rush-hour", "neighbours": 3},
    {"take": "probe", "probes": {"kv": True, "logits": [-1]}},
    {"take": "speculative"},
    {"take": "slab"},
)
NONSENSE: tuple[tuple[str, str, bytes], ...] = (
    ("POST", "api/runs", b'{"prompt": 7}'),
    ("POST", "api/runs", b"{"),
    ("POST", "api/runs", json.dumps({"prompt": "word " * 6000}).encode()),
    ("GET", "api/runs/AAAAAAAAAAAAAAAAAAAAAA", b""),
    ("GET", "?run=nobody", b""),
    ("GET", "static/js/nothing.js", b""),
)


BUSY = ("openkitchen_num_requests_running", "openkitchen_num_requests_waiting", "openkitchen_readers")


@dataclass
class Rest:
    """What is counted while nothing goes on."""

    minutes: float
    runs: int
    web_rss: int
    engine_rss: int
    files: int
    threads: int
    tasks: int
    blocks_lost: int
    """Of the pool: neither free nor cached though nobody holds them."""
    disk: int
    """Bytes under the data directory."""


@dataclass
class Tally:
    """What the visitors did, and what was wrong with what they got."""

    did: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def runs(self) -> int:
        return self.did["run"] + self.did["take"]


class Visitor:
    """One cookie, one thing after the other."""

    def __init__(self, url: str, chance: random.Random, tally: Tally) -> None:
        self._url = url
        self._chance = chance
        self._tally = tally
        self._client = httpx.AsyncClient(base_url=url, timeout=120)
        self._ended: list[str] = []

    async def close(self) -> None:
        await self._client.aclose()

    async def act(self) -> None:
        """One visit."""
        acts: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (60, self._read_a_run),
            (10, self._stop_a_run),
            (10, self._leave_a_run),
            (6, self._ask_for_a_take),
            (8, self._ask_for_nonsense),
            (6, self._open_the_page),
        ]
        weights = [weight for weight, _ in acts]
        await self._chance.choices([act for _, act in acts], weights)[0]()

    async def _post(self, path: str, body: dict[str, Any], kind: str) -> str | None:
        response = await self._client.post(path, json=body)
        if response.status_code in (429, 503):  # told to come later, and so they do
            self._tally.did[f"refused {response.json()['code']}"] += 1
            await asyncio.sleep(min(2.0, float(response.headers["retry-after"])))
            return None
        if response.status_code != 201:
            self._tally.wrong.append(f"{kind}: {response.status_code} {response.text[:200]}")
            return None
        self._tally.did[kind] += 1
        run_id: str = response.json()["run_id"]
        return run_id

    async def _run(self) -> str | None:
        chance = self._chance
        prompt = " ".join(chance.choices(WORDS, k=chance.randint(1, 60)))
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": chance.choice((1, 4, 8, 16, 32))}
        body["temperature"] = chance.choice((0.0, 0.7))
        body["n"] = chance.choice((1, 1, 1, 2))
        return await self._post("api/runs", body, "run")

    async def _read_a_run(self) -> None:
        if (run_id := await self._run()) is None:
            return
        read = self._chance.choice((self._by_socket, self._by_lines, self._by_lines_twice))
        await read(run_id)
        self._ended = [*self._ended[-3:], run_id]

    async def _by_socket(self, run_id: str) -> None:
        url = f"{self._url.replace('http', 'ws', 1)}api/runs/{run_id}/socket"
        events: list[dict[str, Any]] = []
        async with websockets.connect(url, subprotocols=[websockets.Subprotocol("trace.v1")], max_size=None) as socket:
            async for frame in socket:
                events += json.loads(frame)["events"]
        self._check(run_id, events)

    async def _by_lines(self, run_id: str) -> None:
        response = await self._client.get(f"api/runs/{run_id}/events")
        self._check(run_id, [json.loads(line) for line in response.text.splitlines()])

    async def _by_lines_twice(self, run_id: str) -> None:
        await asyncio.gather(self._by_lines(run_id), self._by_lines(run_id))

    def _check(self, run_id: str, events: list[dict[str, Any]]) -> None:
        whole = [event.get("seq") for event in events] == list(range(1, len(events) + 1))
        if not (events and whole and events[-1]["type"] == "log.closed"):
            self._tally.wrong.append(f"a log with a gap or without an end: {len(events)} events")
        elif events[-1]["reason"] not in ("finished", "stopped", "interrupted"):
            self._tally.wrong.append(f"a run ended with {events[-1]['reason']}: {events[-1]['detail']}")

    async def _stop_a_run(self) -> None:
        if (run_id := await self._run()) is not None:
            await asyncio.sleep(self._chance.uniform(0.0, 0.3))
            await self._client.delete(f"api/runs/{run_id}")
            await self._by_lines(run_id)
            self._tally.did["stop"] += 1

    async def _leave_a_run(self) -> None:
        """Read a little, and be gone."""
        if (run_id := await self._run()) is not None:
            url = f"{self._url.replace('http', 'ws', 1)}api/runs/{run_id}/socket"
            async with websockets.connect(url, max_size=None) as socket:
                await socket.recv()
                socket.transport.abort()
            self._tally.did["left"] += 1

    async def _ask_for_a_take(self) -> None:
        if not self._ended:
            return
        parent, take = self._chance.choice(self._ended), self._chance.choice(TAKES)
        if (run_id := await self._post(f"api/runs/{parent}/takes", take, "take")) is not None:
            await self._by_lines(run_id)

    async def _ask_for_nonsense(self) -> None:
        method, path, body = self._chance.choice(NONSENSE)
        headers = {"content-type": "application/json"} if body else {}
        response = await self._client.request(method, path, content=body, headers=headers)
        if not 400 <= response.status_code < 500:
            self._tally.wrong.append(f"{method} {path}: {response.status_code}")
        self._tally.did["nonsense"] += 1

    async def _open_the_page(self) -> None:
        response = await self._client.get(self._chance.choice(("", "styleguide", "metrics", "static/js/main.js")))
        if response.status_code != 200:
            self._tally.wrong.append(f"{response.url.path}: {response.status_code}")
        self._tally.did["page"] += 1


class Soak:
    """The served kitchen under traffic, looked at between rounds."""

    def __init__(self, served: Served, minutes: float, seed: int) -> None:
        self._served = served
        self._seconds = minutes * 60
        self._began = time.monotonic()
        self._web = psutil.Process(served.pid)
        self._engine = psutil.Process(served.engine_pid())
        self.tally = Tally()
        chance = random.Random(seed)
        self._visitors = [Visitor(served.url, random.Random(chance.random()), self.tally) for _ in range(VISITORS)]
        self.rests: list[Rest] = []

    async def run(self) -> None:
        """Rounds until the time is over; says how far it is."""
        while time.monotonic() - self._began < self._seconds:
            until = time.monotonic() + ROUND_SECONDS
            await asyncio.gather(*(self._visit(visitor, until) for visitor in self._visitors))
            self.rests.append(await self._rest())
            print(self._words(self.rests[-1]), flush=True)
        for visitor in self._visitors:
            await visitor.close()

    async def _visit(self, visitor: Visitor, until: float) -> None:
        while time.monotonic() < until:
            try:
                await visitor.act()
            except (httpx.HTTPError, OSError, websockets.WebSocketException) as error:
                self.tally.wrong.append(f"{type(error).__name__}: {error}")

    async def _rest(self) -> Rest:
        deadline = time.monotonic() + REST_SECONDS
        async with httpx.AsyncClient(base_url=self._served.url, timeout=30) as client:
            while busy := await _busy(client):
                if time.monotonic() > deadline:
                    self.tally.wrong.append(f"no rest: {busy}")
                    break
                await asyncio.sleep(0.2)
            lost = await _blocks_lost(client)
            tasks = int((await _gauges(client))["openkitchen_event_loop_tasks"])
        await asyncio.sleep(6.0)  # idle connections of the visitors' clients are let go after five seconds
        return Rest(
            minutes=round((time.monotonic() - self._began) / 60, 2),
            runs=self.tally.runs,
            web_rss=self._web.memory_info().rss,
            engine_rss=self._engine.memory_info().rss,
            files=self._web.num_fds() + self._engine.num_fds(),
            threads=self._web.num_threads() + self._engine.num_threads(),
            tasks=tasks,
            blocks_lost=lost,
            disk=sum(path.stat().st_size for path in self._served.data_dir.rglob("*") if path.is_file()),
        )

    def _words(self, rest: Rest) -> str:
        share = min(1.0, rest.minutes * 60 / self._seconds)
        return (
            f"{share:4.0%}  {rest.minutes:5.1f} min  {rest.runs:5d} runs  web {rest.web_rss / 1e6:6.1f} MB  "
            f"engine {rest.engine_rss / 1e6:7.1f} MB  {rest.files} files  {rest.threads} threads  {rest.tasks} tasks  "
            f"{rest.blocks_lost} blocks lost  {rest.disk / 1e6:.1f} MB on disk  {len(self.tally.wrong)} wrong"
        )


async def _gauges(client: httpx.AsyncClient) -> dict[str, float]:
    """Metrics without labels."""
    text = (await client.get("metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


async def _busy(client: httpx.AsyncClient) -> list[str]:
    gauges = await _gauges(client)
    return [f"{name} {gauges[name]:.0f}" for name in BUSY if gauges[name]]


async def _blocks_lost(client: httpx.AsyncClient) -> int:
    """A run's snapshot says what the pool was like before it came: all free, or cached and nobody's."""
    created = (await client.post("api/runs", json={"prompt": "rest", "max_tokens": 1})).json()
    lines = (await client.get(f"api/runs/{created['run_id']}/events")).text.splitlines()
    snapshot = next(event for event in map(json.loads, lines) if event["type"] == "snapshot")
    return int(snapshot["num_blocks"] - snapshot["num_free_blocks"] - len(snapshot["cached_block_ids"]))


def growth(values: list[int]) -> tuple[float, float]:
    """Along a line fitted to ``values``, from its start to its end: in all, and as a share of its start."""
    count = len(values)
    middle, mean = (count - 1) / 2, sum(values) / count
    slope = sum((i - middle) * (v - mean) for i, v in enumerate(values)) / sum((i - middle) ** 2 for i in range(count))
    start = mean - slope * middle
    grown = slope * (count - 1)
    return grown, grown / start if start else 0.0


def verdict(rests: list[Rest], tally: Tally) -> list[str]:
    """What is not flat, or was wrong; empty where all is well."""
    counted = rests[int(len(rests) * WARM_ROUNDS) :]
    if len(counted) < 3:
        return ["too short to say anything: give it more minutes"]
    found = list(dict.fromkeys(tally.wrong))
    for name in ("web_rss", "engine_rss"):
        _, share = growth([getattr(rest, name) for rest in counted])
        if share > MOST_GROWTH:
            found.append(f"{name} grew by {share:.1%}")
    for name in ("files", "threads", "tasks"):
        values = [getattr(rest, name) for rest in counted]
        if growth(values)[0] > MOST_MORE:
            found.append(f"{name} grew: {values}")
    if any(rest.blocks_lost for rest in rests):
        found.append(f"blocks were lost: {[rest.blocks_lost for rest in rests]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="./kitchen soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write what was counted there too")
    options = parser.parse_args()
    settings = {"posts_per_minute": 1e6, "posts_burst": 100_000, "keep_runs": KEEP_RUNS, "cached_log_bytes": 8_000_000}
    with Served(sweep_seconds=20, **settings) as served:
        soak = Soak(served, options.minutes, options.seed)
        asyncio.run(soak.run())
    found = verdict(soak.rests, soak.tally)
    print(f"{soak.tally.runs} runs, as many as {soak.tally.runs / RUNS_A_DAY * 24:.0f} hours of one a minute bring")
    print(", ".join(f"{count} {what}" for what, count in soak.tally.did.most_common()))
    print("\n".join(found) or "flat: memory, files, threads, tasks, blocks")
    if options.json:
        report = {"rests": [asdict(rest) for rest in soak.rests], "did": soak.tally.did, "found": found}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
