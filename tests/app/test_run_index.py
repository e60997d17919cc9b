"""The index of the runs: a cache of what the files say, whatever happens to it or to us; and what goes when."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.run_files import About, RunFiles
from app.run_index import Row, row_of
from app.run_store import RunStore
from app.runs import Lineage
from inference.events import decode
from inference.probes import Probes
from inference.takes import Again

DAY = 86_400.0


def store_in(directory: Path, **limits: Any) -> RunStore:
    return RunStore(directory, **({"keep_runs": 1_000, "keep_days": 30, "cached_bytes": 0} | limits))


def cook(store: RunStore, creator: str = "anna", parent: str = "", **about: Any) -> str:
    """A closed run, made as the site makes one; ``about``: what stands about it afterwards."""
    lineage = Lineage(parent, Again()) if parent else None
    run = store.create(creator, "address", {}, Probes(), lineage)
    assert run.log is not None
    run.log.close("finished", "")
    asyncio.run(store.settle(run))
    if about:
        change(store, run.run_id, **about)
    return run.run_id


def change(store: RunStore, run_id: str, **values: Any) -> None:
    def apply(about: About) -> None:
        for name, value in values.items():
            setattr(about, name, value)

    assert asyncio.run(store.change(run_id, apply))


def rows(store: RunStore) -> dict[str, Row]:
    return {name: row for name in store.index.stamps() if (row := store.index.get(name)) is not None}


def from_files(store: RunStore) -> dict[str, Row]:
    """What the index must say: worked out without it."""
    abouts = {name: store.files.read_about(name) for name in store.files.scan()}

    def family(run_id: str) -> str:
        about = abouts.get(run_id)
        return family(about.parent) if about and about.parent else run_id

    return {name: row_of(name, about, store.files.found(name), family(name)) for name, about in abouts.items() if about}


def swept(store: RunStore) -> int:
    return asyncio.run(store.sweep())


def there(store: RunStore) -> set[str]:
    return set(store.files.scan())


def test_it_says_what_the_files_say(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    first = cook(store, kept=True)
    second = cook(store, "bert", listed=True, title="Soup")
    cook(store, "bert", parent=second)
    assert rows(store) == from_files(store)
    row = store.index.get(first)
    assert row is not None
    assert (row.kept, row.reason, row.creator) == (True, "finished", "anna")
    assert row.bytes == store.files.packed(first).stat().st_size == store.index.kept_bytes()
    assert [found.run_id for found in store.index.listed(None, 10)] == [second]
    assert store.index.total_bytes() == sum(path.stat().st_size for path in store.directory.glob("*.gz"))


def test_pages_have_no_gap_and_no_repeat(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    mine = {cook(store, created_at=1e9 + number // 3) for number in range(10)}
    cook(store, "bert")
    pages: list[str] = []
    before = None
    while page := store.index.runs_of("anna", before, 3):
        pages += [row.run_id for row in page]
        before = page[-1]
    assert len(pages) == 10
    assert set(pages) == mine
    times = [store.index.get(name).created_at for name in pages]  # type: ignore[union-attr]
    assert times == sorted(times, reverse=True)


# ---- whatever happens to the database


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, dict[str, Row]]:
    """A store with a few runs, the bytes of its index, and what it says."""
    directory = tmp_path_factory.mktemp("kitchen")
    store = store_in(directory)
    root = cook(store, kept=True)
    for number in range(6):
        cook(store, f"visitor-{number}", parent=root if number % 2 else "")
    # (A second look shows the rows that a take's parent has by then.)
    store.close_orphans()
    expected = from_files(store)
    store.index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.index.close()
    return directory, (directory / "runs" / "index.sqlite").read_bytes(), expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 60_000), garbage=st.binary(max_size=300), at=st.integers(0, 60_000))
@example(cut=0, garbage=b"", at=0)
@example(cut=60_000, garbage=b"not a database at all" * 10, at=0)
@example(cut=60_000, garbage=b"\xff" * 200, at=4096)
def test_an_index_that_is_cut_or_scribbled_over_is_made_again(
    kitchen: tuple[Path, bytes, dict[str, Row]], cut: int, garbage: bytes, at: int
) -> None:
    directory, whole, expected = kitchen
    path = directory / "runs" / "index.sqlite"
    for leftover in path.parent.glob("index.sqlite*"):
        leftover.unlink()
    broken = bytearray(whole[: min(cut, len(whole))])
    at = min(at, len(broken))
    broken[at : at + len(garbage)] = garbage
    path.write_bytes(broken)
    store = store_in(directory)
    store.close_orphans()
    # (A byte inside of a value is no damage that a database can see: what must hold is that nothing is lost or raised.)
    found = rows(store)
    assert set(found) == set(expected)
    if not garbage:
        assert found == expected
    store.index.close()


def test_an_index_that_is_behind_catches_up_and_reads_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_in(tmp_path)
    ids = [cook(store) for _ in range(8)]
    store.index.close()
    # What happened since, behind its back: one is kept, one is gone, one came.
    files = RunFiles(tmp_path / "runs")
    about = files.read_about(ids[0])
    assert about is not None
    about.kept = True
    files.write_about(ids[0], about)
    files.delete(ids[1])
    files.write_about("B" * 22, About(creator="bert", created_at=1e9))
    files.packed("B" * 22).write_bytes(b"x" * 100)
    read: list[str] = []
    monkeypatch.setattr(RunFiles, "read_about", _watched(RunFiles.read_about, read))
    again = store_in(tmp_path)
    again.close_orphans()
    assert set(read) == {ids[0], "B" * 22}
    monkeypatch.undo()
    assert rows(again) == from_files(again)


def _watched(work: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
    def watched(self: RunFiles, run_id: str) -> Any:
        names.append(run_id)
        return work(self, run_id)

    return watched


def test_a_database_that_breaks_while_it_is_used_stops_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_days=1)
    kept, old = cook(store, kept=True), cook(store, created_at=time.time() - 2 * DAY)
    store.index._db.execute("DROP TABLE runs")
    fresh = cook(store)
    assert store.index.is_behind
    assert asyncio.run(store.find(fresh)) is not None
    assert swept(store) == 1
    assert there(store) == {kept, fresh}
    assert old not in rows(store)
    assert rows(store) == from_files(store)


def test_who_holds_the_index_holds_up_nobody(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_days=1)
    store.close_orphans()
    old, wanted = (cook(store, created_at=time.time() - 2 * DAY) for _ in range(2))
    before = store.index.path.stat().st_ino
    holder = sqlite3.connect(store.index.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    began = time.perf_counter()
    live = [store.create("anna", "address", {}, Probes()) for _ in range(5)]
    waited = time.perf_counter() - began
    change(store, wanted, kept=True)
    fresh = cook(store)
    store.catch_up()
    assert store.index.is_behind
    assert swept(store) == 0, "it does not know yet what is kept"
    holder.execute("ROLLBACK")
    holder.close()

    async def soon() -> None:
        task = asyncio.create_task(store.keep_up())
        while store.index.is_behind:
            await asyncio.sleep(0.02)
        task.cancel()

    asyncio.run(asyncio.wait_for(soon(), 5))
    assert waited < 1.0
    assert set(rows(store)) == {old, wanted, fresh, *(run.run_id for run in live)}
    assert store.index.path.stat().st_ino == before, "what is in use is not taken for broken"
    assert swept(store) == 1
    assert there(store) == {wanted, fresh, *(run.run_id for run in live)}


def test_a_disk_without_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect

    def full(name: str, **options: Any) -> sqlite3.Connection:
        if name != ":memory:":
            raise sqlite3.OperationalError("database or disk is full")
        return real(name, **options)

    monkeypatch.setattr("app.run_index.sqlite3.connect", full)
    store = store_in(tmp_path)
    run_id = cook(store)
    assert set(rows(store)) == {run_id}, "it is kept in memory"
    store.index.is_behind = True
    monkeypatch.undo()
    store.catch_up()
    assert store.index.path.stat().st_size > 0
    assert rows(store) == from_files(store)


def test_it_holds_no_prompt_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    run_id = cook(store, title="never shown")
    assert store.index.path.stat().st_mode & 0o777 == 0o600
    row = store.index.get(run_id)
    assert row is not None
    assert row.title == "", "a title is for the gallery"


# ---- killed


class Killed(BaseException):
    """The power goes."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The ``step``-th change to the disk does not happen, and nothing after it. A write may happen in half."""
    count = [0]

    def deadly(work: Callable[..., Any], half: bool = False) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] < step:
                return work(*args, **options)
            if count[0] == step and half:
                work(args[0], args[1][: len(args[1]) // 2])
            raise Killed

        return call

    with monkeypatch.context() as patch:
        patch.setattr("app.run_files.write_private", deadly(__import__("app.run_files").run_files.write_private, True))
        patch.setattr("app.run_store.write_private", deadly(__import__("app.run_files").run_files.write_private, True))
        patch.setattr("app.run_files.os.replace", deadly(os.replace))
        patch.setattr("app.runs.os.write", deadly(os.write, True))
        patch.setattr(Path, "unlink", deadly(Path.unlink))
        patch.setattr("app.run_index.RunIndex.put", deadly(__import__("app.run_index").run_index.RunIndex.put))
        patch.setattr("app.run_index.RunIndex.drop", deadly(__import__("app.run_index").run_index.RunIndex.drop))
        yield count


def life(store: RunStore, known: dict[str, str]) -> None:
    """What a kitchen does to its files; ``known`` are the runs that somebody was told of, by name."""
    first = known["first"]
    change(store, first, kept=True)
    known["kept"] = first
    known["second"] = cook(store)
    known["take"] = cook(store, parent=first)
    known["deleting"] = first
    asyncio.run(store.delete(first))
    known["deleted"] = first
    change(store, known["second"], created_at=1e9)
    swept(store)
    known["swept"] = known["second"]


def test_killed_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever change was the last one: the next start ends with whole logs, an index that says what the files say,
    what was kept still kept, and what was deleted gone for good."""
    step, died = 0, True
    while died:
        step += 1
        directory = tmp_path / str(step)
        known: dict[str, str] = {"first": cook(store_in(directory))}
        store = store_in(directory)
        store.close_orphans()
        with killed_at(step, monkeypatch):
            try:
                life(store, known)
                died = False
            except Killed:
                pass
        store.index.close()
        again = store_in(directory, keep_days=1e6)
        again.close_orphans()
        assert rows(again) == from_files(again), f"killed at change {step}"
        assert not list(again.directory.glob("*.new"))
        for run_id in there(again):
            lines = again.files.read(run_id)
            assert lines is not None
            assert [decode(line).seq for line in lines] == list(range(1, len(lines) + 1))
            assert b'"log.closed"' in lines[-1]
            assert asyncio.run(again.find(run_id)) is not None
        for name in ("deleted", "swept"):
            if name in known:
                assert known[name] not in there(again)
        if "kept" in known and "deleting" not in known:
            row = again.index.get(known["kept"])
            assert row is not None
            assert row.kept
        again.index.close()
    assert step > 20


def test_a_full_disk_leaves_what_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    run_id = cook(store)

    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("app.run_files.write_private", full)
    with pytest.raises(OSError):
        change(store, run_id, kept=True)
    monkeypatch.undo()
    about = store.files.read_about(run_id)
    assert about is not None
    assert not about.kept
    assert rows(store) == from_files(store)
    assert not list(store.directory.glob("*.new"))


# ---- what goes, and what stays


def test_age_and_number(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_runs=3, keep_days=1)
    now = time.time()
    old = cook(store, created_at=now - 2 * DAY)
    ids = [cook(store, created_at=now - 100 + number) for number in range(5)]
    assert swept(store) == 3
    assert there(store) == set(ids[2:])
    assert asyncio.run(store.find(old)) is None
    assert rows(store) == from_files(store)


def test_a_strangers_takes_of_what_is_kept_are_as_all_others(tmp_path: Path) -> None:
    now = time.time()
    store = store_in(tmp_path, keep_runs=2)
    kept = cook(store, kept=True, created_at=now - 90 * DAY)
    own = cook(store, parent=kept, created_at=now - 80 * DAY)
    size = store.index.kept_bytes()
    takes = [cook(store, "bert", parent=kept, created_at=now - 10 + at) for at in range(5)]
    assert store.index.kept_bytes() == size, "the shelf is no fuller for them"
    row, own_row = store.index.get(takes[0]), store.index.get(own)
    assert row is not None
    assert own_row is not None
    assert store.expires_at(own_row) is None
    assert store.expires_at(row) == row.created_at + 30 * DAY
    other = cook(store, "carl", created_at=now - 1)
    assert swept(store) == 4
    assert there(store) == {kept, own, takes[4], other}
    change(store, kept, kept=False)
    assert swept(store) == 3, "together again"
    assert there(store) == {other}


def test_what_is_kept_takes_half_of_the_room_at_most(tmp_path: Path) -> None:
    now = time.time()
    unbounded = store_in(tmp_path)
    kept = cook(unbounded, kept=True, created_at=now - 100)
    size = unbounded.index.total_bytes()
    own = [cook(unbounded, parent=kept, created_at=now - 90 + at) for at in range(9)]
    others = [cook(unbounded, "bert", created_at=now - 95 + at) for at in range(2)]
    store = store_in(tmp_path, max_bytes=round(size * 8.9))
    store.close_orphans()
    swept(store)
    left = there(store)
    assert {kept, *own[:2]} <= left, "the oldest are those that are kept"
    assert store.index.total_bytes() <= size * 8.9
    assert len(left & set(own)) + len(left & set(others)) >= 5
    assert own[8] in left


def test_what_is_kept_stays_with_its_takes_and_counts_for_nothing(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_runs=2, keep_days=1)
    now = time.time()
    kept = cook(store, created_at=now - 90 * DAY, kept=True)
    take = cook(store, parent=kept, created_at=now - 80 * DAY)
    of_take = cook(store, parent=take, created_at=now - 70 * DAY)
    ids = [cook(store, created_at=now - 100 + number) for number in range(3)]
    assert swept(store) == 1
    assert there(store) == {kept, take, of_take, *ids[1:]}
    row = store.index.get(of_take)
    assert row is not None
    assert row.family == kept
    assert store.expires_at(row) is None


@pytest.mark.parametrize("days", [-40, 40])
def test_a_clock_that_is_set_costs_nobody_their_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: float
) -> None:
    real = time.time
    store = store_in(tmp_path, keep_runs=4)
    over = cook(store, created_at=real() - 31 * DAY)
    runs = [cook(store) for _ in range(2)]
    monkeypatch.setattr(time, "time", lambda: real() + days * DAY)
    runs.append(cook(store))
    assert swept(store) == 0
    assert there(store) == {over, *runs}
    assert all(asyncio.run(store.find(run_id)) is not None for run_id in runs)
    runs += [cook(store) for _ in range(2)]
    assert swept(store) == 2, "by their number they go all the same"
    assert there(store) == set(runs[1:])
    monkeypatch.setattr(time, "time", real)
    assert swept(store) == 0, "nor afterwards, for what was made meanwhile"
    assert abs(store.index.get(runs[-1]).created_at - real()) < 100  # type: ignore[union-attr]


def test_what_is_over_is_gone_before_the_sweep(tmp_path: Path) -> None:
    store = store_in(tmp_path, cached_bytes=2**20)
    store.close_orphans()
    run_id, kept = cook(store), cook(store, kept=True)
    assert asyncio.run(store.find(run_id)) is not None
    change(store, run_id, created_at=time.time() - 31 * DAY)
    change(store, kept, created_at=time.time() - 31 * DAY)
    assert asyncio.run(store.find(run_id)) is None
    assert asyncio.run(store.find(kept)) is not None


def test_takes_go_with_their_run(tmp_path: Path) -> None:
    store = store_in(tmp_path, keep_days=1)
    now = time.time()
    root = cook(store, created_at=now - 2 * DAY)
    take = cook(store, "bert", parent=root, created_at=now - 100)
    other = cook(store)
    row = store.index.get(take)
    assert row is not None
    assert store.expires_at(row) == pytest.approx(now - DAY)
    assert swept(store) == 2
    assert there(store) == {other}


def test_bytes_on_disk_are_bounded(tmp_path: Path) -> None:
    unbounded = store_in(tmp_path)
    now = time.time()
    kept = cook(unbounded, created_at=now - 1_000, kept=True)
    ids = [cook(unbounded, created_at=now - 100 + number) for number in range(6)]
    each = unbounded.index.total_bytes() // 7
    unbounded.index.close()
    store = store_in(tmp_path, max_bytes=each * 4 + 100)
    store.close_orphans()
    swept(store)
    assert there(store) == {kept, *ids[3:]}
    # And at once when a run ends, not in an hour.
    fresh = cook(store)
    assert there(store) == {kept, *ids[4:], fresh}


def test_a_sweep_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path, keep_runs=50)
    for number in range(60):
        files = store.files
        run_id = f"{number:022d}"
        files.write_about(run_id, About(creator="anna", created_at=1e9 + number))
        files.packed(run_id).write_bytes(b"x")
    store = store_in(tmp_path, keep_runs=50)
    store.close_orphans()

    def opened(*args: Any, **options: Any) -> Any:
        raise AssertionError(f"opened {args}")

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr(Path, "read_bytes", opened)
    monkeypatch.setattr(RunFiles, "scan", opened)
    store._keep_seconds = 1e12
    assert swept(store) == 10


def test_deleting_takes_the_takes_along_even_those_that_still_cook(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    root, other = cook(store), cook(store)
    cook(store, "bert", parent=root)
    cooking = store.create("anna", "address", {}, Probes(), Lineage(root, Again()))
    assert cooking.log is not None
    cooking.log.open(None)
    assert asyncio.run(store.delete(root)) == [cooking]
    assert there(store) == {other, cooking.run_id}
    late = store.create("anna", "address", {}, Probes(), Lineage(root, Again()))
    for run in (cooking, late):
        assert run.log is not None
        run.log.close("stopped", "")
        asyncio.run(store.settle(run))
        assert asyncio.run(store.find(run.run_id)) is None
    assert there(store) == {other}
    assert rows(store) == from_files(store)


def test_a_doomed_take_that_a_crash_left_goes_at_the_next_start(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    root = cook(store)
    cooking = store.create("anna", "address", {}, Probes(), Lineage(root, Again()))
    assert cooking.log is not None
    cooking.log.open(None)
    asyncio.run(store.delete(root))
    store.index.close()
    again = store_in(tmp_path)
    again.close_orphans()
    assert there(again) == set()


def test_runs_of_an_older_kitchen_are_still_there(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    run_id = cook(store)
    store.files.about(run_id).write_bytes(msgspec.json.encode({"creator": "anna", "created_at": 1e9}))
    store.index.close()
    store.index.path.unlink()
    again = store_in(tmp_path, keep_days=1e6)
    again.close_orphans()
    assert asyncio.run(again.find(run_id)) is not None
    assert [row.run_id for row in again.index.runs_of("anna", None, 5)] == [run_id]
