"""How much one caller, and all of them together, may ask for."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.problems import Problem, retry_later

MAX_ADDRESSES = 10_000


class RateLimit:
    """A token bucket per address: ``burst`` at once, ``per_minute`` on average. Memory is bounded: the addresses that
    were silent longest are forgotten first, and theirs are the buckets that have filled up again."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60.0
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> None:
        """Count one request. Raises 429 with the seconds until the next one is welcome."""
        now = self._clock()
        level, since = self._buckets.pop(address, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        allowed = level >= 1.0
        self._buckets[address] = (level - 1.0 if allowed else level, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        if not allowed:
            raise retry_later(
                429,
                "too_many_requests",
                "That is a lot of prompts at once. Please wait a moment.",
                (1.0 - level) / self._rate,
            )


class ReaderLimit:
    """Counts readers per run and in all; never per address, since a whole class may watch one run."""

    def __init__(self, per_run: int, in_all: int) -> None:
        self._per_run = per_run
        self._in_all = in_all
        self._counts: dict[str, int] = {}
        self.total = 0

    @contextmanager
    def reading(self, run_id: str) -> Iterator[None]:
        """Hold one place. Raises 429 when there is none."""
        count = self._counts.get(run_id, 0)
        if count >= self._per_run:
            raise self._full(f"{self._per_run} readers are watching this run already.")
        if self.total >= self._in_all:
            raise self._full(f"{self._in_all} readers are here already.")
        self._counts[run_id] = count + 1
        self.total += 1
        try:
            yield
        finally:
            self.total -= 1
            left = self._counts[run_id] - 1
            if left:
                self._counts[run_id] = left
            else:
                del self._counts[run_id]

    @staticmethod
    def _full(detail: str) -> Problem:
        return retry_later(429, "too_many_readers", detail + " Please try again a little later.", 10.0)
