"""Sharing in a real browser: the dialog by keyboard and to a screen reader, what it does, and where a run is found
again. Neither dialog nor pages need an inline style or script.
(The scripted engine answers: what is shared is all one.)"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from benchmarks.browser import until
from tests.app.conftest import ServedSite, serving
from tests.browser.conftest import DESKTOP, PHONE

QUESTION = "Name one colour."

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    with serving(tmp_path_factory.mktemp("data")) as site:
        yield site


@pytest.fixture
def open_page(browser: Browser, kitchen: ServedSite) -> Iterator[OpenPage]:
    """A page of a new visitor's, or of ``context``'s, whose console must stay silent but for ``expect``."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_one(path: str = "", *, context: BrowserContext | None = None, silent: str = "", **options: Any) -> Page:
        if context is None:
            context = browser.new_context(**({"viewport": DESKTOP} | options))
            contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda said: said.type == "error" and not (silent and silent in said.text) and complaints.append(said.text),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(kitchen.url + path)
        if "gallery" not in path and "mine" not in path:
            until(page, "window.__kitchen?.state().opened", seconds=60)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def answered(browser: Browser, kitchen: ServedSite, **options: Any) -> tuple[BrowserContext, str]:
    """A visitor with a run that has ended."""
    context = browser.new_context(**({"viewport": DESKTOP} | options))
    headers = {"content-type": "application/json"}
    posted = context.request.post(f"{kitchen.url}api/runs", data=json.dumps({"prompt": QUESTION}), headers=headers)
    run_id: str = posted.json()["run_id"]
    context.request.get(f"{kitchen.url}api/runs/{run_id}/events")
    kitchen.wait((kitchen.settings.data_dir / "runs" / f"{run_id}.jsonl.gz").exists)
    return context, run_id


def test_a_run_is_shared_kept_listed_and_deleted(
    browser: Browser, kitchen: ServedSite, open_page: OpenPage, tmp_path: Path
) -> None:
    context, run_id = answered(browser, kitchen)
    page = open_page(f"?run={run_id}", context=context)
    page.get_by_role("button", name="Share this run").first.click()
    dialog = page.get_by_role("dialog", name="Share your run")
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text("It is kept here until")
    link = dialog.get_by_role("textbox", name="Link")
    assert f"?run={run_id}&room=prologue#prologue?t=" in link.input_value()
    dialog.get_by_role("checkbox", name="to this moment").uncheck()
    assert link.input_value().endswith(f"/?run={run_id}")

    # By keyboard alone: keep it, give it a title, list it.
    keep = dialog.get_by_role("checkbox", name="Keep it")
    keep.focus()
    page.keyboard.press("Space")
    expect(dialog.get_by_role("status")).to_have_text("It is kept: it does not expire.")
    expect(dialog.get_by_role("checkbox", name="Keep it")).to_be_focused()
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("textbox", name="Title in the gallery")).to_be_focused()
    page.keyboard.type("A <b>colour</b>")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("It is in the gallery now.")
    expect(dialog).to_contain_text("In the gallery as “A <b>colour</b>”")

    # The log that is downloaded is a recording.
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Download the log").click()
    assert download.value.suggested_filename == f"{run_id}.jsonl.gz"
    path = tmp_path / "run.jsonl.gz"
    download.value.save_as(path)
    events = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert events[0]["run_id"] == run_id
    assert events[-1]["type"] == "log.closed"
    with page.expect_download() as download:
        dialog.get_by_role("link", name="Download a trace for Perfetto").click()
    download.value.save_as(path)
    assert json.loads(path.read_bytes())["traceEvents"]

    # Escape closes it, and the focus is where it was.
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".share-this")).to_be_focused()

    # It is found again in both lists.
    page.goto(kitchen.url + "gallery")
    card = page.locator(".card", has=page.get_by_role("link", name="A <b>colour</b>"))
    expect(card.get_by_role("img")).to_be_visible()
    page.get_by_role("link", name="My runs").click()
    own = page.locator(f"#run-{run_id}")
    expect(own).to_contain_text("Nameonecolour.")
    expect(own).to_contain_text("Kept.")
    own.get_by_role("button", name="Let it go in its time").click()
    expect(own).to_contain_text("Until")
    own.get_by_role("button", name="Delete", exact=True).click()
    sure = own.get_by_role("button", name="Delete it for good")
    expect(sure).to_be_focused()
    sure.click()
    expect(own).to_have_count(0)
    expect(page.locator(f'a[href="./?run={run_id}"]')).to_have_count(0)


@pytest.mark.slow
def test_others_get_a_link_and_files_and_nothing_to_decide(
    browser: Browser, kitchen: ServedSite, open_page: OpenPage
) -> None:
    _, run_id = answered(browser, kitchen)
    for path, title in ((f"?run={run_id}", "Share this run"), ("", "Share the recorded run")):
        other = open_page(path, viewport=PHONE)
        other.get_by_role("button", name="More to do with this run").click()
        other.get_by_role("button", name="Share this run").click()
        dialog = other.get_by_role("dialog", name=title)
        expect(dialog.get_by_role("link", name="Download the log")).to_be_visible()
        expect(dialog.get_by_role("link", name="Download a trace for Perfetto")).to_be_visible()
        assert dialog.get_by_role("checkbox").count() == 1
        assert dialog.get_by_role("button").all_inner_texts() == ["×", "Copy"]
        box = dialog.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]


@pytest.mark.slow
def test_a_deleted_run_leaves_the_stage(browser: Browser, kitchen: ServedSite, open_page: OpenPage) -> None:
    context, run_id = answered(browser, kitchen)
    page = open_page(f"?run={run_id}", context=context, silent="404")
    page.locator(".share-this").click()
    page.get_by_role("button", name="Delete this run").click()
    page.get_by_role("button", name="Delete it for good, with its takes").click()
    until(page, "!new URL(location.href).searchParams.has('run')")
    until(page, "window.__kitchen.state().opened?.source === 'recorded'")
    assert page.request.get(f"{kitchen.url}api/runs/{run_id}").status == 404


def test_the_shelves_fit_a_phone_and_say_nothing_in_the_console(open_page: OpenPage) -> None:
    for path in ("gallery", "mine"):
        page = open_page(path, viewport=PHONE, color_scheme="dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.locator("h1").count() == 1
        page.get_by_role("button", name="Day colours").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
