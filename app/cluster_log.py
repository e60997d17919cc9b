"""A run's log through Redis: from the replica that cooks it, to all that have readers of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from app.broadcast import Broadcast
from app.cluster_link import Link, RedisGone
from app.cluster_scripts import APPEND
from app.runs import Run
from app.summary import Summary
from inference.events import decode

KEPT_SECONDS = 24 * 3600
"""A Stream that nobody adds to any more goes by itself, whatever became of its replicas."""
MAX_BATCH_LINES = 512


class Record(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What replicas know of a run while it lives (the scripts read it too)."""

    creator: str
    address: str
    """A digest: enough to count by."""
    asked_at: float
    """Unix seconds, of the clock in Redis."""
    poster: str = ""
    """The replica that took it from its visitor."""
    apart: bool = False
    parent: str = ""
    owner: str | None = None
    """The replica that cooks it; None while it waits."""
    tries: int = 0


class TakenOver(Exception):
    """Another replica has ended this run in our absence."""


class Outbound:
    """A log that is written here. Its lines go to disk, then to Redis, and then to this replica's readers: so what a
    reader has seen is there for them anywhere, even if this replica dies the moment after. While Redis is away they are
    shown at once, and sent later from where its Stream ends: the log itself is what waits, so nothing else grows."""

    def __init__(self, link: Link, replica: str, run: Run, written: Broadcast, record: Record) -> None:
        self.run = run
        self._link = link
        self._replica = replica
        self._written = written
        self._shown = run.broadcast
        self._record = msgspec.json.encode(record)
        self._sent = 0

    @property
    def num_unsent(self) -> int:
        """Lines that are not in Redis yet."""
        return len(self._written.lines) - self._sent

    async def carry(self) -> None:
        """Until its last line is in Redis. Raises TakenOver."""
        while not (self._written.closed and self._sent == len(self._written.lines)):
            if not self._link.up:
                await self._show_meanwhile()
            elif self._sent < len(self._written.lines):
                try:
                    await self._send()
                except RedisGone:
                    continue
                self._show(self._sent)
            else:
                await self._written.wait_beyond(self._sent)
        self._show(self._sent)

    async def _send(self) -> None:
        lines = self._written.lines[self._sent : self._sent + MAX_BATCH_LINES]
        end = self._sent + len(lines)
        is_last = self._written.closed and end == len(self._written.lines)
        answer = await self._link.script(
            APPEND,
            self.run.run_id,
            self._replica,
            self._record,
            self._sent + 1,
            end,
            b"\n".join(lines),
            int(is_last),
            KEPT_SECONDS,
        )
        if answer[0] == b"lost":
            raise TakenOver
        self._sent = int(answer[1])

    async def _show_meanwhile(self) -> None:
        self._show(len(self._written.lines))
        more = asyncio.create_task(self._written.wait_beyond(len(self._written.lines)))
        back = asyncio.create_task(self._link.wait_up())
        if self._written.closed:
            await back
        await asyncio.wait((more, back), return_when=asyncio.FIRST_COMPLETED)
        for task in (more, back):
            task.cancel()

    def _show(self, end: int) -> None:
        fresh = self._written.lines[len(self._shown.lines) : end]
        last = self._written.closed and end == len(self._written.lines)
        if not self._shown.closed and (fresh or last):
            self._shown.publish(fresh, last=last)


class Inbound:
    """A log that is written elsewhere, for the readers here: one reader of its Stream, however many they are."""

    def __init__(
        self,
        link: Link,
        run_id: str,
        broadcast: Broadcast,
        summary: Summary,
        on_begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._key = f"kitchen:log:{run_id}"
        self._broadcast = broadcast
        self._summary = summary
        self._on_begun = on_begun

    async def carry(self) -> bool:
        """Until its last line is here. False when for a while nothing came: it may have been packed meanwhile."""
        while not self._broadcast.closed:
            try:
                entries = await self._link.read(self._key, f"{len(self._broadcast.lines)}-0")
            except RedisGone:
                await self._link.wait_up()
                continue
            for _, fields in entries:
                self.take_entry(fields)
            if not entries:
                return False
        return True

    def take_entry(self, fields: dict[bytes, bytes]) -> None:
        """One entry of the Stream."""
        self.take(int(fields[b"first"]), fields[b"lines"].split(b"\n"), last=fields[b"last"] == b"1")

    def take(self, first: int, lines: Sequence[bytes], *, last: bool) -> None:
        """What is new of a batch."""
        known = len(self._broadcast.lines)
        if first > known + 1 or self._broadcast.closed:
            return
        fresh = list(lines[known + 1 - first :])
        if known == 0 and fresh:
            self._on_begun()
        for line in fresh:
            self._summary.apply(decode(line))
        self._broadcast.publish(fresh, last=last)
