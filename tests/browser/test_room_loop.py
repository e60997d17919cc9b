"""`loop` says what its log says: every number worked out again here, from the logits, by the engine's own sampler."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page

from benchmarks.browser import until
from inference.sampler import Distribution, distribution
from inference.sequence import SamplingParams
from tests.browser.conftest import OpenPage
from tests.browser.rooms import (
    Event,
    article_over,
    cook_something,
    described,
    log_on_stage,
    own,
    picture_of,
    recorded,
    set_control,
    significant,
    table_of,
    visit,
)
from tests.inference.test_sampler_in_js import browsers, engines, settings

ROWS = 8
KNOBS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@pytest.fixture(params=["recorded", "live"])
def page(request: pytest.FixtureRequest, open_page: OpenPage) -> Page:
    """The article over the recorded run, and over one that the test thinks of."""
    return article_over(open_page, request.param)


# ---- the same, from the log ----------------------------------------------------------------------------------------


def percent_text(value: float) -> str:
    return "<\u202f0.1\u202f%" if 0 < value < 0.0005 else f"{significant(100 * value)}\u202f%"


def visible(text: str) -> str:
    """A token as the page shows it."""
    shown = text.replace("\n", "⏎").replace("\t", "⇥")
    inner = shown.strip(" ")
    if not inner:
        return "·" * len(shown)
    return "·" * (len(shown) - len(shown.lstrip(" "))) + inner + "·" * (len(shown) - len(shown.rstrip(" ")))


def logits_in(events: list[Event]) -> dict[int, torch.Tensor]:
    """By the position of the token that is drawn from them."""
    return {
        event["position"] + 1: torch.frombuffer(
            bytearray(base64.b64decode(event["logits"]["data"])), dtype=torch.float32
        )
        for event in own(events, "probe.logits")
    }


def ids_before(events: list[Event], place: int) -> list[int]:
    ids = list(own(events, "request.tokenized")[0]["token_ids"])
    ids += [event["id"] for event in own(events, "token.sampled")]
    return ids[:place]


def params_of(events: list[Event], **other: float) -> SamplingParams:
    return SamplingParams(**(settings_of(events) | other))


def words_of(events: list[Event]) -> dict[int, str]:
    """Of every id that the log spells."""
    words = {c["id"]: c["text"] for event in own(events, "token.sampled") for c in event["candidates"]}
    tokenized = own(events, "request.tokenized")[0]
    plain = dict(zip(tokenized["token_ids"], tokenized["pieces"], strict=True))
    return {id_: text for id_, text in plain.items() if text} | words


def best_of(row: torch.Tensor) -> list[int]:
    """The likeliest ids, of equals the lower."""
    return row.sort(descending=True, stable=True).indices[:ROWS].tolist()


def ordered(drawn_from: Distribution) -> tuple[list[int], torch.Tensor]:
    """Ids and mass, likeliest first."""
    ids = torch.arange(len(drawn_from.mass)) if drawn_from.ids is None else drawn_from.ids
    by_id = ids.argsort()
    order = by_id[drawn_from.mass[by_id].sort(descending=True, stable=True).indices]
    return ids[order].tolist(), drawn_from.mass[order]


def scores_say(events: list[Event], row: torch.Tensor) -> str:
    drawn = own(events, "token.sampled")[-1]
    mass = row.double().softmax(-1)
    named = best_of(row)
    if drawn["id"] not in named:
        named[-1] = drawn["id"]
    rest = max(0.0, 1 - float(mass[named].sum()))
    words = words_of(events)
    return (
        f"{len(row):,} tokens have a score; the likeliest is “{visible(words[named[0]])}” with "
        f"{percent_text(float(mass[named[0]]))}, all but {len(named)} together have {percent_text(rest)}; "
        f"“{chip(events)}” was drawn."
    )


def chip(events: list[Event]) -> str:
    """The last token as its chip shows it; one that adds no text by a sign."""
    drawn = own(events, "token.sampled")[-1]
    return visible(drawn["text"]) or "¶"


def cuts_say(events: list[Event], row: torch.Tensor, **other: float) -> str:
    place = own(events, "token.sampled")[-1]["position"]
    ids, mass = ordered(distribution(row, params_of(events, **other), ids_before(events, place)))
    best = visible(words_of(events).get(ids[0], f"#{ids[0]}"))
    return (
        f"{int((mass > 0).sum()):,} of {len(row):,} tokens are left after the cuts; the likeliest is “{best}” with "
        f"{percent_text(float(mass[0]))}."
    )


def at_token(page: Page, position: int) -> list[Event]:
    """Stop where the token at ``position`` is the newest; the log up to there."""
    page.evaluate(
        """position => {
          const { player, log } = window.__kitchen;
          const prompt = log.events.find(({ type }) => type === 'request.tokenized').token_ids.length;
          player.pause();
          player.seek(log.index.tokens[position - prompt]);
        }""",
        position,
    )
    page.wait_for_timeout(80)
    events = log_on_stage(page)
    assert own(events, "token.sampled")[-1]["position"] == position
    return events


# ---- tests ---------------------------------------------------------------------------------------------------------


def test_what_the_room_says_is_in_the_log(page: Page) -> None:
    visit(page, "loop", 0)
    look = log_on_stage(page, "logits")
    whole: list[Event] = page.evaluate("window.__kitchen.log.events")
    assert look[0]["parent"] == whole[0]["run_id"]
    known = logits_in(look)
    first = len(own(whole, "request.tokenized")[0]["token_ids"])
    assert first in known
    for position, row in known.items():
        visit(page, "loop", 1)
        events = at_token(page, position)
        assert described(page) == scores_say(events, row)
        visit(page, "loop", 2)
        at_token(page, position)
        assert described(page) == cuts_say(events, row)
    visit(page, "loop", 4)
    for share in (0.2, 0.5, 1.0):
        answer = own(whole, "token.sampled")
        events = at_token(page, first + int((len(answer) - 1) * share))
        count = len(own(events, "token.sampled"))
        assert described(page) == (
            f"{count} tokens drawn one after the other, a turn of the loop for each; the last is “{chip(events)}”."
        )


def test_the_coin_is_the_one_that_the_engine_threw(open_page: OpenPage) -> None:
    """The recorded run has a seed: its generator's n-th number must fall on the n-th token."""
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "loop", 3)
    events = log_on_stage(page)
    drawn = own(events, "token.sampled")
    coins = torch.Generator().manual_seed(events[0]["params"]["seed"])
    uniform = [float(torch.rand(1, dtype=torch.float64, generator=coins)) for _ in drawn][-1]
    row = logits_in(recorded("logits"))[drawn[-1]["position"]]
    ids, mass = ordered(distribution(row, params_of(events), ids_before(events, drawn[-1]["position"])))
    at = ids.index(drawn[-1]["id"])
    low, high = float(mass[:at].sum()), float(mass[: at + 1].sum())
    assert low <= uniform < high
    assert described(page) == (
        f"The coin fell at {uniform:.3f} of the line, on “{chip(events)}”, "
        f"whose part goes from {low:.3f} to {high:.3f}."
    )


