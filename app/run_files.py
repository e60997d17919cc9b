"""The files of a run: its log, plain while it grows and packed after, and beside it a small one about it."""

from __future__ import annotations

import gzip
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from app.runs import read_summary
from app.summary import Summary, own_words
from inference.events import LogClosed, LogOpened, RequestTokenized, decode, encode

logger = structlog.get_logger(__name__)

_INTERRUPTED = "The kitchen was shut down or fell over while this was cooking."


class Ended(msgspec.Struct, kw_only=True):
    """What a run came to, so that a list of runs reads no logs."""

    reason: str
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    tokens_per_second: float | None = None

    @classmethod
    def of(cls, summary: Summary) -> Ended | None:
        """None of a log that has no end."""
        if summary.closed is None:
            return None
        totals = summary.closed.totals
        return cls(
            reason=summary.closed.reason,
            model=summary.opened.model.name if summary.opened and summary.opened.model else "",
            prompt_tokens=totals.prompt_tokens,
            completion_tokens=totals.completion_tokens,
            seconds=totals.seconds,
            tokens_per_second=summary.tokens_per_second,
        )


class About(msgspec.Struct, kw_only=True):
    """What is kept beside a log: never the prompt, which is in the log alone."""

    creator: str
    """Digest of a cookie."""
    created_at: float
    """Unix seconds."""
    parent: str = ""
    """The run that this one is a take of."""
    take: str = ""
    kept: bool = False
    """Its creator's wish: it does not expire."""
    listed: bool = False
    """Its creator's wish: the gallery shows it, under ``title``."""
    title: str = ""
    doomed: bool = False
    """It was deleted while it cooked: it goes when it ends, or at the next start."""
    ended: Ended | None = None


@dataclass(frozen=True)
class Found:
    """What a look into the folder says of a run, before any file is opened."""

    log_bytes: int | None
    """On disk, packed or not. None: there is no log."""
    stamp: str
    """Another one when the file about the run, or its log, is another."""
    changed_at: float
    """Unix seconds."""


