"""The line to Redis: scripts, reads that wait for more, and whether anybody is at the other end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

logger = structlog.get_logger(__name__)

ANSWER_SECONDS = 1.0
"""A Redis that has not answered by then is taken to be away: nobody waits longer for it."""
BLOCK_SECONDS = 2.0
_UNFIT = ("OOM", "MISCONF", "BUSY", "LOADING", "READONLY", "MASTERDOWN")
"""It answers, but that it cannot write just now (no memory, no disk, no master): the same as being away."""
_GONE = (ConnectionError, RedisTimeoutError, OSError)


class RedisGone(Exception):
    """Redis does not answer just now."""


class Link:
    """Commands and scripts for one Redis. While it is away every call fails at once, but for the heartbeat's, which
    finds it again."""

    def __init__(self, url: str) -> None:
        self._client = self._connect(url, ANSWER_SECONDS)
        self._reader = self._connect(url, BLOCK_SECONDS + ANSWER_SECONDS)
        self._scripts: dict[str, Any] = {}
        self._up = asyncio.Event()
        self._up.set()
        self.up_since = time.monotonic()
        self.num_losses = 0
        """How often Redis went away."""

    @staticmethod
    def _connect(url: str, seconds: float) -> Redis:
        # One try more: a pooled connection may have died with the last Redis.
        return Redis.from_url(
            url,
            protocol=2,
            socket_timeout=seconds,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        )

    @property
    def up(self) -> bool:
        """Redis answered when it was last asked."""
        return self._up.is_set()

    async def wait_up(self) -> None:
        """Until Redis answers."""
        await self._up.wait()

    async def script(self, source: str, *arguments: str | bytes | float, probing: bool = False) -> Any:  # noqa: ANN401
        """Run a script. Raises RedisGone; ``probing`` asks even a Redis that is known to be away."""
        if source not in self._scripts:
            self._scripts[source] = self._client.register_script(source)
        return await self._ask(lambda: self._scripts[source](args=arguments), probing)

    async def command(self, *words: str | bytes | float) -> Any:  # noqa: ANN401
        """Run a command. Raises RedisGone."""
        return await self._ask(lambda: self._client.execute_command(*words), False)  # type: ignore[no-untyped-call]

    async def read(self, stream: str, after: str) -> list[tuple[str, dict[bytes, bytes]]]:
        """Entries of a Stream beyond the id ``after``: waits a while for the first. Raises RedisGone."""
        block = int(BLOCK_SECONDS * 1000)
        found = await self._ask(lambda: self._reader.xread({stream: after}, block=block, count=256), False)
        return [(entry.decode(), fields) for _, entries in found or [] for entry, fields in entries]

    async def _ask(self, call: Any, probing: bool) -> Any:  # noqa: ANN401
        if not (self.up or probing):
            raise RedisGone
        try:
            answer = await call()
        except AuthenticationError:
            raise
        except (*_GONE, ResponseError) as error:
            if isinstance(error, ResponseError) and not str(error).startswith(_UNFIT):
                raise
            if self.up:
                self._up.clear()
                self.num_losses += 1
                logger.warning("redis.gone", error=str(error))
            raise RedisGone from error
        if not self.up:
            self._up.set()
            self.up_since = time.monotonic()
            logger.info("redis.back")
        return answer

    async def close(self) -> None:
        """Hang up."""
        for client in (self._client, self._reader):
            try:
                await client.aclose()
            except RedisError:
                pass
