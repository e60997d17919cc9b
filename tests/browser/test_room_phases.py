"""A neighbour's long prompt, at once and in pieces: what the step says is timed again here, from both logs."""

from __future__ import annotations

from itertools import pairwise

from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage
from tests.browser.rooms import (
    Event,
    cook_something,
    described,
    log_on_stage,
    own,
    picture_of,
    recorded,
    seconds_text,
    set_control,
    table_of,
    visit,
)

CHUNKS = 5
LANES = ("unchunked", "chunked")


def longest_wait(events: list[Event]) -> float:
    return max(later["t"] - earlier["t"] for earlier, later in pairwise(own(events, "token.sampled")))


def is_read(item: Event, me: str) -> bool:
    return item["phase"] == "prefill" and item["request_id"] != me


def reading(events: list[Event]) -> tuple[int, int, float]:
    """Of the neighbours' prompts: tokens, steps that read them, seconds from the first of these to the last's end."""
    me = events[0]["run_id"]
    ends = {event["step"]: event["t"] for event in events if event["type"] == "step.finished"}
    parts = [
        (event, sum(item["stop"] - item["start"] for item in event["requests"] if is_read(item, me)))
        for event in events
        if event["type"] == "step.started" and event["step"] in ends
    ]
    read = [(event, tokens) for event, tokens in parts if tokens]
    if not read:
        return 0, 0, 0.0
    return sum(tokens for _, tokens in read), len(read), ends[read[-1][0]["step"]] - read[0][0]["t"]


def sentence(events: list[Event]) -> str:
    size = events[0]["engine"]["max_num_batched_tokens"]
    tokens, steps, seconds = reading(events)
    title = "At once: up to" if events[0]["take"] == "unchunked" else "In pieces: at most"
    wait = seconds_text(longest_wait(events))
    if not steps:
        rest = f"The longest wait for a token was {wait}, and no neighbour's prompt was read."
        return f"{title} {size:,} tokens a step. {rest}"
    times = "one step" if steps == 1 else f"{steps} steps"
    return (
        f"{title} {size:,} tokens a step. A neighbour's {tokens} tokens were read in {times}, {seconds_text(seconds)};"
        f" the longest wait for a token was {wait}."
    )


def figure(page: Page, key: str) -> str:
    text: str = page.inner_text(f"#phases [data-value='chunks.{key}'] .figure")
    return text


def test_the_recorded_pair_stalls_and_does_not() -> None:
    whole, pieces = (recorded(key) for key in LANES)
    assert longest_wait(pieces) < longest_wait(whole) / 2
    assert reading(whole)[:2] == (reading(pieces)[0], 1)
    assert reading(pieces)[1] > 2


def test_the_lanes_say_what_their_logs_say(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, "phases", CHUNKS)
    last: int = page.evaluate("window.__kitchen.cast.main.log.seq")
    for share in (0.4, 0.7, 1):
        page.evaluate(
            "seq => { const { player, stage } = window.__kitchen;"
            " player.pause(); player.seek(seq); stage.invalidate('playhead'); }",
            int(last * share),
        )
        page.wait_for_timeout(300)
        assert described(page) == " ".join(sentence(log_on_stage(page, key)) for key in LANES)
    whole, pieces = (recorded(key) for key in LANES)
    assert figure(page, "tokens") == str(reading(whole)[0])
    assert figure(page, "size") == str(pieces[0]["engine"]["max_num_batched_tokens"])
    for key, seconds in (
        ("wholeWait", longest_wait(whole)),
        ("wait", longest_wait(pieces)),
        ("wholeReading", reading(whole)[2]),
        ("reading", reading(pieces)[2]),
    ):
        assert figure(page, key) == seconds_text(seconds)


def test_the_table_is_the_state_and_the_step_has_a_picture_of_its_own(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    pictures = []
    for step in range(7):
        visit(page, "phases", step)
        pictures.append(picture_of(page))
    assert len(set(pictures)) == 7
    visit(page, "phases", CHUNKS)
    rows = table_of(page)["rows"]
    for row, key in zip(rows, LANES, strict=True):
        events = log_on_stage(page, key)
        tokens, steps, seconds = reading(events)
        size = events[0]["engine"]["max_num_batched_tokens"]
        assert row == [size, tokens, steps, seconds_text(seconds), seconds_text(longest_wait(events))]


def test_a_live_run_beside_a_neighbour_and_steps_of_another_size(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    run_id = cook_something(page)
    visit(page, "phases", CHUNKS)
    logs = [log_on_stage(page, key) for key in LANES]
    assert {log[0]["parent"] for log in logs} == {run_id}
    assert described(page) == " ".join(map(sentence, logs))
    set_control(page, "phases_chunk", 128)
    page.click("#phases [data-take]")
    ready = (
        "(({ cast }) => cast.takes.get('chunked').log?.opened?.knobs?.max_num_batched_tokens === 128)(window.__kitchen)"
    )
    until(page, ready, seconds=180)
    visit(page, "phases", CHUNKS)
    assert "at most 128 tokens a step" in described(page)
