"""The calculator's fragment says what ``inference/costs.py`` says, and nothing of its own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from app.pages.units import human_bytes
from inference.costs import PRESETS, calculate
from tests.app.conftest import ServedSite


@pytest.mark.parametrize("model", PRESETS)
def test_the_numbers_are_those_of_costs(site: ServedSite, model: str) -> None:
    query = {"model": model, "context": 8192, "batch": 4, "precision": "fp8"}
    html = site.client.get("fragments/calculator/result", params=query).text
    calculation = calculate(model, 8192, 4, "fp8")
    for cost in calculation.kinds:
        assert human_bytes(cost.total_bytes) in html
    assert human_bytes(calculation.weight_bytes) in html
    assert PRESETS[model].source in html
    assert 'data-provenance="modelled"' in html


def test_drawing_and_formula_are_well_formed(site: ServedSite) -> None:
    html = site.client.get("fragments/calculator/result").text
    for tag in ("svg", "math"):
        found = re.search(rf"<{tag}.*?</{tag}>", html, re.DOTALL)
        assert found
        ElementTree.fromstring(found[0])
    assert "style=" not in html
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', html)]
    assert len(widths) == 4
    assert max(widths) == 300


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"model": "gpt-5"}, "model"),
        ({"context": "0"}, "context"),
        ({"context": "1e3"}, "context"),
        ({"context": "9" * 400}, "context"),
        ({"batch": "-1"}, "batch"),
        ({"precision": "fp3"}, "precision"),
        ({"kind": "<b>"}, "kind"),
    ],
)
def test_nonsense_is_refused_and_does_not_break_the_article(
    site: ServedSite, query: dict[str, str], field: str
) -> None:
    response = site.client.get("fragments/calculator/result", params=query)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field
    assert site.client.get("", params=query).status_code == 200


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (94_371_840, "94.4 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.00 GB"),
    ],
)
def test_bytes_in_three_figures(count: int, words: str) -> None:
    assert human_bytes(count).replace("\N{NO-BREAK SPACE}", " ") == words
