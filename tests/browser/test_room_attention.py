"""`attention`: what the room shows is what the probes say, of the recorded run and of one that the test thinks of."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, Route, expect

from benchmarks.browser import until
from tests.browser.conftest import PHONE, OpenPage, ask, wait_closed
from tests.browser.rooms import (
    Event,
    article_over,
    described,
    log_on_stage,
    picture_of,
    set_control,
    significant,
    table_of,
    visit,
)

NEAR = 8
Weights = NDArray[np.float64]


@pytest.fixture(params=["recorded", "live"])
def page(request: pytest.FixtureRequest, open_page: OpenPage) -> Page:
    """The article over the recorded run, and over one that the test thinks of."""
    return article_over(open_page, request.param, "two sentences")


def numbers(array: Event) -> Weights:
    dtype = {"float16": np.float16, "float32": np.float32}[array["dtype"]]
    flat = np.frombuffer(base64.b64decode(array["data"]), dtype).astype(float) * array["scale"]
    shaped: Weights = flat.reshape(array["shape"])
    return shaped


class Probed:
    """What the two takes say, read here and not from the page."""

    def __init__(self, page: Page) -> None:
        self.rows: dict[tuple[int, int, int], Weights] = {}
        self.full: dict[int, Weights] = {}
        self.summaries: dict[int, tuple[Weights, Weights]] = {}
        logs = {key: log_on_stage(page, key) for key in ("attention", "gaze")}
        # Where both have a row, the page takes the log with more heads, the first.
        for key, events in logs.items():
            for event in events:
                if event["type"] == "probe.attention_summary":
                    self.summaries[event["position"]] = (numbers(event["first"]), numbers(event["near"]))
                if event["type"] != "probe.attention":
                    continue
                weights = numbers(event["weights"])
                np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-3)
                for layer, per_layer in zip(event["layers"], weights, strict=True):
                    for head, row in zip(event["heads"], per_layer, strict=True):
                        self.rows.setdefault((event["position"], layer, head), row)
                if key == "attention":
                    self.full[event["position"]] = weights

    def sharpest(self, words: list[str]) -> tuple[int, int, int]:
        """Layer and head with the sharpest look at a word far back that is not a crowd's, and at what position."""
        position = len(words) - 1
        full = max((at for at in self.full if at <= position), default=min(self.full))
        weights = self.full[full]
        targets, best = weights.argmax(axis=-1), weights.max(axis=-1)
        crowd = np.bincount(targets.ravel(), minlength=full + 1)
        spelt = np.array([any(map(str.isalpha, word)) and not word.startswith("<|") for word in words[: full + 1]])
        fair = (full - targets >= NEAR) & (crowd[targets] <= max(1, 0.1 * targets.size)) & spelt[targets]
        if not fair.any():
            fair = (targets > 0) & (targets < full)
        layer, head = np.unravel_index(np.where(fair, best, -1).argmax(), best.shape)
        known = [at for at, *who in self.rows if who == [layer, head]]
        return int(layer), int(head), max((at for at in known if at <= position), default=min(known))


def words_of(page: Page) -> list[str]:
    """The text as the room writes it: words without the white space around them."""
    found: list[str] = page.evaluate("window.__kitchen.state().tokens.map(({ text }) => text)")
    return [text.replace("\n", "⏎").replace("\t", "⇥").strip() or ("␣" if text else "¶") for text in found]


def percent_text(value: float) -> str:
    return "<\u202f0.1\u202f%" if 0 < value < 0.0005 else f"{significant(100 * value)}\u202f%"


def seek(page: Page, seq: int) -> None:
    page.evaluate("seq => { window.__kitchen.player.pause(); window.__kitchen.player.seek(seq); }", seq)
    page.wait_for_timeout(150)


def test_what_the_room_says_is_in_the_probe(page: Page) -> None:
    visit(page, "attention", 0)
    assert page.evaluate("window.__kitchen.cast.view().lanes.map(({ key }) => key)") == ["attention", "gaze"]
    probed = Probed(page)
    tokens: list[int] = page.evaluate("window.__kitchen.log.index.tokens")
    for count in sorted({min(18, len(tokens) - 1), min(19, len(tokens) - 1), min(50, len(tokens) - 1)}):
        seek(page, tokens[count - 1])
        words = words_of(page)
        layer, head, asker = probed.sharpest(words)
        row = probed.rows[asker, layer, head]
        most = int(row.argmax())
        assert described(page) == (
            f"“{words[asker]}” at place {asker + 1} looks back through layer {layer + 1}, head {head + 1}: most at "
            f"“{words[most]}”, place {most + 1}, with {percent_text(row[most])}."
        )


