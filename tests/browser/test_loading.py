"""What a page fetches, and when: its scripts side by side, a room when the reader comes near."""

from __future__ import annotations

from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage

FETCHED = """() => performance.getEntriesByType('resource').map(({ name }) => name)
  .filter((name) => name.endsWith('.js')).map((name) => name.replace(/^.*\\/static\\//, 'static/'))"""


def scene_of(slug: str) -> str:
    return f"static/js/scenes/{slug.replace('-', '_')}.js"


def rooms_of(page: Page) -> list[str]:
    slugs: list[str] = page.evaluate("[...document.querySelectorAll('.chapter')].map(({ dataset }) => dataset.scene)")
    return slugs


def test_rooms_are_fetched_when_a_reader_comes_near(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.closed !== null")
    page.wait_for_timeout(1000)
    rooms = rooms_of(page)
    assert len(rooms) >= 3
    first = set(page.evaluate(FETCHED))
    assert {scene_of(slug) for slug in rooms} & first == {scene_of(slug) for slug in rooms[:2]}
    page.click(f"#rooms a[href='#{rooms[-1]}']")
    until(page, "slug => window.__kitchen.stage.view.chapter === slug", rooms[-1])
    until(page, f"({FETCHED})().includes({scene_of(rooms[-1])!r})")
    fetched = set(page.evaluate(FETCHED))
    assert scene_of(rooms[-1]) in fetched
    assert scene_of(rooms[-2]) in fetched


def test_the_head_names_every_script_that_the_page_needs_at_once(open_page: OpenPage) -> None:
    page = open_page()
    links = page.locator("link[rel=modulepreload]")
    named: list[str] = links.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    needed: list[str] = page.evaluate(
        r"""async () => {
          const found = new Set();
          const walk = async (url) => {
            if (found.has(url)) return;
            found.add(url);
            const text = await (await fetch(url)).text();
            const names = text.matchAll(/\b(?:import|export)\b[^;()"']*?from\s*"(\.[^"]+)"|\bimport\s*"(\.[^"]+)"/g);
            for (const [, a, b] of names) await walk(new URL(a ?? b, url).href);
          };
          await walk(new URL('static/js/main.js', document.baseURI).href);
          return [...found].map((url) => url.replace(/^.*\/static\//, 'static/'));
        }"""
    )
    assert len(named) == len(set(named))
    assert set(named) == set(needed)
