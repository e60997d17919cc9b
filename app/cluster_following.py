"""Runs that cook, or wait, at other replicas and are read at this one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from app.broadcast import Broadcast
from app.cluster_line import LINES, SharedLine
from app.cluster_link import Link, RedisGone
from app.cluster_log import Inbound, Record
from app.cluster_shelf import Shelf
from app.problems import retry_later
from app.run_store import RunStore
from app.runs import Run
from app.summary import Summary

ASK_AGAIN_SECONDS = 5.0


class Following:
    """Each has a ``Broadcast`` that its Stream feeds, so whoever reads it need not know where it comes from."""

    def __init__(
        self,
        link: Link,
        line: SharedLine,
        shelf: Shelf,
        store: RunStore,
        on_begun: Callable[[str], None],
        lost_seconds: float,
    ) -> None:
        self._link = link
        self._line = line
        self._shelf = shelf
        self._store = store
        self._on_begun = on_begun
        self._lost_seconds = lost_seconds
        self.on_lost: Callable[[Run], Awaitable[None]] | None = None
        """Who ends a run of which only its readers here know (set by ``cluster.py``)."""
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def find(self, run_id: str) -> Run | None:
        """A run that is not on this replica's disk. Raises 503 where nobody can say."""
        if run_id in self._runs:
            return self._runs[run_id]
        try:
            record = await self._line.record(run_id)
            if record is not None:
                run = self.follow(run_id, record)
                await self._read_so_far(run)
                return run
            if await self._shelf.take(run_id):
                return await self._store.find_here(run_id)
        except RedisGone:
            detail = "This run is not here, and the other kitchens cannot be asked just now."
            raise retry_later(503, "cluster_apart", detail, ASK_AGAIN_SECONDS) from None
        return None

    async def _read_so_far(self, run: Run) -> None:
        """What is there already, so that the first look at a run shows it."""
        entries = await self._link.command("XRANGE", f"kitchen:log:{run.run_id}", "-", "+")
        inbound = Inbound(self._link, run.run_id, run.broadcast, run.summary)
        for _, fields in entries:
            inbound.take_entry(fields)

    def follow(self, run_id: str, record: Record) -> Run:
        """A run whose log is, or will be, written at another replica."""
        if run_id in self._runs:
            return self._runs[run_id]
        run = Run(run_id, record.creator, Broadcast(), Summary(run_id), address=record.address)
        run.summary.status = "queued"
        self._runs[run_id] = run
        self._tasks[run_id] = asyncio.create_task(self._keep_following(run))
        return run

    def leave(self, run_id: str) -> Run | None:
        """It is none of these any more. Returns what readers here had of it."""
        task = self._tasks.pop(run_id, None)
        if task is not None:
            task.cancel()
        return self._runs.pop(run_id, None)

    async def _keep_following(self, run: Run) -> None:
        inbound = Inbound(self._link, run.run_id, run.broadcast, run.summary, lambda: self._on_begun(run.run_id))
        known_at = time.monotonic()
        while not await inbound.carry():
            try:
                if await self._link.command("HEXISTS", "kitchen:runs", run.run_id):
                    known_at = time.monotonic()
                elif await self._shelf.take(run.run_id):
                    whole = await self._store.find_here(run.run_id)
                    if whole is not None:
                        inbound.take(1, whole.broadcast.lines[:], last=True)
                elif self.on_lost is not None and self._seconds_since(known_at) > self._lost_seconds:
                    await self.on_lost(run)
            except RedisGone:
                continue

    def _seconds_since(self, moment: float) -> float:
        """Of those in which Redis could have told: who cooks a run has as long to put it back."""
        return time.monotonic() - max(moment, self._link.up_since)

    def forget_settled(self) -> None:
        """Runs that closed at other replicas, and are on this one's disk now, are found there."""
        for run_id, run in list(self._runs.items()):
            if run.broadcast.closed and self._store.index.get(run_id) is not None:
                self.leave(run_id)

    async def tell_places(self) -> None:
        """Each run that waits and is looked at here learns its place. Raises RedisGone."""
        self.forget_settled()
        waiting = {run.run_id: run for run in self._runs.values() if run.is_waiting and not run.broadcast.lines}
        if not waiting:
            return
        for line in LINES:
            standing = await self._line.standing(line)
            for place, run_id in enumerate(standing):
                if run_id in waiting:
                    summary = waiting.pop(run_id).summary
                    summary.status, summary.position, summary.num_waiting = "queued", place, len(standing)
        for run in waiting.values():
            run.summary.position = None

    def close(self) -> None:
        """Follow nothing any more."""
        for run_id in list(self._runs):
            self.leave(run_id)
