"""Whose run it is, and what they may do with it: keep it, list it, delete it; what everybody with its id may."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.sharing import parse_change
from tests.app.conftest import ServedSite, assert_whole, serving

OTHER = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


@pytest.fixture
def anna(site: ServedSite) -> Iterator[httpx.Client]:
    """A visitor of her own."""
    with httpx.Client(base_url=site.url, timeout=20) as client:
        yield client


@pytest.fixture
def bert(site: ServedSite) -> Iterator[httpx.Client]:
    """Another."""
    with httpx.Client(base_url=site.url, timeout=20) as client:
        yield client


def cook(site: ServedSite, who: httpx.Client, prompt: str = "one two three") -> str:
    """A run of theirs that has ended and lies packed on disk."""
    response = who.post("api/runs", json={"prompt": prompt})
    assert response.status_code == 201, response.text
    run_id: str = response.json()["run_id"]
    who.get(f"api/runs/{run_id}/events")
    site.wait((site.settings.data_dir / "runs" / f"{run_id}.jsonl.gz").exists)
    site.wait(lambda: who.get("api/runs").json()["runs"][0]["reason"])
    return run_id


def mine(who: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = who.get("api/runs", params=query).json()["runs"]
    return found


def assert_problem(response: httpx.Response, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == code
    return str(problem["detail"])


def test_everybody_lists_their_own(site: ServedSite, anna: httpx.Client, bert: httpx.Client) -> None:
    assert anna.get("api/runs").json() == {"runs": [], "next": None}, "no cookie, no runs"
    first, second = cook(site, anna), cook(site, anna, "four five")
    cook(site, bert, "secret words")
    found = mine(anna)
    assert [run["run_id"] for run in found] == [second, first]
    assert found[1]["completion_tokens"] == 3
    assert found[1]["reason"] == "finished"
    assert found[1]["expires_at"] == pytest.approx(found[1]["created_at"] + 30 * 86_400)
    response = anna.get("api/runs", params={"limit": 1})
    assert response.json()["next"] == second
    assert "secret" not in response.text + anna.get("api/runs").text
    assert [run["run_id"] for run in mine(anna, limit=1, before=second)] == [first]
    assert "four" not in anna.get("api/runs").text, "a list has no prompts"
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "limit=1e1", "before=nobody", "limit=-1"])
def test_pages_that_are_none(site: ServedSite, anna: httpx.Client, query: str) -> None:
    cook(site, anna)
    assert_problem(anna.get(f"api/runs?{query}"), 422, "invalid")


def test_kept_and_listed_by_its_creator_alone(site: ServedSite, anna: httpx.Client, bert: httpx.Client) -> None:
    run_id = cook(site, anna)
    cook(site, bert)
    for who in (bert, httpx.Client(base_url=site.url)):
        assert_problem(who.patch(f"api/runs/{run_id}", json={"kept": True}), 403, "not_yours")
        assert_problem(who.delete(f"api/runs/{run_id}/log"), 403, "not_yours")
    kept = anna.patch(f"api/runs/{run_id}", json={"kept": True})
    assert kept.json()["kept"] is True
    assert kept.json()["expires_at"] is None
    summary = bert.get(f"api/runs/{run_id}").json()
    assert summary["kept"] is True
    assert_problem(anna.patch(f"api/runs/{run_id}", json={"listed": True}), 422, "invalid")
    listed = anna.patch(f"api/runs/{run_id}", json={"listed": True, "title": "  Soup \n of \u202e the\x00 day "})
    assert listed.json()["title"] == "Soup of the day"
    assert bert.get(f"api/runs/{run_id}").json()["title"] == "Soup of the day"
    hidden = anna.patch(f"api/runs/{run_id}", json={"listed": False, "kept": False}).json()
    assert (hidden["listed"], hidden["title"], hidden["kept"]) == (False, "", False)
    assert bert.get(f"api/runs/{run_id}").json()["title"] == "", "a title is for the gallery"
    again = anna.patch(f"api/runs/{run_id}", json={"listed": True}).json()
    assert again["title"] == "Soup of the day"
    anna.patch(f"api/runs/{run_id}", json={"listed": False})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"kept": "yes please"}, "kept must be true or false"),
        ({"listed": 1}, "listed must be true or false"),
        ({"title": "x" * 121}, "at most 120 characters"),
        ({"title": 5, "kept": None}, "title must be text"),
        ({"creator": "me"}, "creator is not something a run has"),
        ({}, "Send what is to change"),
        ({"title": " \u200b\n"}, ""),
        ({"title": "\u3164\u2800\u115f", "listed": True}, "title is missing"),
        ({"title": "\u0301\ufe0f", "listed": True}, "title is missing"),
    ],
)
def test_changes_that_are_none(site: ServedSite, anna: httpx.Client, body: dict[str, Any], words: str) -> None:
    run_id = cook(site, anna)
    response = anna.patch(f"api/runs/{run_id}", json={**body, **({} if words else {"listed": True})})
    assert words in assert_problem(response, 422, "invalid")


def test_other_bodies(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna)
    assert_problem(
        anna.patch(f"api/runs/{run_id}", content=b"{", headers={"content-type": "application/json"}), 400, "malformed"
    )
    assert_problem(anna.patch(f"api/runs/{run_id}", content=b"kept"), 415, "media_type")
    assert anna.patch(f"api/runs/{run_id}", data={"kept": "true"}).json()["kept"] is True, "a form"
    assert_problem(anna.patch(f"api/runs/{'A' * 22}", json={"kept": True}), 404, "unknown_run")
    response = anna.put(f"api/runs/{run_id}", json={})
    assert_problem(response, 405, "method_not_allowed")
    assert {"PATCH", "DELETE", "GET"} <= set(response.headers["allow"].split(", "))


def test_another_sites_page_may_not(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna)
    assert_problem(anna.patch(f"api/runs/{run_id}", json={"kept": True}, headers=OTHER), 403, "cross_site")
    assert_problem(anna.delete(f"api/runs/{run_id}/log", headers=OTHER), 403, "cross_site")
    assert mine(anna)[0]["kept"] is False


def test_what_still_cooks_is_neither_kept_nor_deleted(site: ServedSite, anna: httpx.Client) -> None:
    run_id = anna.post("api/runs", json={"prompt": "SLOW LONG"}).json()["run_id"]
    for response in (
        anna.patch(f"api/runs/{run_id}", json={"kept": True}),
        anna.delete(f"api/runs/{run_id}/log"),
        anna.get(f"api/runs/{run_id}/log"),
        anna.get(f"api/runs/{run_id}/perfetto"),
    ):
        assert_problem(response, 409, "still_running")
        assert int(response.headers["retry-after"]) >= 1
    assert mine(anna)[0]["reason"] is None
    anna.delete(f"api/runs/{run_id}")
    assert_whole([json.loads(line) for line in anna.get(f"api/runs/{run_id}/events").text.splitlines()], run_id)
    stopped = anna.delete(f"api/runs/{run_id}")
    assert stopped.status_code == 200, "stopping what has ended changes nothing"


JOINED = [
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family
    "\U0001f469\U0001f3fd\u200d\U0001f373",  # a cook, of one colour
    "\U0001f3f3\ufe0f\u200d\U0001f308",  # a rainbow flag
    "\u2764\ufe0f\u200d\U0001f525",  # a heart on fire
    "\U0001f642\u200d\u2194\ufe0f",  # a head that is shaken
]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        *((f"soup {picture} day", f"soup {picture} day") for picture in JOINED),
        (JOINED[0], JOINED[0]),
        ("so\u200dup", "soup"),
        ("\U0001f468\u200d", "\U0001f468"),
        ("\u200d\U0001f468", "\U0001f468"),
        ("a\u200d\U0001f468", "a\U0001f468"),
        ("\U0001f468\u200db", "\U0001f468b"),
        ("\U0001f468\u200d\u200d\U0001f469", "\U0001f468\U0001f469"),
        ("\U0001f468\u200d\u202e\U0001f469", "\U0001f468\U0001f469"),
        ("\U0001f468\u200d\u2800", "\U0001f468"),
        ("\u200d", ""),
    ],
)
def test_pictures_of_several_stay_whole(given: str, shown: str) -> None:
    assert parse_change({"title": given}, is_form=False).title == shown


def test_deleted_is_gone_with_its_takes(site: ServedSite, anna: httpx.Client, bert: httpx.Client) -> None:
    run_id, other = cook(site, anna), cook(site, anna)
    take = bert.post(f"api/runs/{run_id}/takes", json={"take": "again"}).json()["run_id"]
    bert.get(f"api/runs/{take}/events")
    site.wait((site.settings.data_dir / "runs" / f"{take}.jsonl.gz").exists)
    assert_problem(anna.delete(f"api/runs/{take}/log"), 403, "not_yours")
    assert_problem(bert.patch(f"api/runs/{take}", json={"kept": True}), 409, "a_take")
    response = anna.delete(f"api/runs/{run_id}/log")
    assert (response.status_code, response.content) == (204, b"")
    for gone in (run_id, take):
        for path in ("", "/events", "/log", "/perfetto"):
            assert_problem(anna.get(f"api/runs/{gone}{path}"), 404, "unknown_run")
        assert not list((site.settings.data_dir / "runs").glob(f"{gone}*"))
    assert [run["run_id"] for run in mine(anna)] == [other]
    assert mine(bert) == []
    assert_problem(anna.delete(f"api/runs/{run_id}/log"), 404, "unknown_run")


def test_a_take_that_cooks_while_its_run_is_deleted_ends_and_goes(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna, "SLOW " * 60)
    take = anna.post(f"api/runs/{run_id}/takes", json={"take": "again"}).json()["run_id"]
    assert anna.delete(f"api/runs/{run_id}/log").status_code == 204
    site.wait(lambda: anna.get(f"api/runs/{take}").status_code == 404)
    assert not list((site.settings.data_dir / "runs").glob(f"{take}*"))


def test_the_log_is_a_recording(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna)
    response = anna.get(f"api/runs/{run_id}/log")
    assert response.headers["content-type"] == "application/gzip"
    assert response.headers["content-disposition"] == f'attachment; filename="{run_id}.jsonl.gz"'
    assert "content-encoding" not in response.headers
    lines = gzip.decompress(response.content)
    assert lines == anna.get(f"api/runs/{run_id}/events").content
    assert_whole([json.loads(line) for line in lines.splitlines()], run_id)
    assert anna.head(f"api/runs/{run_id}/log").status_code == 200


@pytest.mark.parametrize("path", ["", "/events", "/log", "/perfetto"])
@pytest.mark.parametrize("known", [True, False])
def test_a_frame_without_an_origin_may_read_and_nothing_else(
    site: ServedSite, anna: httpx.Client, path: str, known: bool
) -> None:
    run_id = cook(site, anna) if known else "A" * 22
    response = httpx.get(
        f"{site.url}api/runs/{run_id}{path}", headers={"origin": "null", "sec-fetch-site": "cross-site"}
    )
    assert response.status_code == (200 if known else 404)
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    for refused in (
        anna.get("api/runs"),
        anna.patch(f"api/runs/{run_id}", json={"kept": True}),
        anna.delete(f"api/runs/{run_id}/log"),
        anna.options(f"api/runs/{run_id}/log"),
    ):
        assert "access-control-allow-origin" not in refused.headers


def test_the_shelf_has_an_end(tmp_path: Path) -> None:
    with serving(tmp_path, max_kept_runs=1, max_listed_runs=1) as site:
        first, second = cook(site, site.client), cook(site, site.client)
        patch = {"listed": True, "title": "mine", "kept": True}
        assert site.client.patch(f"api/runs/{first}", json=patch).status_code == 200
        assert site.client.patch(f"api/runs/{first}", json=patch).status_code == 200, "it has its place already"
        detail = assert_problem(site.client.patch(f"api/runs/{second}", json={"kept": True}), 409, "too_many_kept")
        assert "at most 1 runs for you" in detail
        listed = {"listed": True, "title": "mine"}
        assert_problem(site.client.patch(f"api/runs/{second}", json=listed), 409, "too_many_listed")
        site.client.patch(f"api/runs/{first}", json={"kept": False, "listed": False})
        assert site.client.patch(f"api/runs/{second}", json=patch).status_code == 200
    with serving(tmp_path, keep_days=1e-9, max_kept_runs=0, max_listed_runs=0, max_log_bytes=1024**2) as site:
        site.wait(lambda: not list((tmp_path / "runs").glob(f"{first}*")))
        assert site.client.get(f"api/runs/{second}").status_code == 200, "kept over a restart, and from the sweep"
        fresh = site.run("one two")
        site.events(fresh)


def test_a_full_disk_is_said(site: ServedSite, anna: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = cook(site, anna)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.run_files.write_private", full)
    response = anna.patch(f"api/runs/{run_id}", json={"kept": True})
    assert_problem(response, 503, "disk")
    assert "retry-after" in response.headers
    monkeypatch.undo()
    assert mine(anna)[0]["kept"] is False


def test_runs_outlive_a_restart_and_the_loss_of_the_index(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        run_id = cook(site, site.client)
        site.client.patch(f"api/runs/{run_id}", json={"kept": True})
        before = mine(site.client)
        cookies = dict(site.client.cookies)
    (tmp_path / "runs" / "index.sqlite").write_bytes(b"nonsense")
    with serving(tmp_path, ready=False) as site:
        site.client.cookies.update(cookies)
        after = mine(site.client)
        assert after == before
        assert after[0]["created_at"] < time.time()
