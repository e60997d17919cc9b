"""The page's scripts as esbuild bundles them: few requests, rooms one by one; in a kitchen and in a copy without."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from starlette.testclient import TestClient

from app.export import export
from app.main import create_app
from app.pages.bundle import CannotBundle, make
from app.pages.chapters import rooms
from app.pages.modules import ENTRIES, MANIFEST, bundle_in, modules_of, scripts_of
from app.settings import ROOT, Settings
from benchmarks.browser import until
from tests.app.site_process import SiteProcess
from tests.browser.conftest import OpenPage
from tests.browser.rooms import described, visit
from tests.browser.test_export import Exported

MAX_REQUESTS = 25
"""Of a cold article: its page, its scripts, sheets, fonts, its icon, and the log that it plays."""
CLASSIC = {"static/js/ui/first_paint.js", "static/js/embed/theme.js", "static/vendor/htmx-4.0.1.js"}
"""Scripts that are no modules, and stay as they are."""


class Kitchen:
    """Where a page finds a kitchen, as ``open_page`` wants it."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "dist"
    make(folder)
    return folder


@pytest.fixture(scope="module")
def served(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    """In the place of the kitchen with its real engine."""
    with SiteProcess(tmp_path_factory.mktemp("data"), ready=False, dist_dir=dist) as site:
        yield Kitchen(f"http://127.0.0.1:{site.port}/")


def watch(requests: list[str], base: str) -> Callable[[Page], object]:
    """Every address that is asked for, as the page would write it."""

    def note(url: str) -> None:
        if url.startswith("http"):
            requests.append(url.removeprefix(base))

    return lambda page: page.on("request", lambda request: note(request.url))


def scripts(requests: list[str]) -> list[str]:
    return [path for path in requests if path.endswith(".js") and path not in CLASSIC]


def preloaded(page: Page) -> list[str]:
    found: list[str] = page.locator("link[rel=modulepreload]").evaluate_all(
        "links => links.map(link => link.getAttribute('href'))"
    )
    return found


def room_by_room(page: Page, requests: list[str], *walk: tuple[str, int, str]) -> None:
    """The article asks for little, and for a room when a reader is near; for nothing twice; for no single module."""
    until(page, "window.__kitchen.log.complete")
    assert len(requests) < MAX_REQUESTS, requests
    first = scripts(requests)
    assert set(preloaded(page)) <= set(first)
    for slug, step, words in walk:
        assert not any(f"/{slug}-" in path for path in first)
        visit(page, slug, step)
        assert described(page).startswith(words)
        assert sum(f"/{slug}-" in path for path in requests) == 1
    assert all(path.startswith("static/dist/") for path in scripts(requests)), scripts(requests)
    assert len(scripts(requests)) == len(set(scripts(requests)))


# ---- in a kitchen ---------------------------------------------------------------------------------------------------


def test_the_article_asks_for_few_files_and_rooms_come_one_by_one(open_page: OpenPage, served: Kitchen) -> None:
    requests: list[str] = []
    page = open_page(reduced_motion="reduce", before=watch(requests, served.url))
    room_by_room(page, requests, ("paging", 1, "In slabs"), ("attention", 1, ""))


def test_a_frame_plays_its_room_and_names_every_script_of_it(open_page: OpenPage, served: Kitchen) -> None:
    requests: list[str] = []
    page = open_page("embed/paging?step=2", reduced_motion="reduce", before=watch(requests, served.url))
    until(page, "window.__kitchen.log.complete && window.__kitchen.stage.scene !== null")
    assert described(page).startswith("In slabs")
    assert sorted(scripts(requests)) == sorted(preloaded(page))
    assert len(requests) < MAX_REQUESTS


@pytest.mark.parametrize("path", ["gallery", "styleguide"])
def test_the_other_pages_have_theirs(open_page: OpenPage, served: Kitchen, path: str) -> None:
    requests: list[str] = []
    page = open_page(path, kitchen=False, before=watch(requests, served.url))
    page.wait_for_load_state("networkidle")
    assert scripts(requests)
    assert all(name.startswith("static/dist/") for name in scripts(requests))


def test_every_page_begins_with_an_entry_and_every_room_is_a_chunk_of_its_own(dist: Path) -> None:
    bundle = bundle_in(dist)
    assert bundle is not None
    assert bundle.keys() == set(ENTRIES)
    for room in rooms().values():
        for entry in ("static/js/main.js", "static/js/embed.js"):
            own = bundle[entry][room.scene][0]
            assert own not in bundle[entry][entry]
            assert (dist / own).is_file()
    named = {file for modules in bundle.values() for files in modules.values() for file in files}
    assert named == {path.relative_to(dist).as_posix() for path in dist.rglob("*.js")}
    with pytest.raises(ValueError, match="ENTRIES"):
        scripts_of("static/js/ui/share.js", dist)


# ---- which scripts are served ---------------------------------------------------------------------------------------


def client_of(dist: Path, folder: Path) -> TestClient:
    """The site without its engine: pages and files."""
    return TestClient(create_app(Settings(data_dir=folder / "data", dist_dir=dist, engine="none")))


def test_chunks_are_kept_for_ever_and_leave_as_they_are(dist: Path, tmp_path: Path) -> None:
    client = client_of(dist, tmp_path)
    entry, chunk = scripts_of("static/js/main.js", dist)
    for path, kept in ((entry, "no-cache"), (chunk, "immutable")):
        response = client.get(path)
        assert kept in response.headers["cache-control"]
        assert response.headers["content-type"].startswith("text/javascript")
        assert response.content == (dist / path.removeprefix("static/dist/")).read_bytes()
    assert client.get("static/dist/../manifest.json").status_code == 404
    assert client.get("static/dist/chunks/nothing-AAAAAAAA.min.js").status_code == 404


@pytest.mark.parametrize("spoilt", ["stale", "half", "other", "none"])
def test_a_bundle_of_other_scripts_is_not_served(dist: Path, tmp_path: Path, spoilt: str) -> None:
    copy = tmp_path / "dist"
    shutil.copytree(dist, copy)
    manifest = json.loads((copy / MANIFEST).read_text())
    texts = {"stale": json.dumps(manifest | {"digest": "0" * 64}), "half": '{"digest": "', "other": "[]"}
    if spoilt == "none":
        shutil.rmtree(copy)
    else:
        (copy / MANIFEST).write_text(texts[spoilt])
    assert scripts_of("static/js/main.js", copy) == modules_of("static/js/main.js")
    html = client_of(copy, tmp_path).get("/").text
    assert '<script type="module" src="static/js/main.js">' in html
    assert "static/dist" not in html


def test_a_changed_script_makes_a_bundle_stale(dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "static" / "js", tmp_path / "static" / "js")
    shutil.copytree(dist, tmp_path / "same")
    monkeypatch.setattr("app.pages.modules.ROOT", tmp_path)
    assert bundle_in(tmp_path / "same") is not None, "where it lies does not matter"
    with (tmp_path / "static/js/scenes/loop.js").open("a") as script:
        script.write(" ")
    shutil.copytree(dist, tmp_path / "changed")
    assert bundle_in(tmp_path / "changed") is None


def test_a_bundle_takes_the_place_of_a_bundle_and_of_nothing_else(dist: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(CannotBundle, match="something else"):
        make(tmp_path)
    with pytest.raises(CannotBundle, match="something else"):
        make(tmp_path / "precious")
    assert (tmp_path / "precious").read_text() == "mine"
    (dist / "old.min.js").write_text("")
    before = (dist / MANIFEST).read_bytes()
    make(dist)
    assert not (dist / "old.min.js").exists()
    assert (dist / MANIFEST).read_bytes() == before, "the same scripts make the same bundle"


# ---- in a copy without a kitchen ------------------------------------------------------------------------------------


def test_an_export_takes_the_bundle_along(open_page: OpenPage, dist: Path, tmp_path: Path) -> None:
    exported = Exported(tmp_path, dist_dir=dist)
    try:
        requests: list[str] = []
        article = open_page(url=exported.url, reduced_motion="reduce", before=watch(requests, exported.url))
        room_by_room(article, requests, ("paging", 1, "In slabs"))
        frame = open_page("embed/loop.html", url=exported.url, reduced_motion="reduce")
        until(frame, "window.__kitchen.log.complete && window.__kitchen.stage.scene !== null")
        assert all(name.startswith("static/dist/") for name in preloaded(frame))
    finally:
        exported.server.shutdown()
    assert not any("styleguide" in path.name for path in tmp_path.rglob("*"))


def test_an_export_without_one_names_the_modules(tmp_path: Path) -> None:
    names = export(tmp_path / "out", Settings(data_dir=tmp_path / "data", dist_dir=tmp_path / "nothing"))
    assert not any(name.startswith("static/dist/") for name in names)
    named = re.findall(r'<script type="module" src="([^"]+)">', (tmp_path / "out/index.html").read_text())
    assert named == ["static/js/main.js"]