def test_the_table_is_the_row_and_sums_to_one(page: Page) -> None:
    visit(page, "attention", 2)
    probed = Probed(page)
    words = words_of(page)
    layer, head, asker = probed.sharpest(words)
    rows = table_of(page)["rows"]
    shares = [float(row[2]) for row in rows]
    assert [row[0] for row in rows] == list(range(1, asker + 2))
    np.testing.assert_allclose(shares, probed.rows[asker, layer, head], atol=6e-5)
    assert sum(shares) == pytest.approx(1, abs=1e-3 + 5e-5 * len(shares))
    # What the values bring: shares times the norms that the run's own probe told, of the KV head that this head shares.
    events = log_on_stage(page)
    model = events[0]["model"]
    norms = np.zeros((model["num_layers"], model["num_kv_heads"], 0))
    for event in events:
        if event["type"] == "probe.kv":
            norms = np.concatenate([norms, numbers(event["values"]).reshape(*norms.shape[:2], -1)], axis=-1)
    if norms.shape[-1] > asker and np.isfinite(norms).all():
        parts = (
            probed.rows[asker, layer, head]
            * norms[layer, head * model["num_kv_heads"] // model["num_heads"]][: asker + 1]
        )
        np.testing.assert_allclose([float(row[3]) for row in rows], parts / parts.sum(), atol=6e-5)


def test_the_numbers_of_the_sink_are_those_of_all_heads(page: Page) -> None:
    visit(page, "attention", 4)
    probed = Probed(page)
    newest = len(words_of(page)) - 1
    at = max((position for position in probed.summaries if position <= newest), default=min(probed.summaries))
    first, near = probed.summaries[at]
    between = np.maximum(0, 1 - first - near)
    page.wait_for_timeout(300)

    def shown(key: str) -> str:
        return page.locator(f"#attention [data-value='attention.{key}'] .figure").first.inner_text()

    assert shown("firstHeads") == str(int((first > 0.5).sum()))
    assert shown("nearHeads") == str(int((near > 0.5).sum()))
    assert shown("betweenHeads") == str(int((between > 0.5).sum()))
    assert shown("firstMean") == percent_text(float(first.mean()))
    full = max((position for position in probed.full if position <= newest), default=min(probed.full))
    mean = probed.full[full].mean(axis=(0, 1))
    shares = [float(row[2]) for row in table_of(page)["rows"]]
    np.testing.assert_allclose(shares, mean, atol=1e-4)
    assert f"the mean of {probed.full[full][..., 0].size} heads" in described(page)


def test_who_looked_at_a_word_is_the_column(page: Page) -> None:
    visit(page, "attention", 5)
    probed = Probed(page)
    newest = len(words_of(page)) - 1
    for word in (None, 3, min(newest, 20)):
        if word is not None:
            set_control(page, "attention_word", word + 1)
        table = table_of(page)
        found = re.search(r"\(place (\d+)\), through layer (\d+), head (\d+)", table["caption"])
        assert found, table["caption"]
        place, layer, head = (int(number) - 1 for number in found.groups())
        if word is not None:
            assert place == word
        column = {
            at: row[place] for (at, *who), row in probed.rows.items() if who == [layer, head] and place <= at <= newest
        }
        known = {row[0] - 1: float(row[2]) for row in table["rows"] if row[2] != "not probed"}
        assert sorted(known) == sorted(column)
        for at, share in column.items():
            assert known[at] == pytest.approx(share, abs=6e-5)


def test_a_head_can_be_chosen_by_slider_and_on_the_map(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "attention", 3)
    probed = Probed(page)
    before = picture_of(page)
    set_control(page, "attention_layer", 4)
    set_control(page, "attention_head", 7)
    assert "through layer 4, head 7:" in described(page)
    assert picture_of(page) != before
    asker = max(
        position for position, layer, head in probed.rows if (layer, head) == (3, 6) and position < len(words_of(page))
    )
    shares = [float(row[2]) for row in table_of(page)["rows"]]
    np.testing.assert_allclose(shares, probed.rows[asker, 3, 6], atol=6e-5)
    # The map: layers from left to right, heads from top to bottom.
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    found: dict[str, float] = page.evaluate(
        "(() => { const { stage } = window.__kitchen; const { view } = stage; const state = window.__kitchen.state();"
        " for (let y = 40; y < 300; y += 3) for (let x = 440; x < view.width; x += 3) {"
        "   const set = stage.scene.hit(x, y, state, view)?.set;"
        "   if (set?.attention_layer === 22 && set?.attention_head === 5) return { x, y }; } })()"
    )
    page.mouse.move(stage["x"] + found["x"] + 2, stage["y"] + found["y"] + 2)
    expect(page.locator(".tooltip")).to_contain_text("Layer 22, head 5:")
    page.mouse.click(stage["x"] + found["x"] + 2, stage["y"] + found["y"] + 2)
    page.wait_for_timeout(150)
    assert page.input_value("[data-control=attention_layer]") == "22"
    assert page.input_value("[data-control=attention_head]") == "5"
    assert "through layer 22, head 5:" in described(page)
    # The steps before it keep the head that their words are about.
    visit(page, "attention", 1)
    assert "through layer 22, head 5:" not in described(page)


def test_a_word_can_be_chosen_in_the_picture(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    until(page, "window.__kitchen.log.complete")
    visit(page, "attention", 5)
    places: list[float] = page.evaluate("[...window.__kitchen.stage.marks.places]")
    x, y = places[3 * 25], places[3 * 25 + 1]
    page.mouse.click(x, y - 16)
    page.wait_for_timeout(200)
    assert page.input_value("[data-control=attention_word]") == "26"
    assert "at place 26, through" in described(page)


def test_every_step_is_another_still(page: Page) -> None:
    stills = []
    for step in range(page.locator("#attention .step").count()):
        visit(page, "attention", step)
        stills.append(picture_of(page))
    assert len(set(stills)) == len(stills) == 6


def test_a_take_of_another_text_is_not_laid_over_this_one(open_page: OpenPage) -> None:
    """The kitchen is busy, and the recorded take plays: its own words are shown, and no dot of this run among them."""

    def refuse(route: Route) -> None:
        body = json.dumps({"title": "Too many requests", "status": 429, "detail": "The kitchen is busy."})
        route.fulfill(status=429, body=body, headers={"content-type": "application/problem+json"})

    page = open_page(reduced_motion="reduce", expect=("429",), before=lambda page: page.route("**/takes", refuse))
    ask(page, "Count from one to ten.")
    wait_closed(page)
    visit(page, "attention", 0)
    lanes: list[dict[str, Any]] = page.evaluate(
        "window.__kitchen.cast.view().lanes.map(({ status, words }) => ({ status, words }))"
    )
    assert [lane["status"] for lane in lanes] == ["recorded", "recorded"]
    expect(page.locator("#stage-note")).to_contain_text("busy")
    mine = set(words_of(page))
    theirs = [row[1].strip("·") for row in table_of(page)["rows"]]
    assert "tomato" in theirs
    assert "tomato" not in mine
    assert page.evaluate("[...window.__kitchen.stage.marks.places].filter((_, i) => i % 3 === 2).every((r) => r === 0)")


@pytest.mark.parametrize("missing", [("attention",), ("gaze",), ("attention", "gaze")])
def test_without_a_take_the_room_says_what_is_missing(open_page: OpenPage, missing: tuple[str, ...]) -> None:
    def take_away(page: Page) -> None:
        for key in missing:
            page.route(f"**/tomato-soup.{key}.jsonl.gz", lambda route: route.fulfill(status=404))

    page = open_page(viewport=PHONE, reduced_motion="reduce", expect=("404",), before=take_away)
    until(page, "window.__kitchen.log.complete")
    for step in range(6):
        visit(page, "attention", step)
        sentence = described(page)
        assert sentence
        assert "NaN" not in sentence
        if len(missing) == 2:
            assert "nobody has looked" in sentence or "No look" in sentence
