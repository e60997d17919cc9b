"""The page as plain files: what is written, into which folders, and what is said where it cannot be."""

from __future__ import annotations

import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from typer.testing import CliRunner

from app import export as module
from app.cli import app
from app.export import MARKER, STAGING, CannotExport, export
from app.pages.chapters import rooms
from app.settings import Settings
from tests.app.conftest import ServedSite


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "site"
    export(folder, Settings(data_dir=folder.parent / "data"))
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class Addresses(HTMLParser):
    """What a page names: by attributes that a browser follows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.base = ""
        self.found: list[str] = []
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        for name, value in attrs:
            if name in ("href", "src", "action") and value is not None:
                if tag == "base":
                    self.base = value
                else:
                    self.found.append(value)


PAGES = ["index.html", "gallery.html", *(f"embed/{slug}.html" for slug in rooms())]


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_names_lies_beside_it(exported: Path, page: str) -> None:
    html = (exported / page).read_text()
    read = Addresses(html)
    assert not any(name.startswith("hx-") for name in read.attributes)
    for address in read.found:
        if urlsplit(address).scheme in ("http", "https"):
            assert "static" not in address
            continue
        assert not address.startswith("/"), address
        path = unquote(urlsplit(urljoin(urljoin(f"http://x/{page}", read.base), address)).path)[1:]
        assert (exported / (path or "index.html")).exists(), address
    assert "api/" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "<form" not in html
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html)
    assert policy is not None
    assert "unsafe" not in policy[1]
    assert html.index("Content-Security-Policy") < html.index("<base" if read.base else "<title")


def test_scripts_and_sheets_name_only_what_is_there(exported: Path) -> None:
    for path in exported.rglob("*.js"):
        for name in re.findall(r"""(?:from|import)\s*\(?["'](\.[^"']+)["']""", path.read_text()):
            assert (path.parent / name).resolve().is_file(), (path.name, name)
    for path in exported.rglob("*.css"):
        for name in re.findall(r"""url\(["']?([^)"']+)""", path.read_text()):
            assert name.startswith("data:") or (path.parent / name).resolve().is_file(), (path.name, name)


def test_the_files_are_those_that_are_served(exported: Path, site: ServedSite) -> None:
    served = [name for name in names_in(exported) if name.startswith("static/")]
    assert len(served) > 100
    for name in served:
        assert (exported / name).read_bytes() == site.client.get(name).content, name


def test_the_page_knows_that_it_has_no_kitchen(exported: Path) -> None:
    html = (exported / "index.html").read_text()
    found = re.search(r'id="config">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    config = json.loads(found[1])
    assert (config["kitchen"], config["run_id"], config["runs"], config["embeds"]) == (False, None, {}, ".html")
    assert re.search(r"\b537\sMB\b", html), "what the calculator came to"
    assert "a kitchen is needed" in html
    assert (exported / ".nojekyll").exists()
    assert not any("styleguide" in name or "htmx" in name for name in names_in(exported))


def test_a_run_goes_along(site: ServedSite, tmp_path: Path) -> None:
    run_id = site.run("hello there")
    events = site.events(run_id)
    site.wait(lambda: site.site.store.files.read_packed(run_id))
    export(tmp_path / "out", site.settings, [run_id])
    lines = gzip.decompress((tmp_path / "out" / f"runs/{run_id}.jsonl.gz").read_bytes()).splitlines()
    assert [json.loads(line) for line in lines] == events
    for page in PAGES:
        if page != "gallery.html":
            assert f'"{run_id}": "runs/{run_id}.jsonl.gz"' in (tmp_path / "out" / page).read_text()


@pytest.mark.parametrize("run_id", ["A" * 22, "../../secret", "", "a/b", "ä"])
def test_a_run_that_is_not_there_exports_nothing(settings: Settings, tmp_path: Path, run_id: str) -> None:
    with pytest.raises(CannotExport, match="run"):
        export(tmp_path / "out", settings, [run_id])
    assert not (tmp_path / "out").exists()


# ---- the folder -----------------------------------------------------------------------------------------------------


def test_into_an_empty_folder_and_over_an_earlier_export(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    first = export(folder, settings)
    assert names_in(folder) == sorted([*first, MARKER])
    # What an earlier export wrote and this one does not is taken away, with its folder.
    marker = json.loads((folder / MARKER).read_text())
    (folder / "old" / "deep").mkdir(parents=True)
    (folder / "old/deep/file.js").write_text("old")
    (folder / MARKER).write_text(json.dumps(marker | {"files": [*marker["files"], "old/deep/file.js"]}))
    (folder / "index.html").write_text("changed")
    assert export(folder, settings) == first
    assert names_in(folder) == sorted([*first, MARKER])
    assert not (folder / "old").exists()
    assert "Open Kitchen" in (folder / "index.html").read_text()


def test_files_of_others_are_not_touched(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git/HEAD").write_text("ref")
    (folder / "CNAME").write_text("example.org")
    (folder / "index.html").write_text("somebody's")
    with pytest.raises(CannotExport, match="--force"):
        export(folder, settings)
    assert (folder / "index.html").read_text() == "somebody's"
    assert names_in(folder) == [".git/HEAD", "CNAME", "index.html"]
    export(folder, settings, force=True)
    assert (folder / "CNAME").read_text() == "example.org"
    assert (folder / ".git/HEAD").read_text() == "ref"
    assert "Open Kitchen" in (folder / "index.html").read_text()
    with pytest.raises(CannotExport, match="CNAME"):
        export(folder, settings)


def test_a_marker_takes_nothing_outside_the_folder(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    names = ["../precious", str(tmp_path / "precious"), "", ".", 7, "a/../../precious"]
    (folder / MARKER).write_text(json.dumps({"files": names}))
    export(folder, settings)
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("moment", [0, 1, 40, 150])
def test_an_export_cut_short_leaves_the_old_one_or_can_be_made_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    folder = tmp_path / "out"
    whole = export(folder, settings)
    before = {name: (folder / name).read_bytes() for name in whole}
    calls = 0

    def fails(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > moment:
            raise OSError(28, "No space left on device")
        real(*arguments)  # type: ignore[arg-type]

    real = module._write if moment == 150 else module.os.replace
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", fails) if moment == 150 else patch.setattr(module.os, "replace", fails)
        with pytest.raises(OSError, match="No space"):
            export(folder, settings)
    assert not (folder / STAGING).exists()
    # Every file is whole, whichever export it is of.
    assert {name: (folder / name).read_bytes() for name in whole} == before
    assert export(folder, settings) == whole


def test_the_command_says_what_it_did_and_what_it_could_not(tmp_path: Path) -> None:
    run = CliRunner().invoke
    data = ["--data-dir", str(tmp_path / "data")]
    done = run(app, ["export", str(tmp_path / "out"), *data])
    assert done.exit_code == 0, done.output
    assert re.search(r"\d+ files, \d+\.\d MB", done.output)
    (tmp_path / "out/mine.txt").write_text("mine")
    refused = run(app, ["export", str(tmp_path / "out"), *data])
    assert refused.exit_code == 1
    assert "mine.txt" in refused.output
    assert "--force" in refused.output
    unknown = run(app, ["export", str(tmp_path / "new"), "--run", "A" * 22, *data])
    assert unknown.exit_code == 1
    assert "There is no finished run" in unknown.output
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    assert "is a file" in run(app, ["export", str(tmp_path / "file"), *data]).output


def test_nothing_is_written_through_a_link_or_around_what_is_in_the_way(settings: Settings, tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "folder"
    for made in (mine, folder):
        made.mkdir()
    (mine / "favicon.svg").write_text("precious")
    (folder / "static").symlink_to(mine)
    for force in (False, True):
        with pytest.raises(CannotExport, match="static"):
            export(folder, settings, force=force)
    assert (mine / "favicon.svg").read_text() == "precious"
    (folder / "static").unlink()
    (folder / "static").write_text("a file of mine")
    with pytest.raises(CannotExport, match="in the way"):
        export(folder, settings, force=True)
    assert names_in(folder) == ["static"]
