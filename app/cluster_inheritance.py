"""What a dead replica leaves: runs to be ended, or cooked by another."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog

from app.cluster_line import SharedLine
from app.cluster_link import Link
from app.cluster_log import KEPT_SECONDS, Record
from app.cluster_scripts import APPEND, CLAIM
from app.cluster_shelf import Shelf
from app.run_files import About, Ended, close_orphan
from app.runs import Run, read_summary

logger = structlog.get_logger(__name__)


class Inheritance:
    """Claimed by one survivor at a time; who dies over it leaves it to the next."""

    def __init__(
        self,
        link: Link,
        name: str,
        line: SharedLine,
        shelf: Shelf,
        insist: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._link = link
        self._name = name
        self._line = line
        self._shelf = shelf
        self._insist = insist
        self._burying: set[str] = set()
        self._ending: set[str] = set()

    def bury(self, dead: str) -> None:
        """A replica's lease has ended: claim what it cooked, if nobody has."""
        if dead not in self._burying:
            self._burying.add(dead)
            self._insist(lambda: self._claim(dead))

    async def _claim(self, dead: str) -> None:
        claimed = await self._link.script(CLAIM, self._name, dead)
        self._burying.discard(dead)
        if claimed:
            logger.warning("cluster.replica_dead", runs=len(claimed))
        # (Where Redis goes away in the middle of this, ``settle`` is asked again.)
        for run_id in claimed:
            await self.settle(run_id.decode())

    async def settle(self, run_id: str) -> None:
        """A run that is ours now and that nobody cooks: to the line again, or to its end."""
        if run_id in self._ending:
            return
        self._ending.add(run_id)
        try:
            if not await self._line.put_back(run_id):
                await self._end(run_id)
        finally:
            self._ending.discard(run_id)

    async def _end(self, run_id: str) -> None:
        """End a run that is ours now and nobody cooks any more, where its Stream ends."""
        record_text = await self._link.command("HGET", "kitchen:runs", run_id)
        if record_text is None:
            return
        record = msgspec.json.decode(record_text, type=Record)
        lines: list[bytes] = []
        whole = False
        for _, fields in await self._entries(run_id):
            lines += fields[b"lines"].split(b"\n")
            whole = fields[b"last"] == b"1"
        if not whole:
            known = len(lines)
            lines = await asyncio.to_thread(_with_end, run_id, lines)
            ending = lines[known:]
            answer = await self._link.script(
                APPEND, run_id, self._name, record_text, known + 1, len(lines), b"\n".join(ending), 1, KEPT_SECONDS
            )
            if answer != [b"has", len(lines)]:
                return
        about, packed = await asyncio.to_thread(_closed_copy, run_id, record, lines)
        await self._shelf.place(run_id, self._name, about, packed)
        logger.info("run.interrupted_elsewhere", events=len(lines))

    async def rescue(self, run: Run) -> None:
        """Redis lost it, and so did we who cooked it: what readers here have seen of it becomes its log. Raises
        RedisGone."""
        lines = await asyncio.to_thread(_with_end, run.run_id, run.broadcast.lines[:])
        record = Record(creator=run.creator, address=run.address, asked_at=time.time(), owner=self._name)
        answer = await self._link.script(
            APPEND,
            run.run_id,
            self._name,
            msgspec.json.encode(record),
            1,
            len(lines),
            b"\n".join(lines),
            1,
            KEPT_SECONDS,
        )
        if answer == [b"has", len(lines)]:
            await self._shelf.place(run.run_id, self._name, *_closed_copy(run.run_id, record, lines))

    async def _entries(self, run_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found: list[tuple[bytes, dict[bytes, bytes]]] = await self._link.command(
            "XRANGE", f"kitchen:log:{run_id}", "-", "+"
        )
        return found


def _with_end(run_id: str, lines: list[bytes]) -> list[bytes]:
    """The log with its end, as the start of a kitchen would have healed it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"{run_id}.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        close_orphan(run_id, path)
        return path.read_bytes().splitlines()


def _closed_copy(run_id: str, record: Record, lines: list[bytes]) -> tuple[bytes, bytes]:
    """What is kept beside a log that another replica began, and the log, packed."""
    summary = read_summary(run_id, lines)
    opened = summary.opened
    about = About(
        creator=record.creator,
        created_at=record.asked_at,
        parent=opened.parent or "" if opened else "",
        take=opened.take or "" if opened else "",
        ended=Ended.of(summary),
    )
    return msgspec.json.encode(about), gzip.compress(b"\n".join([*lines, b""]), 6, mtime=0)
