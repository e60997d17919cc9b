"""A log from a file: read in the page, checked, shown as what it is; one that is wrong leaves the stage as it was."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage
from tests.browser.rooms import RECORDINGS, Event, described, recorded, visit

GOOD = "tomato-soup.samples.jsonl.gz"
NOTE = "document.querySelector('#file-note .notice-text').textContent"
DROP = """([name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name));
  for (const type of ['dragover', 'drop'])
    document.querySelector('#paging').dispatchEvent(
      new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""


def article(open_page: OpenPage) -> Page:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    return page


def drop(page: Page, name: str, content: bytes) -> str:
    """Drop a file onto the article. Returns what the page says of it."""
    page.evaluate(DROP, [name, list(content)])
    until(page, f"(text => text && !text.startsWith('Reading'))({NOTE})", seconds=60)
    return str(page.evaluate(NOTE))


def packed(events: list[Event]) -> bytes:
    return gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode(), mtime=0)


def test_a_file_takes_the_stage_and_says_so_everywhere(open_page: OpenPage) -> None:
    page = open_page(path="?run=nobody-knows-this", reduced_motion="reduce", expect=("404",))
    until(page, "window.__kitchen.log.complete")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    said = drop(page, GOOD, (RECORDINGS / GOOD).read_bytes())
    events = recorded("samples")
    assert GOOD in said
    assert f"{len(events)} events" in said
    assert "nothing was uploaded" in said
    assert page.evaluate("window.__kitchen.log.events.length") == len(events)
    assert "run=" not in page.url
    until(page, f"document.querySelector('[data-source]').textContent === 'Opened from a file: {GOOD}'")
    until(page, f"document.querySelector('.transport-status').title === {GOOD!r}")
    page.evaluate("window.__kitchen.player.live()")
    visit(page, "phases", 2)
    until(page, "document.querySelectorAll('#phases .badge[data-provenance=recorded]').length > 0")
    titles: list[str] = page.eval_on_selector_all(
        "#phases .number[data-provenance=recorded]", "all => all.map(n => n.title)"
    )
    assert titles
    assert all(f"opened from a file: {GOOD}" in title for title in titles if "·" in title)
    # A take of it is nobody's to cook: the room shows a recorded one, and says so.
    visit(page, "paging", 2)
    assert "A run from a file is not cooked again" in page.inner_text("#stage-note")
    posted = [line for line in asked if not line.startswith("GET")]
    assert posted == [], "nothing of it leaves the page"
    page.reload()
    until(page, "window.__kitchen?.log.complete")
    assert page.inner_text("[data-source]").casefold() == "a recorded run"


def test_a_hostile_file_is_words_and_nothing_else(open_page: OpenPage) -> None:
    page = article(open_page)
    evil = "<img src=x onerror='globalThis.ran=1'><script>globalThis.ran=1</script>\u202egnp"
    events: list[Any] = recorded("samples")
    first = events[0]
    first["model"]["name"] = first["model"]["note"] = first["hardware"]["name"] = evil
    first["params"] |= {"__proto__": {"spoilt": 1}, "constructor": evil}
    first["__proto__"] = {"spoilt": 1}
    for event in events:
        if event["type"] == "token.sampled":
            event["text"] = evil
            for candidate in event["candidates"]:
                candidate["text"] = evil
        elif event["type"] == "request.finished":
            event["text"] = evil
    said = drop(page, "<b>evil\u202e</b>.jsonl.gz", packed(events))
    assert "<b>evil</b>.jsonl.gz" in said, "its name is text, and keeps nothing that turns words about"
    page.evaluate("window.__kitchen.player.live()")
    for slug, step in (("loop", 1), ("attention", 1)):
        visit(page, slug, step)
        assert described(page)
    visit(page, "prologue", 0)
    assert "<script>" in page.inner_text("#answer")
    assert page.evaluate("globalThis.ran") is None
    assert page.evaluate("({}).spoilt") is None
    assert page.evaluate("document.querySelectorAll('#answer img, #answer script').length") == 0
    assert "\u202e" not in page.evaluate("window.__kitchen.state().opened.model.name")


def test_what_cannot_be_opened_leaves_the_stage_alone(open_page: OpenPage) -> None:
    page = article(open_page)
    before = page.evaluate("window.__kitchen.hash()")
    good = recorded("samples")
    wrong: list[Any] = [*good[:6], {**good[6], "seq": 99}, *good[7:]]
    late = [*good[:3], {**good[3], "t": "soon"}]
    for name, content, words in (
        ("order.jsonl.gz", packed(wrong), "Line 7: Event 99 cannot follow event 6."),
        ("types.jsonl.gz", packed(late), "Line 4: “t” should be seconds since the log began."),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "is no log"),
        ("empty.jsonl", b"", "is empty"),
        ("deep.jsonl", b'{"a":' * 40 + b"1" + b"}" * 40 + b"\n", "Line 1: Its brackets stand too deep"),
        ("bomb.jsonl.gz", gzip.compress(bytes(20_000_000), 1), "Line 1: This line is longer than 8\u202fMB."),
    ):
        said = drop(page, name, content)
        assert name in said
        assert words in said, said
        assert page.evaluate("window.__kitchen.hash()") == before
    assert page.get_attribute("#file-note", "data-kind") == "error"


@pytest.mark.slow
def test_a_bomb_of_good_lines_is_stopped_while_it_unpacks(open_page: OpenPage) -> None:
    page = article(open_page)
    opened = json.dumps(recorded("samples")[0]).encode() + b"\n"
    filler = b"".join(b'{"type":"weather","seq":%d,"t":0,"x":"%s"}\n' % (seq, b" " * 7_000_000) for seq in range(2, 60))
    said = drop(page, "bomb.jsonl.gz", gzip.compress(opened + filler, 9))
    assert "It unpacks to more than 256\u202fMB." in said


@pytest.mark.parametrize("share", [0.5, pytest.param(0.95, marks=pytest.mark.slow)])
def test_a_file_that_ends_early_shows_what_it_has(open_page: OpenPage, share: float) -> None:
    page = article(open_page)
    whole = (RECORDINGS / GOOD).read_bytes()
    said = drop(page, GOOD, whole[: int(len(whole) * share)])
    assert "It ends early" in said
    until(page, "document.querySelector('#notice').textContent.includes('cut short')")
    count = page.evaluate("window.__kitchen.log.events.length")
    everything = len(recorded("samples"))
    assert everything * (share - 0.2) < count < everything
    assert page.evaluate("window.__kitchen.log.complete")


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl.gz")), ids=lambda path: path.name)
def test_every_recording_opens_as_it_was(open_page: OpenPage, path: Any) -> None:
    page = article(open_page)
    drop(page, path.name, path.read_bytes())
    until(page, "window.__kitchen.log.complete")
    events = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert page.evaluate("window.__kitchen.log.events.length") == len(events)
    assert page.evaluate("window.__kitchen.log.closed.reason") == events[-1]["reason"]
