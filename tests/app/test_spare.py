"""A second engine process waits for the first one's end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from app.engine_process import sweep_left_behind
from tests.app.conftest import WORKER, ServedSite, serving


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.kitchen.SPARE_SECONDS", 0.05)


def spare_of(site: ServedSite) -> int:
    site.wait(lambda: site.site.kitchen.spare_pid is not None)
    pid = site.site.kitchen.spare_pid
    assert pid is not None
    return pid


def kill_engine(site: ServedSite) -> None:
    """SIGKILL, and until the next one is ready."""
    restarts = site.site.kitchen.num_restarts
    os.kill(site.site.kitchen.pid, signal.SIGKILL)
    site.wait(lambda: site.site.kitchen.num_restarts > restarts)
    site.wait(lambda: site.client.get("readyz").status_code == 200)


def test_it_takes_the_place_of_an_engine_that_died_and_another_waits_then(tmp_path: Path) -> None:
    with serving(tmp_path, spare_engine=True) as site:
        first = spare_of(site)
        kill_engine(site)
        assert site.site.kitchen.pid == first
        assert site.events(site.run("hello"))[-1]["reason"] == "finished"
        second = spare_of(site)
        assert second != first
        engine = site.site.kitchen.pid
    assert not any(psutil.pid_exists(pid) for pid in (engine, second)), "both end with the site"


def test_one_that_died_itself_is_not_asked(tmp_path: Path) -> None:
    with serving(tmp_path, spare_engine=True) as site:
        spare = spare_of(site)
        os.kill(spare, signal.SIGKILL)
        site.wait(lambda: site.site.kitchen.spare_pid is None)
        kill_engine(site)
        assert site.site.kitchen.pid != spare
        assert site.events(site.run("hello"))[-1]["reason"] == "finished"


def test_one_that_died_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.kitchen.SPARE_PATIENCE_SECONDS", 0.1)
    with serving(tmp_path, spare_engine=True) as site:
        first = spare_of(site)
        os.kill(first, signal.SIGKILL)
        site.wait(lambda: site.site.kitchen.spare_pid not in (None, first))


def test_one_that_says_nothing_when_it_is_spoken_to_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.kitchen.SPARE_ANSWER_SECONDS", 0.5)
    with serving(tmp_path, spare_engine=True, engine_hang_seconds=1) as site:
        spare = spare_of(site)
        os.kill(spare, signal.SIGSTOP)
        kill_engine(site)
        site.wait(lambda: site.site.kitchen.pid not in (None, spare))
        assert site.events(site.run("hello"))[-1]["reason"] == "finished"
        assert not psutil.pid_exists(spare)


def test_folders_of_a_site_that_was_killed_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, own, other = (
        tmp_path / f"openkitchen-{name}-x" for name in ("engine-4000000000", f"engine-{os.getpid()}", "a")
    )
    for folder in (left, own, other):
        folder.mkdir()
    sweep_left_behind()
    assert [folder.exists() for folder in (left, own, other)] == [False, True, True]


def test_none_is_started_while_somebody_cooks(tmp_path: Path) -> None:
    with serving(tmp_path, spare_engine=True, worker=(*WORKER, "--load-seconds", "0.5"), ready=False) as site:
        run_id = site.run("SLOW LONG", max_tokens=100)
        site.wait(lambda: site.site.kitchen.ready is not None)
        assert site.events(run_id)[-1]["reason"] == "finished"
        assert site.site.kitchen.spare_pid is None
        spare_of(site)


def assert_counted(site: ServedSite, num_restarts: int) -> None:
    """As a counter, which is what ``rate`` and ``increase`` are for."""
    written = site.client.get("metrics").text
    assert "# TYPE openkitchen_engine_restarts_total counter" in written
    assert f"\nopenkitchen_engine_restarts_total {num_restarts:.1f}\n" in written


def test_it_can_be_done_without(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        kill_engine(site)
        assert site.site.kitchen.spare_pid is None
        assert_counted(site, 1)
        kill_engine(site)
        for _ in range(2):
            assert_counted(site, 2)
