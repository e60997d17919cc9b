"""The page as plain files under a sub-path: whatever holds of a replay in the kitchen's own page holds here. The tests
of the rooms are the same functions; what they open is another site."""

from __future__ import annotations

import functools
import gzip
import inspect
import threading
import types
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request

from app.export import export
from app.pages.chapters import rooms
from app.settings import Settings
from benchmarks.browser import until
from tests.browser import (
    test_first_rooms,
    test_room_attention,
    test_room_batching,
    test_room_loop,
    test_room_paging,
    test_room_speculation,
)
from tests.browser.conftest import PHONE, OpenPage
from tests.browser.rooms import article_over, described, log_on_stage, recorded, save_recording, visit

RUN_ID = "R" * 22
ROOMS = {
    "first": test_first_rooms,
    "attention": test_room_attention,
    "batching": test_room_batching,
    "loop": test_room_loop,
    "paging": test_room_paging,
    "speculation": test_room_speculation,
}
BUTTONS = {"test_a_recorded_run_says_that_it_is_not_raced_again"}
"""Of a button that has a run cooked again: there is none here."""


class Exported:
    """A folder of files behind a server that knows nothing, under a sub-path."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        site = folder / "some" / "where"
        data = folder / "data"
        # A run of a kitchen's: a recording by another name.
        (data / "runs").mkdir(parents=True)
        log = recorded()
        log[0] |= {"run_id": RUN_ID, "source": "live"}
        save_recording(data / "runs" / f"{RUN_ID}.jsonl.gz", log)
        export(site, Settings(data_dir=data, **settings), [RUN_ID])

        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/some/where/"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """In the place of a served kitchen: ``open_page`` opens this one."""
    exported = Exported(tmp_path_factory.mktemp("export"))
    yield exported
    exported.server.shutdown()


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    """In the place of the rooms' own fixtures, which ask for a live run too."""
    return article_over(open_page, "recorded")


def wants_a_kitchen(test: Callable[..., object]) -> bool:
    return bool(
        {"ask", "cook_something"} & set(test.__code__.co_names)
        or {"own", "served"} & set(inspect.signature(test).parameters)
        or not {"page", "open_page"} & set(inspect.signature(test).parameters)
        or test.__name__ in BUTTONS
    )


def once_more(test: types.FunctionType) -> Any:
    """The same test, slow here whatever it is elsewhere."""
    again = types.FunctionType(test.__code__, test.__globals__, test.__name__, test.__defaults__, test.__closure__)
    again.__dict__.update(test.__dict__)
    again.__annotations__ = test.__annotations__
    return pytest.mark.slow(again)


def rooms_once_more() -> dict[str, Any]:
    return {
        f"test_{room}_{name.removeprefix('test_')}": once_more(test)
        for room, module in ROOMS.items()
        for name, test in vars(module).items()
        if name.startswith("test_") and isinstance(test, types.FunctionType) and not wants_a_kitchen(test)
    }


globals().update(rooms_once_more())


# ---- what is the copy's own -----------------------------------------------------------------------------------------


def watch(requests: list[str]) -> Callable[[Page], object]:
    def heard(request: Request) -> None:
        requests.append(request.url)

    return lambda page: page.on("request", heard)


def test_the_tests_of_the_rooms_are_here() -> None:
    assert len(rooms_once_more()) > 25, "as many as need no kitchen"
    assert rooms_once_more().keys() <= globals().keys()


def test_nothing_is_asked_of_a_kitchen_and_no_button_is_dead(open_page: OpenPage, served: Exported) -> None:
    requests: list[str] = []
    page = open_page(reduced_motion="reduce", before=watch(requests))
    until(page, "window.__kitchen.log.complete")
    visit(page, "phases", 2)
    assert described(page) == test_first_rooms.phases_says(log_on_stage(page))
    visit(page, "paging", 1)
    assert described(page).startswith("In slabs")
    assert page.locator("[data-take], #prompt-form, [hx-get], [data-cooks], .needs-own").count() == 0
    assert page.locator(".needs-kitchen").count() > 4
    assert all(url.startswith(served.url) and "/api/" not in url and "/fragments/" not in url for url in requests)


