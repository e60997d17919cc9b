"""Trouble with one run's file is that run's: the others go on, and so do the engine and who watches over it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.kitchen import EngineLost, Kitchen
from app.run_files import RunFiles
from app.run_store import RunStore
from app.runs import RunLog
from inference.events import decode
from inference.probes import Probes
from tests.app.conftest import assert_whole, serving
from tests.app.site_process import SiteProcess


def ended(site: SiteProcess, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while (run := site.client.get(f"api/runs/{run_id}").json())["status"] != "closed":
        assert time.monotonic() < deadline, "it never ends"
        time.sleep(0.05)
    return dict(run)


def test_a_log_that_is_removed_while_it_grows_harms_nobody(tmp_path: Path) -> None:
    with SiteProcess(tmp_path, live_log_bytes=2_000) as site:
        removed, other = site.run("SLOW LONG one", max_tokens=60), site.run("SLOW LONG other", max_tokens=60)
        (tmp_path / "runs" / f"{removed}.jsonl").unlink()
        assert_whole(site.events(other), other)
        assert_whole(site.events(removed), removed)
        assert {ended(site, run_id)["reason"] for run_id in (removed, other)} == {"finished"}
        assert site.client.get("readyz").status_code == 200
        site.process.send_signal(signal.SIGTERM)
        assert site.process.wait(20) in (0, -signal.SIGTERM)


def test_too_many_open_files_end_nobodys_run(tmp_path: Path) -> None:
    with SiteProcess(tmp_path, live_log_bytes=2_000) as site:
        pid = site.process.pid
        runs = [site.run("SLOW LONG one", max_tokens=60), site.run("SLOW LONG other", max_tokens=60)]
        # (Not one more than it has now.)
        had = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), had[1]))
        reasons = {ended(site, run_id)["reason"] for run_id in runs}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, had)
        assert reasons == {"finished"}
        assert site.client.get("readyz").status_code == 200
        for run_id in runs:
            assert_whole(site.events(run_id), run_id)
    with SiteProcess(tmp_path, live_log_bytes=2_000) as site:
        for run_id in runs:
            assert_whole(site.events(run_id), run_id)


def test_what_nobody_foresaw_ends_one_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as site:
        bad, good = site.run("SLOW LONG bad", max_tokens=60), site.run("SLOW LONG good", max_tokens=60)
        project = RunLog.project

        def fail(log: RunLog, *arguments: Any) -> None:
            if log.run_id == bad:
                raise RuntimeError("what nobody foresaw")
            project(log, *arguments)

        monkeypatch.setattr(RunLog, "project", fail)
        events = site.events(bad)
        assert_whole(events, bad)
        assert events[-1]["reason"] == "error"
        assert site.events(good)[-1]["reason"] == "finished"
        assert site.client.get("readyz").status_code == 200


def test_a_log_is_given_up_in_memory_and_healed_at_the_next_start(tmp_path: Path) -> None:
    store = RunStore(tmp_path, keep_runs=10, keep_days=1, cached_bytes=0)
    run = store.create("creator", "address", {}, Probes())
    assert run.log is not None
    run.log.open(None)
    run.log.give_up()
    run.log.give_up()
    assert [decode(line).seq for line in run.broadcast.lines] == [1, 2]
    assert run.summary.closed is not None
    assert run.summary.closed.reason == "error"
    unopened = store.create("creator", "address", {}, Probes())
    assert unopened.log is not None
    unopened.log.give_up()
    assert [decode(line).seq for line in unopened.broadcast.lines] == [1, 2]
    asyncio.run(store.settle(run))
    again = RunStore(tmp_path, keep_runs=10, keep_days=1, cached_bytes=0)
    assert again.close_orphans() == 2
    healed = asyncio.run(again.find(run.run_id))
    assert healed is not None
    assert healed.summary.closed is not None


def test_a_listener_who_fails_does_not_end_the_supervisor() -> None:
    def fail(reason: str, detail: str) -> None:
        raise RuntimeError("what nobody foresaw")

    kitchen = Kitchen([])
    kitchen._listener = SimpleNamespace(engine_lost=fail)  # type: ignore[assignment]
    assert kitchen._lose(EngineLost("It ended."), 1) > 0


def test_a_run_that_cannot_be_looked_at_just_now_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path, keep_runs=10, keep_days=1, cached_bytes=0)
    store.close_orphans()
    run = store.create("creator", "address", {}, Probes())
    assert run.log is not None
    run.log.close("finished", "")

    def fail(files: RunFiles, run_id: str) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "read_about", fail)
        asyncio.run(store.settle(run))
        store.catch_up(again=True)
    assert asyncio.run(store.find(run.run_id)) is not None
    store.catch_up()
    row = store.index.get(run.run_id)
    assert row is not None
    assert row.creator == "creator"
    assert row.bytes > 0
