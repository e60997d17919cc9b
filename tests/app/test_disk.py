"""A disk that is full: what is on it stays whole, and is healed when there is room again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from app.run_store import RunStore
from app.runs import Run, RunLog
from app.summary import own_words
from inference.events import RequestQueued, RequestTokenized, decode
from inference.probes import Probes
from tests.app.full_disk import fill_up


def store_in(directory: Path) -> RunStore:
    return RunStore(directory, keep_runs=10, keep_days=1, cached_bytes=0)


def queued(run: Run, position: int) -> RequestQueued:
    return RequestQueued(t=0.0, request_id=run.run_id, position=position, num_waiting=position + 1)


def begun(store: RunStore) -> tuple[Run, RunLog]:
    run = store.create("creator", "address", {}, Probes())
    assert run.log is not None
    run.log.open(None)
    return run, run.log


def test_a_line_that_is_cut_by_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    run, log = begun(store)
    log.project([queued(run, 3)], 0.0)
    make_room = fill_up(monkeypatch, 20)
    log.project([queued(run, 2)], 0.0)
    lines = run.broadcast.lines
    assert [json.loads(line)["type"] for line in lines] == ["log.opened", "request.queued", "log.closed"]
    assert json.loads(lines[-1])["reason"] == "error"
    assert run.summary.status == "closed"
    assert run.summary.num_waiting == 4, "what was not written is not counted"
    path = tmp_path / "runs" / f"{run.run_id}.jsonl"
    assert path.read_bytes().splitlines() == lines[:2], "whole lines, and not the torn one"
    asyncio.run(store.settle(run))
    assert path.exists(), "without its end it is not packed"
    make_room()
    again = store_in(tmp_path)
    assert again.close_orphans() == 1
    healed = asyncio.run(again.find(run.run_id))
    assert healed is not None
    assert [decode(line).seq for line in healed.broadcast.lines] == [1, 2, 3]


def test_room_for_the_last_line_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    run, log = begun(store)
    fill_up(monkeypatch, 400)
    log.project([queued(run, number) for number in range(20)], 0.0)
    path = tmp_path / "runs" / f"{run.run_id}.jsonl"
    if log.is_whole:
        assert path.read_bytes().splitlines() == run.broadcast.lines
    assert path.read_bytes()[-1:] == b"\n"


def test_a_log_that_cannot_even_open_still_has_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    run = store.create("creator", "address", {}, Probes())
    fill_up(monkeypatch, 0)
    assert run.log is not None
    run.log.close("stopped", "")
    assert [json.loads(line)["type"] for line in run.broadcast.lines] == ["log.opened", "log.closed"]


def tokenized(pieces: list[str], own: list[tuple[int, int]]) -> RequestTokenized:
    return RequestTokenized(request_id="a", token_ids=list(range(len(pieces))), pieces=pieces, own=own, seconds=0.0)


def test_the_templates_line_break_is_not_the_readers() -> None:
    assert own_words(tokenized(["user", "\n  ", " hi"], [(1, 3)])) == "   hi"
    assert own_words(tokenized(["user", "\n", "\nhi"], [(2, 3)])) == "\nhi"
