"""Two runs under one clock: side by side, driven by the transport, whoever cooked them, and wherever their logs are."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage
from tests.browser.rooms import RECORDINGS, Event, described, own, recorded, seconds_text, significant, table_of

COLUMNS = "window.__kitchen.table().columns.slice(1).join('|')"
STEPS = "document.querySelectorAll('#compare .step')"
TOGETHER = """after => {
  const { log, player } = window.__kitchen.cast.takes.get('with').session;
  return Math.abs(player.t - Math.min(player.end, log.timeAt(log.index.admitted) + after)) < 1e-6;
}"""
SEEK = "t => { const { player, stage } = window.__kitchen; player.pause(); player.seekTime(t); stage.invalidate(); }"


def wait_for_both(page: Page) -> None:
    until(page, "window.__kitchen.stage.view.chapter === 'compare' && window.__kitchen.stage.sceneHere !== null")
    until(page, "window.__kitchen.log.complete && window.__kitchen.cast.takes.get('with')?.log?.complete")
    page.wait_for_timeout(300)


def to_second(page: Page, events: list[Event], after: float) -> None:
    """Put the clock so many seconds after the seat of the run on stage."""
    page.evaluate(SEEK, own(events, "request.admitted")[0]["t"] + after)
    until(page, TOGETHER, after)


def figures(events: list[Event], after: float) -> dict[str, str]:
    """What the room should say of a log, so many seconds after its seat, worked out anew."""
    seat = own(events, "request.admitted")[0]["t"]
    past = [event for event in events if event["t"] <= seat + after]
    times = [event["t"] for event in own(past, "token.sampled") if not event.get("sample")]
    mine = events[0]["run_id"]
    took_part = [
        event
        for event in past
        if event["type"] == "step.started"
        and any(item["request_id"] == mine and not item["sample"] for item in event["requests"])
    ]
    return {
        "first token": seconds_text(times[0] - seat),
        "tokens a second": significant((len(times) - 1) / (times[-1] - times[0])),
        "tokens": str(len(times)),
        "steps": str(len(took_part)),
    }


def test_an_address_names_two_runs_and_both_are_told_at_one_second(open_page: OpenPage) -> None:
    page = open_page(path="?with=speculative", reduced_motion="reduce")
    wait_for_both(page)
    a, b = recorded(), recorded("speculative")
    for after in (1.2, 3.0):
        to_second(page, a, after)
        table: dict[str, Any] = table_of(page)
        rows = {row[0]: row[1:] for row in table["rows"]}
        wanted = figures(a, after), figures(b, after)
        for name in wanted[0]:
            assert rows[name] == [wanted[0][name], wanted[1][name]], (after, name)
        texts = ["".join(event["text"] for event in own(log, "token.sampled")) for log in (a, b)]
        assert texts[0].startswith(rows["text"][0])
        assert texts[1].startswith(rows["text"][1])
    ids = [[event["id"] for event in own(log, "token.sampled")] for log in (a, b)]
    common = next(i for i, (x, y) in enumerate(zip(*ids, strict=False)) if x != y)
    assert f"part after {common} tokens" in described(page)
    # The clock goes on until the slower of the two has ended.
    page.evaluate("window.__kitchen.player.live(), window.__kitchen.stage.invalidate()")
    until(page, "window.__kitchen.cast.takes.get('with').session.player.atEnd")
    rail = page.locator("#rooms a[href='#compare']")
    assert rail.count() == 1


def test_a_choice_stands_in_the_address_and_an_unknown_run_is_said_to_be_none(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce", expect=("404",))
    until(page, "window.__kitchen.log.complete")
    page.click("[data-action=tools]")
    page.click("[data-action=compare]")
    wait_for_both(page)
    assert "with=" in page.url
    page.select_option("[data-compare=known]", "standard")
    until(page, "window.__kitchen.cast.takes.get('with').log?.opened.take === 'standard'")
    assert "with=standard" in page.url
    page.fill("[data-compare=address]", "https://elsewhere.example/?run=nobody-knows-this")
    page.press("[data-compare=address]", "Enter")
    until(page, "document.querySelector('.compare-said').textContent.includes('nobody here knows that run')")
    assert "with=" not in page.url
    # (The picture hears of it with its next frame.)
    until(page, "window.__kitchen.describe().includes('nobody here knows that run')")
    assert "nobody here knows that run" in described(page)


def test_back_ends_a_comparison_and_forward_brings_it_again(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    page.click("[data-action=tools]")
    page.click("[data-action=compare]")
    wait_for_both(page)
    beside = "window.__kitchen.cast.takes.get('with')?.log?.opened.take"
    first = page.evaluate(beside)
    page.select_option("[data-compare=known]", "standard")
    until(page, f"{beside} === 'standard'")
    page.go_back()
    until(page, f"{beside} === {first!r}")
    page.go_back()
    until(page, "window.__kitchen.cast.takes.get('with').session === null")
    assert "with=" not in page.url
    assert page.input_value("[data-compare=known]") == ""
    page.go_forward()
    until(page, f"{beside} === {first!r}")
    page.go_forward()
    until(page, f"{beside} === 'standard'")
    assert page.url.count("with=standard") == 1
    assert page.input_value("[data-compare=known]") == "standard"


def test_a_run_from_a_file_beside_the_one_before(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    page.set_input_files("input[type=file]", RECORDINGS / "tomato-soup.standard.jsonl.gz")
    page.click("#file-note .notice-retry")
    wait_for_both(page)
    page.evaluate(f"{STEPS}[2].scrollIntoView({{ block: 'center' }})")
    until(page, f"{COLUMNS} === 'A: tomato-soup.standard.jsonl.gz|B: a recorded run'")
    # Another file beside it: the stage keeps its run.
    with page.expect_file_chooser() as chooser:
        page.click("[data-compare=file]")
    chooser.value.set_files(RECORDINGS / "tomato-soup.int4.jsonl.gz")
    until(page, f"{COLUMNS} === 'A: tomato-soup.standard.jsonl.gz|B: tomato-soup.int4.jsonl.gz'")
