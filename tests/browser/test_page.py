"""What the page shows of the recorded run: words that nothing crosses, a notice to be closed, a theme that stays."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from benchmarks.browser import until
from tests.browser.conftest import DESKTOP, PHONE, OpenPage, ask, to_centre, wait_closed

# Where dots are drawn: opaque pixels of their canvas within a rectangle of the window.
DOTS_UNDER = """selector => {
  const dots = document.querySelector('#dots');
  const scale = dots.width / dots.getBoundingClientRect().width;
  const origin = dots.getBoundingClientRect();
  const context = dots.getContext('2d');
  return [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility()).map((element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const found = [...range.getClientRects()].some(({ left, top, width, height }) => width * height > 0 && context
      .getImageData((left - origin.left) * scale, (top - origin.top) * scale, width * scale, height * scale)
      .data.some((value, i) => i % 4 === 3 && value > 40));
    return [element.textContent.trim().slice(0, 40), found];
  });
}"""


def to_end(page: Page) -> None:
    until(page, "window.__kitchen.log.closed !== null")


def crossed(page: Page, selector: str) -> list[str]:
    """Words of the selected elements that a dot runs behind."""
    found: list[Any] = page.evaluate(DOTS_UNDER, selector)
    assert found, f"nothing of {selector} is to be seen"
    return [words for words, is_crossed in found if is_crossed]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_dot_runs_behind_words(open_page: OpenPage, viewport: dict[str, int]) -> None:
    page = open_page(viewport=viewport, reduced_motion="reduce")
    to_end(page)
    page.wait_for_timeout(600)
    assert page.evaluate(
        "document.querySelector('#dots').getContext('2d').getImageData(0, 0, 4096, 4096).data.some(v => v)"
    )
    assert crossed(page, ".chips .chip, .small-print p, .ribbon .chip") == []
    for step in (0, 2, 3):
        to_centre(page, "kv-hall", step)
        words = ".hall-sign, .hall-first, .ribbon .chip"
        assert crossed(page, words if viewport is PHONE else f"{words}, #stage-caption") == []


def test_the_signs_of_the_hall_stay_in_a_phones_picture_and_apart(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, reduced_motion="reduce")
    to_end(page)
    for step in range(4):
        to_centre(page, "kv-hall", step)
        boxes: list[dict[str, float]] = page.evaluate(
            "[...document.querySelectorAll('.hall-sign, .hall-first, .hall-floor-sign, .hall-side, .hall-bytes')]"
            ".filter((sign) => sign.checkVisibility()).map((sign) => sign.getBoundingClientRect().toJSON())"
        )
        bottom = page.evaluate("document.querySelector('#stage').getBoundingClientRect().bottom")
        for i, box in enumerate(boxes):
            assert box["left"] >= 4, (step, box)
            assert box["right"] <= PHONE["width"] - 4, (step, box)
            assert box["bottom"] <= bottom - 2, (step, box)
            for other in boxes[:i]:
                apart_x = box["left"] >= other["right"] or other["left"] >= box["right"]
                assert apart_x or box["top"] >= other["bottom"] or other["top"] >= box["bottom"], (step, box, other)


def test_a_notice_can_be_closed_and_gives_the_focus_back(open_page: OpenPage) -> None:
    page = open_page("?run=AAAAAAAAAAAAAAAAAAAAAA", expect=("404",))
    notice = page.locator("#notice")
    expect(notice).to_be_visible()
    page.focus("#send")
    page.get_by_role("button", name="Close this message").focus()
    page.keyboard.press("Escape")
    expect(notice).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "send"
    page.wait_for_timeout(300)
    expect(notice).to_be_hidden()
    page.reload()
    page.get_by_role("button", name="Close this message").click()
    expect(notice).to_be_hidden()


def test_the_answer_comes_into_view_without_a_scroll(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate("scrollTo(0, 300)")
    ask(page)
    until(page, "document.querySelector('#answer .token') !== null", seconds=60)
    page.wait_for_timeout(700)
    box = page.locator("#answer .token").first.bounding_box()
    foot = page.locator("#foot").bounding_box()
    assert box is not None
    assert foot is not None
    assert box["y"] >= 0
    assert box["y"] + 3 * box["height"] < foot["y"]
    page.locator("[data-action=stop]").first.dispatch_event("click")
    wait_closed(page)


def test_a_link_within_the_page_leaves_the_run_where_it_is(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    to_end(page)
    page.evaluate("window.__player = window.__kitchen.player, __player.pause(), __player.seek(20)")
    page.click("text=Scroll to walk through this run")
    until(page, "location.hash === '#phases'")
    page.wait_for_timeout(300)
    page.evaluate("history.back()")
    until(page, "location.hash === ''")
    page.wait_for_timeout(300)
    assert page.evaluate("window.__kitchen.player === window.__player")
    assert page.evaluate("window.__kitchen.log.closed !== null")


def test_back_to_another_run_takes_the_line_under_the_box_along(open_page: OpenPage) -> None:
    page = open_page()
    run_id = ask(page)
    until(page, "document.querySelector('.run-status') !== null")
    assert page.get_attribute(".run-status", "data-run") == run_id
    page.go_back()
    until(page, "document.documentElement.dataset.run === 'recorded'")
    expect(page.locator("#prompt-status")).to_be_empty()


def test_a_room_that_cannot_be_fetched_says_so_where_its_picture_would_be(open_page: OpenPage) -> None:
    """After an upgrade, say: the scripts that this page knows are gone."""
    page = open_page(
        reduced_motion="reduce",
        expect=("ERR_FAILED",),
        before=lambda page: page.route("**/scenes/paging.js", lambda route: route.abort()),
    )
    page.evaluate("document.getElementById('paging').scrollIntoView()")
    expect(page.locator("#notice")).to_contain_text("Reload the page")
    page.evaluate("document.getElementById('phases').scrollIntoView()")
    expect(page.locator("#notice")).to_be_hidden()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_long_prompt_leaves_the_answer_in_view(open_page: OpenPage, viewport: dict[str, int]) -> None:
    page = open_page(viewport=viewport)
    assert page.get_attribute("#question", "tabindex") is None
    ask(page, "Say yes. " + "The soup of the day is tomato soup with basil and bread. " * 40)
    until(page, "document.querySelector('#answer .token') !== null", seconds=60)
    page.wait_for_timeout(300)
    question = page.locator("#question").bounding_box()
    token = page.locator("#answer .token").first.bounding_box()
    foot = page.locator("#foot").bounding_box()
    assert question is not None
    assert token is not None
    assert foot is not None
    assert question["height"] <= 0.2 * viewport["height"] + 1
    assert token["y"] >= 0
    assert token["y"] + 3 * token["height"] < foot["y"]
    page.focus("#question")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "The whole prompt"
    page.locator("[data-action=stop]").first.dispatch_event("click")
    wait_closed(page)
    page.go_back()
    until(page, "document.documentElement.dataset.run === 'recorded'")
    until(page, "!document.querySelector('#question').hasAttribute('tabindex')")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_why_a_long_prompt_is_refused_can_be_seen(open_page: OpenPage, viewport: dict[str, int]) -> None:
    page = open_page(viewport=viewport, expect=("413",))
    page.fill("#prompt-form textarea", "x y " * 5000)
    page.press("#prompt-form textarea", "Enter")
    problem = page.locator("#prompt-error .problem")
    expect(problem).to_contain_text("tokens long", timeout=20_000)
    page.wait_for_timeout(300)
    box, foot = problem.bounding_box(), page.locator("#foot").bounding_box()
    assert box is not None
    assert foot is not None
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= foot["y"]
    assert len(page.input_value("#prompt-form textarea")) == 20_000


def test_prose_can_be_read_in_a_low_window(open_page: OpenPage) -> None:
    """320 by 256 is what is left of 1280 by 1024 at 400 %."""
    page = open_page(viewport={"width": 320, "height": 256}, reduced_motion="reduce")
    to_end(page)
    to_centre(page, "phases", 1)
    # Down the middle of the window: lines of the step that nothing lies over.
    lines: int = page.evaluate(
        """() => [...Array(256).keys()].filter((y) => document.elementFromPoint(160, y)?.closest('.step')).length"""
    )
    assert lines >= 120, f"{lines} of 256 pixels are prose"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_chosen_theme_stays_and_is_there_at_the_first_paint(open_page: OpenPage, theme: str) -> None:
    page = open_page(color_scheme=theme, expect=("ERR_FAILED",))
    page.click("[data-action=theme]")
    colour = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
    chosen = page.evaluate(colour)
    # The module that has the switch never comes, and the colours come late.
    page.route("**/main.js", lambda route: route.abort())
    page.route("**/day.css", late)
    page.add_init_script(
        f"new PerformanceObserver(() => {{ window.__painted ??= {colour}; }})"
        ".observe({ type: 'paint', buffered: true })"
    )
    page.reload()
    until(page, "window.__painted !== undefined")
    assert page.evaluate("window.__painted") == chosen


def late(route: Route) -> None:
    time.sleep(0.4)
    route.continue_()


def test_the_end_of_an_answer_has_a_sign_of_the_pages_own_faces(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    to_end(page)
    until(page, "window.__kitchen.state().tokens.at(-1)?.special && document.querySelector('.ribbon .is-newest')")
    sign: str = page.inner_text(".ribbon .is-newest")
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    chip = session.send("DOM.querySelector", {"nodeId": root, "selector": ".ribbon .is-newest"})["nodeId"]
    fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": chip})["fonts"]
    assert [font["isCustomFont"] for font in fonts] == [True], (sign, fonts)
