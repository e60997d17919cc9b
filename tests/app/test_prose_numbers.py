"""No number in the prose without a source: it is filled from the log, computed by costs.py, or cited with a link."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from app.catalogue import script_strings
from app.cited import Cited, cited_facts
from app.settings import ROOT
from tests.app.conftest import ServedSite

TEMPLATES = ROOT / "templates"
PROSE = [*sorted(TEMPLATES.glob("chapters/*.html")), *sorted(TEMPLATES.glob("fragments/calc*.html"))]
# A number of its own: not the one in p50, int8 or SmolLM2.
NUMBER = re.compile(r"(?<![\w.\-–])\d[\d.,]*(?:\s?[–-]\s?\d+)?")
LARGE = (
    r"(?:eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?|"
    r"(?:hundred|thousand|million|billion|trillion)s?|per ?cent|\w+fold)"
)
WORD = re.compile(rf"\b{LARGE}\b", re.IGNORECASE)
# What is said and not measured: a setting's value, a definition, a count of examples. With the words around it.
SAID = (
    "ninety-nine in a hundred",  # what p99 means
    "temperature 0",  # a setting
    "a million tokens",  # the unit of a price
    "seed 1, 2, 3",  # a setting, counted up
    "a million tokens",  # the unit that prices are said in
    "1 for 1 token",  # without drafts every pass brings one: what the others are held against
)


# Every key that the page has a rule for: of all rooms, and of each room's own.
KEYS = """
import { FACT_KEYS } from "./static/js/state/facts.js";
import { SCENES } from "./static/js/scenes/index.js";
const keys = [...FACT_KEYS];
for (const offer of Object.values(SCENES)) {
  const scene = typeof offer === "function" ? (await offer()).default : offer;
  keys.push(...Object.keys(scene.facts ?? {}));
}
console.log(JSON.stringify(keys));
"""


class Prose(HTMLParser):
    """Text of a page or template but for what fills itself: numbers with a source, outputs, and what readers type."""

    VOID = frozenset(["area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"])
    TAGS = frozenset({"output", "option", "script", "style", "textarea", "svg", "math"})

    def __init__(self, skipped_ids: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.skipped_ids = skipped_ids
        self.text: list[str] = []
        self.open: list[tuple[str, bool]] = []

    def _fills_itself(self, tag: str, attributes: dict[str, str | None]) -> bool:
        classes = (attributes.get("class") or "").split()
        room_number = tag == "b" and any(entry == ("p.kicker", False) for entry in self.open[-1:])
        return (
            tag in self.TAGS
            or "number" in classes
            or "data-prompt" in attributes
            or "data-value" in attributes
            or attributes.get("id") in self.skipped_ids
            or room_number
        )

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            return
        attributes = dict(attrs)
        inside = bool(self.open) and self.open[-1][1]
        name = "p.kicker" if tag == "p" and attributes.get("class") == "kicker" else tag
        self.open.append((name, inside or self._fills_itself(tag, attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID and self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not (self.open and self.open[-1][1]):
            self.text.append(data)


def prose_of(html: str, skipped_ids: frozenset[str] = frozenset()) -> str:
    parser = Prose(skipped_ids)
    parser.feed(html)
    return re.sub(r"\s+", " ", "".join(parser.text))


def without_jinja(source: str) -> str:
    """A template's own words: what it inserts comes through macros and filters."""
    return re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", source, flags=re.DOTALL)


def unsourced(text: str) -> Iterator[str]:
    """Numbers of a text, with the words around them, that nothing answers for."""
    for said in SAID:
        text = text.replace(said, "…")
    for pattern in (NUMBER, WORD):
        for match in pattern.finditer(text):
            yield text[max(0, match.start() - 40) : match.end() + 20].strip()


@pytest.mark.parametrize("path", PROSE, ids=lambda path: Path(path).stem)
def test_no_template_writes_a_number_of_its_own(path: Path) -> None:
    assert list(unsourced(prose_of(without_jinja(path.read_text("utf-8"))))) == []


def test_no_words_of_the_scripts_hold_a_number_of_their_own() -> None:
    found = [(text, file) for text, file in script_strings() for _ in unsourced(re.sub(r"\{\w+\}", "", text))]
    assert found == []


def test_the_rendered_page_has_none_either(site: ServedSite) -> None:
    page = site.client.get("./").text
    article = page[page.index("<main") : page.index("</main>")]
    # The calculator's come from costs.py (tests/app/test_calculator.py), the days that runs are kept from settings.
    text = prose_of(article, frozenset({"calculator", "prompt-kept", "status"}))
    assert len(text) > 2000
    assert list(unsourced(text)) == []


def test_every_number_in_the_prose_is_one_that_the_page_can_fill(site: ServedSite) -> None:
    asked = set(re.findall(r'data-(?:value|needs)="([^"]+)"', site.client.get("./").text))
    node = shutil.which("node", path=f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    assert node, "the rules are in scripts: ./kitchen test brings Node"
    told = subprocess.run(
        [node, "--input-type=module", "-e", KEYS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    known = set(json.loads(told.stdout))
    assert asked
    assert asked <= known, f"nobody fills {asked - known}"


def test_cited_numbers_name_their_source(site: ServedSite) -> None:
    for key, fact in cited_facts().items():
        assert re.search(r"\d", fact.value), key
        assert len(fact.title) > 20, key
        assert httpx.URL(fact.url).scheme == "https", key
    page = site.client.get("./").text
    for block in re.findall(r'<span class="number" data-provenance="cited".*?</a></span>', page):
        assert 'href="https://' in block
        assert 'rel="noreferrer"' in block
    # A badge that says "cited" stands in a sentence with a link.
    for paragraph in re.findall(r"<p>.*?</p>", page, re.DOTALL):
        if 'data-provenance="cited"' in paragraph:
            assert 'href="https://' in paragraph, paragraph


def test_a_planted_number_is_found() -> None:
    assert list(unsourced(prose_of("<p>It is 25 % faster.</p>"))) == ["It is 25 % faster."]
    assert list(unsourced(prose_of("<p>It grew fiftyfold.</p>"))) == ["It grew fiftyfold."]
    assert list(unsourced(prose_of("<p>One token, the p50 of SmolLM2-135M in int8, two layers.</p>"))) == []
    kept = (
        '<p>In <span class="number"><span class="figure">25</span><span class="badge">x</span></span> ms, not 30.</p>'
    )
    assert list(unsourced(prose_of(kept))) == ["In ms, not 30."]
    assert list(unsourced(prose_of('<p class="kicker"><b>04</b> Rooms</p><p> <b>04</b></p>'))) == ["Rooms 04"]


def test_a_citation_without_its_source_is_refused() -> None:
    whole = cited_facts()["slab-waste"]
    fields = {name: getattr(whole, name) for name in ("value", "unit", "says", "title", "url", "date")}
    assert Cited(**fields) == whole
    for broken in ({"url": "http://x"}, {"title": ""}, {"value": ""}):
        with pytest.raises(ValueError, match=r"source|without"):
            Cited(**(fields | broken))