@pytest.mark.slow
def test_every_address_of_the_page_answers(open_page: OpenPage, served: Exported) -> None:
    failed: list[str] = []
    page = open_page(
        before=lambda page: page.on("response", lambda response: response.status >= 400 and failed.append(response.url))
    )
    for slug in rooms():
        visit(page, slug, 0)
    assert failed == []


@pytest.mark.slow
def test_the_run_that_came_along_plays_and_another_one_does_not(open_page: OpenPage) -> None:
    page = open_page(f"?run={RUN_ID}", reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    assert page.evaluate("window.__kitchen.log.events[0].run_id") == RUN_ID
    assert page.text_content("[data-source]") == "Somebody's run"
    visit(page, "paging", 1)
    assert "In slabs" in described(page)
    assert page.text_content("#stage-note .badge") == "recorded", "the take of the recorded run stands in"
    other = open_page("?run=unknown", reduced_motion="reduce")
    until(other, "window.__kitchen.log.complete")
    assert other.evaluate("window.__kitchen.log.seq") == len(recorded())
    assert "Nobody knows this run here" in (other.text_content("#notice") or "")


@pytest.mark.parametrize(
    "slug", ["kv-hall", *(pytest.param(s, marks=pytest.mark.slow) for s in rooms() if s != "kv-hall")]
)
def test_rooms_for_frames_play(open_page: OpenPage, slug: str) -> None:
    page = open_page(f"embed/{slug}.html?run={RUN_ID}&theme=light", viewport=PHONE, reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete && window.__kitchen.stage.scene !== null")
    assert page.text_content("#embed-source .badge") == "measured"
    last = page.locator(".embed-steps button").count() - 2
    page.get_by_label(f"Step {last}", exact=True).click()
    until(page, f"window.__kitchen.stage.view.step === {last - 1}")
    assert page.evaluate("window.__kitchen.describe()")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(250, 247, 241)"
    page.click("#embed-open", modifiers=[])
    opened = page.context.wait_for_event("page") if len(page.context.pages) < 2 else page.context.pages[1]
    assert f"/some/where/?run={RUN_ID}#{slug}" in opened.url


@pytest.mark.slow
def test_the_gallery_is_a_page_of_the_copy(open_page: OpenPage, served: Exported) -> None:
    requests: list[str] = []
    page = open_page("gallery.html", kitchen=False, before=watch(requests))
    assert page.locator(".card").count() > 20
    page.locator(".card-link").nth(2).click()
    until(page, "window.__kitchen?.log.complete")
    assert all(url.startswith(served.url) and "/api/" not in url for url in requests)


@pytest.mark.slow
def test_the_dialog_makes_frames_of_this_copy(open_page: OpenPage, served: Exported) -> None:
    page = open_page("#paging?step=2", reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "paging", 1)
    page.click("[data-action=embed]")
    code = page.input_value(".embed-code")
    assert f'src="{served.url}embed/paging.html?step=2"' in code
    inner = page.frame_locator(".embed-preview iframe")
    inner.locator(".transport-play").wait_for()
    assert inner.locator("h2").text_content() == "Nobody knows how long an answer will be."


def test_recordings_are_bytes_of_gzip(served: Exported) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{served.url}static/recordings/tomato-soup.jsonl.gz") as response:
        assert len(gzip.decompress(response.read()).splitlines()) == len(recorded())


def test_a_copy_opened_as_a_file_says_that_it_needs_a_server(page: Page, tmp_path: Path) -> None:
    assert page.locator("#needs-server").count() == 0, "over a server it is gone"
    export(tmp_path / "site", Settings(data_dir=tmp_path / "data"))
    # In a page of its own: the browser complains of every script that it does not run.
    assert page.context.browser
    alone = page.context.browser.new_page()
    alone.goto((tmp_path / "site" / "index.html").as_uri())
    alone.locator("#needs-server").wait_for(timeout=9000)
    assert "python3 -m http.server" in (alone.text_content("#needs-server") or "")
    alone.close()
