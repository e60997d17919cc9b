"""A run and its log: projected, stamped, written to disk, and only then shown."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from app.broadcast import Broadcast
from app.lines import Lines, OpenFile
from app.projection import HouseProjection, Projection
from app.summary import Summary
from inference.events import (
    PROVIDES,
    AnyEvent,
    CloseReason,
    LogClosed,
    LogOpened,
    RequestFinished,
    RequestQueued,
    Source,
    decode,
    encode,
)
from inference.messages import Ready
from inference.probes import Probes
from inference.takes import Take

logger = structlog.get_logger(__name__)


class LogFile:
    """The log on disk: whole lines, each in the operating system's hands before any reader sees it (so that it
    survives us, though not a power cut)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open_file: OpenFile | None = OpenFile(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._length = os.fstat(self.open_file.descriptor).st_size

    def append(self, lines: list[bytes]) -> None:
        """Write the lines, newlines added: all of them or, with OSError, none."""
        if self.open_file is None:
            raise OSError(errno.EBADF, "the log is closed")
        descriptor = self.open_file.descriptor
        data = b"".join(line + b"\n" for line in lines)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            # A full disk takes a part of what it is given.
            os.ftruncate(descriptor, self._length)
            raise
        self._length += len(data)

    def close(self) -> None:
        """No more lines. May be called twice."""
        self.open_file = None


@dataclass(frozen=True)
class Lineage:
    """Whose take a run is, and which."""

    parent: str
    take: Take


class RunLog:
    """The log of one run while it lives.

    ``seq`` counts from 1 without gaps; ``t`` is seconds since the run was asked for (a take that is cooked apart: since
    its turn came) and never decreases; ``log.opened``
    comes first (once the engine is known, or when it is known that it never will be) and ``log.closed`` last.
    """

    def __init__(
        self,
        run_id: str,
        file: LogFile,
        params: dict[str, Any],
        probes: Probes,
        *,
        source: Source = "live",
        lineage: Lineage | None = None,
        keep_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        """``keep_bytes``: of its lines that stay in memory; those before are read back from the file."""
        self.run_id = run_id
        self._source: Source = source
        self.broadcast = Broadcast(Lines(file=file.open_file, keep_bytes=keep_bytes))
        self.summary = Summary(run_id)
        self.opened_at = time.time()
        self._zero = time.monotonic()
        self._file = file
        self.params = params
        self._provides = [fact for fact in PROVIDES if not fact.startswith("probe.") or fact[6:] in probes.names]
        self._lineage = lineage
        self._knobs = lineage.take.knobs if lineage else {}
        self.is_apart = lineage is not None and lineage.take.apart
        """Cooked by a second engine: it hears of that one alone, opens when that one is known and ends when all that
        it had to do is done."""
        self._projection = HouseProjection(run_id) if self.is_apart else Projection(run_id)
        self._seq = 0
        self._t = 0.0
        self.is_whole = True
        """The file has every line that readers saw. Without its end it is healed at the next start."""

    @property
    def is_open(self) -> bool:
        """``log.opened`` has been written."""
        return self._seq > 0

    @property
    def is_closed(self) -> bool:
        """``log.closed`` has been written."""
        return self.broadcast.closed

    def backdate(self, seconds: float) -> None:
        """It was asked for this long ago, at another replica."""
        self.opened_at -= seconds
        self._zero -= seconds

    @property
    def age(self) -> float:
        """Seconds since the run was asked for."""
        return time.monotonic() - self._zero

    def open_take(self, ready: Ready, knobs: dict[str, Any], began: float) -> None:
        """``open`` for a take that is cooked apart, whose turn came at ``began`` on our clock: the wait for it, and the
        making of other weights, are no part of its log."""
        self.opened_at += began - self._zero
        self._zero = began
        self._knobs = knobs
        self.open(ready)

    def open(self, ready: Ready | None) -> None:
        """Write ``log.opened``: about the engine that answers, or with nulls where none ever came up."""
        if self.is_open:
            return
        if ready and ready.engine and isinstance(self._projection, Projection):
            self._projection.guests.block_size = ready.engine.block_size
        event = LogOpened(
            run_id=self.run_id,
            source=self._source,
            opened_at=self.opened_at,
            model=ready.model if ready else None,
            hardware=ready.hardware if ready else None,
            engine=ready.engine if ready else None,
            software=ready.software if ready else None,
            params=self.params,
            provides=self._known(ready) if ready else [],
            parent=self._lineage.parent if self._lineage else None,
            take=self._lineage.take.name if self._lineage else None,
            knobs=self._knobs,
        )
        self._write([self._stamp(event, 0.0)])

    def _known(self, ready: Ready) -> list[str]:
        """What of ``PROVIDES`` this engine can say about this run."""
        return [fact for fact in self._provides if fact != "speculation" or ready.engine.drafter is not None]

    def wait(self, position: int, num_waiting: int, detail: str = "") -> None:
        """Say where it stands in the line before the engine's, if that is news and the log is open."""
        if self.is_open and not self.is_closed and (detail or self.summary.position != position):
            event = RequestQueued(request_id=self.run_id, position=position, num_waiting=num_waiting, detail=detail)
            self._write([self._stamp(event, self.age)])

    def project(self, events: Iterable[AnyEvent], clock_offset: float, num_behind: int = 0) -> None:
        """Take in what the engine said (bare, in its order). ``clock_offset`` is added to the engine's clock to get
        ours; ``num_behind`` wait in the line before the engine's, of whom it does not know. Closes the log after the
        batch in which the last sample of the run's own request finished; that of a take which is cooked apart is closed
        by who cooks it."""
        if self.is_closed:
            return
        lines: list[bytes] = []
        finished: RequestFinished | None = None
        for event in events:
            projected = self._projection.project(event)
            if projected is None:
                continue
            if isinstance(projected, RequestQueued) and not self.is_apart:
                projected = replace(projected, num_waiting=projected.num_waiting + num_behind)
            lines.append(self._stamp(projected, event.t + clock_offset - self._zero))
            if isinstance(projected, RequestFinished) and projected.request_id == self.run_id and not self.is_apart:
                finished = projected if projected.num_samples_left == 0 else None
        if finished is not None:
            reason, detail = close_reason(finished)
            self._write([*lines, self._closing(reason, detail)], last=True)
        elif lines:
            self._write(lines)

    def close(self, reason: CloseReason, detail: str) -> None:
        """Write ``log.closed``, ``log.opened`` before it if that is still owed. Does nothing on a closed log."""
        if self.is_closed:
            return
        self.open(None)
        if not self.is_closed:  # (a disk that does not take the first line has closed it already)
            self._write([self._closing(reason, detail)], last=True)

    def give_up(self) -> None:
        """Something went wrong with this log that nobody foresaw: it ends, for its readers and in memory alone. What
        the file lacks it gets at the next start. Does nothing on a closed log."""
        if self.is_closed:
            return
        self._file.close()
        self.is_whole = False
        self._seq = len(self.broadcast.lines)
        self.open(None)
        if not self.is_closed:
            detail = "The kitchen made a mistake with this run and had to end it."
            self.broadcast.publish([self._closing("error", detail)], last=True)

    def _closing(self, reason: CloseReason, detail: str) -> bytes:
        seconds = max(self._t, time.monotonic() - self._zero)
        totals = replace(self.summary.totals, seconds=round(seconds, 6))
        return self._stamp(LogClosed(reason=reason, detail=detail, totals=totals), seconds)

    def _stamp(self, event: AnyEvent, t: float) -> bytes:
        self._seq += 1
        self._t = max(self._t, round(t, 6))
        stamped = replace(event, seq=self._seq, t=self._t)
        self.summary.apply(stamped)
        return encode(stamped)

    def _write(self, lines: list[bytes], *, last: bool = False) -> None:
        try:
            self._file.append(lines)
        except OSError as error:
            # What is not on disk is not shown: the log ends here, at the last line that both have.
            logger.error("log.unwritable", error=str(error))
            lines, last = self._closing_instead(lines), True
        if last:
            self._file.close()
        self.broadcast.publish(lines, last=last)

    def _closing_instead(self, lines: list[bytes]) -> list[bytes]:
        """The end of a log whose ``lines`` could not be written. Its readers are told why even where the disk does not
        take that either; nobody is told of a log without its first line, so that one is kept."""
        kept = lines[:1] if not self.broadcast.lines else []
        try:
            self.summary.replay(decode(line) for line in [*self.broadcast.lines, *kept])
        except OSError as error:
            # (Nor can it be read: what was not written stays counted.)
            logger.error("log.unreadable", error=str(error))
        self._seq = len(self.broadcast.lines) + len(kept)
        ending = [*kept, self._closing("error", "The kitchen could not write this run's log (its disk may be full).")]
        try:
            self._file.append(ending)
        except OSError:
            self.is_whole = False
        return ending


def close_reason(finished: RequestFinished) -> tuple[CloseReason, str]:
    """Why a log ends whose request ended with this, its last sample."""
    if finished.reason == "aborted":
        return "stopped", finished.detail or "Stopped by the one who asked."
    if finished.reason == "error":
        return "error", finished.detail or "The engine could not go on with this request."
    return "finished", finished.detail


def read_summary(run_id: str, lines: Iterable[bytes]) -> Summary:
    """The summary of a log that lies on disk."""
    summary = Summary(run_id)
    for line in lines:
        summary.apply(decode(line))
    return summary


@dataclass(eq=False)
class Run:
    """A run that readers can follow: live, or read back from disk (then ``log`` is None)."""

    run_id: str
    creator: str
    """Digest of the creator's cookie."""
    broadcast: Broadcast
    summary: Summary
    log: RunLog | None = None
    address: str = ""
    """Of the caller, for limits; only while it lives, never on disk."""

    @property
    def is_live(self) -> bool:
        """Something may still be added to its log."""
        return not self.broadcast.closed

    @property
    def num_samples(self) -> int:
        """Seats in the engine that it will want."""
        params = self.log.params if self.log is not None else {}
        return int(params.get("n") or 1)

    @property
    def is_waiting(self) -> bool:
        """In the line before the engine."""
        return self.is_live and self.summary.status in ("warming", "queued")
