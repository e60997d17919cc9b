"""The runs: live ones, closed ones found again on demand, healed at start, and let go when their time is over."""

from __future__ import annotations

import asyncio
import errno
import gzip
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from app.broadcast import Broadcast
from app.run_files import About, Ended, RunFiles, write_private
from app.run_index import Family, Row, RunIndex, row_of
from app.runs import Lineage, LogFile, Run, RunLog, read_summary
from app.steady_clock import SteadyClock
from inference.probes import Probes

logger = structlog.get_logger(__name__)

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_ROWS_AT_ONCE = 500
_FAMILIES_AT_ONCE = 50
_REMEMBERED_DELETIONS = 10_000
_LOOK_SECONDS = 0.5
"""Between two looks whether the index has missed something."""
_BIRTH_SECONDS = 60.0
"""What is written about a run comes before its log; so much later it is a deletion that was cut short."""
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Elsewhere(Protocol):
    """The other replicas of this kitchen (``cluster.py``)."""

    async def find(self, run_id: str) -> Run | None:
        """A run that is not on this disk."""

    def changed(self, run_id: str) -> None:
        """What stands about a closed run is another now."""

    def deleted(self, run_id: str) -> None:
        """This is gone for good, with its takes."""


def new_run_id() -> str:
    """One that nobody can guess: it is the key to read the run."""
    return secrets.token_urlsafe(16)


