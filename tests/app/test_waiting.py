"""Runs that wait for a seat: in turns, visibly, refused at once if they can never be, and not lost with the engine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.conftest import WORKER, ServedSite, assert_whole, serving

SEATS = 8
"""Of the engine's card. (The scripted engine seats whoever it is handed, the one handed over ahead too.)"""
STORY = "SLOW LONG story"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    with serving(tmp_path_factory.mktemp("waiting")) as served:
        yield served


def ask(client: httpx.Client, prompt: str, **params: Any) -> str:
    response = client.post("api/runs", json={"prompt": prompt, **params})
    assert response.status_code == 201, response.text
    run_id: str = response.json()["run_id"]
    return run_id


def began(events: list[dict[str, Any]]) -> float:
    admitted = next(e for e in events if e["type"] == "request.admitted" and e["request_id"] == events[0]["run_id"])
    t: float = admitted["t"]
    return t


def queued(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [e for e in events if e["type"] == "request.queued" and e["request_id"] == events[0]["run_id"]]


def stop_all(site: ServedSite, runs: list[str]) -> None:
    for run_id in reversed(runs):  # (those who wait first: none of them should begin meanwhile)
        site.client.delete(f"api/runs/{run_id}")
    for run_id in runs:
        events = site.events(run_id)
        assert_whole(events, run_id)
        assert events[-1]["reason"] in ("stopped", "finished")


def look(site: ServedSite, run_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = site.client.get(f"api/runs/{run_id}").json()
    return shown


def test_a_new_cookie_each_time_holds_up_nobody_elsewhere(site: ServedSite) -> None:
    callers = [httpx.Client(base_url=site.client.base_url) for _ in range(20)]
    many = [ask(caller, STORY) for caller in callers]
    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=site.client.base_url, transport=elsewhere, timeout=20) as other:
        own = ask(other, STORY)
        assert look(site, own)["position"] == 2, "after the one handed over ahead, and one turn"
        other.delete(f"api/runs/{own}")
    for caller, run_id in reversed(list(zip(callers, many, strict=True))):
        caller.delete(f"api/runs/{run_id}")
        caller.close()


def test_one_visitors_thirty_do_not_hold_up_anothers_first(site: ServedSite) -> None:
    many = [site.run(STORY) for _ in range(30)]
    with httpx.Client(base_url=site.url, timeout=20) as other:
        one = ask(other, STORY, max_tokens=2)
    assert look(site, many[-1])["position"] == 30 - SEATS, "it has one more before it now"
    assert look(site, one)["position"] == 2, "after the one handed over ahead, and one turn"
    for run_id in many[:2]:
        assert look(site, one)["first_token_seconds"] is None
        site.client.delete(f"api/runs/{run_id}")
        site.events(run_id)
    assert site.events(one)[-1]["reason"] == "finished"
    site.wait(lambda: look(site, many[SEATS + 2])["status"] == "running")
    assert look(site, many[SEATS + 3])["status"] == "queued", "within one visitor: first come, first served"
    stop_all(site, many)


def test_waiting_is_said_as_it_goes_on(site: ServedSite) -> None:
    for run_id in [site.run("a b c") for _ in range(3)]:
        site.events(run_id)
    runs = [site.run(STORY) for _ in range(SEATS + 4)]
    last = look(site, runs[-1])
    assert last["status"] == "queued"
    assert (last["position"], last["num_waiting"]) == (3, 4)
    wait = last["expected_wait"]
    assert wait["kind"] == "modelled"
    assert wait["num_seats"] == SEATS
    assert wait["num_runs"] >= 3
    # (Both are rounded for the reader.)
    assert wait["seconds"] == pytest.approx(4 * wait["seat_seconds"] / SEATS, abs=0.06)
    shown = site.client.get(f"fragments/runs/{runs[-1]}/queue").text
    assert "In line, 3 ahead of you." in shown
    assert "About" in shown
    assert "modelled" in shown
    for run_id in runs[:3]:
        assert look(site, runs[-1])["status"] == "queued"
        site.client.delete(f"api/runs/{run_id}")
        site.events(run_id)
    site.wait(lambda: look(site, runs[-1])["status"] == "running")
    assert look(site, runs[-1])["expected_wait"] is None
    stop_all(site, runs)
    events = site.events(runs[-1])
    places = [event["position"] for event in queued(events)]
    assert places == [3, 2, 1, 0], "the last is the engine's own word"
    assert [event["num_waiting"] for event in queued(events)] == [4, 3, 2, 1]
    assert queued(events)[0]["t"] < queued(events)[-1]["t"] <= began(events), (
        "the log begins when the run was asked for"
    )


def test_what_can_never_be_is_refused_while_others_wait(site: ServedSite) -> None:
    runs = [site.run(STORY) for _ in range(SEATS + 2)]
    assert site.post("TOOLONG").status_code == 413
    assert look(site, runs[-1])["num_waiting"] == 2
    site.wait(lambda: site.site.orders._num_standing == 1)
    stop_all(site, runs)


def test_a_run_is_stopped_in_the_line(site: ServedSite) -> None:
    runs = [site.run(STORY) for _ in range(SEATS + 4)]
    assert site.client.delete(f"api/runs/{runs[-2]}").status_code == 202
    stopped = site.events(runs[-2])
    assert_whole(stopped, runs[-2])
    assert stopped[-1]["reason"] == "stopped"
    assert "before its turn" in stopped[-1]["detail"]
    site.wait(lambda: look(site, runs[-1])["position"] == 2, 2)
    stop_all(site, runs)
    orders = site.site.orders
    site.wait(lambda: not orders._seats._taken and not orders._num_standing)


def test_the_line_outlives_the_engine(tmp_path: Path) -> None:
    with serving(tmp_path, worker=(*WORKER, "--load-seconds", "0.4")) as site:
        runs = [site.run(STORY) for _ in range(SEATS + 1)] + [site.run(STORY, max_tokens=10) for _ in range(4)]
        os.kill(site.site.kitchen.pid, signal.SIGKILL)
        site.wait(lambda: site.site.kitchen.ready is None)
        shown = site.client.get(f"fragments/runs/{runs[-1]}/queue").text
        assert "keeps its place" in shown
        logs = [site.events(run_id) for run_id in runs]
        for run_id, events in zip(runs, logs, strict=True):
            assert_whole(events, run_id)
        reasons = [events[-1]["reason"] for events in logs]
        assert reasons == ["crashed"] * (SEATS + 1) + ["finished"] * 4
        for events in logs[SEATS + 1 :]:
            assert any("started again" in event.get("detail", "") for event in queued(events))
            assert events[-1]["totals"]["completion_tokens"] == 10


def test_an_engine_that_comes_back_as_another_does_not_go_on_with_a_log(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        runs = [site.run(STORY) for _ in range(SEATS + 2)]
        waiting = site.site.store._live[runs[-1]].summary
        assert waiting.opened is not None
        waiting.opened.model.name = "another"
        os.kill(site.site.kitchen.pid, signal.SIGKILL)
        events = site.events(runs[-1])
        assert_whole(events, runs[-1])
        assert events[-1]["reason"] == "crashed"
        assert "another" in events[-1]["detail"]


def test_an_engine_that_does_not_come_back_leaves_nobody_waiting(tmp_path: Path) -> None:
    with serving(tmp_path, engine_restart_seconds=0.05) as site:
        runs = [site.run(STORY) for _ in range(SEATS + 3)]
        site.site.kitchen._command = ["/no/such/program"]
        os.kill(site.site.kitchen.pid, signal.SIGKILL)
        began_at = time.monotonic()
        for run_id in runs:
            events = site.events(run_id)
            assert_whole(events, run_id)
            assert events[-1]["reason"] in ("crashed", "error")
        assert time.monotonic() - began_at < 5
