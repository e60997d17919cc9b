"""How much one caller, and all of them together, may ask for: rates by the ``limits`` library, readers by counting."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from app.problems import Problem, retry_later

logger = structlog.get_logger(__name__)

NUM_CALLERS = 20_000
"""Callers are counted under so many names, so that memory is bounded; two who share one by chance share a limit."""
REDIS_SECONDS = 0.5
"""How long a Redis may take to answer before this process counts by itself ..."""
AWAY_SECONDS = 5.0
"""... and for how long it then does."""
_KIB = 1024


class Rates:
    """What callers send: runs (and takes) asked for, and bytes of bodies; each per caller and of everybody.

    A limit of ``burst`` and ``per_minute`` is ``burst`` in a window of ``burst / per_minute`` minutes that opens with a
    caller's first request: so a refusal ends when its window does, which ``Retry-After`` says to the second. With a
    Redis the windows are shared by all replicas; while it does not answer each counts for itself.
    """

    def __init__(
        self,
        *,
        secret: Callable[[], bytes] = bytes,
        redis_url: str = "",
        per_minute: float,
        burst: int,
        per_minute_in_all: float,
        bytes_per_minute: int,
        bytes_per_minute_in_all: int,
    ) -> None:
        self._secret = secret
        self._own = FixedWindowRateLimiter(storage_from_string("async+memory://"))
        self._shared = FixedWindowRateLimiter(_redis(redis_url)) if redis_url else None
        self._away_until = 0.0
        self._posts = _limit("posts", burst, 60.0 * burst / per_minute)
        self._all_posts = _limit("all-posts", per_minute_in_all, 60.0)
        self._bytes = _limit("bytes", bytes_per_minute / _KIB, 60.0)
        self._all_bytes = _limit("all-bytes", bytes_per_minute_in_all / _KIB, 60.0)

    async def post(self, address: str) -> None:
        """Count one request. Raises 429 with the seconds until the next one is welcome."""
        # (The caller's own limit first: what it is refused must not use up what is everybody's.)
        await self._count(self._posts, self._name(address), 1, "That is a lot of prompts at once.")
        await self._count(self._all_posts, "", 1, "A lot of people are asking just now.")

    async def body(self, address: str, size: int) -> None:
        """Count the bytes of a request's body. Raises 429."""
        cost = -(-size // _KIB)
        await self._count(self._bytes, self._name(address), cost, "That is a lot to read at once.")
        await self._count(self._all_bytes, "", cost, "A lot of people are asking just now.")

    def _name(self, address: str) -> str:
        """What a caller is counted under: no address, which would be nobody's business in a shared store."""
        digest = hashlib.blake2b(address.encode(), key=self._secret()[:64], digest_size=8).digest()
        return str(int.from_bytes(digest) % NUM_CALLERS)

    async def _count(self, limit: RateLimitItem, name: str, cost: int, words: str) -> None:
        try:
            left = await self._seconds_left_by_all(limit, name, cost)
        except (StorageError, OSError, TimeoutError) as error:
            logger.warning("limits.unshared", kind=type(error).__name__)
            self._away_until = time.monotonic() + AWAY_SECONDS
            left = await self._seconds_left(self._own, limit, name, cost)
        if left is not None:
            raise retry_later(429, "too_many_requests", f"{words} Please wait a moment.", left)

    async def _seconds_left_by_all(self, limit: RateLimitItem, name: str, cost: int) -> float | None:
        if self._shared is None or time.monotonic() < self._away_until:
            return await self._seconds_left(self._own, limit, name, cost)
        return await asyncio.wait_for(self._seconds_left(self._shared, limit, name, cost), REDIS_SECONDS)

    @staticmethod
    async def _seconds_left(
        limiter: FixedWindowRateLimiter, limit: RateLimitItem, name: str, cost: int
    ) -> float | None:
        """Take ``cost``; or, where that is too much, the seconds until the window ends."""
        if await limiter.hit(limit, name, cost=cost):
            return None
        left = (await limiter.get_window_stats(limit, name)).reset_time - time.time()
        if left <= limit.get_expiry():
            return left
        # The clock was put back meanwhile, and the window would last until it is caught up with.
        await limiter.clear(limit, name)
        return None if await limiter.hit(limit, name, cost=cost) else float(limit.get_expiry())


def _limit(name: str, amount: float, seconds: float) -> RateLimitItem:
    """``amount`` in a window of ``seconds``. A window has whole seconds, so one that would be shorter is a second, and
    holds more."""
    whole = max(1, round(seconds))
    return RateLimitItemPerSecond(max(1, round(amount * whole / seconds)), whole, namespace=f"openkitchen-{name}")


def _redis(url: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    return storage_from_string(
        f"async+{url}",
        implementation="redispy",
        wrap_exceptions=True,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
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
