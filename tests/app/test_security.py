"""Headers, origins, cookies, prefixes and caching, as a browser would meet them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import httpx
import pytest

from app.security import Visitors
from tests.app.conftest import ServedSite, serving


@pytest.mark.parametrize(
    "path",
    ["", "static/vendor/htmx-4.0.1.js", "api/schema/events.json", "nope", "healthz", "metrics", "fragments/status"],
)
def test_every_response_carries_the_policy(site: ServedSite, path: str) -> None:
    headers = site.client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert f"connect-src 'self' ws://127.0.0.1:{site.port}" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_a_host_header_cannot_write_the_policy(site: ServedSite) -> None:
    response = site.client.get("", headers={"Host": "x; script-src *"})
    assert "script-src *" not in response.headers.get("content-security-policy", "")


def test_our_own_mistakes_are_problems_too(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(run_id: str) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(site.site.store, "find", broken)
    # On a connection of its own: the server closes it after a fault.
    response = httpx.get(f"{site.url}api/runs/{'A' * 22}")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "planted" not in response.text
    assert "content-security-policy" in response.headers


def test_nothing_inline_on_the_page(site: ServedSite) -> None:
    page = site.client.get("").text
    assert not re.search(r"<[^>]+\s(style|on\w+)\s*=", page)
    assert "<style" not in page
    for attributes in re.findall(r"<script([^>]*)>", page):
        assert "src=" in attributes or 'type="application/json"' in attributes
    assert not re.search(r"""(?:src|href|action)=["'](?:/(?!/)|https?://[^"']*\.(?:js|css)["'])""", page), (
        "URLs are relative"
    )
    assert "hx-on" not in page
    assert "js:" not in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
def test_other_sites_pages_cannot_post_or_stop(site: ServedSite, headers: dict[str, str]) -> None:
    run_id = site.run("SLOW LONG", max_tokens=20)
    assert site.client.post("api/runs", json={"prompt": "x"}, headers=headers).status_code == 403
    assert site.client.post("api/runs", data={"prompt": "x"}, headers=headers).status_code == 403
    assert site.client.delete(f"api/runs/{run_id}", headers=headers).status_code == 403


def test_our_own_page_and_programs_can(site: ServedSite) -> None:
    origin = f"http://127.0.0.1:{site.port}"
    for headers in ({}, {"Origin": origin}, {"Sec-Fetch-Site": "same-origin", "Origin": origin}):
        assert site.client.post("api/runs", json={"prompt": "x"}, headers=headers).status_code == 201


def test_the_cookie_is_the_visitors_own(site: ServedSite) -> None:
    with httpx.Client(base_url=site.url) as client:
        response = client.post("api/runs", json={"prompt": "x"})
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        token = client.cookies["kitchen_visitor"]
        client.post("api/runs", json={"prompt": "x"})
        assert client.cookies["kitchen_visitor"] == token
    stored = "".join(path.read_text() for path in (site.settings.data_dir / "runs").glob("*.json"))
    assert token not in stored
    visitors = site.site.visitors
    assert visitors.digest(token, "cache") != visitors.digest(token, "creator") != token
    assert (site.settings.data_dir / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("stripping", [True, False])
def test_under_a_prefix_whether_or_not_the_proxy_strips_it(tmp_path: Path, stripping: bool) -> None:
    with serving(tmp_path, root_path="kitchen/") as site:
        base = f"http://127.0.0.1:{site.port}" + ("/" if stripping else "/kitchen/")
        with httpx.Client(base_url=base) as client:
            assert client.get("").status_code == 200
            assert client.get("static/vendor/htmx-4.0.1.js").status_code == 200
            created = client.post("api/runs", json={"prompt": "hello"}).json()
            assert created["url"] == f"/kitchen/?run={created['run_id']}"
            assert created["socket_url"].startswith("/kitchen/api/runs/")
            assert client.get(f"api/runs/{created['run_id']}/events").status_code == 200
            form = client.post("api/runs", data={"prompt": "hello"}, follow_redirects=False)
            assert form.status_code == 303
            assert form.headers["location"].startswith("/kitchen/?run=")
        with site.socket(created["run_id"]) as socket:
            assert socket.recv()
        moved = httpx.get(f"http://127.0.0.1:{site.port}/kitchen?run=A", follow_redirects=False)
        assert moved.status_code == 308
        assert moved.headers["location"] == "/kitchen/?run=A"
        assert "content-security-policy" in moved.headers


def test_static_files_are_cached_as_they_may_be(site: ServedSite) -> None:
    vendored = site.client.get("static/vendor/htmx-4.0.1.js")
    assert "immutable" in vendored.headers["cache-control"]
    assert vendored.headers["content-encoding"] == "gzip"
    assert "javascript" in vendored.headers["content-type"]
    script = next(path for path in Path("static/js").rglob("*.js"))
    response = site.client.get(script.as_posix())
    assert "no-cache" in response.headers["cache-control"]
    again = site.client.get(script.as_posix(), headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


def test_recordings_are_bytes_of_gzip(site: ServedSite) -> None:
    for recording in Path("static/recordings").glob("*.jsonl.gz"):
        response = site.client.get(recording.as_posix())
        assert response.headers["content-type"] == "application/gzip"
        assert "content-encoding" not in response.headers
        assert response.content == recording.read_bytes()


def test_the_schema_describes_a_log(site: ServedSite) -> None:
    import jsonschema

    schema = site.client.get("api/schema/events.json").json()
    run_id = site.run("hello there")
    validator = jsonschema.Draft202012Validator(schema)
    for event in site.events(run_id):
        validator.validate(event)


def test_a_form_without_scripts(site: ServedSite) -> None:
    created = site.client.post(
        "api/runs", data={"prompt": "SLOW LONG one\r\ntwo", "max_tokens": "40"}, follow_redirects=True
    )
    assert created.history[0].status_code == 303
    assert 'http-equiv="refresh"' in created.text
    run_id = str(created.url.params["run"])
    assert site.events(run_id)[-1]["reason"] == "finished"
    page = site.client.get("", params={"run": run_id}).text
    assert 'http-equiv="refresh"' not in page
    assert "SLOW LONG one" in page
    assert f'"run_id": "{run_id}"' in page


def test_a_secret_cut_short_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    Visitors.load(tmp_path)
    assert len((tmp_path / "secret").read_bytes()) == 32


def test_heads_without_bodies(site: ServedSite) -> None:
    run_id = site.run("hello")
    for path in (f"api/runs/{run_id}", "metrics"):
        response = site.client.head(path)
        assert response.status_code == 200
        assert response.content == b""


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = io.StringIO()
    monkeypatch.setattr("sys.stderr", gone)
    gone.close()
    with serving(tmp_path) as served:  # the supervisor speaks first
        run_id = served.run("hello")
        assert served.events(run_id)[-1]["reason"] == "finished"


def test_only_the_creators_page_says_that_a_run_is_theirs(site: ServedSite) -> None:
    run_id = site.run("hello")

    def config(page: str) -> dict[str, object]:
        found = re.search(r'<script[^>]*id="config"[^>]*>(.*?)</script>', page, re.DOTALL)
        assert found is not None
        read: dict[str, object] = json.loads(found[1])
        return read

    assert config(site.client.get("", params={"run": run_id}).text)["mine"] is True
    stranger = config(httpx.get(site.url, params={"run": run_id}).text)
    assert stranger["run_id"] == run_id
    assert stranger["mine"] is False


def test_the_address_of_the_picture_is_absolute(tmp_path: Path) -> None:
    picture = re.compile(r'<meta property="og:image" content="([^"]*)">')
    with serving(tmp_path / "asked", root_path="kitchen") as site:
        assert picture.findall(site.client.get("").text) == [f"{site.url}og/tomato-soup/prologue.png"]
    with serving(tmp_path / "known", root_path="kitchen", public_origins=("https://example.org",)) as site:
        found = picture.findall(site.client.get("").text)
    assert found == ["https://example.org/kitchen/og/tomato-soup/prologue.png"]


def test_what_the_threat_model_names_is_there() -> None:
    page = Path("docs/security.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page))
    assert len(named) > 25
    assert {(file, test) for file, test in named if f"def {test}(" not in Path(file).read_text()} == set()
    assert set(re.findall(r"`(app/[\w/]+\.py|static/[\w/.]+)`", page)) <= {
        path for path in re.findall(r"`([^`]+)`", page) if Path(path).exists()
    }
