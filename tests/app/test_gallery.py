"""The gallery, a visitor's own runs, and the pictures of links: drawn from logs, and telling nobody's words."""

from __future__ import annotations

import asyncio
import html
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from app.catalogue import translations
from app.pages.chapters import chapters
from app.pages.preview import MAX_WAITING, Previews
from app.pages.shelf import shown
from app.pages.strip import HEIGHT, WIDTH, strip_of
from app.portrait import portrait_of
from app.preview import SIZE, Caption, draw_preview
from app.problems import Problem
from app.recipes import RECIPES
from app.recordings import recorded_lines, recordings
from app.settings import ROOT
from tests.app.conftest import ServedSite
from tests.app.test_sharing import cook

SECRET = "xylophone marmalade"


@pytest.fixture
def anna(site: ServedSite) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def log_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorded_lines(name) or []]


def text_of(page: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


# ---- what a picture is drawn from


@pytest.mark.parametrize("name", sorted(recordings()))
def test_a_strip_has_what_the_log_has(name: str) -> None:
    """Its boxes are counted and measured against the log, read here without it."""
    log = log_of(name)
    own = log[0]["run_id"]
    portrait = portrait_of("", recorded_lines(name) or [])
    strip = strip_of(portrait)
    tokens = [e for e in log if e["type"] == "token.sampled" and e["request_id"] == own and not e["sample"]]
    drawn = strip.paths.get("token", "").count("z") + strip.paths.get("accepted", "").count("z")
    assert drawn == len(tokens)
    drafted = sum(e["origin"] == "draft" for e in tokens)
    assert strip.paths.get("accepted", "").count("z") == drafted
    slots = {item["slot"] for e in log if e["type"] == "step.started" for item in e["requests"]}
    assert strip.paths["rails"].count("z") == len(slots)
    assert f"{portrait.seconds:.3g}" in strip.words
    total = log[-1]["t"]
    own_steps = [e for e in log if e["type"] == "step.started" and any(i["request_id"] == own for i in e["requests"])]
    first = re.match(r"M([\d.]+) ", strip.paths.get("prefill") or strip.paths.get("decode") or "M0 ")
    assert first is not None
    if own_steps and not own_steps[0]["requests"][0]["sample"] and name != "tomato-soup.sharding":
        begun = min(e["t"] for e in own_steps)
        assert float(first[1]) == pytest.approx(WIDTH * begun / total, abs=0.6)
    for path in strip.paths.values():
        for x, y, w, h in re.findall(r"M([\d.e+-]+) ([\d.e+-]+)h([\d.e+-]+)v([\d.e+-]+)", path):
            assert -0.01 <= float(x) <= float(x) + float(w) <= WIDTH + 1.0
            assert 0 <= float(y) <= float(y) + float(h) <= HEIGHT + 0.5


def test_rates_are_those_of_the_log() -> None:
    for name in recordings():
        log = log_of(name)
        own = log[0]["run_id"]
        times = [e["t"] for e in log if e["type"] == "token.sampled" and e["request_id"] == own and not e["sample"]]
        summary = portrait_of("", recorded_lines(name) or []).summary
        if len(times) > 1 and times[-1] > times[0]:
            assert summary.tokens_per_second == pytest.approx((len(times) - 1) / (times[-1] - times[0]))
        else:
            assert summary.tokens_per_second is None


def test_every_recording_has_words_and_a_room_that_casts_it() -> None:
    assert {entry.name for entry in shown()} == set(recordings())
    assert [entry.key for entry in shown() if entry.key] == [e.key for e in shown() if e.key in RECIPES]
    for entry in shown():
        assert entry.says.endswith(".")
        if not entry.room:
            continue
        chapter = next(chapter for chapter in chapters() if chapter.slug == entry.room)
        source = (ROOT / "templates" / chapter.template).read_text("utf-8")
        steps = re.findall(r'<div class="step[^>]*>', source)
        if entry.key:
            cast = re.search(r"data-cast='([^']*)'", steps[entry.step - 1])
            assert cast is not None, entry
            assert f'"{entry.key}"' in (source if "{{" in cast[1] else cast[1])
    for key in ("attention", "gaze"):
        assert any(entry.key == key and entry.room == "attention" for entry in shown())


# ---- pages


def test_the_gallery_shows_recordings_and_what_is_listed(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna, SECRET)
    unlisted = cook(site, anna, "not for everybody")
    page = anna.get("gallery")
    assert page.status_code == 200
    assert run_id not in page.text
    title = 'Soup <b>"bold"</b> & more'
    assert anna.patch(f"api/runs/{run_id}", json={"listed": True, "title": title}).status_code == 200
    page = httpx.get(f"{site.url}gallery")
    assert f'href="./?run={run_id}"' in page.text
    assert html.escape(title, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page.text
    assert "<b>&" not in page.text.split(run_id)[1][:200]
    assert SECRET not in page.text
    assert unlisted not in page.text
    words = text_of(page.text)
    for entry in shown():
        assert entry.title in words
        assert entry.says in words
        assert f'static/recordings/{entry.name}.jsonl.gz"' in page.text
    log = log_of("tomato-soup")
    assert f"{log[-1]['totals']['completion_tokens']} tokens" in words.replace("  ", " ")
    svgs = re.findall(r"<svg.*?</svg>", page.text, re.S)
    assert len(svgs) == len(shown()) + 1
    for svg in svgs:
        assert ET.fromstring(svg).attrib["role"] == "img"
    assert "style=" not in page.text
    assert re.findall(r"<script(?![^>]* src=)", page.text) == []
    anna.patch(f"api/runs/{run_id}", json={"listed": False})
    assert run_id not in anna.get("gallery").text


def test_the_gallery_has_pages(site: ServedSite, anna: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pages.gallery.PAGE", 2)
    ids = [cook(site, anna) for _ in range(3)]
    for run_id in ids:
        anna.patch(f"api/runs/{run_id}", json={"listed": True, "title": "mine"})
    page = anna.get("gallery").text
    assert [run_id in page for run_id in ids] == [False, True, True]
    older = re.search(r'href="(gallery\?before=[^"]*)"', page)
    assert older is not None
    page = anna.get(older[1]).text
    assert [run_id in page for run_id in ids] == [True, False, False]
    assert "tomato-soup" not in page
    assert anna.get("gallery?before=nonsense").status_code == 200


def test_mine_shows_my_prompts_to_me_alone(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna, SECRET)
    page = anna.get("mine")
    assert "".join(SECRET.split()) in page.text or SECRET in page.text
    assert run_id in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "Cookie" in page.headers["vary"]
    cook(site, site.client)
    for other in (site.client.get("mine"), httpx.get(f"{site.url}mine"), site.client.get(f"mine?before={run_id}")):
        assert other.status_code == 200
        assert run_id not in other.text
        assert "marmalade" not in other.text


def test_mine_changes_by_htmx(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna)
    htmx = {"hx-request": "true"}
    card = anna.patch(f"api/runs/{run_id}", data={"kept": "true"}, headers=htmx)
    assert card.headers["content-type"].startswith("text/html")
    assert f'id="run-{run_id}"' in card.text
    assert "Kept." in text_of(card.text)
    refused = anna.patch(f"api/runs/{run_id}", data={"listed": "true"}, headers=htmx)
    assert refused.status_code == 422
    assert "title is missing" in refused.text
    assert refused.headers["hx-retarget"] == f"#run-{run_id} .card-problem", "its card stays"
    gone = anna.delete(f"api/runs/{run_id}/log", headers=htmx)
    assert (gone.status_code, gone.text) == (200, "")


# ---- previews


@pytest.mark.parametrize(
    "name", ["tomato-soup", "tomato-soup.continuous", "tomato-soup.logits", "tomato-soup.sharding"]
)
def test_a_preview_of_every_room(name: str) -> None:
    portrait = portrait_of("", recorded_lines(name) or [], walls=True)
    blank = draw_preview(portrait_of("", (recorded_lines(name) or [])[:1]), "batching", Caption("", "", "", ""))
    for chapter in chapters():
        png = draw_preview(portrait, chapter.slug, Caption("05", "A title " * 9, "1 token", "somewhere " * 20))
        image = Image.open(io.BytesIO(png))
        assert (image.format, image.size) == ("PNG", SIZE)
        assert png != blank
        assert len(png) < 400_000


def test_the_walls_are_the_norms_of_the_log() -> None:
    """Texels, against norms decoded here: in a row, a larger norm is no darker than a smaller one beside it in age."""
    import base64

    import numpy as np

    from app.preview import _wall

    portrait = portrait_of("", recorded_lines("tomato-soup") or [], walls=True)
    wall = np.asarray(_wall(portrait.keys, portrait.summary.totals.prompt_tokens)).astype(int).sum(axis=2)
    norms = np.concatenate(
        [
            np.frombuffer(base64.b64decode(a.data), np.float16).reshape(a.shape).reshape(-1, a.shape[2])
            for _, a in portrait.keys
        ],
        axis=1,
    ).astype(float)
    assert wall.shape == norms.shape
    fog = np.linspace(0.35, 1.0, norms.shape[1])
    gold = slice(portrait.summary.totals.prompt_tokens, None)
    light = (wall[0] - wall[0].min())[gold] / fog[gold]
    assert np.corrcoef(light, np.clip(norms[0], *np.percentile(norms[0], (2, 98)))[gold])[0, 1] > 0.97


def test_the_head_says_what_the_link_is(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna, SECRET)

    def said(path: str) -> dict[str, str]:
        page = httpx.get(f"{site.url}{path}").text
        found = re.findall(r'<meta (?:property|name)="((?:og|twitter):[^"]*)" content="([^"]*)"', page)
        return {name: html.unescape(value) for name, value in found}

    own = said(f"?run={run_id}&room=paging")
    assert own["og:image"] == f"{site.url}og/{run_id}/paging.png"
    assert own["og:url"] == f"{site.url}?run={run_id}&room=paging"
    assert own["twitter:card"] == "summary_large_image"
    assert own["twitter:image"] == own["og:image"]
    assert "tokens/s" in own["og:description"]
    assert "measured on fake" in own["og:description"]
    assert "xylophone" not in json.dumps(own)
    assert own["og:title"] == translations().gettext("Nobody knows how long an answer will be.")
    anna.patch(f"api/runs/{run_id}", json={"listed": True, "title": "My own words"})
    assert said(f"?run={run_id}")["og:title"] == "My own words"
    anna.patch(f"api/runs/{run_id}", json={"listed": False})
    assert "My own words" not in json.dumps(said(f"?run={run_id}"))
    recorded = said("")
    assert recorded["og:image"] == f"{site.url}og/tomato-soup/prologue.png"
    assert said("?room=../../x")["og:image"] == recorded["og:image"]
    for tags in (own, recorded):
        image = httpx.get(tags["og:image"], timeout=30)
        assert image.headers["content-type"] == "image/png"
        size = Image.open(io.BytesIO(image.content)).size
        assert size == (int(tags["og:image:width"]), int(tags["og:image:height"]))


def test_pictures_are_kept_and_asked_for_anew(site: ServedSite, anna: httpx.Client) -> None:
    run_id = cook(site, anna)
    path = f"og/{run_id}/loop.png"
    first = anna.get(path)
    assert anna.get(path, headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert anna.get(path).content == first.content
    anna.patch(f"api/runs/{run_id}", json={"listed": True, "title": "Soup"})
    assert anna.get(path).content != first.content, "its title stands in it"
    anna.delete(f"api/runs/{run_id}/log")
    assert anna.get(path).status_code == 404, "a picture of what is gone is not shown from memory"


@pytest.mark.parametrize(
    "path", ["og/nope/loop.png", "og/tomato-soup/nope.png", "og/..%2f..%2fetc/loop.png", "og/a/b/c.png"]
)
def test_pictures_of_nothing(site: ServedSite, path: str) -> None:
    response = site.client.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_nobody_can_have_us_draw_all_day() -> None:
    previews = Previews()
    lines = recorded_lines("tomato-soup.again") or []
    room = chapters()[1]

    async def ask() -> list[Any]:
        calls = [previews.get((f"name {number}", "loop", ""), lines, room) for number in range(MAX_WAITING + 4)]
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if isinstance(answer, Problem)]
    assert [(problem.status, problem.code) for problem in refused] == [(503, "busy")] * 4
    assert sum(isinstance(answer, bytes) for answer in answers) == MAX_WAITING