SLIDERS: list[dict[str, float]] = [
    {"temperature": 0.0},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 12},
    {"top_p": 0.01},
    {"top_p": 1.0},
    {"min_p": 1.0},
    {"temperature": 2.0, "top_k": 90, "top_p": 0.97, "min_p": 0.03},
]


def test_a_slider_reshapes_as_the_engine_would(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "loop", 2)
    events = log_on_stage(page)
    place = own(events, "token.sampled")[-1]["position"]
    row = logits_in(recorded("logits"))[place]
    before, stills = described(page), {picture_of(page)}
    for knobs in SLIDERS:
        for name, value in ({"temperature": 0.6, "top_k": 0, "top_p": 0.9, "min_p": 0} | knobs).items():
            set_control(page, f"loop_{name}", value)
        page.wait_for_timeout(100)
        assert described(page) == cuts_say(events, row, **knobs) != before
        stills.add(picture_of(page))
        everything = engines(row, {"settings": settings_of(events) | knobs, "seen": ids_before(events, place)})
        for line in table_of(page)["rows"]:
            if line[1] != "":
                assert line[4] == percent_text(float(everything[line[1]])), knobs
    assert len(stills) >= 1 + len(SLIDERS) - 4, "cuts that leave one candidate look alike but for their line"


def settings_of(events: list[Event]) -> dict[str, float]:
    """The run's own settings."""
    return {name: events[0]["params"][name] for name in KNOBS}


