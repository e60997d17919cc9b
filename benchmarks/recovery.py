"""From the engine's SIGKILL in the middle of a run to the closed log and to the next prompt taken: with a spare that
waits, and without."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, under
from benchmarks.served import Served

KILLS = 3
SPARE_SECONDS = 60.0
"""Longest wait for a spare that has done its imports."""
SECONDS = 10.0


def run() -> Iterator[Figure]:
    """In turns, so that a machine that slows down slows both."""
    with Served(spare_engine=True) as with_spare, Served(spare_engine=False) as without:
        kills = [(_kill(with_spare, spare=True), _kill(without, spare=False)) for _ in range(KILLS)]
    for place, name in enumerate(("a spare waiting", "no spare")):
        closed, ready = (max(pair[place][i] for pair in kills) for i in (0, 1))
        yield Figure(f"engine killed, {name}: the log is closed, longest of {KILLS}", closed, "s")
        yield under(f"engine killed, {name}: ready again, longest of {KILLS}", ready, "s", SECONDS)


def _kill(served: Served, *, spare: bool) -> tuple[float, float]:
    """Seconds to the closed log, and to an engine that takes prompts."""
    if spare:
        _await_spare(served)
    run_id = served.start_run("Write a long story about the sea.", max_tokens=300)["run_id"]
    time.sleep(0.5)
    began = time.monotonic()
    os.kill(served.engine_pid(), signal.SIGKILL)
    assert served.events(run_id)[-1]["type"] == "log.closed"
    closed = time.monotonic() - began
    served.wait_ready()
    return closed, time.monotonic() - began


def _await_spare(served: Served) -> None:
    """A second engine process, which no longer works at anything."""
    deadline = time.monotonic() + SPARE_SECONDS
    before = -1.0
    while time.monotonic() < deadline:
        time.sleep(1.0)
        used = _processor_seconds(served.spare_pid())
        if used > 1.0 and used == before:
            return
        before = used
    raise TimeoutError("no spare engine in time")


def _processor_seconds(pid: int | None) -> float:
    if pid is None:
        return -1.0
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
