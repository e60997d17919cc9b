"""A picture of a room: what is on stage, dot for dot, and below it what it is and whose."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import DESKTOP, PHONE, OpenPage
from tests.browser.rooms import visit

# The stage's canvases one over the other, on nothing, as the page has them now: the part that a room uses, as a PNG.
COMPOSED = """([left, top, width, height]) => {
  const copy = Object.assign(document.createElement('canvas'), { width: 2 * width, height: 2 * height });
  const context = copy.getContext('2d');
  const layer = [...document.querySelectorAll('.layer')].find(({ style }) => style.visibility !== 'hidden');
  for (const canvas of [...layer.querySelectorAll('canvas'), document.querySelector('#dots')])
    context.drawImage(canvas, -2 * left, -2 * top);
  return copy.toDataURL().split(',')[1];
}"""
UNCOVER = """() => ['#topbar', '#foot', '#rooms', 'main', '#stage-caption', '#stage-note', '#notice']
  .map((name) => document.querySelector(name)).filter(Boolean)
  .map((over) => ((over.style.visibility = 'hidden'), over))"""


def saved(page: Page) -> Image.Image:
    """The picture that the menu gives."""
    with page.expect_download() as download:
        page.click("[data-action=tools]")
        page.click("[data-action=picture]")
    chapter = page.evaluate("window.__kitchen.stage.view.chapter")
    assert download.value.suggested_filename == f"open-kitchen-{chapter}.png"
    return Image.open(download.value.path()).convert("RGB")


def area_of(page: Page) -> tuple[int, int, int, int]:
    """Left, top, width and height of what a room uses of the stage, in CSS pixels."""
    width, height = page.evaluate("[window.__kitchen.stage.view.width, window.__kitchen.stage.view.height]")
    if width < 900:
        return 0, 0, width, height
    column = round(min(440, max(320, 0.3 * width)))
    return column, 0, width - column, height - 112


@pytest.mark.parametrize(
    ("viewport", "theme"),
    [
        pytest.param(DESKTOP, "dark", id="desktop by night"),
        pytest.param(PHONE, "light", id="phone by day"),
        pytest.param(DESKTOP, "light", id="desktop by day", marks=pytest.mark.slow),
        pytest.param(PHONE, "dark", id="phone by night", marks=pytest.mark.slow),
    ],
)
def test_it_is_the_stage_as_it_stands(open_page: OpenPage, viewport: dict[str, int], theme: str) -> None:
    page = open_page(viewport=viewport, color_scheme=theme, reduced_motion="reduce", device_scale_factor=2)
    until(page, "window.__kitchen.log.complete")
    for slug, step in (("phases", 2), ("kv-hall", 1)):
        visit(page, slug, step)
        left, top, width, height = area_of(page)
        picture = saved(page)
        assert picture.width == 2 * width
        assert picture.height > 2 * height + 100, "there is a strip below"
        stage = picture.crop((0, 0, 2 * width, 2 * height))
        if slug == "phases":
            # Where a canvas is not seen through, the picture is its colour.
            rgba = Image.open(BytesIO(b64decode(page.evaluate(COMPOSED, [left, top, width, height])))).convert("RGBA")
            solid = rgba.getchannel("A").point(lambda alpha: 255 if alpha == 255 else 0)
            assert solid.histogram()[255] > 1000
            apart = ImageChops.difference(stage, rgba.convert("RGB"))
            masked = Image.composite(apart, Image.new("RGB", stage.size), solid)
            assert max(high for _, high in masked.getextrema()) <= 1
        # And all of it, words of elements too, is what a camera would see.
        over = page.evaluate_handle(UNCOVER)
        clip = {"x": left, "y": top, "width": width, "height": height}
        seen = Image.open(BytesIO(page.screenshot(clip=clip, animations="disabled"))).convert("RGB")  # type: ignore[arg-type]
        over.evaluate("all => all.forEach(({ style }) => style.removeProperty('visibility'))")
        apart = ImageChops.difference(stage, seen).convert("L")
        differing = sum(apart.histogram()[25:]) / (apart.width * apart.height)
        assert differing < 0.004, f"{slug}: {differing:.2%} of the picture is another"


def test_its_strip_says_what_and_whose(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce", before=lambda page: page.add_init_script(SPY))
    until(page, "window.__kitchen.log.complete")
    visit(page, "paging", 2)
    saved(page)
    drawn: list[str] = page.evaluate("globalThis.drawn")
    words = " ".join(drawn)
    title = page.inner_text("#paging h2")
    assert title in words
    assert page.evaluate("window.__kitchen.describe()") in words
    opened = page.evaluate("window.__kitchen.cast.main.log.opened")
    assert opened["take"] in words
    assert opened["model"]["name"] in words
    assert opened["hardware"]["name"] in words
    assert "recorded" in drawn
    assert f"{page.url.split('#')[0].split('?')[0]}#paging" in words


# Text that is drawn on a canvas which never joins the page.
SPY = """
globalThis.drawn = [];
const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
  if (!this.canvas.isConnected) globalThis.drawn.push(text);
  return draw.call(this, text, ...rest);
};
"""