def test_the_table_is_what_the_token_was_drawn_from(page: Page) -> None:
    visit(page, "loop", 1)
    events = log_on_stage(page)
    drawn = own(events, "token.sampled")[-1]
    row = logits_in(log_on_stage(page, "logits"))[drawn["position"]]
    mass = row.double().softmax(-1)
    rows = table_of(page)["rows"]
    named, others = rows[:ROWS], rows[ROWS]
    expected = best_of(row)
    if drawn["id"] not in expected:
        expected[-1] = drawn["id"]
    assert [line[1] for line in named] == expected
    for _, token, score, own_share, _, note in named:
        assert score == f"{float(row[token]):.3f}"
        assert own_share == percent_text(float(mass[token]))
        assert (note == "drawn") == (token == drawn["id"])
    assert others[0] == f"{len(row) - ROWS:,} others"
    assert others[3] == percent_text(max(0.0, 1 - float(mass[expected].sum())))


def test_a_token_without_logits_stands_as_its_own_event_has_it(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "loop", 1)
    known = logits_in(recorded("logits"))
    position = next(event["position"] for event in own(recorded(), "token.sampled") if event["position"] not in known)
    events = at_token(page, position)
    drawn = own(events, "token.sampled")[-1]
    best = drawn["candidates"][0]
    assert described(page).startswith(
        f"Of 49,152 tokens this log names the 8 likeliest: first “{visible(best['text'])}” with "
        f"{percent_text(best['probability'])};"
    )
    assert {line[4] for line in table_of(page)["rows"]} == {"—"}, "nothing was reshaped that is not known"
    before = described(page)
    set_control(page, "loop_temperature", 1.9)
    assert described(page) == before


def test_drawing_again_draws_from_that_distribution(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "loop", 3)
    events = log_on_stage(page)
    place = own(events, "token.sampled")[-1]["position"]
    row = logits_in(recorded("logits"))[place]
    ids, mass = ordered(distribution(row, params_of(events), ids_before(events, place)))
    ends = mass.cumsum(0)
    still = picture_of(page)
    for draw in (1, 2, 3):
        page.click("[data-loop-draw='1']")
        page.wait_for_timeout(120)
        uniform = float(torch.rand(1, dtype=torch.float64, generator=torch.Generator().manual_seed(draw)))
        token = ids[int((ends <= uniform).sum())]
        word = visible(words_of(recorded()).get(token, f"#{token}"))
        assert described(page) == f"Draw {draw} of this page fell at {uniform:.3f} of the line: “{word}”."
    assert picture_of(page) != still
    page.click("[data-loop-draw='100']")
    assert page.input_value("[data-control=loop_draws]") == "103"
    page.click("[data-loop-draw='0']")
    page.wait_for_timeout(120)
    assert described(page).startswith("The coin fell at ")


