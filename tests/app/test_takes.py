"""``POST /api/runs/{id}/takes``: a run with a parent. Who may ask, what is refused, and whose log hears what."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.runs import Lineage, LogFile, RunLog
from app.takes import parent_of
from inference.events import RequestQueued, decode
from inference.probes import Probes
from inference.takes import Standard
from tests.app.conftest import ServedSite, assert_whole, serving
from tests.app.fake_worker import ENGINE, HARDWARE, MODEL, Ready, Software


@pytest.fixture(scope="module")
def parent(site: ServedSite) -> str:
    run_id = site.run("one two three four five six", seed=7, temperature=0.3, stop=["zebra"])
    assert site.events(run_id)[-1]["reason"] == "finished"
    return run_id


def ask(site: ServedSite, run_id: str, take: str, client: httpx.Client | None = None, **knobs: Any) -> httpx.Response:
    return (client or site.client).post(f"{site.url}api/runs/{run_id}/takes", json={"take": take, **knobs})


def test_a_take_is_a_run_with_a_parent(site: ServedSite, parent: str) -> None:
    response = ask(site, parent, "static", neighbours=2)
    assert response.status_code == 201, response.text
    made = response.json()
    run_id = made["run_id"]
    assert (made["parent"], made["take"]) == (parent, "static")
    assert made["socket_url"] == f"/api/runs/{run_id}/socket"
    assert response.headers["location"] == f"/api/runs/{run_id}"
    events = site.events(run_id)
    assert_whole(events, run_id)
    opened = events[0]
    assert (opened["parent"], opened["take"], opened["knobs"]) == (parent, "static", {"max_tokens": 48})
    assert opened["engine"]["policy"] == "static"
    assert (opened["params"]["temperature"], opened["params"]["seed"], opened["params"]["n"]) == (0.3, 7, 1)
    summary = site.client.get(f"api/runs/{run_id}").json()
    assert (summary["parent"], summary["take"], summary["status"]) == (parent, "static", "closed")
    assert opened["source"] == "live"


def test_its_log_goes_on_until_the_last_neighbour_has_ended(site: ServedSite, parent: str) -> None:
    run_id = ask(site, parent, "continuous").json()["run_id"]
    events = site.events(run_id)
    ends = [event["request_id"] for event in events if event["type"] == "request.finished"]
    assert ends == [run_id, "guest-1"]
    assert [event["step"] for event in events if event["type"] == "step.started"] == [1, 2]
    assert events[-1]["reason"] == "finished"


def test_neighbours_are_told_whole_but_for_their_words(site: ServedSite, parent: str) -> None:
    run_id = ask(site, parent, "paged").json()["run_id"]
    events = site.events(run_id)
    assert "secret" not in json.dumps(events)
    assert "neighbour" not in json.dumps(events)
    guests = [event for event in events if event.get("request_id") == "guest-1"]
    assert [event["type"] for event in guests] == ["request.queued", "request.admitted", "request.finished"]
    assert guests[1]["cached_tokens"] == 3
    assert guests[2]["usage"]["completion_tokens"] == 1


def test_two_engines_are_heard_apart(site: ServedSite, parent: str) -> None:
    """A run that is under way hears nothing of a take's engine, nor the other way round."""
    slow = site.run("SLOW LONG a b")
    try:
        run_id = ask(site, parent, "static").json()["run_id"]
        assert {event["step"] for event in site.events(run_id) if event["type"] == "step.started"} == {1, 2}
    finally:
        site.client.delete(f"api/runs/{slow}")
    events = site.events(slow)
    assert not [event for event in events if event["type"] == "snapshot" and event["num_blocks"] == 9]
    steps = [event["step"] for event in events if event["type"] == "step.started"]
    assert steps == list(range(steps[0], steps[0] + len(steps)))


def test_a_take_on_the_first_engine_is_a_run_like_another(site: ServedSite, parent: str) -> None:
    run_id = ask(site, parent, "again").json()["run_id"]
    events = site.events(run_id)
    assert_whole(events, run_id)
    assert (events[0]["take"], events[0]["knobs"], events[0]["engine"]["policy"]) == ("again", {}, "continuous")
    assert site.client.get(f"api/runs/{run_id}").json()["text"].strip() == "onetwothreefourfivesix"


