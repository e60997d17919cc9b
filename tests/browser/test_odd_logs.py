"""Whatever the log, every step of every room stands: no error, no nonsense among the words, every dot on the stage."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from benchmarks.browser import until
from tests.browser.conftest import DESKTOP, PHONE, OpenPage
from tests.browser.odd_logs import ODD

NONSENSE = re.compile(r"\b(NaN|undefined|null|Infinity|\[object|-?0\.0{6,})\b")
STEPS = """[...document.querySelectorAll('.chapter')]
  .map((room) => [room.id, room.querySelectorAll('.step').length]).filter(([, steps]) => steps > 0)"""
WORDS = """([slug, step]) => [
  document.querySelectorAll(`#${slug} .step`)[step].innerText,
  document.querySelector('#stage').innerText,
  window.__kitchen.describe() ?? '',
  JSON.stringify(window.__kitchen.table() ?? {}).replaceAll('null', ''),
]"""
ASTRAY = """() => {
  const { places } = window.__kitchen.stage.marks;
  const { width, height } = window.__kitchen.stage.view;
  const dots = Array.from({ length: places.length / 3 }, (_, i) => [i, ...places.slice(3 * i, 3 * i + 3)]);
  return dots.filter(([, x, y, r]) => ![x, y, r].every(Number.isFinite)
    || (r > 0.05 && (x < -1 || x > width + 1 || y < -1 || y > height + 1)));
}"""


def open_with(open_page: OpenPage, log: bytes, viewport: dict[str, int]) -> Page:
    """The page, with ``log`` for the recorded run that it opens with."""

    def give(route: Route) -> None:
        route.fulfill(body=log, headers={"content-type": "application/gzip"})

    page = open_page(
        viewport=viewport,
        reduced_motion="reduce",
        before=lambda page: page.route("**/recordings/tomato-soup.jsonl.gz", give),
    )
    until(page, "window.__kitchen.log.complete", seconds=30)
    return page


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ODD)
def test_every_room_says_something_true_or_what_is_missing(
    open_page: OpenPage, name: str, viewport: dict[str, int]
) -> None:
    page = open_with(open_page, ODD[name](), viewport)
    rooms: list[Any] = page.evaluate(STEPS)
    assert len(rooms) >= 3
    for slug, steps in rooms:
        for step in range(steps):
            page.evaluate(
                "([slug, step]) => document.querySelectorAll(`#${slug} .step`)[step].scrollIntoView({block: 'center'})",
                [slug, step],
            )
            until(page, "slug => window.__kitchen.stage.view.chapter === slug", slug)
            until(page, "slug => document.querySelector(`.layer[data-scene=${slug}]`)?.checkVisibility()", slug)
            page.wait_for_timeout(60)
            words: list[str] = page.evaluate(WORDS, [slug, step])
            assert words[2], f"{slug} {step}: the picture is not described"
            for text in words:
                assert not NONSENSE.search(text), f"{slug} {step}: {NONSENSE.search(text)} in {text[:300]!r}"
            # On a phone the stage shrinks behind the prologue: the dots have a moment to follow it.
            for _ in range(20):
                astray: list[Any] = page.evaluate(ASTRAY)
                if not astray:
                    break
                page.wait_for_timeout(50)
            assert not astray, f"{slug} {step}: off the stage (token, x, y, r)"
