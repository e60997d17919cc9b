"""Batching: what the room says and shows is what the steps of the logs say, counted again here."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from benchmarks.browser import until
from benchmarks.served import Served
from tests.browser.conftest import DESKTOP, PHONE, OpenPage
from tests.browser.rooms import Event, cook_something, described, log_on_stage, picture_of, set_control, table_of, visit

STEPS = 6
OWN, RACE_BEGUN, RACE_OVER, CURVES, COST, OWN_AGAIN = range(STEPS)

# ---- the same numbers, from the log --------------------------------------------------------------------------------


def started(events: list[Event]) -> list[Event]:
    return [event for event in events if event["type"] == "step.started"]


def seats_of(events: list[Event]) -> dict[str, int]:
    """Seat-steps by hand: a slot that no share of the step names was empty."""
    engine = events[0]["engine"]
    slots = min(engine["max_num_seqs"], engine["max_num_batched_tokens"])
    empty = [(slots - len({item["slot"] for item in step["requests"]}), step) for step in started(events)]
    return {
        "slots": slots,
        "total": slots * len(empty),
        "idle": sum(idle for idle, _ in empty),
        "wanted": sum(idle for idle, step in empty if step["num_waiting"] > 0),
        "busy": slots - empty[-1][0],
        "step": empty[-1][1]["step"],
    }


def sizes_of(events: list[Event]) -> dict[int, list[float]]:
    """Seconds of the steps that only decoded, by how many they decoded for."""
    seconds = {event["step"]: event["seconds"] for event in events if event["type"] == "step.finished"}
    sizes: dict[int, list[float]] = defaultdict(list)
    for step in started(events):
        if step["step"] in seconds and all(item["phase"] == "decode" for item in step["requests"]):
            sizes[len(step["requests"])].append(seconds[step["step"]])
    return dict(sorted(sizes.items()))


def numbers(words: str) -> list[float]:
    return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*(?:\.\d+)?", words)]


def assert_seats(sentence: str, events: list[Event]) -> None:
    """``Static batching, step 60: 2 of 4 seats work. So far 49 of 240 seat-steps ... (20.4 %), 49 of them ...``"""
    seats = seats_of(events)
    policy = "Static" if events[0]["engine"]["policy"] == "static" else "Continuous"
    assert sentence.startswith(f"{policy} batching")
    step, busy, slots, idle, total, share, wanted = numbers(sentence)
    assert [step, busy, slots] == [seats["step"], seats["busy"], seats["slots"]]
    assert [idle, total, wanted] == [seats["idle"], seats["total"], seats["wanted"]]
    assert share == pytest.approx(100 * idle / total, rel=0.01)


def assert_sizes(sentence: str, events: list[Event]) -> None:
    """``In batches of 1 this machine wrote 10.9 tokens a second, 91.9 ms each; in batches of 16, ...``"""
    sizes = sizes_of(events)
    few, many = min(sizes), max(sizes)
    said = numbers(sentence)
    if few == many:
        assert said[:2] == pytest.approx([few, few / median(sizes[few])], rel=0.01)
        return
    in_ms = [
        float(number) * (1000 if unit == "s" else 1) for number, unit in re.findall(r"([\d.]+)\s(ms|s)\b", sentence)
    ]
    assert said[0:4:3] == [few, many]
    assert said[1:5:3] == pytest.approx([few / median(sizes[few]), many / median(sizes[many])], rel=0.01)
    assert in_ms == pytest.approx([1000 * median(sizes[few]), 1000 * median(sizes[many])], rel=0.01)


def lanes_of(sentence: str) -> list[str]:
    return re.findall(r"(?:Static|Continuous) batching,.*?waited\.", sentence)


def costs_of(events: list[Event], machine: float, waiting: float) -> dict[int, float]:
    return {
        size: 1e6 * median(all_seconds) * (machine / size + waiting) / 3600
        for size, all_seconds in sizes_of(events).items()
    }


# ---- the recorded run ----------------------------------------------------------------------------------------------


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    opened = open_page(reduced_motion="reduce")
    until(opened, "window.__kitchen.log.complete", seconds=30)
    return opened


def test_the_room_is_on_stage_when_its_prose_is_and_counts_as_the_log_does(page: Page) -> None:
    assert page.locator("#batching .step").count() == STEPS
    for step in (OWN, OWN_AGAIN):
        visit(page, "batching", step)
        (sentence,) = lanes_of(described(page))
        assert_seats(sentence, log_on_stage(page))
    for step in (RACE_BEGUN, RACE_OVER):
        visit(page, "batching", step)
        above, below = lanes_of(described(page))
        assert_seats(above, log_on_stage(page, "static"))
        assert_seats(below, log_on_stage(page, "continuous"))
    visit(page, "batching", CURVES)
    assert_sizes(described(page), log_on_stage(page, "batch"))


def test_one_workload_under_two_policies_and_only_one_lets_a_seat_stay_empty(page: Page) -> None:
    visit(page, "batching", RACE_OVER)
    logs = {key: log_on_stage(page, key) for key in ("static", "continuous")}
    work = {key: sorted(len(shares) for shares in by_request(log).values()) for key, log in logs.items()}
    assert work["static"] == work["continuous"], "the same orders: as many steps for each request"
    static, continuous = (seats_of(logs[key]) for key in ("static", "continuous"))
    assert static["wanted"] > 0
    assert continuous["wanted"] == 0
    prose = page.locator("#batching .step").nth(RACE_OVER)
    said = [numbers(text)[0] for text in prose.locator(".number .figure").all_inner_texts()]
    walks = [len(started(logs[key])) for key in ("static", "continuous")]
    assert said == [static["wanted"], continuous["wanted"], *walks]
    assert walks[0] > walks[1]


def by_request(events: list[Event]) -> dict[str, list[Any]]:
    shares: dict[str, list[Any]] = defaultdict(list)
    for step in started(events):
        for item in step["requests"]:
            shares[item["request_id"]].append(item)
    return shares


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_our_dots_sit_in_our_own_lane(open_page: OpenPage, viewport: dict[str, int]) -> None:
    page = open_page(reduced_motion="reduce", viewport=viewport)
    until(page, "window.__kitchen.log.complete", seconds=30)
    visit(page, "batching", OWN)
    dots: list[list[float]] = page.evaluate(
        "(({ places }) => Array.from({ length: places.length / 3 }, (_, i) => [...places.slice(3 * i, 3 * i + 3)]))"
        "(window.__kitchen.stage.marks)"
    )
    assert len(dots) == page.evaluate("window.__kitchen.state().tokens.length")
    heights = [y for _, y, r in dots if r > 0]
    rows = seats_of(log_on_stage(page))["slots"]
    assert max(heights) - min(heights) < viewport["height"] / rows, "all in one row"
    generated = [
        dots[i][0]
        for i in page.evaluate(
            "__kitchen.state().tokens.map((t, i) => t.kind === 'generated' ? i : -1).filter(i => i >= 0)"
        )
    ]
    assert generated == sorted(generated), "later is further right"


def test_show_as_table_equals_the_log(page: Page) -> None:
    visit(page, "batching", RACE_OVER)
    rows = table_of(page)["rows"]
    expected = [row for key in ("static", "continuous") for row in seat_rows(log_on_stage(page, key))]
    assert rows == expected
    visit(page, "batching", CURVES)
    sizes = sizes_of(log_on_stage(page, "batch"))
    table = table_of(page)["rows"]
    assert [row[:2] for row in table] == [[size, len(seconds)] for size, seconds in sizes.items()]
    for (_, _, time, rate, _), (size, seconds) in zip(table, sizes.items(), strict=True):
        scale = 1e-3 if "ms" in time else 1
        assert numbers(time)[0] * scale == pytest.approx(median(seconds), rel=0.01)
        assert numbers(rate)[0] == pytest.approx(size / median(seconds), rel=0.01)


def seat_rows(events: list[Event]) -> Iterable[list[Any]]:
    slots = seats_of(events)["slots"]
    for slot in range(slots):
        dark = [step for step in started(events) if all(item["slot"] != slot for item in step["requests"])]
        wanted = [step for step in dark if step["num_waiting"] > 0]
        policy = events[0]["engine"]["policy"]
        yield [policy, slot + 1, len(started(events)) - len(dark), len(dark), len(wanted)]


def test_each_price_moves_the_curve_as_the_formula_says(page: Page) -> None:
    visit(page, "batching", COST)
    log = log_on_stage(page, "batch")
    for machine, waiting, size in ((1, 0, 1), (1, 0.1, 4), (2, 1, 16), (0.1, 0.5, 8), (10, 0, 2)):
        set_control(page, "batching_price", machine)
        set_control(page, "batching_waiting", waiting)
        set_control(page, "batching_size", size)
        costs = costs_of(log, machine, waiting)
        least = min(costs, key=costs.__getitem__)
        chosen = min(costs, key=lambda each: (abs(each - size), each))
        sentence = described(page)
        price, asked, lowest, at = numbers(sentence)[:4]
        assert [asked, at] == [chosen, least]
        assert [price, lowest] == pytest.approx([costs[chosen], costs[least]], rel=0.02)
        largest = max(costs)
        assert ("still falling" in sentence) == (least == largest)
        for row in table_of(page)["rows"]:
            assert numbers(row[4])[0] == pytest.approx(costs[row[0]], rel=0.02)


def test_stills_differ_from_step_to_step(page: Page) -> None:
    stills = []
    for step in range(STEPS):
        visit(page, "batching", step)
        stills.append(picture_of(page))
    for one, other in itertools.pairwise(stills):
        assert one != other


def test_what_is_under_the_pointer_has_words(page: Page) -> None:
    visit(page, "batching", RACE_OVER)
    words: list[str] = page.evaluate(
        """(() => {
          const { scene, view } = window.__kitchen.stage, found = new Set();
          for (let x = 0; x < view.width; x += 7) for (let y = 0; y < view.height; y += 9)
            found.add(scene.hit(x, y, window.__kitchen.state(), view)?.text.replace(/[0-9]+/g, "N"));
          return [...found].filter(Boolean);
        })()"""
    )
    kinds = ("You, in seat", "Guest N, in seat", "somebody waits", "nobody waits")
    assert all(any(kind in text for text in words) for kind in kinds), words


# ---- a run of the reader's own -------------------------------------------------------------------------------------


@pytest.fixture
def own(open_page: OpenPage) -> tuple[Page, str]:
    page = open_page(expect=("429",), reduced_motion="reduce")
    return page, cook_something(page)


def test_a_live_run_sits_in_its_seat(own: tuple[Page, str], served: Served) -> None:
    page, run_id = own
    visit(page, "batching", OWN_AGAIN)
    assert log_on_stage(page)[0]["run_id"] == run_id
    (sentence,) = lanes_of(described(page))
    assert_seats(sentence, log_on_stage(page))
    whole = seats_of(served.events(run_id))
    assert numbers(sentence)[3:5] == [whole["idle"], whole["total"]], "at its end the whole log is counted"


def test_the_sliders_are_what_the_kitchen_is_asked_for(own: tuple[Page, str]) -> None:
    page, run_id = own
    asked: list[dict[str, Any]] = []

    def refuse(route: Route) -> None:
        asked.append(json.loads(route.request.post_data or "{}"))
        assert f"/{run_id}/takes" in route.request.url
        route.fulfill(status=429, body="{}", headers={"content-type": "application/problem+json", "retry-after": "5"})

    page.route("**/takes", refuse)
    visit(page, "batching", RACE_OVER)
    until(page, "document.querySelector('#stage-note:not([hidden])') !== null")
    expect(page.locator("#stage-note")).to_contain_text("busy")
    shared = {"neighbours": 7, "spread": 1, "max_num_seqs": 4, "arrival_steps": 0}
    assert {body["take"]: body for body in asked} == {
        take: {"take": take, **shared} for take in ("static", "continuous")
    }
    asked.clear()
    set_control(page, "batching_spread", 0.3)
    set_control(page, "batching_seats", 6)
    set_control(page, "batching_arrivals", 12)
    page.locator("#batching [data-take]").click()
    page.wait_for_timeout(400)
    shared = {"neighbours": 7, "spread": 0.3, "max_num_seqs": 6, "arrival_steps": 12}
    assert {body["take"]: body for body in asked} == {
        take: {"take": take, **shared} for take in ("static", "continuous")
    }


def test_both_policies_are_cooked_for_a_live_run(own: tuple[Page, str]) -> None:
    page, run_id = own
    visit(page, "batching", RACE_OVER)
    view = page.evaluate(
        "(({ main, lanes }) => [main, ...lanes].map(({ key, status }) => [key, status]))(__kitchen.cast.view())"
    )
    assert view == [["static", "done"], ["continuous", "done"]]
    above, below = lanes_of(described(page))
    for key, sentence in (("static", above), ("continuous", below)):
        log = log_on_stage(page, key)
        assert (log[0]["parent"], log[0]["take"]) == (run_id, key)
        assert_seats(sentence, log)
    assert seats_of(log_on_stage(page, "continuous"))["wanted"] == 0
