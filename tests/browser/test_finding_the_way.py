"""What holds the rooms together: the strip of the whole run, the rail of rooms, and links to a moment."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import until
from tests.browser.conftest import PHONE, OpenPage, ask, wait_closed

TIME = "window.__kitchen.player.t"


def to_end(page: Page) -> None:
    until(page, "window.__kitchen.log.closed !== null")


def strip(page: Page) -> dict[str, float]:
    box = page.locator(".timeline").bounding_box()
    assert box is not None
    return dict(box)


def moment(page: Page, share: float) -> float:
    """The time that the strip gives a place, by clicking there."""
    box = strip(page)
    page.mouse.click(box["x"] + share * box["width"], box["y"] + 15)
    time: float = page.evaluate(TIME)
    return time


def test_a_click_on_the_strip_goes_there_and_the_zoom_keeps_what_is_under_the_pointer(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    to_end(page)
    total: float = page.evaluate("window.__kitchen.log.t")
    assert moment(page, 0.25) == pytest.approx(total / 4, rel=0.02)
    box = strip(page)
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 15)
    for _ in range(4):
        page.mouse.wheel(0, -200)
    assert moment(page, 0.25) == pytest.approx(total / 4, rel=0.02)
    near = moment(page, 0.5) - moment(page, 0.25)
    assert 0 < near < total / 16
    assert page.evaluate("scrollY") == 0
    page.keyboard.press("0")
    assert moment(page, 0.75) == pytest.approx(0.75 * total, rel=0.02)
    page.get_by_role("button", name="Show less of the run").click()
    page.get_by_role("button", name="Show more of the run").click()
    expect(page.get_by_role("button", name="Show more of the run")).to_be_disabled()


def test_the_strip_tells_the_step_and_the_word_under_the_pointer(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    to_end(page)
    step: dict[str, Any] = page.evaluate(
        """() => { const { events } = window.__kitchen.log;
        const sampled = events.filter(e => e.type === 'token.sampled');
        const word = sampled.find((e, i) => i > 20 && /^ [a-z]{4,}$/.test(e.text));
        const started = events.slice(0, word.seq).findLast(e => e.type === 'step.started');
        return { text: word.text.trim(), step: started.step, t: (started.t + word.t) / 2 }; }"""
    )
    box = strip(page)
    total: float = page.evaluate("window.__kitchen.log.t")
    page.mouse.move(box["x"] + box["width"] * step["t"] / total, box["y"] + 15)
    tooltip = page.locator("#tooltip")
    expect(tooltip).to_contain_text(f"step {step['step']}, decode")
    expect(tooltip).to_contain_text(step["text"])
    page.mouse.move(300, 300)
    expect(tooltip).to_be_hidden()


def test_the_rail_leads_to_every_room_and_lights_the_one_on_stage(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    to_end(page)
    slugs: list[str] = page.evaluate("[...document.querySelectorAll('.chapter')].map(({ id }) => id)")
    links = page.locator("#rooms a")
    assert links.evaluate_all("links => links.map(link => link.getAttribute('href'))") == [f"#{s}" for s in slugs]
    for i, slug in reversed(list(enumerate(slugs))):
        links.nth(i).hover()
        expect(links.nth(i).locator(".rooms-name")).to_have_css("opacity", "1")
        links.nth(i).focus()
        page.keyboard.press("Enter")
        until(page, "slug => document.documentElement.dataset.chapter === slug", slug)
        expect(links.nth(i)).to_have_attribute("aria-current", "location")
        expect(page.locator("#rooms [aria-current]")).to_have_count(1)


def test_the_list_of_rooms_opens_and_closes_on_a_phone(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, reduced_motion="reduce", has_touch=True)
    to_end(page)
    rooms = page.locator("#rooms")
    expect(rooms).to_be_hidden()
    page.click(".rooms-button")
    expect(rooms).to_be_visible()
    page.keyboard.press("Escape")
    expect(rooms).to_be_hidden()
    assert page.evaluate("document.activeElement.classList.contains('rooms-button')")
    page.click(".rooms-button")
    page.click("#rooms a[href='#kv-hall']")
    expect(rooms).to_be_hidden()
    until(page, "document.documentElement.dataset.chapter === 'kv-hall'")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("reduced", ["reduce", "no-preference"])
def test_a_link_opens_its_room_at_its_moment(open_page: OpenPage, reduced: str) -> None:
    page = open_page("#kv-hall?t=1.42&step=2", reduced_motion=reduced)
    to_end(page)
    until(page, f"Math.abs({TIME} - 1.42) < 1e-9")
    assert page.evaluate("document.documentElement.dataset.chapter") == "kv-hall"
    page.wait_for_timeout(900)
    assert page.evaluate(TIME) == pytest.approx(1.42)
    assert (
        page.evaluate("[...document.querySelectorAll('#kv-hall .step')].findIndex(s => s.matches('.is-active'))") == 1
    )
    page.evaluate("location.hash = '#phases?t=3'")
    until(page, f"Math.abs({TIME} - 3) < 1e-9")
    assert page.evaluate("document.documentElement.dataset.chapter") == "phases"
    page.evaluate("location.hash = '#nowhere?t=9'")
    page.wait_for_timeout(200)
    assert page.evaluate(TIME) == pytest.approx(3)


def test_a_copied_link_leads_a_stranger_to_the_same_moment_of_the_same_run(open_page: OpenPage) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    run_id = ask(page)
    wait_closed(page)
    page.click("#rooms a[href='#kv-hall']")
    until(page, "document.documentElement.dataset.chapter === 'kv-hall'")
    page.wait_for_timeout(300)
    moment(page, 0.5)
    page.click("#rooms [data-action=link]")
    expect(page.locator("#rooms [data-action=link]")).to_contain_text("Link copied")
    link: str = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    assert f"run={run_id}" in link
    there: float = page.evaluate(TIME)
    stranger = open_page(link.removeprefix(page.evaluate("document.baseURI.split('?')[0]")))
    until(stranger, "time => Math.abs(window.__kitchen.player.t - time) < 1e-3", there)
    assert stranger.evaluate("window.__kitchen.state().ownId") == run_id
    assert stranger.evaluate("document.documentElement.dataset.chapter") == "kv-hall"