def test_another_token_leads_to_another_future(page: Page) -> None:
    visit(page, "loop", 5)
    fork = log_on_stage(page, "fork")
    whole: list[Event] = page.evaluate("window.__kitchen.log.events")
    knobs = fork[0]["knobs"]
    assert fork[0]["parent"] == whole[0]["run_id"]
    drawn = next(event for event in own(whole, "token.sampled") if event["position"] == knobs["position"])
    other = next(candidate for candidate in drawn["candidates"] if candidate["id"] == knobs["token_id"])
    assert other["id"] != drawn["id"]
    assert described(page) == (
        f"At place {drawn['position'] + 1} the run drew “{visible(drawn['text']) or '¶'}”; "
        f"with “{other['text'].strip()}”, to which the model gave {percent_text(other['probability'])}, "
        "it goes on otherwise."
    )
    ways = page.locator(".loop-text").all_inner_texts()
    after = [event["text"] for event in own(whole, "token.sampled") if event["position"] > drawn["position"]]
    for shown, tokens in zip(ways, (after, [event["text"] for event in own(fork, "token.sampled")]), strict=True):
        assert "".join(shown.split()) == "".join("".join(tokens).split())
    before = described(page)
    set_control(page, "loop_pick", 5)
    page.wait_for_timeout(150)
    picked = drawn["candidates"][4]
    if picked["id"] not in (drawn["id"], other["id"]):
        assert described(page) != before
    set_control(page, "loop_place", 90)
    page.wait_for_timeout(150)
    assert described(page) != before


def test_a_reader_forks_their_own_run(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    cook_something(page)
    visit(page, "loop", 5)
    set_control(page, "loop_place", 50)
    chip = page.locator(".loop-chip:not([disabled]):not([aria-pressed=true])").first
    chip.click()
    until(page, "document.querySelector('.loop-way.is-other').classList.contains('is-empty')")
    page.click("#loop [data-take=fork]")
    until(page, "!document.querySelector('.loop-way.is-other').classList.contains('is-empty')", seconds=60)
    until(page, "window.__kitchen.cast.takes.get('fork').status === 'done'", seconds=120)
    knobs: dict[str, int] = page.evaluate("window.__kitchen.cast.takes.get('fork').session.log.opened.knobs")
    candidates: list[Any] = page.evaluate(
        "p => window.__kitchen.log.events.find((e) => e.type === 'token.sampled' && e.position === p).candidates",
        knobs["position"],
    )
    assert knobs["token_id"] == candidates[int(page.input_value("[data-control=loop_pick]")) - 1]["id"]


def test_every_step_is_another_still(page: Page) -> None:
    stills = []
    for step in range(page.locator("#loop .step").count()):
        visit(page, "loop", step)
        assert page.evaluate("window.__kitchen.stage.view.chapter") == "loop"
        stills.append(picture_of(page))
    assert len(set(stills)) == len(stills)


# ---- the distribution, token by token ------------------------------------------------------------------------------


def test_two_hundred_settings_over_the_whole_vocabulary(tmp_path: Path) -> None:
    """By Node, for every position that was probed."""
    rng = random.Random(11)
    whole = recorded()
    known = logits_in(recorded("logits"))
    for position, row in known.items():
        share = -(-200 // len(known))
        cases = [{"settings": settings(rng), "seen": ids_before(whole, position)} for _ in range(share)]
        for case, found in zip(cases, browsers(row, cases, tmp_path), strict=True):
            assert float((found - engines(row, case)).abs().max()) <= 1e-5, case["settings"]


def test_a_real_browser_works_out_the_same(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "loop", 2)
    position, row = next(iter(logits_in(recorded("logits")).items()))
    seen = ids_before(recorded(), position)
    rng = random.Random(12)
    for _ in range(4):
        case = {"settings": settings(rng), "seen": seen}
        found: list[float] = page.evaluate(
            """async ([position, settings, seen]) => {
              const load = (name) => import(new URL(`static/js/state/${name}.js`, document.baseURI).href);
              const [{ reshape }, { decodeArray }] = await Promise.all([load('sampling'), load('arrays')]);
              const { probes } = window.__kitchen.cast.takes.get('logits').session.player.state;
              const { ids, mass } = reshape(decodeArray(probes.logits.get(position - 1).logits), settings, seen);
              const all = new Array(ids.length).fill(0);
              mass.forEach((part, i) => { all[ids[i]] = part; });
              return all;
            }""",
            [position, case["settings"], seen],
        )
        assert float((torch.tensor(found, dtype=torch.float64) - engines(row, case)).abs().max()) <= 1e-5
