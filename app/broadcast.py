"""One log, many readers. A reader is a position in a list of lines, so a slow one holds nothing and delays nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import accumulate
from typing import Protocol

from app.lines import Lines

MAX_FRAME_EVENTS = 512
MAX_FRAME_BYTES = 256 * 1024
MAX_FRAME_SECONDS = 0.25
READING_SHARE = 0.2
"""Of the event loop's time that readers may take before their frames widen."""


class Audience(Protocol):
    """Who is told, at once and in the same thread, that there is more (``fanout.py``)."""

    def published(self) -> None:
        """There are more lines, or there will be none."""


class Broadcast:
    """The lines of a log (one encoded event each; line ``i`` has ``seq`` ``i + 1``) and who waits for the next."""

    def __init__(self, lines: Lines | list[bytes] | None = None, *, closed: bool = False) -> None:
        self.lines = lines if isinstance(lines, Lines) else Lines(lines or ())
        self.closed = closed
        self.audience: Audience | None = None
        self._changed = asyncio.Event()

    def publish(self, lines: list[bytes], *, last: bool = False) -> None:
        """Append, and wake the readers. ``last``: nothing will follow."""
        self.lines.extend(lines)
        self.closed = self.closed or last
        if last:
            self.lines.end()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if self.audience is not None:
            self.audience.published()

    async def wait_beyond(self, count: int) -> bool:
        """Wait until there are more than ``count`` lines; False when there never will be."""
        while len(self.lines) <= count:
            if self.closed:
                return False
            await self._changed.wait()
        return True

    def batch_end(self, position: int) -> int:
        """Where a frame from ``position`` on ends: no more than one should carry, and at least one line if there is
        one. A long way is cut at the same places whoever goes it, so that frames of many are the same."""
        stop = min(len(self.lines), (position // MAX_FRAME_EVENTS + 1) * MAX_FRAME_EVENTS)
        for count, size in enumerate(accumulate(map(len, self.lines[position:stop])), start=1):
            if size > MAX_FRAME_BYTES:
                return position + max(1, count - 1)
        return max(position, stop)

    def batch(self, position: int) -> list[bytes]:
        """The lines of the frame from ``position`` on."""
        return self.lines[position : self.batch_end(position)]


class FrameClock:
    """How long readers' events are gathered before the next frame."""

    def __init__(self, seconds: float, num_readers: Callable[[], int]) -> None:
        self._seconds = seconds
        self._num_readers = num_readers
        self._per_frame = 20e-6
        """Seconds that one frame to one reader takes, as lately measured; where the machine is busy, longer."""
        self.num_frames = 0
        self.num_bytes = 0
        self.num_dropped = 0
        """Readers who took nothing for too long."""

    def note(self, seconds: float, num_frames: int) -> None:
        """So many frames were written in so long."""
        if num_frames:
            weight = num_frames / (num_frames + 100)
            self._per_frame += weight * (seconds / num_frames - self._per_frame)

    def window(self) -> float:
        """Seconds: what was asked for, wider where readers would take more than their share of the event loop. Larger
        frames, never fewer events."""
        return min(MAX_FRAME_SECONDS, max(self._seconds, self._num_readers() * self._per_frame / READING_SHARE))


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


def frame_text(first_seq: int, lines: list[bytes]) -> bytes:
    """One ``trace.v1`` frame."""
    return b'{"v":1,"seq":%d,"events":[%b]}' % (first_seq, b",".join(lines))
