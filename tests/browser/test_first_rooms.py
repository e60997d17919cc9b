"""`prologue`, `phases` and `kv-hall` agree with the log, in words and as a table, whoever's run is on stage."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage
from tests.browser.rooms import (
    Event,
    article_over,
    bytes_text,
    described,
    log_on_stage,
    own,
    picture_of,
    seconds_text,
    set_control,
    table_of,
    visit,
)


@pytest.fixture(params=["recorded", "live"])
def page(request: pytest.FixtureRequest, open_page: OpenPage) -> Page:
    """The article over the recorded run, and over one that the test thinks of."""
    return article_over(open_page, request.param)


def own_steps(events: list[Event]) -> list[tuple[str, int, float]]:
    """Phase, tokens and seconds of each finished step that computed something of the run."""
    run_id = events[0]["run_id"]
    seconds = {event["step"]: event["seconds"] for event in events if event["type"] == "step.finished"}
    return [
        (item["phase"], item["stop"] - item["start"], seconds[event["step"]])
        for event in events
        if event["type"] == "step.started" and event["step"] in seconds
        for item in event["requests"]
        if item["request_id"] == run_id
    ]


def middle_norms(events: list[Event], which: str) -> list[float]:
    """The median over layers and heads of a place's key or value norm, for every place of the run."""
    found: dict[int, float] = {}
    for event in own(events, "probe.kv"):
        array = event[which]
        norms = np.frombuffer(base64.b64decode(array["data"]), np.float16).astype(float) * array["scale"]
        columns = norms.reshape(-1, event["stop"] - event["start"])
        found |= {event["start"] + i: float(np.median(column)) for i, column in enumerate(columns.T)}
    return [found[place] for place in sorted(found)]


def prologue_says(events: list[Event]) -> str:
    read = own(events, "request.tokenized")[0]["token_ids"]
    written = own(events, "token.sampled")
    return (
        f"A hall of lights: {len(read)} blue places for the prompt, {len(written)} gold ones, one for each token "
        "written."
    )


def phases_says(events: list[Event]) -> str:
    steps = own_steps(events)
    prefill = [step for step in steps if step[0] == "prefill"]
    decode = [step for step in steps if step[0] != "prefill"]
    read, reading = sum(step[1] for step in prefill), seconds_text(sum(step[2] for step in prefill))
    if not decode:
        return f"Prefill read {read} tokens, {reading}."
    writing = seconds_text(sum(step[2] for step in decode))
    return (
        f"Prefill read {read} tokens in {reading}; decode then took {sum(step[1] for step in decode)} steps of one "
        f"token, {writing} in all."
    )


def hall_says(events: list[Event]) -> str:
    prompt = len(own(events, "request.tokenized")[0]["token_ids"])
    found = own(events, "request.admitted")[0]["cached_tokens"]
    places = max([event["stop"] for event in own(events, "kv.written")], default=found)
    filled = min(places, prompt)
    weight = bytes_text(places * events[0]["model"]["kv_bytes_per_token"])
    teal = f"{found} teal found in the cache, " if found else ""
    return (
        f"The hall holds {places} places, {teal}{filled - found} blue from the prompt and {places - filled} gold from "
        f"the answer: {weight} of keys and values."
    )


ROOMS = {"prologue": prologue_says, "phases": phases_says, "kv-hall": hall_says}


def moments(page: Page) -> list[int]:
    """Three moments of a run: the prompt is read, half of the answer stands, all of it."""
    tokens: list[int] = page.evaluate("window.__kitchen.log.index.tokens")
    return [tokens[0], tokens[len(tokens) // 2], tokens[-1]]


def test_what_a_room_says_is_in_the_log(page: Page) -> None:
    for slug, says in ROOMS.items():
        visit(page, slug, 0)
        for seq in moments(page):
            page.evaluate("seq => { window.__kitchen.player.pause(); window.__kitchen.player.seek(seq); }", seq)
            events = log_on_stage(page)
            assert len(events) == seq
            assert described(page) == says(events)


def test_the_table_is_the_log(page: Page) -> None:
    visit(page, "phases", 2)
    events = log_on_stage(page)
    rows = table_of(page)["rows"]
    assert [(row[1] if row[1] == "prefill" else "decode", row[2], row[3]) for row in rows] == [
        ("prefill" if phase == "prefill" else "decode", tokens, seconds_text(seconds))
        for phase, tokens, seconds in own_steps(events)
    ]
    visit(page, "kv-hall", 2)
    rows = table_of(page)["rows"]
    lengths = zip(middle_norms(log_on_stage(page), "keys"), middle_norms(log_on_stage(page), "values"), strict=True)
    for place, (key, value) in enumerate(lengths):
        assert rows[place][0] == place + 1
        assert float(rows[place][3]) == pytest.approx(key, abs=0.006)
        assert float(rows[place][4]) == pytest.approx(value, abs=0.006)
    places = max(event["stop"] for event in own(log_on_stage(page), "kv.written"))
    assert [row[3] for row in rows[places:]] == ["not written yet"] * (len(rows) - places)


def test_every_step_of_a_room_is_another_still(page: Page) -> None:
    for slug in ("phases", "kv-hall"):
        stills = []
        for step in range(page.locator(f"#{slug} .step").count()):
            visit(page, slug, step)
            stills.append(picture_of(page))
        # The hall's last step is about its calculator: the picture stays as it was two steps before.
        assert len(set(stills)) >= len(stills) - (slug == "kv-hall")


@pytest.mark.parametrize(
    ("slug", "step", "name", "value"),
    [
        ("phases", 6, "prompt_length", 1900),
        ("phases", 6, "output_length", 20),
        ("kv-hall", 2, "layer", 7),
        ("kv-hall", 2, "head", 2),
        ("kv-hall", 3, "walk", 0.4),
        ("kv-hall", 3, "raw", True),
    ],
)
def test_a_control_changes_the_picture(open_page: OpenPage, slug: str, step: int, name: str, value: float) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, slug, step)
    before = picture_of(page)
    set_control(page, name, value)
    page.wait_for_timeout(300)
    assert picture_of(page) != before