class RunFiles:
    """A folder of runs. Whatever moment we are killed at, a file has its old contents or its new ones; a deletion that
    was cut short leaves no log, and is finished later."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def log(self, run_id: str) -> Path:
        return self.directory / f"{run_id}.jsonl"

    def packed(self, run_id: str) -> Path:
        return self.directory / f"{run_id}.jsonl.gz"

    def about(self, run_id: str) -> Path:
        return self.directory / f"{run_id}.json"

    def delete(self, run_id: str) -> None:
        """For good. The log goes first: a file about none is a deletion to be finished."""
        for path in (self.log(run_id), self.packed(run_id), self.about(run_id)):
            path.unlink(missing_ok=True)

    # ---- about a run

    def read_about(self, run_id: str) -> About | None:
        """None where there is none, or it is scribbled over. Raises OSError where nobody can tell just now (too many
        open files): nothing is to be deleted for that."""
        try:
            return msgspec.json.decode(self.about(run_id).read_bytes(), type=About)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def write_about(self, run_id: str, about: About) -> None:
        """Whole or not at all. Raises OSError."""
        path = self.about(run_id)
        replace_private(path, msgspec.json.encode(about))

    # ---- its log

    def read(self, run_id: str) -> list[bytes] | None:
        """The lines of a log; None where there is none, or none that can be read."""
        try:
            # A log being packed exists in both forms for a moment, and in the packed one after.
            try:
                return self.log(run_id).read_bytes().splitlines()
            except FileNotFoundError:
                return gzip.decompress(self.packed(run_id).read_bytes()).splitlines()
        except FileNotFoundError:
            return None
        except (OSError, EOFError, zlib.error) as error:
            logger.error("run.unreadable", error=str(error))
            return None

    def read_packed(self, run_id: str) -> bytes | None:
        """The log in the form of a recording; None where it is not packed."""
        try:
            return self.packed(run_id).read_bytes()
        except OSError:
            return None

    def read_prompt(self, run_id: str) -> str:
        """The reader's own words, from the beginning of the log alone; empty where it never came to them."""
        try:
            for line in self._lines(run_id):
                if b'"request.tokenized"' in line[:64]:
                    event = decode(line)
                    if isinstance(event, RequestTokenized) and event.request_id == run_id:
                        return own_words(event)
        except (OSError, EOFError, zlib.error, msgspec.MsgspecError):
            pass
        return ""

    def _lines(self, run_id: str) -> Iterator[bytes]:
        try:
            with open(self.log(run_id), "rb") as file:
                yield from file
        except FileNotFoundError:
            with gzip.open(self.packed(run_id), "rb") as file:
                yield from file

    def pack(self, run_id: str) -> bytes | None:
        """``NAME.jsonl`` as it will be packed; None where the disk does not give it."""
        try:
            return gzip.compress(self.log(run_id).read_bytes(), compresslevel=6, mtime=0)
        except OSError as error:
            logger.warning("run.unpacked", error=str(error))
            return None

    def put_packed(self, run_id: str, data: bytes) -> None:
        """``NAME.jsonl.gz`` in the place of ``NAME.jsonl``; whole or not at all."""
        try:
            replace_private(self.packed(run_id), data)
            self.log(run_id).unlink(missing_ok=True)
        except OSError as error:
            logger.warning("run.unpacked", error=str(error))

    # ---- all of them

    def scan(self) -> dict[str, Found]:
        """Every run of the folder; nothing is opened."""
        sizes: dict[str, int] = {}
        abouts: dict[str, os.stat_result] = {}
        changed: dict[str, float] = {}
        with os.scandir(self.directory) as entries:
            for entry in entries:
                run_id, _, kind = entry.name.partition(".")
                if kind not in ("json", "jsonl", "jsonl.gz"):
                    continue
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue
                changed[run_id] = stat.st_mtime
                if kind == "json":
                    abouts[run_id] = stat
                else:
                    sizes[run_id] = sizes.get(run_id, 0) + stat.st_size
        return {
            run_id: Found(sizes.get(run_id), _stamp(abouts.get(run_id), sizes.get(run_id)), since)
            for run_id, since in changed.items()
        }

    def found(self, run_id: str) -> Found:
        """The same of one run."""
        sizes = [path.stat().st_size for path in (self.log(run_id), self.packed(run_id)) if path.exists()]
        try:
            about = self.about(run_id).stat()
        except FileNotFoundError:
            about = None
        size = sum(sizes) if sizes else None
        return Found(size, _stamp(about, size), about.st_mtime if about else time.time())

    def close_orphans(self) -> int:
        """At the start: end every log that a crash or a power cut left open, with reason ``interrupted``. A last line
        that was cut in the middle is dropped. Returns how many there were."""
        count = 0
        for path in sorted(self.directory.glob("*.jsonl")):
            run_id = path.stem
            try:
                healed, summary = close_orphan(run_id, path)
                count += healed
                about = self.read_about(run_id)
                if about is not None and about.ended is None:
                    about.ended = Ended.of(summary)
                    self.write_about(run_id, about)
            except (OSError, msgspec.MsgspecError) as error:
                logger.error("run.unhealed", error=str(error))
                continue
            if (data := self.pack(run_id)) is not None:
                self.put_packed(run_id, data)
        for leftover in self.directory.glob("*.new"):
            leftover.unlink(missing_ok=True)
        return count


def _stamp(about: os.stat_result | None, log_bytes: int | None) -> str:
    # A file that was replaced has another inode, even within one tick of the clock.
    return f"{about.st_ino}.{about.st_mtime_ns}.{log_bytes}" if about else f"-.{log_bytes}"


def write_private(path: Path, data: bytes) -> None:
    """A new file that nobody but us may read."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)


def replace_private(path: Path, data: bytes) -> None:
    """The file with these contents, or as it was. Raises OSError."""
    unfinished = path.with_name(f"{path.name}.new")
    try:
        write_private(unfinished, data)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def close_orphan(run_id: str, path: Path) -> tuple[bool, Summary]:
    """Append what is missing to a log without an end. Returns whether anything was, and what the log says."""
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
        return False, summary
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
    summary.apply(closed)
    whole.append(encode(closed))
    replace_private(path, b"".join(line + b"\n" for line in whole))
    return True, summary
