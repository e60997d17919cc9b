"""`speculation` agrees with its logs: row and coin, race, proof and bill, worked out here anew from the events."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import pytest
from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage, ask, wait_closed
from tests.browser.rooms import (
    Event,
    article_over,
    bytes_text,
    described,
    log_on_stage,
    own,
    picture_of,
    set_control,
    significant,
    table_of,
    visit,
)

ROOM = "speculation"
NAMES = {
    "standard": "chef alone",
    "speculative": "trained apprentice",
    "look-up": "prompt look-up",
    "mismatched": "badly matched",
}
RACE = list(NAMES)
PROOFS = [
    ("speculative-fp32", "standard-fp32"),
    ("speculative", "standard"),
    ("look-up", "standard"),
    ("mismatched", "standard"),
]


@pytest.fixture(params=["recorded", "live"])
def page(request: pytest.FixtureRequest, open_page: OpenPage) -> Page:
    """The article over the recorded run, and over one that the test thinks of, with takes of its own."""
    return article_over(open_page, request.param)


# ---- what a log says -----------------------------------------------------------------------------------------------


def own_steps(events: list[Event]) -> list[tuple[str, Event]]:
    """Phase and end of each step that computed something of the run and is over."""
    run_id = events[0]["run_id"]
    phases = {
        event["step"]: item["phase"]
        for event in events
        if event["type"] == "step.started"
        for item in event["requests"]
        if item["request_id"] == run_id
    }
    ends = [event for event in events if event["type"] == "step.finished"]
    return [(phases[event["step"]], event) for event in ends if event["step"] in phases]


def num_walks(events: list[Event]) -> int:
    return len(own_steps(events))


def ids(events: list[Event]) -> list[int]:
    return [event["id"] for event in own(events, "token.sampled")]


def acceptance(events: list[Event]) -> list[tuple[int, int]]:
    """Kept and tasted guesses of each place."""
    verdicts = own(events, "speculation.judged")
    places = max((event["num_drafts"] for event in verdicts), default=0)
    return [
        (
            sum(event["num_accepted"] > place for event in verdicts),
            sum(min(event["num_accepted"] + 1, event["num_drafts"]) > place for event in verdicts),
        )
        for place in range(places)
    ]


def share(kept: int, judged: int) -> str:
    return f"{significant(100 * kept / judged)}\u202f%" if judged else "–"


def seconds_a_token(events: list[Event]) -> float:
    """From the first token to the last, over the tokens of later steps."""
    tokens = own(events, "token.sampled")
    later = sum(event["step"] != tokens[0]["step"] for event in tokens)
    return float(tokens[-1]["t"] - tokens[0]["t"]) / later


def common(one: list[int], other: list[int]) -> int:
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


def visible(text: str) -> str:
    text = text.replace("\n", "⏎").replace("\t", "⇥")
    left, right = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    middle = text[left : len(text) - right] if left < len(text) else ""
    return "·" * left + middle + "·" * (right if middle else 0)


def probability(value: float) -> str:
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"


# ---- what the room must say ----------------------------------------------------------------------------------------


def walks_say(events: list[Event]) -> str:
    walks = num_walks(events)
    if not walks:
        return "Nothing has been computed yet."
    return f"This run took {walks} walks to the pantry for {len(ids(events))} tokens."


def cards_say(events: list[Event]) -> str:
    drafts, verdicts = own(events, "speculation.drafted"), own(events, "speculation.judged")
    draft = drafts[-1]
    texts = ", ".join(f"“{visible(text)}”" for text in draft["texts"])
    if not verdicts or verdicts[-1]["step"] != draft["step"]:
        return f"The apprentice guesses {texts}; nothing has been tasted yet."
    verdict = verdicts[-1]
    kept, said = verdict["num_accepted"], visible(verdict["text"])
    if verdict["origin"] == "bonus":
        return f"The apprentice guessed {texts}. The chef kept all {kept} and added “{said}”."
    return (
        f"The apprentice guessed {texts}. The chef kept {kept} of {verdict['num_drafts']} and said “{said}” instead of "
        "the next."
    )


def race_says(logs: dict[str, list[Event]]) -> str:
    return " ".join(f"{NAMES[key]}: {len(ids(logs[key]))} tokens in {num_walks(logs[key])} walks." for key in RACE)


def seek(page: Page, seq: int) -> None:
    page.evaluate(
        "seq => { const { main } = window.__kitchen.cast; main.player.pause(); main.player.seek(seq); "
        "window.__kitchen.stage.invalidate('playhead'); }",
        seq,
    )
    page.wait_for_timeout(250)


def seqs(page: Page, kind: str) -> list[int]:
    """Where the run on stage says events of a kind."""
    found: list[int] = page.evaluate(
        "kind => window.__kitchen.cast.main.log.events.filter(({ type }) => type === kind).map(({ seq }) => seq)", kind
    )
    return found


# ---- tests ---------------------------------------------------------------------------------------------------------


def test_the_own_run_is_its_walks_at_three_moments(page: Page) -> None:
    for step in (0, 5):
        visit(page, ROOM, step)
        ends = seqs(page, "step.finished")
        for seq in (ends[0], ends[len(ends) // 2] - 1, ends[-1]):
            seek(page, seq)
            assert described(page) == walks_say(log_on_stage(page))
    rows = table_of(page)["rows"]
    written: dict[int, int] = {}
    for event in own(log_on_stage(page), "token.sampled"):
        written[event["step"]] = written.get(event["step"], 0) + 1
    assert [(row[0], row[3]) for row in rows] == [
        (event["step"], written.get(event["step"], 0)) for _, event in own_steps(log_on_stage(page))
    ]


def test_the_row_says_what_was_guessed_and_what_became_of_it(page: Page) -> None:
    for step, kind in ((1, "speculation.drafted"), (2, "speculation.judged")):
        visit(page, ROOM, step)
        assert log_on_stage(page)[-1]["type"] == kind
        assert described(page) == cards_say(log_on_stage(page))
    verdicts = seqs(page, "speculation.judged")
    for seq in (verdicts[0], verdicts[len(verdicts) // 2], verdicts[-1]):
        seek(page, seq)
        assert described(page) == cards_say(log_on_stage(page))
    events = log_on_stage(page)
    expected = []
    judged = {event["step"]: event for event in own(events, "speculation.judged")}
    for draft in own(events, "speculation.drafted"):
        verdict = judged[draft["step"]]
        for place, text in enumerate(draft["texts"]):
            tasted = place < len(verdict["p"])
            word = "kept" if place < verdict["num_accepted"] else "rejected" if tasted else "not tasted"
            draws = verdict["draws"]
            expected.append(
                [
                    draft["step"],
                    place + 1,
                    visible(text),
                    probability(draft["q"][place]),
                    probability(verdict["p"][place]) if tasted else "",
                    f"{draws[place]:.2f}" if tasted and draws else "",
                    word,
                ]
            )
    assert table_of(page)["rows"] == expected


def test_the_coin_decides_as_it_is_drawn(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, ROOM, 2)
    verdicts = page.evaluate(
        "window.__kitchen.cast.main.log.events.filter(({ type }) => type === 'speculation.judged')"
    )
    assert verdicts
    for verdict in verdicts:
        assert verdict["draws"] is not None, "the recorded row is one with coins"
        for place, (p, q, u) in enumerate(zip(verdict["p"], verdict["q"], verdict["draws"], strict=True)):
            assert (u * q < p) == (place < verdict["num_accepted"])


def test_the_race_counts_what_the_four_logs_say(page: Page) -> None:
    visit(page, ROOM, 3)
    total = page.evaluate("window.__kitchen.cast.main.log.t")
    for part in (0.3, 0.7, 1.0):
        page.evaluate(
            "t => { const { main } = window.__kitchen.cast; main.player.pause(); main.player.seekTime(t);"
            " window.__kitchen.stage.invalidate('playhead'); }",
            part * total if part < 1 else 1e9,
        )
        page.wait_for_timeout(250)
        logs = {key: log_on_stage(page, key) for key in RACE}
        assert described(page) == race_says(logs)
    rows = {row[0]: row for row in table_of(page)["rows"]}
    alone = seconds_a_token(logs["standard"])
    for key in RACE:
        events, row = logs[key], rows[NAMES[key]]
        places = acceptance(events)
        assert row[1:3] == [len(ids(events)), num_walks(events)]
        kept, judged = sum(place[0] for place in places), sum(place[1] for place in places)
        assert row[3] == (f"{kept} / {judged}" if judged else "")
        assert row[4] == ", ".join(share(*place) for place in places)
        speed = f"{significant(alone / seconds_a_token(events))} ×"
        assert row[6] == ("" if key == "standard" else speed)
        drafter = own(events, "speculation.drafted")[0]["drafter"] if judged else None
        weights = (events[0]["engine"].get("drafter_bytes") or {}).get(drafter)
        assert row[7] == ("" if weights is None else bytes_text(weights) if weights else "0\u202fB")


def test_the_proof_is_token_by_token_and_marks_the_first_parting(page: Page) -> None:
    visit(page, ROOM, 4)
    said = described(page)
    logs = {key: log_on_stage(page, key) for key in {key for pair in PROOFS for key in pair}}
    assert ids(logs["speculative-fp32"]) == ids(logs["standard-fp32"]), "in float32 the texts are the same"
    parted = []
    for key, other in PROOFS:
        one, two = ids(logs[other]), ids(logs[key])
        equal, precision = common(one, two), logs[key][0]["model"]["dtype"]
        name = NAMES[key.removesuffix("-fp32")]
        if one == two:
            assert f"{precision}, {name}: {equal} of {len(one)} equal." in said
        else:
            assert f"{precision}, {name}: equal up to token {equal}." in said
            parted.append((key, other))
    key, other = parted[0] if parted else PROOFS[0]
    equal_rows = [row[3] for row in table_of(page)["rows"]]
    pairs = itertools.zip_longest(ids(logs[other]), ids(logs[key]))
    assert equal_rows == ["yes" if one == two else "no" for one, two in pairs]


def test_the_numbers_in_the_prose_are_those_of_the_takes(page: Page) -> None:
    for step in (3, 4, 5):
        visit(page, ROOM, step)
    page.wait_for_timeout(400)

    def figure(name: str) -> str:
        selector = f"#{ROOM} [data-value='{ROOM}.{name}'] .figure"
        text = page.locator(selector).text_content()
        assert text is not None
        return text

    logs: dict[str, list[Event]] = page.evaluate(
        "Object.fromEntries(window.__kitchen.cast.takes.all().map(({ key, session }) => [key, session.log.events]))"
    )
    alone = logs["standard"]
    assert figure("alone.walks") == str(num_walks(alone))
    assert figure("trained.walks") == str(num_walks(logs["speculative"]))
    for key, name in (("speculative", "trained"), ("mismatched", "mismatched")):
        ratio = seconds_a_token(alone) / seconds_a_token(logs[key])
        assert figure(f"{name}.speed") == f"{significant(ratio)} ×"
    places = acceptance(logs["mismatched"])
    kept, judged = sum(place[0] for place in places), sum(place[1] for place in places)
    assert figure("mismatched.kept") == share(kept, judged)
    plain = statistics.median(event["seconds"] for phase, event in own_steps(alone) if phase == "decode")
    guessing = {event["step"]: event["seconds"] for event in own(logs["speculative"], "speculation.drafted")}
    tasting = [event["seconds"] - guessing[event["step"]] for _, event in own_steps(logs["speculative"])
               if event["step"] in guessing]  # fmt: skip
    assert float(figure("wide").removesuffix(" ×")) == pytest.approx(statistics.median(tasting) / plain, rel=0.02)
    assert float(figure("drafting").removesuffix(" ×")) == pytest.approx(
        statistics.median(guessing.values()) / plain, rel=0.03
    )
    less = statistics.median(tasting) < plain
    assert page.locator(f"#{ROOM} [data-needs='{ROOM}.narrow']").is_visible() == less
    run = page.evaluate("window.__kitchen.log.events")
    assert figure("own.walks") == str(num_walks(run))


def test_every_step_is_another_still(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    stills = []
    for step in range(page.locator(f"#{ROOM} .step").count()):
        visit(page, ROOM, step)
        stills.append(picture_of(page))
    assert len(stills) == 6
    assert len(set(stills)) == 6


@pytest.mark.parametrize(
    ("name", "value"), [("speculation_k", 2), ("speculation_temperature", 0.8), ("speculation_drafter", "mismatched")]
)
def test_a_control_changes_the_picture(open_page: OpenPage, name: str, value: Any) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, ROOM, 3)
    before = picture_of(page)
    set_control(page, name, value)
    page.wait_for_timeout(300)
    assert picture_of(page) != before


@pytest.mark.slow
def test_the_button_races_again_with_the_controls_as_they_stand(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    ask(page, "Name three colours.")
    wait_closed(page)
    visit(page, ROOM, 3)
    set_control(page, "speculation_k", 2)
    set_control(page, "speculation_temperature", 0.5)
    page.locator(f"#{ROOM} [data-take]").click()
    page.wait_for_timeout(500)
    visit(page, ROOM, 3)
    # A kitchen that has too much to do plays a recorded lane instead: that one is not the reader's.
    cooked = page.evaluate(
        "window.__kitchen.cast.takes.all().filter((take) => take.status === 'done').map((t) => t.key)"
    )
    assert "speculative" in cooked
    for key in RACE:
        if key not in cooked:
            continue
        events = log_on_stage(page, key)
        assert events[0]["params"]["temperature"] == 0.5
        if key != "standard":
            assert events[0]["engine"]["num_speculative_tokens"] == 2
            assert {len(event["ids"]) for event in own(events, "speculation.drafted")} <= {1, 2}


def test_a_recorded_run_says_that_it_is_not_raced_again(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    visit(page, ROOM, 3)
    page.locator(f"#{ROOM} [data-take]").click()
    until(page, "document.querySelector('#stage-note')?.innerText.includes('ask something of your own')", seconds=10)
