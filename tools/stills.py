"""A contact sheet of the article: every room at three of its steps, by night and by day, on a desk and on a phone.

The pages are real ones, served from this checkout, with the recorded run on stage and nothing moving. Each picture is a
PNG of the window; `sheet.html` has them all side by side, and `sheet-ROOM.png` is a picture of its part for each room.
"""

from __future__ import annotations

import argparse
import html
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Page

from benchmarks.browser import chromium, until
from benchmarks.served import ROOT, Served

FOLDER = ROOT / "stills"
WINDOWS = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
THEMES = {"night": "dark", "day": "light"}
# Everybody who is to be on stage at the step is there, and their logs are whole.
ON_STAGE = """([slug, step]) => {
  const { cast, log } = window.__kitchen;
  const { main, lanes } = cast.view();
  const there = ({ key, status }) =>
    key === 'own' || status === 'missing' || (status === 'recorded' && cast.takes.get(key)?.log?.complete);
  return log.complete && document.documentElement.dataset.chapter === slug &&
    document.querySelectorAll(`#${slug} .step`)[step].matches('.is-active') &&
    document.querySelector(`.layer[data-scene="${slug}"]`)?.checkVisibility() && [main, ...lanes].every(there);
}"""
REST_MS = 500


class Still(NamedTuple):
    """One picture: a step of a room in a window by a light."""

    room: str
    step: int
    theme: str
    window: str

    @property
    def file(self) -> str:
        return f"{self.room}-{self.step + 1}-{self.theme}-{self.window}.png"


def three_of(count: int) -> list[int]:
    """The first, the middle and the last of ``count`` steps."""
    return sorted({0, count // 2, count - 1})


def rooms_of(page: Page, wanted: Sequence[str], *, every: bool) -> dict[str, list[int]]:
    """The steps to be shown of each room. Raises ValueError for a room that the article does not have."""
    counts: dict[str, int] = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.chapter')]"
        ".map(({ id }) => [id, document.querySelectorAll(`#${id} .step`).length]))"
    )
    unknown = [room for room in wanted if room not in counts]
    if unknown:
        raise ValueError(f"no room {', '.join(unknown)}; there are {', '.join(counts)}")
    return {
        room: list(range(count)) if every else three_of(count)
        for room, count in counts.items()
        if not wanted or room in wanted
    }


def open_page(browser: Browser, url: str, theme: str, window: str) -> Page:
    context = browser.new_context(
        viewport=WINDOWS[window],  # type: ignore[arg-type]
        color_scheme=THEMES[theme],  # type: ignore[arg-type]
        reduced_motion="reduce",
        device_scale_factor=1,
    )
    page = context.new_page()
    page.goto(url)
    until(page, "window.__kitchen?.log.complete", seconds=30)
    return page


def take(page: Page, still: Still, folder: Path) -> str:
    """Photograph one step; what went wrong, in words, or nothing."""
    page.evaluate("hash => { location.hash = ''; location.hash = hash; }", f"#{still.room}?step={still.step + 1}")
    problem = ""
    try:
        until(page, ON_STAGE, [still.room, still.step], seconds=15)
    except TimeoutError:
        problem = f"{still.file}: not everybody came on stage"
    page.wait_for_timeout(REST_MS)
    page.screenshot(path=folder / still.file, animations="disabled")
    return problem


def shown(done: int, total: int, words: str) -> None:
    """A line that says how far it is; one line a picture where nobody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{done}/{total}  {words}")
    elif done == total or done % 12 == 0:
        sys.stderr.write(f"{done}/{total}  {words}\n")
    sys.stderr.flush()


def sheet(stills: Iterable[Still], title: str) -> str:
    """All of them as a page; a row a room and step."""
    rows: dict[tuple[str, int], list[Still]] = {}
    for still in stills:
        rows.setdefault((still.room, still.step), []).append(still)
    body = "".join(
        f"<section><h2>{html.escape(room)} <small>step {step + 1}</small></h2><div>"
        + "".join(
            f'<a href="{still.file}"><img src="{still.file}" class="{still.window}" alt="{still.theme}"></a>'
            for still in row
        )
        + "</div></section>"
        for (room, step), row in rows.items()
    )
    style = (
        "body{margin:24px;background:#33363d;color:#eee;font:14px system-ui}"
        "div{display:flex;gap:12px;align-items:start}h2{margin:18px 0 6px;font-size:15px}small{opacity:.6}"
        "img{display:block}img.desk{width:640px}img.phone{width:185px}"
    )
    return f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{style}</style>{body}"


def photograph(folder: Path, wanted: Sequence[str], *, every: bool) -> list[str]:
    """Take all the pictures; what went wrong, in words."""
    folder.mkdir(parents=True, exist_ok=True)
    stills: list[Still] = []
    problems: list[str] = []

    def complain(error: object) -> None:
        problems.append(str(error))

    with Served(wait_ready=False) as served, chromium() as browser:
        for window in WINDOWS:
            for theme in THEMES:
                page = open_page(browser, served.url, theme, window)
                page.on("pageerror", complain)
                rooms = rooms_of(page, wanted, every=every)
                steps = [(room, step) for room, those in rooms.items() for step in those]
                total = len(steps) * len(WINDOWS) * len(THEMES)
                for room, step in steps:
                    still = Still(room, step, theme, window)
                    problem = take(page, still, folder)
                    problems += [problem] if problem else []
                    stills.append(still)
                    shown(len(stills), total, still.file)
                page.context.close()
        write_sheets(browser, folder, stills)
    return problems


def write_sheets(browser: Browser, folder: Path, stills: list[Still]) -> None:
    """The sheet as a page, and a picture of it a room, small enough to be looked at."""
    (folder / "sheet.html").write_text(sheet(stills, "Open Kitchen, all stills"), "utf-8")
    page = browser.new_page(viewport={"width": 1790, "height": 900})
    for room in dict.fromkeys(still.room for still in stills):
        part = folder / f"sheet-{room}.html"
        part.write_text(sheet([still for still in stills if still.room == room], room), "utf-8")
        page.goto(part.as_uri())
        page.screenshot(path=folder / f"sheet-{room}.png", full_page=True)
        part.unlink()
    page.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./kitchen stills", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("rooms", nargs="*", help="only these rooms, by their slugs")
    parser.add_argument("--every", action="store_true", help="every step, not three of each room")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures go (default: stills)")
    options: Any = parser.parse_args(arguments)
    try:
        problems = photograph(options.folder, options.rooms, every=options.every)
    except ValueError as error:
        parser.error(str(error))
    sys.stderr.write("\n")
    for problem in problems:
        sys.stderr.write(f"! {problem}\n")
    print(options.folder / "sheet.html")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
