"""The runs on disk: one log and one small file about it each; found again on demand, healed at start, and let go."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from app.broadcast import Broadcast
from app.runs import Lineage, LogFile, Run, RunLog, read_summary
from inference.events import LogClosed, LogOpened, decode, encode
from inference.probes import Probes

logger = structlog.get_logger(__name__)

_RUN_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_INTERRUPTED = "The kitchen was shut down or fell over while this was cooking."


class About(msgspec.Struct, kw_only=True):
    """What is kept beside a log: never the prompt, which is in the log alone."""

    creator: str
    created_at: float
    """Unix seconds."""


class RunStore:
    """Runs by id. Live ones are held here until they close; closed ones are read from disk when somebody asks, and the
    last ones asked for stay in memory."""

    def __init__(self, data_dir: Path, *, keep_runs: int, keep_days: float, cached_bytes: int) -> None:
        self.directory = data_dir / "runs"
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keep_runs = keep_runs
        self._keep_seconds = keep_days * 86_400
        self._cached_bytes = cached_bytes
        self.elsewhere: Callable[[str], Awaitable[Run | None]] | None = None
        """Who to ask for a run that is not on this disk (``cluster.py``)."""
        self._live: dict[str, Run] = {}
        self._closed: OrderedDict[str, tuple[Run, int]] = OrderedDict()

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
        try:
            about = About(creator=creator, created_at=time.time())
            write_private(self._about_path(run_id), msgspec.json.encode(about))
            log = RunLog(run_id, LogFile(self._path(run_id)), params, probes, lineage=lineage)
        except OSError:
            self._delete(run_id)
            raise
        run = Run(run_id, creator, log.broadcast, log.summary, log, address)
        self._live[run_id] = run
        return run

    def discard(self, run: Run) -> None:
        """Forget a run that was refused after all; nobody has been told of it."""
        self._live.pop(run.run_id, None)
        if run.log is not None and not run.log.is_closed:
            run.log.close("rejected", "")
        self._delete(run.run_id)

    async def settle(self, run: Run) -> None:
        """A live run has closed: keep it in memory as a closed one, and pack its file, unless its end is missing there
        (then the next start writes it)."""
        if self._live.pop(run.run_id, None) is None:
            return
        self._remember(Run(run.run_id, run.creator, run.broadcast, run.summary))
        if run.log is None or run.log.is_whole:
            await asyncio.to_thread(self._pack, run.run_id)

    async def find(self, run_id: str) -> Run | None:
        """The run, or None for an id that is malformed, unknown or gone."""
        if not _RUN_ID.fullmatch(run_id):
            return None
        run = await self.find_here(run_id)
        return await self.elsewhere(run_id) if run is None and self.elsewhere is not None else run

    async def find_here(self, run_id: str) -> Run | None:
        """The run, if it lives here or lies on this disk."""
        if run_id in self._live:
            return self._live[run_id]
        if run_id in self._closed:
            self._closed.move_to_end(run_id)
            return self._closed[run_id][0]
        run = await asyncio.to_thread(self._read, run_id)
        if run is not None and run_id not in self._closed:
            self._remember(run)
        return run

    def _remember(self, run: Run) -> None:
        self._closed[run.run_id] = (run, sum(map(len, run.broadcast.lines)))
        while len(self._closed) > 1 and sum(size for _, size in self._closed.values()) > self._cached_bytes:
            self._closed.popitem(last=False)

    # ---- copies, where several replicas share their runs (``cluster_shelf.py``)

    def closed_ids(self) -> list[str]:
        """Of every closed log on this disk."""
        return [path.name.partition(".")[0] for path in self.directory.glob("*.jsonl.gz")]

    def read_copy(self, run_id: str) -> tuple[bytes, bytes] | None:
        """What stands beside a closed log, and the log, packed."""
        try:
            return self._about_path(run_id).read_bytes(), self._packed_path(run_id).read_bytes()
        except OSError:
            return None

    def adopt(self, run_id: str, about: bytes, packed: bytes) -> bool:
        """Keep the copy of a run that closed elsewhere."""
        try:
            write_private(self._about_path(run_id), about)
            write_private(self._packed_path(run_id).with_suffix(".gz.new"), packed)
            os.replace(self._packed_path(run_id).with_suffix(".gz.new"), self._packed_path(run_id))
        except OSError as error:
            logger.warning("run.not_adopted", error=str(error))
            return False
        return True

    def drop(self, run_id: str) -> None:
        """A closed run and all that is kept of it."""
        self._closed.pop(run_id, None)
        self._delete(run_id)

    # ---- the disk

    def _path(self, run_id: str) -> Path:
        return self.directory / f"{run_id}.jsonl"

    def _packed_path(self, run_id: str) -> Path:
        return self.directory / f"{run_id}.jsonl.gz"

    def _about_path(self, run_id: str) -> Path:
        return self.directory / f"{run_id}.json"

    def _delete(self, run_id: str) -> None:
        for path in (self._path(run_id), self._packed_path(run_id), self._about_path(run_id)):
            path.unlink(missing_ok=True)

    def _read(self, run_id: str) -> Run | None:
        try:
            # A log being packed exists in both forms for a moment, and in the packed one after.
            try:
                data = self._path(run_id).read_bytes()
            except FileNotFoundError:
                data = gzip.decompress(self._packed_path(run_id).read_bytes())
            about = msgspec.json.decode(self._about_path(run_id).read_bytes(), type=About)
            lines = data.splitlines()
            return Run(run_id, about.creator, Broadcast(lines, closed=True), read_summary(run_id, lines))
        except FileNotFoundError:
            return None
        except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
            logger.error("run.unreadable", error=str(error))
            return None

    def _pack(self, run_id: str) -> None:
        """``NAME.jsonl`` to ``NAME.jsonl.gz``, the form of a recording; whole or not at all."""
        path, packed = self._path(run_id), self._packed_path(run_id)
        unfinished = packed.with_suffix(".gz.new")
        try:
            write_private(unfinished, gzip.compress(path.read_bytes(), compresslevel=6))
            os.replace(unfinished, packed)
            path.unlink()
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            logger.warning("run.unpacked", error=str(error))

    def close_orphans(self) -> int:
        """At the start: end every log that a crash or a power cut left open, with reason ``interrupted``. A last line
        that was cut in the middle is dropped. Returns how many there were."""
        count = 0
        for path in sorted(self.directory.glob("*.jsonl")):
            run_id = path.stem
            try:
                count += close_orphan(run_id, path)
            except (OSError, msgspec.MsgspecError) as error:
                logger.error("run.unhealed", error=str(error))
                continue
            self._pack(run_id)
        for leftover in self.directory.glob("*.new"):
            leftover.unlink(missing_ok=True)
        return count

    async def sweep(self) -> int:
        """Delete closed runs beyond the number and age that are kept, oldest first. Returns how many went."""
        gone = await asyncio.to_thread(self._delete_old, time.time())
        for run_id in gone:
            self._closed.pop(run_id, None)
        return len(gone)

    def _delete_old(self, now: float) -> list[str]:
        """Runs that began after ``now`` are let be: they may not be among the live ones yet. A run is as old as it says
        of itself; a log that was healed or packed later is not younger for it."""
        found: list[tuple[float, str]] = []
        gone: list[str] = []
        for run_id in {path.name.partition(".")[0] for path in self.directory.glob("*.json*")}:
            since = self._created_at(run_id)
            if run_id in self._live or since is None or since >= now:
                continue
            if self._path(run_id).exists() or self._packed_path(run_id).exists():
                found.append((since, run_id))
            else:
                gone.append(run_id)
        found.sort(reverse=True)
        oldest = now - self._keep_seconds
        gone += [run_id for index, (since, run_id) in enumerate(found) if index >= self._keep_runs or since < oldest]
        for run_id in gone:
            self._delete(run_id)
        return gone

    def _created_at(self, run_id: str) -> float | None:
        """Unix seconds; those of the file where what is written about the run cannot be read, None where nothing is."""
        try:
            return msgspec.json.decode(self._about_path(run_id).read_bytes(), type=About).created_at
        except (OSError, msgspec.MsgspecError):
            pass
        for path in (self._about_path(run_id), self._packed_path(run_id), self._path(run_id)):
            try:
                return path.stat().st_mtime
            except OSError:
                continue
        return None


def new_run_id() -> str:
    """One that nobody can guess: it is the key to read the run."""
    return secrets.token_urlsafe(16)


def write_private(path: Path, data: bytes) -> None:
    """A new file that nobody but us may read."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)


def close_orphan(run_id: str, path: Path) -> bool:
    """Append what is missing to a log without an end; False if nothing is."""
    whole: list[bytes] = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            event = decode(line)
        except msgspec.MsgspecError:
            break
        if event.seq != len(whole) + 1:
            break
        whole.append(line)
    summary = read_summary(run_id, whole)
    if summary.closed is not None:
        return False
    if not whole:
        opened = LogOpened(
            seq=1,
            run_id=run_id,
            source="live",
            opened_at=path.stat().st_mtime,
            model=None,
            hardware=None,
            engine=None,
            software=None,
            params={},
            provides=[],
        )
        summary.apply(opened)
        whole.append(encode(opened))
    totals = msgspec.structs.replace(summary.totals, seconds=summary.t)
    closed = LogClosed(seq=len(whole) + 1, t=summary.t, reason="interrupted", detail=_INTERRUPTED, totals=totals)
    whole.append(encode(closed))
    healed = path.with_suffix(".jsonl.new")
    write_private(healed, b"".join(line + b"\n" for line in whole))
    os.replace(healed, path)
    return True