class RunStore:
    """Runs by id. Live ones are held here until they close; closed ones are read from disk when somebody asks, and the
    last ones asked for stay in memory. The files are the truth; lists and sweeps ask the index."""

    def __init__(
        self,
        data_dir: Path,
        *,
        keep_runs: int,
        keep_days: float,
        cached_bytes: int,
        max_bytes: int = 2**62,
        live_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        self.files = RunFiles(data_dir / "runs")
        self.directory = self.files.directory
        self.index = RunIndex(self.directory / "index.sqlite")
        self._keep_runs = keep_runs
        self._keep_seconds = keep_days * 86_400
        self._max_bytes = max_bytes
        self._clock = SteadyClock()
        self._cached_bytes = cached_bytes
        self.elsewhere: Elsewhere | None = None
        self._live_bytes = live_bytes
        self._live: dict[str, Run] = {}
        self._closed: OrderedDict[str, tuple[Run, int]] = OrderedDict()
        self._disk = threading.Lock()
        """Held by who changes the files of a run that has closed: a deleted one must not come back."""
        self._catching_up = threading.Lock()
        self._deleted: dict[str, None] = {}
        """The last ones: who was reading one meanwhile must not bring it back."""

    def live(self) -> list[Run]:
        """Runs whose logs still grow, oldest first."""
        return list(self._live.values())

    def create(
        self,
        creator: str,
        address: str,
        params: dict[str, Any],
        probes: Probes,
        lineage: Lineage | None = None,
        run_id: str = "",
    ) -> Run:
        """A new run under an id that nobody can guess. Raises OSError when the disk will not have it."""
        run_id = run_id or new_run_id()
        about = About(
            creator=creator,
            created_at=self._clock.now(),
            parent=lineage.parent if lineage else "",
            take=lineage.take.name if lineage else "",
            # (Its parent may have been deleted while it was being asked for.)
            doomed=lineage is not None and lineage.parent in self._deleted,
        )
        try:
            write_private(self.files.about(run_id), msgspec.json.encode(about))
            file = LogFile(self.files.log(run_id))
            log = RunLog(run_id, file, params, probes, lineage=lineage, keep_bytes=self._live_bytes)
        except OSError:
            self.files.delete(run_id)
            raise
        run = Run(run_id, creator, log.broadcast, log.summary, log, address)
        self._live[run_id] = run
        self._put(run_id, about)
        return run

    def discard(self, run: Run) -> None:
        """Forget a run that was refused after all; nobody has been told of it."""
        self._live.pop(run.run_id, None)
        if run.log is not None and not run.log.is_closed:
            run.log.close("rejected", "")
        self.files.delete(run.run_id)
        self.index.drop([run.run_id])

    async def settle(self, run: Run) -> None:
        """A live run has closed: keep it in memory as a closed one, and pack its file, unless its end is missing there
        (then the next start writes it)."""
        if self._live.pop(run.run_id, None) is None:
            return
        self._remember(Run(run.run_id, run.creator, run.broadcast, run.summary))
        if run.log is None or run.log.is_whole:
            await asyncio.to_thread(self._settle_files, run)
            self._forget([run.run_id] if run.run_id in self._deleted else [])
        if self.index.total_bytes() > self._max_bytes:
            await self.sweep()

    def _settle_files(self, run: Run) -> None:
        # (Packing takes a while, and nobody else should wait for it.)
        packed = self.files.pack(run.run_id)
        with self._disk:
            try:
                about = self.files.read_about(run.run_id)
            except OSError as error:
                logger.warning("run.unsettled", error=str(error))
                return
            if about is None or about.doomed:
                self._delete([run.run_id])
                return
            about.ended = Ended.of(run.summary)
            try:
                # In this order: what is not packed yet is looked at again at the next start.
                self.files.write_about(run.run_id, about)
            except OSError as error:
                logger.warning("run.about_unwritten", error=str(error))
            if packed is not None:
                self.files.put_packed(run.run_id, packed)
            self._put(run.run_id, about)

    async def find(self, run_id: str) -> Run | None:
        """The run, or None for an id that is malformed, unknown or gone."""
        if not _RUN_ID.fullmatch(run_id):
            return None
        run = await self.find_here(run_id)
        return await self.elsewhere.find(run_id) if run is None and self.elsewhere is not None else run

    async def find_here(self, run_id: str) -> Run | None:
        """The run, if it lives here or lies on this disk."""
        if run_id in self._live:
            return self._live[run_id]
        if self._is_over(run_id):
            return None
        if run_id in self._closed:
            self._closed.move_to_end(run_id)
            return self._closed[run_id][0]
        run = await asyncio.to_thread(self._read, run_id)
        if run is not None and run_id not in self._closed and run_id not in self._deleted:
            self._remember(run)
        return run

    def _is_over(self, run_id: str) -> bool:
        """Its time is, though no sweep has come by since."""
        row = None if self.index.is_behind else self.index.get(run_id)
        expires_at = self.expires_at(row) if row is not None else None
        return expires_at is not None and expires_at < self._clock.now() and self._clock.is_steady()

    def _remember(self, run: Run) -> None:
        self._closed[run.run_id] = (run, run.broadcast.lines.held_bytes)
        while len(self._closed) > 1 and sum(size for _, size in self._closed.values()) > self._cached_bytes:
            self._closed.popitem(last=False)

    def _forget(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._closed.pop(run_id, None)

    def _read(self, run_id: str) -> Run | None:
        try:
            about, lines = self.files.read_about(run_id), self.files.read(run_id)
            if about is None or about.doomed or lines is None:
                return None
            return Run(run_id, about.creator, Broadcast(lines, closed=True), read_summary(run_id, lines))
        except (OSError, msgspec.MsgspecError) as error:
            logger.error("run.unreadable", error=str(error))
            return None

    async def packed_log(self, run: Run) -> bytes:
        """A closed log in the form of a recording: one JSON object a line, gzip."""

        def read() -> bytes:
            data = self.files.read_packed(run.run_id)
            return data if data is not None else gzip.compress(b"\n".join([*run.broadcast.lines, b""]), 6, mtime=0)

        return await asyncio.to_thread(read)

    # ---- what its creator may do with it

    def expires_at(self, row: Row) -> float | None:
        """Unix seconds; None for a run that is kept. A take goes with its run, but that what somebody else has kept
        is not kept for me. (Where the kitchen runs out of room, the oldest go sooner.)"""
        first = row if row.family == row.run_id else self.index.get(row.family) or row
        if first.kept:
            return None if row.creator == first.creator else row.created_at + self._keep_seconds
        return first.created_at + self._keep_seconds

    async def change(self, run_id: str, change: Callable[[About], None]) -> bool:
        """Change what stands about a closed run. False where it is gone. Raises OSError."""

        def work() -> bool:
            with self._disk:
                about = self.files.read_about(run_id)
                if about is None or about.doomed:
                    return False
                change(about)
                self.files.write_about(run_id, about)
                self._put(run_id, about)
                return True

        changed = await asyncio.to_thread(work)
        if changed and self.elsewhere is not None:
            self.elsewhere.changed(run_id)
        return changed

    async def delete(self, run_id: str) -> list[Run]:
        """A closed run and its takes, for good. Returns the takes that still cook: they are to be stopped, and go when
        they have ended. Raises OSError."""
        live = await self.delete_here(run_id)
        if self.elsewhere is not None:
            self.elsewhere.deleted(run_id)
        return live

    async def delete_here(self, run_id: str) -> list[Run]:
        """The same, untold: the wish came from elsewhere."""
        live, gone = await asyncio.to_thread(self._delete_with_takes, run_id)
        self._forget(gone)
        return live

    def _delete_with_takes(self, run_id: str) -> tuple[list[Run], list[str]]:
        self.catch_up()
        live: list[Run] = []
        closed: list[str] = []
        with self._disk:
            self._deleted[run_id] = None
            for take in self.index.takes_of(run_id):
                if (run := self._live.get(take)) is None:
                    closed.append(take)
                    continue
                live.append(run)
                if (about := self.files.read_about(take)) is not None:
                    about.doomed = True
                    self.files.write_about(take, about)
            self._delete([*closed, run_id])
        return live, [*closed, run_id]

    def _delete(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            self._deleted[run_id] = None
            self.files.delete(run_id)
        self.index.drop(run_ids)
        while len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.pop(next(iter(self._deleted)))

    # ---- copies, where several replicas share their runs (``cluster_shelf.py``)

    def closed_ids(self) -> list[str]:
        """Of every closed log on this disk."""
        return [path.name.partition(".")[0] for path in self.directory.glob("*.jsonl.gz")]

    def read_copy(self, run_id: str) -> tuple[bytes, bytes] | None:
        """What stands beside a closed log, and the log, packed."""
        try:
            about, packed = self.files.read_about(run_id), self.files.read_packed(run_id)
        except OSError:
            return None
        return (msgspec.json.encode(about), packed) if about is not None and packed is not None else None

    def adopt(self, run_id: str, about: bytes, packed: bytes | None) -> bool:
        """Keep the copy of a run that closed elsewhere, or what was changed there about one that is here (no log)."""
        with self._disk:
            if run_id in self._deleted or run_id in self._live:
                return False
            try:
                found = msgspec.json.decode(about, type=About)
                self.files.write_about(run_id, found)
                if packed is not None:
                    self.files.put_packed(run_id, packed)
                self._put(run_id, found)
            except (OSError, msgspec.MsgspecError) as error:
                logger.warning("run.not_adopted", error=str(error))
                return False
        self._forget([run_id])
        return True

    def drop(self, run_id: str) -> None:
        """The copy of a run that ended otherwise elsewhere: another will take its place."""
        with self._disk:
            self.files.delete(run_id)
            self.index.drop([run_id])
        self._forget([run_id])

    # ---- the index, and time

    def _put(self, run_id: str, about: About) -> None:
        found = self.files.found(run_id)
        self.index.put([row_of(run_id, about, found, self.index.family_of(run_id, about.parent))])

    def close_orphans(self) -> int:
        """At the start: every log gets its end, and the index what it missed. Returns how many had none."""
        count = self.files.close_orphans()
        self.catch_up(again=True)
        return count

    def catch_up(self, *, again: bool = False) -> None:
        """Bring the index up to date with the files, where it is behind (or ``again``). Only files that changed are
        read."""
        with self._catching_up:
            if not (again or self.index.is_behind):
                return
            if self.index.is_broken:
                self.index.renew()
            if not self.index.is_writable():
                return
            self.index.is_behind = False
            # (At the start nobody is being born.)
            now = self._clock.now() - (0.0 if again else _BIRTH_SECONDS)
            known, there = self.index.stamps(), self.files.scan()
            self.index.drop(run_id for run_id in known if run_id not in there)
            changed: list[tuple[str, About]] = []
            for run_id, found in there.items():
                if known.get(run_id) == found.stamp or (run_id in self._live and run_id in known):
                    continue
                try:
                    about = self.files.read_about(run_id)
                except OSError as error:
                    logger.warning("run.not_indexed", error=str(error))
                    if error.errno in _NO_DESCRIPTORS:
                        self.index.is_behind = True
                    continue
                if about is None:
                    # What it says of itself is lost: nobody's, and as old as its files.
                    about = About(creator="", created_at=found.changed_at)
                if run_id in self._live:
                    changed.append((run_id, about))
                elif about.doomed or (found.log_bytes is None and about.created_at < now):
                    self._delete([run_id])
                elif found.log_bytes is not None:
                    changed.append((run_id, about))
            # (Parents before their takes.)
            changed.sort(key=lambda pair: pair[1].created_at)
            for start in range(0, len(changed), _ROWS_AT_ONCE):
                rows: dict[str, Row] = {}
                for run_id, about in changed[start : start + _ROWS_AT_ONCE]:
                    parent = rows.get(about.parent)
                    family = parent.family if parent else self.index.family_of(run_id, about.parent)
                    rows[run_id] = row_of(run_id, about, there[run_id], family)
                with self._disk:
                    # What was changed meanwhile has been put by who changed it.
                    fresh = [row for row in map(self._as_it_is, rows.values()) if row is not None]
                    self.index.put(fresh)

    def _as_it_is(self, row: Row) -> Row | None:
        if row.run_id in self._live:
            return replace(row, bytes=0)
        return row if self.files.found(row.run_id).stamp == row.stamp else None

    async def keep_up(self) -> None:
        """Until it is cancelled: what the index misses (somebody held it, or it broke) is there soon after."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self.index.is_behind:
                try:
                    await asyncio.to_thread(self.catch_up)
                except OSError as error:
                    logger.warning("run_index.not_caught_up", error=str(error))

    async def sweep(self) -> int:
        """Delete closed runs beyond the number, the age and the bytes that are kept, oldest first, each with its takes;
        but none that its creator keeps. Returns how many went. Opens no log."""
        gone = await asyncio.to_thread(self._delete_old, self._clock.now())
        self._forget(gone)
        return len(gone)

    def _kept(self, families: list[Family]) -> set[str]:
        """What the sweep lets be: runs that are kept, and as many of their creators' takes, oldest first, as half of
        all bytes holds. What somebody keeps never takes the room of everybody."""
        runs = [family for family in families if family.kept and not family.is_take]
        kept, size = {family.run_id for family in runs}, sum(family.bytes for family in runs)
        for take in reversed([family for family in families if family.kept and family.is_take]):
            size += take.bytes
            if size <= self._max_bytes // 2:
                kept.add(take.run_id)
        return kept

    def _delete_old(self, now: float) -> list[str]:
        """Runs that began after ``now`` are let be: they may not be among the live ones yet. A run is as old as it says
        of itself; a log that was healed or packed later is not younger for it."""
        self.catch_up()
        if self.index.is_behind:
            # (It may not know yet what somebody keeps.)
            return []
        families = self.index.families()
        kept = self._kept(families)
        by_age = self._clock.is_steady()
        left, total = 0, sum(family.bytes for family in families)
        lapsed: list[Family] = []
        standing: list[Family] = []
        for family in families:
            if family.run_id in kept or family.began >= now:
                continue
            old = left >= self._keep_runs or (by_age and family.began < now - self._keep_seconds)
            (lapsed if old else standing).append(family)
            left += 0 if old else family.count
        total -= sum(family.bytes for family in lapsed)
        while standing and total > self._max_bytes:
            lapsed.append(standing.pop())
            total -= lapsed[-1].bytes
        gone: list[str] = []
        for start in range(0, len(lapsed), _FAMILIES_AT_ONCE):
            with self._disk:
                found = [self.index.members(family.run_id) for family in lapsed[start : start + _FAMILIES_AT_ONCE]]
                # A family of which one still cooks is let be.
                idle = [run_id for names in found if not any(name in self._live for name in names) for run_id in names]
                self._delete(idle)
            gone += idle
        return gone
