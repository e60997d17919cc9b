"""What the tests of the rooms share: go to a step, hear what the room says, read the log of whoever is on stage."""

from __future__ import annotations

import gzip
import json
import math
import random
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from benchmarks.browser import until
from benchmarks.served import ROOT
from tests.browser.conftest import OpenPage, ask, wait_closed

RECORDINGS = ROOT / "static/recordings"
TOPICS = ["bread", "rivers", "winter", "a violin", "the moon", "Paris", "glass", "bees", "an old map", "numbers"]
Event = dict[str, Any]


def cook_something(page: Page, sentences: str = "one sentence") -> str:
    """A live run of a prompt that nobody chose, to its end. Returns its id."""
    run_id = ask(page, f"Write {sentences} about {random.SystemRandom().choice(TOPICS)}.")
    wait_closed(page)
    return run_id


def article_over(open_page: OpenPage, whose: str, sentences: str = "one sentence") -> Page:
    """The article, nothing moving, over the ``recorded`` run, or over a ``live`` one that the test thinks of."""
    page = open_page(reduced_motion="reduce")
    if whose == "live":
        cook_something(page, sentences)
    else:
        until(page, "window.__kitchen.log.complete")
    return page


def own(events: list[Event], kind: str) -> list[Event]:
    """A log's events of one kind that are about its own request."""
    run_id = events[0]["run_id"]
    return [event for event in events if event["type"] == kind and event["request_id"] == run_id]


def recorded(key: str = "") -> list[Event]:
    """The recorded run that the page opens with, or a take of it by its key."""
    path = RECORDINGS / f"tomato-soup{f'.{key}' if key else ''}.jsonl.gz"
    return read_log(path.read_bytes())


def read_log(packed: bytes) -> list[Event]:
    """Events of a ``.jsonl.gz``."""
    return [json.loads(line) for line in gzip.decompress(packed).decode().splitlines()]


def save_recording(path: Path, events: list[Event]) -> None:
    """As a page would fetch it."""
    path.write_bytes(gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode(), mtime=0))


def visit(page: Page, slug: str, step: int) -> None:
    """Scroll a step of a room to where it is read, and wait until its room, its run and the moment are on stage."""
    page.evaluate(
        "([slug, step]) => document.querySelectorAll(`#${slug} .step`)[step].scrollIntoView({ block: 'center' })",
        [slug, step],
    )
    until(page, f"document.documentElement.dataset.chapter === {slug!r}", seconds=10)
    until(page, f"document.querySelector('.layer[data-scene={slug}]')?.checkVisibility()", seconds=10)
    until(
        page,
        "(() => { const { main, lanes } = window.__kitchen.cast.view();"
        " return [main, ...lanes].every(({ key, status }) => key === 'own' || ['done', 'recorded', 'missing']"
        ".includes(status) && (status === 'missing' || window.__kitchen.cast.takes.get(key).log?.complete)); })()",
        seconds=180,
    )
    page.wait_for_timeout(900)  # the room change and a scrolled-to moment come to rest


def described(page: Page) -> str:
    """What the room on stage says of its picture."""
    sentence: str = page.evaluate("window.__kitchen.describe()")
    return sentence


def table_of(page: Page) -> dict[str, Any]:
    """The picture as rows: caption, columns, rows."""
    table: dict[str, Any] = page.evaluate("window.__kitchen.table()")
    return table


def log_on_stage(page: Page, key: str = "") -> list[Event]:
    """Events of the run in the main role, or of a take by its key, up to where it stands."""
    source = f"cast.takes.get({key!r}).session" if key else "cast.main"
    events: list[Event] = page.evaluate(f"(({{ cast }}) => {source}.log.events)(window.__kitchen)")
    seq: int = page.evaluate(f"(({{ cast }}) => {source}.player.seq)(window.__kitchen)")
    return events[:seq]


def picture_of(page: Page) -> bytes:
    """The stage as it looks, without what lies over it."""
    return page.screenshot(clip=page.locator("#stage").bounding_box(), animations="disabled")  # type: ignore[arg-type]


def set_control(page: Page, name: str, value: str | float | bool) -> None:
    """Move a control as a hand would: its value, then ``input``."""
    page.evaluate(
        """([name, value]) => {
          const input = document.querySelector(`[data-control="${name}"]`);
          if (!input) throw new Error(`no control ${name}`);
          if (input.type === "checkbox") input.checked = value;
          else input.value = String(value);
          input.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [name, value],
    )
    page.wait_for_timeout(120)


# ---- numbers as the page writes them (static/js/state/format.js), worked out here anew ------------------------------


def significant(value: float) -> str:
    """Three significant digits, never an exponent. (Of two that are as near, JavaScript takes the larger.)"""
    if value == 0 or abs(value) >= 100:
        return f"{Decimal(value).quantize(Decimal(1), ROUND_HALF_UP):,}"
    decimals = min(6, 2 - math.floor(math.log10(abs(value))))
    digits = f"{Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):f}"
    return digits.rstrip("0").rstrip(".") if decimals else digits


def seconds_text(value: float) -> str:
    """µs, ms or s."""
    for below, factor, unit in ((0.0009995, 1e6, "µs"), (0.9995, 1e3, "ms")):
        if abs(value) < below:
            return f"{significant(value * factor)}\u202f{unit}"
    return f"{significant(value)}\u202fs"


def bytes_text(value: float) -> str:
    """B, kB, MB ..."""
    for prefix in ("", "k", "M", "G"):
        if value < 999.5:
            return f"{significant(value)}\u202f{prefix}B"
        value /= 1000
    raise ValueError("too many bytes for a test")
