"""A thousand socket readers of one live run while a hundred runs are queued, on this machine, with the real engine;
and fifty more who ask for the run and then read nothing.

Readers come in a process of their own (``reader_swarm.py``). The engine's slow-down is told from its own steps: those
with the readers there against those of the same kind (the same number of sequences decoding, nothing else) before they
came and after they left, so that a machine that slows down slows all three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.figures import Figure, at_least, median, under
from benchmarks.served import ROOT, Served

READERS = 1_000
QUEUED = 100
DEAF = 50
WATCHED_TOKENS = 400
ALONE_SECONDS = 4.0
QUEUED_TOKENS = 48
PROMPT = "Tell me a long story about a lighthouse keeper and the sea, number {number}."
SETTINGS: dict[str, object] = {
    "max_runs_per_visitor": 1_000,
    "max_runs_per_address": 1_000,
    "posts_per_minute": 1e6,
    "posts_burst": 100_000,
    "posts_per_minute_in_all": 1e6,
    "post_bytes_per_minute": 1 << 30,
    "send_timeout": 10,
}


@dataclass
class Watch:
    """What the server used while the readers were there."""

    cpu_seconds: float
    seconds: float
    rss_before: int
    rss_here: int
    """With all readers there, and little sent yet."""
    rss_peak: int
    swarm_cpu_seconds: float
    """Of the readers themselves, who share the machine."""
    here: float
    """When all readers were, on the monotonic clock."""
    gone: float
    report: dict[str, Any]


def _swarm(served: Served, run_id: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.reader_swarm", "127.0.0.1", str(served.port), run_id, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _watch(served: Served, run_id: str, *options: str) -> Watch:
    """Send the swarm, and look at the server until it has gone."""
    server = psutil.Process(served.pid)
    rss_before = server.memory_info().rss
    swarm = _swarm(served, run_id, *options)
    assert swarm.stdout is not None
    here = json.loads(swarm.stdout.readline())["all_here"]
    rss_here = peak = server.memory_info().rss
    cpu, began = _cpu(server), time.monotonic()
    clients = psutil.Process(swarm.pid)
    clients_cpu = clients_began = _cpu(clients)
    # (It tells what it saw when it has seen all, and ends when that is read.)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(swarm.stdout.readline)
        while not told.done():
            time.sleep(0.05)
            peak = max(peak, server.memory_info().rss)
            if told.running():
                gone, used = time.monotonic(), _cpu(server) - cpu
                clients_cpu = _cpu(clients)
        report = json.loads(told.result())
    swarm.wait()
    return Watch(used, gone - began, rss_before, rss_here, peak, clients_cpu - clients_began, here, gone, report)


Step = tuple[float, float, int]
"""When it ended (monotonic), seconds, sequences."""


def _decode_steps(logs: list[list[dict[str, Any]]]) -> list[Step]:
    """Of all logs, each step once: those in which nobody was in prefill."""
    found: dict[int, Step] = {}
    for events in logs:
        zero = events[0]["opened_at"] - (time.time() - time.monotonic())
        started: dict[int, dict[str, Any]] = {}
        for event in events:
            if event["type"] == "step.started":
                started[event["step"]] = event
            elif event["type"] == "step.finished" and event["step"] in started:
                items = started[event["step"]]["requests"]
                if all(item["phase"] == "decode" for item in items):
                    found[event["step"]] = (zero + event["t"], event["seconds"], len(items))
    return list(found.values())


def _seconds(steps: list[Step], start: float, stop: float) -> dict[int, list[float]]:
    """Of the steps between two moments, by how many sequences they served."""
    chosen: dict[int, list[float]] = {}
    for when, seconds, count in steps:
        if start <= when < stop:
            chosen.setdefault(count, []).append(seconds)
    return chosen


def _slow_down(with_readers: dict[int, list[float]], without: dict[int, list[float]]) -> float:
    """Percent, over steps of as many sequences."""
    alike = [count for count in with_readers if len(with_readers[count]) > 4 and len(without.get(count, ())) > 4]
    if not alike:
        return float("nan")
    weights = [min(len(with_readers[count]), len(without[count])) for count in alike]
    ratios = [median(with_readers[count]) / median(without[count]) for count in alike]
    return 100 * (sum(w * r for w, r in zip(weights, ratios, strict=True)) / sum(weights) - 1)


def _queue(served: Served, count: int) -> list[str]:
    def post(number: int) -> str:
        created = served.start_run(PROMPT.format(number=number), max_tokens=QUEUED_TOKENS, seed=number, probes=[])
        run_id: str = created["run_id"]
        return run_id

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(post, range(count)))


def run() -> list[Figure]:
    readers = int(os.environ.get("BENCH_READERS", READERS))
    with Served(**SETTINGS) as served:
        watched = served.start_run(PROMPT.format(number=-1), max_tokens=WATCHED_TOKENS, temperature=0)["run_id"]
        queued = _queue(served, QUEUED)
        waiting = sum(json.loads(served.get(f"api/runs/{run_id}"))["status"] == "queued" for run_id in queued)
        began = time.monotonic()
        time.sleep(ALONE_SECONDS)
        watch = _watch(served, watched, "--readers", str(readers), "--deaf", str(DEAF))
        # (Those who are still in the line now cook on without readers.)
        logs = [served.events(run_id) for run_id in queued]
        steps = _decode_steps(logs)
        alone = _seconds(steps, began, began + ALONE_SECONDS)
        for count, seconds in _seconds(steps, watch.gone + 0.5, time.monotonic()).items():
            alone.setdefault(count, []).extend(seconds)
        slow_down = _slow_down(_seconds(steps, watch.here, watch.gone), alone)
        finished = sum(events[-1]["reason"] == "finished" for events in logs)
    return _figures(readers, waiting, finished, watch, slow_down)


def _figures(readers: int, waiting: int, finished: int, watch: Watch, slow_down: float) -> list[Figure]:
    report = watch.report
    mib = 1024 * 1024
    return [
        at_least("readers that got every event, in order, to the end", report["complete"], "", readers),
        under("  faults (gaps, repeats, refusals)", sum(report["faults"].values()), "", 1),
        at_least("runs in the line as the readers came", waiting, "", 0.8 * QUEUED),
        at_least("  of the queued runs, finished", finished, "", QUEUED),
        under("delivery of an event, 99th percentile", 1000 * report["latency"]["99"], "ms", 500),
        Figure("  median", 1000 * report["latency"]["50"], "ms"),
        Figure("  longest", 1000 * report["latency"]["100"], "ms"),
        Figure("events in a frame, mean", report["events_a_frame"], ""),
        Figure("server's processor time, of one core", 100 * watch.cpu_seconds / watch.seconds, "%"),
        Figure("  a frame delivered", 1e6 * watch.cpu_seconds / max(1, report["live_frames"]), "us"),
        Figure("  an event delivered", 1e6 * watch.cpu_seconds / max(1, report["live_events"]), "us"),
        Figure("  of the readers' own process, of one core", 100 * watch.swarm_cpu_seconds / watch.seconds, "%"),
        Figure("engine's decode step with the readers, against without", slow_down, "% longer"),
        Figure("server's memory before the readers", watch.rss_before / mib, "MiB"),
        Figure("  a reader", (watch.rss_here - watch.rss_before) / 1024 / (readers + DEAF), "KiB"),
        under(f"  at most, with {DEAF} who read nothing, and more logs", watch.rss_peak / mib, "MiB", 400),
    ]
