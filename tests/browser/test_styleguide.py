"""The styleguide: both themes side by side, every room drawn, under the page's own policy."""

from __future__ import annotations

import pytest

from benchmarks.browser import until
from benchmarks.served import Served
from tests.browser.conftest import DESKTOP, PHONE, OpenPage
from tests.browser.test_access import violations

ROOMS = """() => [...document.querySelectorAll('.still-row')].map((row) => ({
  room: row.dataset.room,
  words: row.querySelector('.still-words').textContent,
  grounds: [...row.querySelectorAll('.still')].map((still) => getComputedStyle(still).backgroundColor),
  dots: [...row.querySelectorAll('.still-stage > canvas')].map((canvas) => canvas.getContext('2d')
    .getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0)),
}))"""


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_room_stands_there_by_night_and_by_day(
    open_page: OpenPage, served: Served, viewport: dict[str, int]
) -> None:
    page = open_page("styleguide", viewport=viewport, reduced_motion="reduce", kitchen=False)
    until(page, "document.documentElement.dataset.stills === 'done'", seconds=60)
    # (The room of two runs is in a template: it stands only where two are compared.)
    article = served.get("").decode().partition("<template")[0]
    rooms = page.evaluate(ROOMS)
    assert [room["room"] for room in rooms] == [
        part.partition('"')[0]
        for part in article.split('class="chapter')[1:]
        for part in [part.split('data-scene="')[1]]
    ]
    for room in rooms:
        assert len(room["words"]) > 20, room
        assert len(set(room["grounds"])) == 2, room
        assert room["dots"] == [True, True], room
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert "39" in page.inner_text("[data-value='prompt.tokens'] .figure")
    assert violations(page) == []


def test_text_stands_out_from_the_ground_in_both_themes(open_page: OpenPage) -> None:
    page = open_page("styleguide", kitchen=False)
    until(page, "document.querySelector('[data-contrast=idle]').textContent !== ''")
    for theme in ("night", "day"):
        for name in ("ink", "muted", "prefill", "decode", "draft", "accepted", "rejected", "shared"):
            ratio = page.inner_text(f".theme[data-of={theme}] [data-contrast={name}]")
            assert float(ratio.removesuffix(":1")) >= 4.5, (theme, name, ratio)
