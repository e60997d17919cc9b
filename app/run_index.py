"""An index of the runs on disk, so that a list of them, or a sweep, opens no file of theirs.

It is a cache: what it says is what the files beside it say. It is read again from them where it is missing, broken or
behind, so losing it loses nothing. It never holds a prompt.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TypeVar

import structlog

from app.run_files import About, Found

logger = structlog.get_logger(__name__)

BROKEN = (sqlite3.Error, UnicodeDecodeError)
"""What a scribbled file raises; the second where what it complains of is no text either."""
BUSY_SECONDS = 0.01
"""We are asked in the event loop. Somebody who holds the database for longer is not waited for: it is caught up with
what it missed when they have let go."""
VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """A run, as lists of runs know it."""

    run_id: str
    creator: str
    created_at: float
    family: str
    """The run that it is a take of, or a take of a take; its own id for one that is none."""
    parent: str
    take: str
    kept: bool
    listed: bool
    title: str
    bytes: int
    """Of its log on disk; 0 while it grows."""
    reason: str
    """Why its log closed; empty while it is open, or where that is not known."""
    model: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    tokens_per_second: float | None
    stamp: str
    """Of the files that this was read from."""


@dataclass(frozen=True)
class Family:
    """A run with its takes, as the sweep sees them: they go together. Of a run that is kept, each by itself: it is the
    creator's own takes that are kept with it, and nobody else's."""

    run_id: str
    began: float
    count: int
    bytes: int
    kept: bool
    is_take: bool
    """Of a run that is kept."""


COLUMNS = tuple(field.name for field in fields(Row))
_SCHEMA = f"""
CREATE TABLE runs ({", ".join(f"{name} PRIMARY KEY" if name == "run_id" else name for name in COLUMNS)}) WITHOUT ROWID;
CREATE INDEX by_creator ON runs (creator, created_at);
CREATE INDEX by_family ON runs (family, created_at, bytes, kept);
CREATE INDEX by_parent ON runs (parent);
CREATE INDEX by_listed ON runs (created_at) WHERE listed;
PRAGMA user_version = {VERSION};
"""
_TAKES = """
WITH RECURSIVE takes(run_id) AS (
    SELECT run_id FROM runs WHERE parent = ?1 AND run_id != ?1
    UNION SELECT runs.run_id FROM runs JOIN takes ON runs.parent = takes.run_id
) SELECT run_id FROM takes WHERE run_id != ?1
"""


def row_of(run_id: str, about: About, found: Found, family: str) -> Row:
    """What the files of a run say of it."""
    ended = about.ended
    return Row(
        run_id=run_id,
        creator=about.creator,
        created_at=about.created_at,
        family=family,
        parent=about.parent,
        take=about.take,
        kept=about.kept,
        listed=about.listed,
        title=about.title if about.listed else "",
        bytes=found.log_bytes or 0,
        reason=ended.reason if ended else "",
        model=ended.model if ended else "",
        prompt_tokens=ended.prompt_tokens if ended else 0,
        completion_tokens=ended.completion_tokens if ended else 0,
        seconds=ended.seconds if ended else 0.0,
        tokens_per_second=ended.tokens_per_second if ended else None,
        stamp=found.stamp,
    )


class RunIndex:
    """The rows. A call never raises for what is wrong with the database: it says so in the log, the index is ``behind``
    from then on, and who owns the files brings it up to date again (``renew``, then ``put`` and ``drop``)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self.is_broken = False
        """Behind, and not for want of a moment alone: to be opened again."""
        self.is_behind = True
        """What the files say may not be here (yet)."""
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        for attempt in range(2):
            try:
                return self._connect(str(self.path))
            except BROKEN as error:
                logger.warning("run_index.broken", error=str(error), again=attempt == 0)
                if not _is_busy(error):
                    self._remove()
        # A disk that takes no database: it is kept in memory until there is one again.
        self.is_broken = True
        return self._connect(":memory:")

    def _connect(self, name: str) -> sqlite3.Connection:
        if name != ":memory:" and not self.path.exists():
            self.path.touch(mode=0o600)
        db = sqlite3.connect(name, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            # Nothing is lost that the files do not say again, so no write waits for the disk.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check failed")
            if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                db.executescript(f"DROP TABLE IF EXISTS runs; BEGIN; {_SCHEMA} COMMIT;")
            db.execute(f"SELECT {', '.join(COLUMNS)} FROM runs LIMIT 1").fetchall()
        except BaseException:
            db.close()
            raise
        return db

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def renew(self) -> None:
        """Open the database again, or a new one where it is broken."""
        with self._lock, suppress(*BROKEN):
            self._db.close()
        self.is_broken = False
        # (This takes a while, and who asks meanwhile should not wait: they find it closed.)
        db = self._open()
        with self._lock:
            self._db = db

    def is_writable(self) -> bool:
        """Nobody else holds it just now."""

        def work(db: sqlite3.Connection) -> bool:
            db.execute("BEGIN IMMEDIATE")
            db.execute("COMMIT")
            return True

        return self._do(work, False)

    def _do(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        with self._lock:
            try:
                return work(self._db)
            except BROKEN as error:
                if not self.is_behind:
                    logger.warning("run_index.behind", error=str(error))
                self.is_behind = True
                self.is_broken = self.is_broken or not _is_busy(error)
                with suppress(*BROKEN):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                return otherwise

    # ---- writing

    def put(self, rows: Sequence[Row]) -> None:
        """These rows, in the place of what was known of the same runs; all or none."""
        values = f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * len(COLUMNS))})"

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(values, [astuple(row) for row in rows])
            db.execute("COMMIT")

        self._do(work, None)

    def drop(self, run_ids: Iterable[str]) -> None:
        """These runs are gone; all or none."""
        names = [(run_id,) for run_id in run_ids]

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("DELETE FROM runs WHERE run_id = ?", names)
            db.execute("COMMIT")

        self._do(work, None)

    # ---- asking

    def _rows(self, where: str, values: Sequence[object]) -> list[Row]:
        query = f"SELECT {', '.join(COLUMNS)} FROM runs WHERE {where}"
        return self._do(lambda db: [_row(found) for found in db.execute(query, values)], [])

    def _number(self, query: str, values: Sequence[object] = ()) -> int:
        return self._do(lambda db: int(db.execute(query, values).fetchone()[0] or 0), 0)

    def get(self, run_id: str) -> Row | None:
        """One run."""
        return next(iter(self._rows("run_id = ?", [run_id])), None)

    def family_of(self, run_id: str, parent: str) -> str:
        """Whose family a run belongs to that is a take of ``parent`` (empty: it is none)."""
        if not parent:
            return run_id
        known = self.get(parent)
        return known.family if known else parent

    def takes_of(self, run_id: str) -> list[str]:
        """Its takes, theirs among them."""
        return self._do(lambda db: [name for (name,) in db.execute(_TAKES, (run_id,))], [])

    def runs_of(self, creator: str, before: Row | None, limit: int, *, takes: bool = True) -> list[Row]:
        """Somebody's runs, the newest first; those that come after ``before`` in that order."""
        where, values = "creator = ?", [creator]
        if not takes:
            where += " AND parent = ''"
        return self._page(where, values, before, limit)

    def listed(self, before: Row | None, limit: int) -> list[Row]:
        """What the gallery shows, the newest first."""
        return self._page("listed", [], before, limit)

    def _page(self, where: str, values: Sequence[object], before: Row | None, limit: int) -> list[Row]:
        since: list[object] = []
        if before is not None:
            where += " AND (created_at, run_id) < (?, ?)"
            since = [before.created_at, before.run_id]
        order = " ORDER BY created_at DESC, run_id DESC LIMIT ?"
        return self._rows(where + order, [*values, *since, limit])

    def count_kept(self, creator: str) -> int:
        """Of somebody's runs."""
        return self._number("SELECT COUNT(*) FROM runs WHERE creator = ? AND kept", [creator])

    def count_listed(self, creator: str) -> int:
        """Of somebody's runs."""
        return self._number("SELECT COUNT(*) FROM runs WHERE creator = ? AND listed", [creator])

    def total_bytes(self) -> int:
        """Of all logs on disk."""
        return self._number("SELECT SUM(bytes) FROM runs")

    def kept_bytes(self) -> int:
        """Of those that do not expire, their creators' own takes among them."""
        return self._number(
            "SELECT SUM(runs.bytes) FROM runs JOIN runs AS root ON root.run_id = runs.family AND root.kept "
            "WHERE runs.creator = root.creator"
        )

    def stamps(self) -> dict[str, str]:
        """What the index was made from, by run."""
        return self._do(lambda db: dict(db.execute("SELECT run_id, stamp FROM runs")), {})

    def families(self) -> list[Family]:
        """The newest first."""
        query = (
            "SELECT iif(root.run_id IS NULL, runs.family, runs.run_id) AS name, MIN(runs.created_at) AS began, "
            "COUNT(*), SUM(runs.bytes), MAX(runs.creator = root.creator), MAX(runs.run_id != root.run_id) "
            "FROM runs LEFT JOIN (SELECT run_id, creator FROM runs WHERE kept) AS root ON root.run_id = runs.family "
            "GROUP BY name ORDER BY began DESC, name"
        )
        return self._do(
            lambda db: [
                Family(name, began, count, size, bool(kept), bool(is_take))
                for name, began, count, size, kept, is_take in db.execute(query)
            ],
            [],
        )

    def members(self, family: str) -> list[str]:
        """A run and its takes (of which one may be named alone): takes first, as they are to be deleted."""
        query = "SELECT run_id FROM runs WHERE family = ?1 OR run_id = ?1 ORDER BY run_id = family, created_at DESC"
        return self._do(lambda db: [name for (name,) in db.execute(query, [family])], [])


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _row(found: Sequence[object]) -> Row:
    values = dict(zip(COLUMNS, found, strict=True))
    return Row(**{**values, "kept": bool(values["kept"]), "listed": bool(values["listed"])})  # type: ignore[arg-type]
