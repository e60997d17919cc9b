"""One log, many readers. A reader is a position in a list of lines, so a slow one holds nothing and delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import accumulate

MAX_FRAME_EVENTS = 512
MAX_FRAME_BYTES = 256 * 1024
MAX_FRAME_SECONDS = 0.25
SECONDS_PER_READER = 0.0005
"""What a reader costs the event loop per frame, compression included; so frames widen with readers."""


class Broadcast:
    """The lines of a log (one encoded event each; line ``i`` has ``seq`` ``i + 1``) and who waits for the next."""

    def __init__(self, lines: list[bytes] | None = None, *, closed: bool = False) -> None:
        self.lines: list[bytes] = lines if lines is not None else []
        self.closed = closed
        self._changed = asyncio.Event()

    def publish(self, lines: list[bytes], *, last: bool = False) -> None:
        """Append, and wake the readers. ``last``: nothing will follow."""
        self.lines.extend(lines)
        self.closed = self.closed or last
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_beyond(self, count: int) -> bool:
        """Wait until there are more than ``count`` lines; False when there never will be."""
        while len(self.lines) <= count:
            if self.closed:
                return False
            await self._changed.wait()
        return True

    def batch(self, position: int) -> list[bytes]:
        """Lines from ``position`` on, no more than one frame should carry, and at least one if there is one."""
        lines = self.lines[position : position + MAX_FRAME_EVENTS]
        for count, size in enumerate(accumulate(map(len, lines)), start=1):
            if size > MAX_FRAME_BYTES:
                return lines[: max(1, count - 1)]
        return lines


class FrameClock:
    """How long a reader's events are gathered before the next frame."""

    def __init__(self, seconds: float, num_readers: Callable[[], int]) -> None:
        self._seconds = seconds
        self._num_readers = num_readers

    def window(self) -> float:
        """Seconds: what was asked for, wider when many readers share the event loop. Larger frames, never fewer
        events."""
        return min(MAX_FRAME_SECONDS, max(self._seconds, self._num_readers() * SECONDS_PER_READER))


async def frames(
    log: Broadcast, after: int, clock: FrameClock, idle: float | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """``(seq of the first, lines)`` from ``after + 1`` until the log closes. The first frame leaves at once; later ones
    gather for the clock's window. With ``idle``, yields ``(next seq, [])`` after that many seconds without news."""
    position = after
    while True:
        try:
            more = await asyncio.wait_for(log.wait_beyond(position), idle)
        except TimeoutError:
            yield position + 1, []
            continue
        if not more:
            return
        lines = log.batch(position)
        yield position + 1, lines
        position += len(lines)
        if position >= len(log.lines) and not log.closed:
            await asyncio.sleep(clock.window())


def frame_text(first_seq: int, lines: list[bytes]) -> str:
    """One ``trace.v1`` frame."""
    return f'{{"v":1,"seq":{first_seq},"events":[' + b",".join(lines).decode() + "]}"
