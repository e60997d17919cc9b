"""A thousand socket readers of one live run at two replicas over Redis, five hundred each, with the real engine behind
one of them and runs in line: what the way over Redis costs the readers and the processors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks.figures import Figure, at_least, under
from benchmarks.readers import PROMPT, QUEUED_TOKENS, READERS, SETTINGS, WATCHED_TOKENS
from benchmarks.served import ROOT, Served, free_port

QUEUED = 100


@contextmanager
def redis_server() -> Iterator[tuple[str, int]]:
    """A Redis that saves nothing: its address, and its process."""
    program = shutil.which("redis-server")
    assert program, "redis-server is missing. As root: apt-get install redis-server"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="openkitchen-redis-") as directory:
        words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}/0", process.pid
        finally:
            process.terminate()
            process.wait(10)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _watch(replicas: list[Served], redis: int, run_id: str, readers: int) -> tuple[list[dict[str, Any]], list[float]]:
    """A swarm at each replica. Returns what each saw, and the share of a core that Redis and each replica used."""
    command = [sys.executable, "-m", "benchmarks.reader_swarm", "127.0.0.1"]
    swarms = [
        subprocess.Popen(
            [*command, str(served.port), run_id, "--readers", str(readers)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for served in replicas
    ]
    for swarm in swarms:
        assert swarm.stdout is not None
        assert json.loads(swarm.stdout.readline())["all_here"]
    processes = [psutil.Process(pid) for pid in (redis, *(served.pid for served in replicas))]
    before, began = [_cpu(process) for process in processes], time.monotonic()
    reports: list[dict[str, Any]] = [{} for _ in swarms]

    def hear(index: int) -> None:
        stdout = swarms[index].stdout
        assert stdout is not None
        reports[index] = json.loads(stdout.readline())

    threads = [threading.Thread(target=hear, args=(index,)) for index in range(len(swarms))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    used = [(_cpu(process) - cpu) / seconds for process, cpu in zip(processes, before, strict=True)]
    for swarm in swarms:
        swarm.wait()
    return reports, used


def run() -> list[Figure]:
    readers = int(os.environ.get("BENCH_READERS", READERS)) // 2
    with (
        redis_server() as (url, redis),
        Served(redis_url=url, **SETTINGS) as cook,
        Served(redis_url=url, engine="none", **SETTINGS) as web,
    ):
        watched = web.start_run(PROMPT.format(number=-1), max_tokens=WATCHED_TOKENS, temperature=0)["run_id"]

        def queue(number: int) -> str:
            body = {"max_tokens": QUEUED_TOKENS, "seed": number, "probes": []}
            return str(web.start_run(PROMPT.format(number=number), **body)["run_id"])

        # (Side by side: the run that is watched goes on meanwhile.)
        with ThreadPoolExecutor(16) as pool:
            queueing = pool.map(queue, range(QUEUED))
            reports, used = _watch([cook, web], redis, watched, readers)
            queued = list(queueing)
        logs = [[served.get(f"api/runs/{run_id}/events") for served in (cook, web)] for run_id in queued]
    same = sum(one == other and b'"log.closed"' in one for one, other in logs)
    figures = [
        at_least("runs posted at one, cooked at the other, the same log at both", same, "", QUEUED),
        Figure("Redis' processor time, of one core", 100 * used[0], "%"),
    ]
    for name, report, share in zip(("that cooks", "without an engine"), reports, used[1:], strict=True):
        figures += [
            at_least(f"readers at the replica {name}, complete and in order", report["complete"], "", readers),
            under("  faults (gaps, repeats, refusals)", sum(report["faults"].values()), "", 1),
            under("  delivery of an event, 99th percentile", 1000 * report["latency"]["99"], "ms", 500),
            Figure("  median", 1000 * report["latency"]["50"], "ms"),
            Figure("  events in a frame, mean", report["events_a_frame"], ""),
            Figure("  its processor time, of one core", 100 * share, "%"),
        ]
    return figures