def test_a_take_of_a_take(site: ServedSite, parent: str) -> None:
    first = ask(site, parent, "again").json()["run_id"]
    site.events(first)
    second = ask(site, first, "fork", position=1, token_id=5)
    assert second.status_code == 201, second.text
    assert site.events(second.json()["run_id"])[0]["parent"] == first


def test_whoever_has_the_id_may_ask_and_only_who_asked_may_stop(site: ServedSite, parent: str) -> None:
    with httpx.Client() as stranger:
        response = ask(site, parent, "standard", stranger, max_tokens=511)
        assert response.status_code == 201
        run_id = response.json()["run_id"]
        assert site.client.delete(f"api/runs/{run_id}").status_code == 403
        # Its turn has not come, so its log has no first line yet.
        assert site.client.get(f"api/runs/{run_id}").json()["status"] == "warming"
        assert stranger.delete(f"{site.url}api/runs/{run_id}").status_code == 202
    events = site.events(run_id)
    assert [event["type"] for event in events] == ["log.opened", "log.closed"]
    assert (events[0]["take"], events[0]["model"], events[1]["reason"]) == ("standard", None, "stopped")


def test_a_take_that_made_way_says_so(site: ServedSite, parent: str) -> None:
    run_id = ask(site, parent, "standard", max_tokens=510).json()["run_id"]
    events = site.events(run_id)
    assert_whole(events, run_id)
    assert (events[-1]["reason"], events[-1]["detail"]) == ("interrupted", "Others came first.")


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_an_unknown_parent(site: ServedSite) -> None:
    response = ask(site, "A" * 22, "again")
    assert response.status_code == 404
    assert "older than this kitchen keeps" in response.json()["detail"]


def test_a_parent_that_is_still_running(site: ServedSite) -> None:
    slow = site.run("SLOW LONG a b")
    response = ask(site, slow, "again")
    site.client.delete(f"api/runs/{slow}")
    assert response.status_code == 409
    assert response.json()["code"] == "still_running"
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1


def test_a_parent_without_an_answer(site: ServedSite, parent: str) -> None:
    waiting = ask(site, parent, "standard", max_tokens=511).json()["run_id"]
    site.client.delete(f"api/runs/{waiting}")
    site.events(waiting)
    response = ask(site, waiting, "again")
    assert (response.status_code, response.json()["code"]) == (409, "no_answer")


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "take", "take must be one of"),
        ({"take": "burnt"}, "take", "got 'burnt'"),
        ({"take": "static", "neighbours": 99}, "neighbours", "neighbours must be a whole number from 1 to 15, got 99."),
        ({"take": "static", "spread": None}, "spread", "a number from 0.0 to 1.0, got None."),
        ({"take": "fork", "position": 1, "token_id": 1}, "position", "from 6 to 11 (the answer's tokens), got 1."),
        ({"take": "probe", "probes": {"logits": list(range(99))}}, "probes", "at most 8 positions"),
    ],
)
def test_a_knob_out_of_range(site: ServedSite, parent: str, fields: dict[str, Any], field: str, words: str) -> None:
    response = site.client.post(f"api/runs/{parent}/takes", json=fields)
    assert response.status_code == 422
    problem = response.json()
    assert problem["errors"][0]["field"] == field
    assert words in problem["detail"]


def test_an_unknown_knob(site: ServedSite, parent: str) -> None:
    response = ask(site, parent, "again", speed=3)
    assert response.status_code == 422
    assert response.json()["detail"] == "Take 'again' has no knobs, and no 'speed'."


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"take=again", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"take": "again", "x": "' + b"x" * 300_000 + b'"}', "application/json", 413),
    ],
)
def test_bodies_that_are_none(site: ServedSite, parent: str, body: bytes, media_type: str, status: int) -> None:
    headers = {"content-type": media_type}
    assert site.client.post(f"api/runs/{parent}/takes", content=body, headers=headers).status_code == status


def test_another_site_may_not_ask(site: ServedSite, parent: str) -> None:
    headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    response = site.client.post(f"api/runs/{parent}/takes", json={"take": "again"}, headers=headers)
    assert response.status_code == 403


def test_what_the_engine_finds_too_long_leaves_no_trace(site: ServedSite, parent: str) -> None:
    before = set(site.site.store.directory.iterdir())
    response = ask(site, parent, "standard", max_tokens=512)
    assert (response.status_code, response.json()["detail"]) == (413, "The take is too long.")
    assert set(site.site.store.directory.iterdir()) == before


