"""A take is asked for, refused or cooked, and the page says which it shows."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, Route, expect

from benchmarks.browser import until
from tests.browser.conftest import OpenPage, ask, wait_closed
from tests.browser.rooms import log_on_stage, visit

PAGING_OF_SAMPLES = 3
"""The step of `paging` that shows the take `samples`."""
STATUS = "window.__kitchen.cast.view().main.status"


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    page = open_page(expect=("404", "429", "503"))
    ask(page, "Say hello in five words.")
    wait_closed(page)
    return page


def refuse(page: Page, status: int, code: str) -> list[str]:
    """Answer every request for a take as the kitchen does when it will not have it; what was asked is in the list."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.post_data or "")
        problem = {"type": "about:blank", "title": code, "status": status, "detail": "No.", "code": code}
        route.fulfill(status=status, body=json.dumps(problem), headers={"content-type": "application/problem+json"})

    page.route("**/takes", answer)
    return asked


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(429, "line_full", "busy"), (503, "engine_restarting", "busy"), (404, "unknown_run", "not kept here any more")],
)
def test_where_a_take_cannot_be_had_the_recorded_one_plays_and_the_page_says_so(
    page: Page, status: int, code: str, words: str
) -> None:
    asked = refuse(page, status, code)
    visit(page, "paging", PAGING_OF_SAMPLES)
    note = page.locator("#stage-note")
    expect(note).to_contain_text(words)
    expect(note.locator(".badge")).to_have_text("recorded")
    assert page.evaluate(STATUS) == "recorded"
    assert [json.loads(body)["take"] for body in asked] == ["samples"]
    assert log_on_stage(page)[0]["source"] == "recorded"


def test_a_take_of_ones_own_run_is_cooked_and_streamed(page: Page) -> None:
    run_id: str = page.evaluate("window.__kitchen.state().ownId")
    page.evaluate(
        "step => document.querySelectorAll('#paging .step')[step].scrollIntoView({block: 'center'})", PAGING_OF_SAMPLES
    )
    until(page, f"['queued', 'cooking', 'done'].includes({STATUS})", seconds=60)
    until(page, f"{STATUS} === 'done'", seconds=120)
    opened = page.evaluate("window.__kitchen.cast.main.log.events[0]")
    assert (opened["source"], opened["parent"], opened["take"]) == ("live", run_id, "samples")
    assert page.evaluate("window.__kitchen.cast.main.log.index.byType.get('block.copied').length") >= 1
    expect(page.locator("#stage-note")).to_be_hidden()
