"""Scripts and sheets as a browser gets them."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.pages.sheets import BUNDLES
from app.pages.static import STATIC, body_of
from tests.app.conftest import ServedSite

MAX_BYTES = 220_000
"""Of all scripts and sheets of the article together, gzip, and of those that are fetched when a hand asks for them."""
MAX_BYTES_ON_DEMAND = 24_000
ON_DEMAND = (
    *(f"js/log/{name}.js" for name in ("opened_file", "event_check", "log_check", "limits")),
    *(f"js/ui/{name}.js" for name in ("picture", "dom_paint", "comparing")),
    *(f"js/scenes/{name}.js" for name in ("compare", "compare_text")),
    "js/types/fields.js",
    "js/state/comparison.js",
)
MODULES = ("scenes", "state", "log", "stage")


def ours(suffix: str) -> list[str]:
    paths = (path.relative_to(STATIC) for path in STATIC.rglob(f"*{suffix}"))
    return sorted(str(path) for path in paths if path.parts[0] not in ("vendor", "dist"))


def test_scripts_leave_without_their_comments_and_still_run(site: ServedSite, tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node, "the page's tests want Node too"
    for path in ours(".js"):
        response = site.client.get(f"static/{path}")
        assert response.headers["content-type"].startswith("text/javascript")
        assert len(response.content) < (STATIC / path).stat().st_size
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(response.content)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    # What is imported is parsed whole, with all that it imports.
    paths = [path for path in ours(".js") if path.split("/")[1] in MODULES]
    assert paths
    script = "".join(f'await import("./{path}");' for path in paths)
    command = [node, "--input-type=module", "-e", script]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_no_script_has_a_template_within_a_template() -> None:
    """Who takes the comments away takes the inner one for code, and its spaces for nothing: "soup12 %"."""
    nested = re.compile(r"\$\{[^`}]*`")
    assert [path for path in ours(".js") if nested.search((STATIC / path).read_text())] == []


def of_the_article() -> set[str]:
    """Every script that the article may come to load, now or later, and its sheets. (Rooms for frames, the gallery and
    the styleguide are pages of their own.)"""
    found: set[str] = set()
    waiting = [Path("js/main.js"), Path("js/ui/first_paint.js")]
    while waiting:
        path = waiting.pop()
        if path.as_posix() in found:
            continue
        found.add(path.as_posix())
        for name in re.findall(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""", body_of(STATIC / path).decode()):
            waiting.append(Path(os.path.normpath(path.parent / name)))
    sheets = {f"css/{part}.css" for bundle in ("first_screen", "all_rooms") for part in BUNDLES[bundle]}
    return found | sheets | {"css/day.css", *(f"vendor/{path.name}" for path in STATIC.glob("vendor/*.js"))}


def test_the_whole_article_is_small(site: ServedSite) -> None:
    paths = of_the_article()
    assert {f"js/scenes/{path.name}" for path in STATIC.glob("js/scenes/*.js")} <= paths
    assert "js/ui/embed_dialog.js" in paths
    sizes = {path: len(gzip.compress(site.client.get(f"static/{path}").content)) for path in paths}
    on_demand = sum(sizes.pop(path) for path in ON_DEMAND)
    assert on_demand < MAX_BYTES_ON_DEMAND
    assert sum(sizes.values()) < MAX_BYTES, sorted(sizes.items(), key=lambda item: -item[1])[:8]


@pytest.mark.parametrize("path", ["static/js/main.js", "static/vendor/htmx-4.0.1.js", "static/css/all_rooms.css"])
def test_compressed_or_not_it_is_the_same(site: ServedSite, path: str) -> None:
    plain = site.client.get(path, headers={"accept-encoding": "identity"})
    small = site.client.get(path, headers={"accept-encoding": "gzip"})
    assert (plain.headers.get("content-encoding"), small.headers["content-encoding"]) == (None, "gzip")
    assert int(small.headers["content-length"]) < len(plain.content) / 2
    assert small.content == plain.content
    assert small.headers["vary"] == "Accept-Encoding"
    assert {name: small.headers[name] for name in ("etag", "content-type")} == {
        name: plain.headers[name] for name in ("etag", "content-type")
    }
    again = site.client.get(path, headers={"accept-encoding": "gzip", "if-none-match": small.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = site.client.get(path, headers={"accept-encoding": "gzip", "range": "bytes=0-9"})
    assert part.status_code in (200, 206)


def test_an_unchanged_script_is_not_sent_again(site: ServedSite) -> None:
    tag = site.client.get("static/js/main.js").headers["etag"]
    assert site.client.get("static/js/main.js", headers={"If-None-Match": tag}).status_code == 304


def test_what_others_wrote_leaves_as_it_is(site: ServedSite) -> None:
    for path in STATIC.glob("vendor/*.js"):
        assert site.client.get(f"static/vendor/{path.name}").content == path.read_bytes()


def test_sheets_leave_as_one_with_every_rule_and_file_that_they_name(site: ServedSite) -> None:
    for name, parts in BUNDLES.items():
        response = site.client.get(f"static/css/{name}.css")
        assert response.headers["content-type"].startswith("text/css")
        alone = [site.client.get(f"static/css/{part}.css").content for part in parts]
        assert response.content == b"\n".join(alone)
        for address in re.findall(rb"url\([\"']?([^)\"']+)", response.content):
            if not address.startswith(b"data:"):
                assert site.client.get(f"static/css/{address.decode()}").status_code == 200, address
        again = site.client.get(f"static/css/{name}.css", headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304


def test_every_sheet_is_in_a_bundle_or_named_by_a_page() -> None:
    pages = "".join(path.read_text() for path in (STATIC.parent / "templates").glob("*.html"))
    bundled = {part for parts in BUNDLES.values() for part in parts}
    alone = {path.stem for path in STATIC.glob("css/*.css")} - bundled
    assert [name for name in alone if f"static/css/{name}.css" not in pages] == []