@pytest.fixture
def cramped(tmp_path: Path) -> Iterator[ServedSite]:
    with serving(tmp_path, max_waiting_takes=2) as served:
        yield served


def test_a_full_line_of_takes(cramped: ServedSite) -> None:
    parent = cramped.run("one two three")
    cramped.events(parent)
    waiting = [ask(cramped, parent, "standard", max_tokens=511).json()["run_id"] for _ in range(2)]
    refused = ask(cramped, parent, "static")
    assert (refused.status_code, refused.json()["code"]) == (429, "line_full")
    assert int(refused.headers["retry-after"]) >= 1
    # Takes that are ordinary requests, and ordinary runs, do not stand in that line.
    assert ask(cramped, parent, "again").status_code == 201
    cramped.run("hello")
    cramped.client.delete(f"api/runs/{waiting[0]}")
    cramped.events(waiting[0])
    assert ask(cramped, parent, "static").status_code == 201


def test_the_lanes_of_a_race_do_not_count_as_a_visitors_runs(tmp_path: Path) -> None:
    with serving(tmp_path, max_runs_per_visitor=1, max_waiting_takes=3) as served:
        parent = served.run("one two three")
        served.events(parent)
        lanes = [ask(served, parent, name, max_tokens=511) for name in ("standard", "speculative", "mismatched")]
        assert [lane.status_code for lane in lanes] == [201, 201, 201]
        assert ask(served, parent, "look-up", max_tokens=511).json()["code"] == "line_full"
        assert ask(served, parent, "again").status_code == 201


def test_no_engine(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        parent = served.run("one two three")
        served.events(parent)
        waiting = ask(served, parent, "standard", max_tokens=511).json()["run_id"]
        crash = served.run("CRASH b c d")
        assert served.events(crash)[-1]["reason"] == "crashed"
        assert served.events(waiting)[-1]["reason"] == "crashed"
        response = ask(served, parent, "again")
        assert response.status_code == 503
        assert "retry-after" in response.headers
        # A run from before is a parent as good as any, and from before a restart of the site too.
        served.wait(lambda: served.client.get("readyz").status_code == 200)
        assert ask(served, parent, "again").status_code == 201
    with serving(tmp_path) as served:
        again = ask(served, parent, "again")
        assert again.status_code == 201
        assert served.events(again.json()["run_id"])[0]["parent"] == parent


def test_no_engine_yet(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        parent = served.run("one two three")
        served.events(parent)
    worker = (sys.executable, "-m", "tests.app.fake_worker", "--load-seconds", "30")
    with serving(tmp_path, ready=False, worker=worker) as served:
        response = ask(served, parent, "again")
        assert (response.status_code, response.json()["code"]) == (503, "warming")


def test_the_wait_for_a_turn_is_no_part_of_the_log(tmp_path: Path) -> None:
    """Nor is the making of other weights: the log begins with the take."""
    file = LogFile(tmp_path / "take.jsonl")
    log = RunLog("own", file, {}, Probes(), lineage=Lineage("parent", Standard()))
    asked, turn = log.opened_at, log._zero + 100.0
    ready = Ready(model=MODEL, hardware=HARDWARE, engine=ENGINE, software=Software(openkitchen="test"), monotonic=0.0)
    log.open_take(ready, {"max_tokens": 3}, turn)
    log.project([RequestQueued(request_id="own", position=0, num_waiting=1, t=turn + 0.25)], 0.0)
    opened, queued = (decode(line) for line in log.broadcast.lines)
    assert (opened.t, queued.t) == (0.0, 0.25)
    assert opened.opened_at == pytest.approx(asked + 100.0)
    assert (opened.knobs, opened.parent) == ({"max_tokens": 3}, "parent")
    log.close("finished", "")


def test_a_log_says_what_a_take_needs(site: ServedSite, parent: str) -> None:
    lines = site.client.get(f"api/runs/{parent}/events").text.splitlines()
    found = parent_of(map(decode, lines))
    assert found is not None
    assert found.token_ids == list(range(6))
    assert found.output_ids == [7] * 6
    assert (found.params.seed, found.params.temperature, found.params.stop) == (7, 0.3, ("zebra",))
    assert found.prompt == "onetwothreefourfivesix"
    assert parent_of(map(decode, lines[:2])) is None
