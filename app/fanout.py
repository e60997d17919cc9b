"""One log to many sockets. Readers stand at positions; those in step are sent the very same bytes.

A tick gathers what was published since the last one into a frame and writes it to everybody who keeps up. Who does not
is left alone until it has taken what waits for it, gets all that came meanwhile in larger frames, and is dropped with
the place to resume if it takes nothing at all for too long. Nobody waits for anybody: no reader has a task, a queue or
a timer of its own, but for the timer of one who has stopped reading.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

import structlog

from app.broadcast import Broadcast, FrameClock, frame_text
from app.wire import Frame, Wire

logger = structlog.get_logger(__name__)

ENDED = 1000
UNREADABLE = 1011
TOO_SLOW = 4408
CACHED_FRAMES = 32
"""The last ones used. Those who come late, or come back, read the same frames from the first on."""


class Reader:
    """A socket's place in a log."""

    def __init__(self, wire: Wire, position: int) -> None:
        self.wire = wire
        self.position = position
        """Lines that it was sent, all from the first on."""
        self.deadline: asyncio.TimerHandle | None = None
        self.num_unsent_bytes = 0
        """When it was last looked at, while it takes nothing."""


class Fanout:
    """The sockets that follow one log."""

    def __init__(self, log: Broadcast, clock: FrameClock, stall_seconds: float) -> None:
        self._log = log
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._loop = asyncio.get_running_loop()
        self._readers: set[Reader] = set()
        self._frames: OrderedDict[tuple[int, int], Frame] = OrderedDict()
        self._next_tick: asyncio.TimerHandle | None = None
        self._last_tick = 0.0

    @classmethod
    def of(cls, log: Broadcast, clock: FrameClock, stall_seconds: float) -> Fanout:
        """That of this log, made for its first reader and gone with its last."""
        if not isinstance(log.audience, Fanout):
            log.audience = cls(log, clock, stall_seconds)
        return log.audience

    def join(self, wire: Wire, after: int) -> Reader:
        """Begin to follow: what is there already leaves at once."""
        reader = Reader(wire, after)
        self._readers.add(reader)
        wire.on_pause = lambda: self._watch(reader)
        wire.on_resume = lambda: self._resume(reader)
        self._advance(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """It is gone. May be said twice: a reader who is dropped leaves before its connection has ended."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        self._unwatch(reader)
        reader.wire.on_pause = reader.wire.on_resume = lambda: None
        if not self._readers:
            self._log.audience = None
            if self._next_tick is not None:
                self._next_tick.cancel()

    # ---- keeping up

    def published(self) -> None:
        """There are more lines: they leave with the next tick, which is now if the last one is long enough ago. The end
        is not waited with."""
        now = self._loop.time()
        due = now if self._log.closed else max(now, self._last_tick + self._clock.window())
        if self._next_tick is None or due < self._next_tick.when():
            if self._next_tick is not None:
                self._next_tick.cancel()
            self._next_tick = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._next_tick = None
        began = time.perf_counter()
        sent = sum(self._advance(reader) for reader in list(self._readers))
        self._clock.note(time.perf_counter() - began, sent)
        # (From the end of this one on: what is published meanwhile gathers for a whole window.)
        self._last_tick = self._loop.time()

    def _advance(self, reader: Reader) -> bool:
        """Send one frame, and see to the next if that is not all there is. False if none could be sent."""
        wire, log = reader.wire, self._log
        if wire.is_paused or not wire.is_open or reader not in self._readers:
            return False
        is_news = reader.position < len(log.lines)
        if is_news:
            try:
                stop = log.batch_end(reader.position)
                frame = self._frame(reader.position, stop)
            except OSError as error:
                logger.error("log.unreadable", error=str(error))
                wire.drop(UNREADABLE, "this log can no longer be read")
                self.leave(reader)
                return False
            wire.write(frame)
            reader.position = stop
            self._clock.num_frames += 1
            self._clock.num_bytes += len(frame.text)
        if reader.position < len(log.lines):
            if not wire.is_paused:
                self._loop.call_soon(self._advance, reader)
        elif log.closed:
            wire.end(ENDED)
        return is_news

    def _frame(self, start: int, stop: int) -> Frame:
        frame = self._frames.pop((start, stop), None)
        if frame is None:
            frame = Frame(frame_text(start + 1, self._log.lines[start:stop]))
            while len(self._frames) >= CACHED_FRAMES:
                self._frames.popitem(last=False)
        self._frames[start, stop] = frame
        return frame

    # ---- not keeping up

    def _watch(self, reader: Reader) -> None:
        reader.num_unsent_bytes = reader.wire.num_unsent_bytes
        reader.deadline = self._loop.call_later(self._stall_seconds, self._judge, reader)

    def _unwatch(self, reader: Reader) -> None:
        if reader.deadline is not None:
            reader.deadline.cancel()
            reader.deadline = None

    def _resume(self, reader: Reader) -> None:
        self._unwatch(reader)
        # (Not here: the transport is in the middle of its own work.)
        self._loop.call_soon(self._advance, reader)

    def _judge(self, reader: Reader) -> None:
        """It has been slow for long. Who takes anything at all may go on."""
        if reader.wire.num_unsent_bytes < reader.num_unsent_bytes:
            self._watch(reader)
            return
        reader.deadline = None
        self._clock.num_dropped += 1
        reader.wire.drop(TOO_SLOW, f"too slow; resume with after={reader.position}")
        self.leave(reader)
