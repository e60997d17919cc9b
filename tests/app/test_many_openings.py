"""One link that many open at once: its page is made once, and is the right one for each all the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.pages import article
from tests.app.conftest import ServedSite


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The runs whose pages were made, None for the bare one."""
    runs: list[str | None] = []
    make: Callable[..., str] = article.article_html

    def counted(page: dict[str, Any], *rest: object) -> str:
        runs.append(page["run_id"])
        return make(page, *rest)

    monkeypatch.setattr(article, "article_html", counted)
    return runs


def opened_by_many(site: ServedSite, path: str) -> set[str]:
    with httpx.Client(base_url=site.url) as strangers, ThreadPoolExecutor(10) as pool:
        return set(pool.map(lambda _: strangers.get(path).text, range(40)))


def test_the_link_to_an_ended_run_is_made_once(site: ServedSite, made: list[str | None]) -> None:
    run_id = site.run("hello there")
    site.events(run_id)
    site.wait(lambda: site.client.get(f"api/runs/{run_id}").json()["closed"])
    made.clear()
    pages = opened_by_many(site, f"?run={run_id}")
    assert len(pages) == 1
    assert made == [run_id]
    assert opened_by_many(site, f"?run={run_id}&utm_source=mail") == pages, "what nobody asked for makes no other page"
    assert made == [run_id]


def test_the_link_to_a_live_run_is_made_a_few_times_and_the_end_is_told(
    site: ServedSite, made: list[str | None]
) -> None:
    run_id = site.run("SLOW LONG", max_tokens=200)
    site.wait(lambda: site.client.get(f"api/runs/{run_id}").json()["status"] == "running")
    made.clear()
    assert all('http-equiv="refresh"' in page for page in opened_by_many(site, f"?run={run_id}"))
    assert len(made) < 10
    site.client.delete(f"api/runs/{run_id}")
    site.wait(lambda: site.client.get(f"api/runs/{run_id}").json()["closed"])
    assert 'http-equiv="refresh"' not in site.client.get(f"?run={run_id}").text


def test_each_sees_their_own_page(site: ServedSite) -> None:
    run_id = site.run("hello there")
    site.events(run_id)
    stranger = httpx.get(f"{site.url}?run={run_id}").text
    creator = site.client.get(f"?run={run_id}").text
    assert '"mine": false' in stranger
    assert '"mine": true' in creator
    change = {"listed": True, "title": "A soup of stones"}
    site.wait(lambda: site.client.patch(f"api/runs/{run_id}", json=change).status_code == 200)
    assert "A soup of stones" in httpx.get(f"{site.url}?run={run_id}").text
    room = httpx.get(f"{site.url}?run={run_id}&room=paging").text
    assert f"/og/{run_id}/paging.png" in room
    asked = httpx.get(f"{site.url}?run={run_id}&context=131072").text
    assert asked != httpx.get(f"{site.url}?run={run_id}&context=1024").text
    assert site.client.delete(f"api/runs/{run_id}/log").status_code == 204
    gone = httpx.get(f"{site.url}?run={run_id}")
    assert gone.status_code == 404
    assert "That run is not here" in gone.text


def test_old_pages_go() -> None:
    pages = article.Pages(2)
    made: list[str] = []

    def get(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key

        return pages.get(key, make)

    assert [get(key) for key in "abacab"] == list("abacab")
    assert made == ["a", "b", "c", "b"], "the one that was not wanted for longest went"
