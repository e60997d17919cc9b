"""Closed logs in common: every replica keeps its own copy of each, and Redis is the shelf over which they come."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from app.cluster_link import Link
from app.cluster_scripts import CHANGE, DISCARD, SHELVE
from app.run_files import About
from app.run_store import RunStore
from app.runs import Run

logger = structlog.get_logger(__name__)


class Shelf:
    """What has closed anywhere is put here, packed, and taken from here to disk by everybody else. So lists, downloads
    and pictures of a run work at any replica from its own files, and a disk that is lost loses no run."""

    def __init__(self, link: Link, store: RunStore, keep_seconds: float) -> None:
        self._link = link
        self._store = store
        self._keep_seconds = int(keep_seconds)
        self._comparing = asyncio.Lock()
        self.changing: set[str] = set()
        """Runs about which something was changed here that the others do not know yet."""

    async def put(self, run: Run, replica: str) -> None:
        """A run that closed here. Raises RedisGone."""
        copy = await asyncio.to_thread(self._store.read_copy, run.run_id)
        if copy is None:  # (deleted while it cooked, or the disk is full)
            await self.discard(run.run_id)
        else:
            await self.place(run.run_id, replica, *copy)

    async def place(self, run_id: str, replica: str, about: bytes, packed: bytes) -> str:
        """The same for a run that need not be on this disk. Raises RedisGone."""
        said: bytes = await self._link.script(SHELVE, run_id, replica, packed, about, self._seconds(about))
        return said.decode()

    def _seconds(self, about: bytes) -> int:
        return 0 if msgspec.json.decode(about, type=About).kept else self._keep_seconds

    async def take(self, run_id: str) -> bool:
        """Bring a run to this replica's disk. False where the shelf has none. Raises RedisGone."""
        about = await self._link.command("HGET", "kitchen:shelf", run_id)
        packed = await self._link.command("GET", f"kitchen:packed:{run_id}") if about else None
        if about is None or packed is None:
            return False
        return await asyncio.to_thread(self._store.adopt, run_id, about, packed)

    async def change(self, run_id: str) -> None:
        """What stands about it was changed here. Raises RedisGone."""
        copy = await asyncio.to_thread(self._store.read_copy, run_id)
        if copy is not None:
            await self._link.script(CHANGE, run_id, copy[0], self._seconds(copy[0]))
        self.changing.discard(run_id)

    async def take_change(self, run_id: str) -> None:
        """What stands about it was changed elsewhere. Raises RedisGone."""
        about = await self._link.command("HGET", "kitchen:shelf", run_id)
        if about is not None:
            await asyncio.to_thread(self._store.adopt, run_id, about, None)

    async def discard(self, run_id: str) -> None:
        """Everywhere and for good. Raises RedisGone."""
        await self._link.script(DISCARD, run_id, self._keep_seconds)

    async def compare(self) -> None:
        """After a time away: fetch what came meanwhile, put back what Redis has lost, and drop what was deleted.
        Raises RedisGone."""
        async with self._comparing:
            there = {run_id.decode() for run_id in await self._link.command("HKEYS", "kitchen:shelf")}
            here = set(await asyncio.to_thread(self._store.closed_ids))
            for run_id in (there - here) | (await self.others(self.changing)):
                if not await self.take(run_id) and not await self._link.command("EXISTS", f"kitchen:packed:{run_id}"):
                    # Its time is over.
                    await self._link.command("HDEL", "kitchen:shelf", run_id)
            for run_id in here - there:
                copy = await asyncio.to_thread(self._store.read_copy, run_id)
                if copy is not None and await self.place(run_id, "", *copy) == "gone":
                    await self._store.delete_here(run_id)

    async def others(self, but: set[str]) -> set[str]:
        """Runs of which this replica has a copy that is not the one on the shelf. Raises RedisGone."""
        shelf = await self._link.command("HGETALL", "kitchen:shelf")

        def differ() -> set[str]:
            found = set()
            for name, about in shelf.items():
                try:
                    own = self._store.files.read_about(run_id := name.decode())
                except OSError:
                    continue
                if own is not None and own != msgspec.json.decode(about, type=About):
                    found.add(run_id)
            return found

        return await asyncio.to_thread(differ) - but
