"""axe finds no violation in any room, in both themes, before and after a run; the keyboard alone reaches everything;
and what a screen reader is told of two rooms is kept, so that a change of it is seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import DESKTOP, PHONE, OpenPage, ask, wait_closed
from tests.browser.rooms import visit

AXE = Path(__file__).resolve().parents[2] / "node_modules/axe-core/axe.min.js"
TREES = Path(__file__).with_name("trees")


def violations(page: Page) -> list[str]:
    # The page's policy forbids scripts from elsewhere; evaluate() runs it as the debugger does.
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['id']}: {[(node['html'][:160], node['failureSummary']) for node in violation['nodes']][:3]}"
        for violation in found["violations"]
    ]


def rooms_of(page: Page) -> dict[str, int]:
    """How many steps each room on the page has."""
    found: dict[str, int] = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.chapter')]"
        ".map(({ id }) => [id, document.querySelectorAll(`#${id} .step`).length]))"
    )
    return found


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_in_any_room(open_page: OpenPage, theme: str, viewport: dict[str, int]) -> None:
    page = open_page(color_scheme=theme, viewport=viewport, reduced_motion="reduce")
    until(page, "window.__kitchen.log.closed !== null")
    for room, steps in rooms_of(page).items():
        visit(page, room, steps // 2)
        assert violations(page) == [], room


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_once_a_run_was_asked_for(open_page: OpenPage, theme: str) -> None:
    page = open_page(color_scheme=theme, reduced_motion="reduce")
    ask(page)
    until(page, "document.querySelector('#answer .token') !== null", seconds=120)
    page.locator("[data-action=stop]").first.dispatch_event("click")
    wait_closed(page)
    assert violations(page) == []
    page.click("[data-action=table]")
    assert violations(page) == []


def test_the_list_of_rooms_is_clean_when_it_is_open(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, reduced_motion="reduce")
    page.click(".rooms-button")
    assert violations(page) == []


def test_every_control_of_every_room_can_be_reached_and_used_by_keyboard(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.closed !== null")
    # (Of a group of radio buttons Tab reaches the chosen one; arrows reach the others.)
    inputs = "main :is(input:not([type=radio]), input[type=radio]:checked, select, textarea, button, a[href])"
    wanted: int = page.evaluate(
        f"[...document.querySelectorAll('{inputs}')].filter((e) => e.checkVisibility() && !e.disabled).length"
    )
    reached: set[str] = set()
    page.evaluate(
        f"document.querySelectorAll('{inputs}').forEach((element, i) => {{ element.dataset.nth = String(i); }})"
    )
    for _ in range(3 * wanted + 60):
        page.keyboard.press("Tab")
        nth, seen = page.evaluate(
            """() => {
              const { activeElement: at } = document;
              const { outlineStyle, borderColor } = getComputedStyle(at);
              const box = at.getBoundingClientRect();
              return [at.dataset.nth ?? null, outlineStyle !== 'none' || at.matches('textarea')
                ? box.bottom > 0 && box.top < innerHeight : borderColor === ''];
            }"""
        )
        if nth is not None:
            assert seen, f"the focus on {nth} is not to be seen"
            reached.add(nth)
    missed = page.evaluate(
        """([inputs, reached]) => [...document.querySelectorAll(inputs)].filter((element) =>
          element.checkVisibility() && !element.disabled && !reached.includes(element.dataset.nth))
          .map((element) => element.outerHTML.slice(0, 120))""",
        [inputs, sorted(reached)],
    )
    assert missed == []


def test_sliders_of_the_rooms_move_by_arrow_keys(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.closed !== null")
    names: list[str] = page.evaluate(
        "[...document.querySelectorAll('input[type=range][data-control]')].map(({ dataset }) => dataset.control)"
    )
    assert names
    for name in names:
        # (A label with an output in it would name the output.)
        label = page.evaluate("name => document.querySelector(`[data-control='${name}']`).labels[0]?.textContent", name)
        assert (label or "").strip(), f"{name} has no name"
        page.focus(f"[data-control='{name}']")
        before = page.input_value(f"[data-control='{name}']")
        page.keyboard.press("ArrowRight")
        if page.input_value(f"[data-control='{name}']") == before:  # at its end
            page.keyboard.press("ArrowLeft")
        after = page.input_value(f"[data-control='{name}']")
        assert after != before, name
        until(
            page,
            "([name, value]) => String(Number(window.__kitchen.stage.view.controls[name])) === value",
            [name, str(float(after)).removesuffix(".0")],
        )


@pytest.mark.parametrize("room", ["phases", "kv-hall"])
def test_what_a_screen_reader_is_told_of_a_room_stays(open_page: OpenPage, room: str) -> None:
    """Numbers are the run's own; all else is the room's. Delete the file to keep the room as it is now."""
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.closed !== null")
    visit(page, room, 0)
    tree = re.sub(r"\d[\d.,]*", "N", page.locator(f"#{room}").aria_snapshot()) + "\n"
    tree = re.sub(r"N\s[kMGTPmµ]?(FLOP/s|B/s|B|s)\b", r"N \1", tree)  # on another machine the prefix is another
    kept = TREES / f"{room}.yml"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(tree, "utf-8")
        pytest.fail(f"{kept.name} is written now: look at it and keep it")
    assert tree == kept.read_text("utf-8")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_theme_follows_the_reader(open_page: OpenPage, theme: str) -> None:
    page = open_page(color_scheme=theme)
    ground: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    light = sum(int(part) for part in ground.strip("rgba()").split(",")[:3]) > 380
    assert light == (theme == "light")
    # The button says what pressing it does.
    there, back = ("Night colours", "Day colours") if light else ("Day colours", "Night colours")
    page.get_by_role("button", name=there).click()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != ground
    page.get_by_role("button", name=back).click()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == ground


def test_nothing_of_a_phones_first_screen_lies_under_its_foot(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, reduced_motion="reduce")
    until(page, "window.__kitchen.log.closed !== null")
    foot: float = page.evaluate("document.querySelector('#ribbon').getBoundingClientRect().top")
    for part in ("#send", ".chips", ".small-print"):
        bottom: float = page.locator(part).evaluate("element => element.getBoundingClientRect().bottom")
        assert bottom <= foot, part
