"""Behind a real proxy with TLS and a prefix, by the very files that ``docs/`` offers: what a reader has without one,
they have behind one. The kitchen is the whole site with the scripted engine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import ROOT
from benchmarks.browser import chromium, until
from tests.app.conftest import WORKER, assert_whole, serving
from tests.app.proxies import (
    PROXY,
    BehindCaddy,
    BehindNginx,
    BehindStrippingCaddy,
    BehindStrippingNginx,
    Proxied,
    free_port,
    nginx,
    with_own,
)

slow = pytest.mark.slow  # apt-get install caddy
RARE = [pytest.param(kind, marks=slow) for kind in (BehindCaddy, BehindStrippingCaddy)]
KINDS = [BehindNginx, BehindStrippingNginx, *RARE]


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    site = request.param(tmp_path_factory.mktemp("proxied"))
    site.start()
    yield site
    site.stop()


def test_the_page_and_its_files(site: Proxied) -> None:
    page = site.client.get("")
    assert page.status_code == 200
    assert page.http_version == "HTTP/1.1"
    assert f"wss://{PROXY}:{site.tls_port}" in page.headers["content-security-policy"]
    assert "max-age" in page.headers["strict-transport-security"]
    script = site.client.get("static/js/main.js")
    assert script.status_code == 200
    again = site.client.get("static/js/main.js", headers={"If-None-Match": script.headers["etag"]})
    assert again.status_code == 304
    assert site.client.get("healthz").json() == {"status": "alive"}
    assert site.client.get("metrics").status_code == 404


def test_without_the_slash_and_without_tls(site: Proxied) -> None:
    no_slash = site.client.get(site.url.rstrip("/") + "?run=x")
    assert no_slash.status_code == 308
    assert no_slash.headers["location"].endswith("/kitchen/?run=x")
    if isinstance(site, BehindNginx):  # (Caddy does this by itself, on port 80)
        plain = httpx.get(f"http://{PROXY}:{site.plain_port}/kitchen/?run=x")
        assert plain.status_code == 308
        assert plain.headers["location"] == f"{site.url}?run=x"


def test_a_run_over_every_way_and_again(site: Proxied) -> None:
    run_id = site.run("SLOW LONG story", max_tokens=20)
    with site.wss(run_id) as socket:
        assert socket.subprotocol == "trace.v1"
        over_socket = [event for frame in socket for event in json.loads(frame)["events"]]
    assert_whole(over_socket, run_id)
    assert over_socket[-1]["reason"] == "finished"
    assert site.events(run_id) == over_socket
    assert site.client.get("", params={"run": run_id}).status_code == 200
    assert site.client.get(f"api/runs/{run_id}").json()["closed"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
def test_a_stream_is_passed_on_as_it_comes(site: Proxied, accept: str) -> None:
    run_id = site.run("SLOW LONG story", max_tokens=400)
    with site.client.stream("GET", f"api/runs/{run_id}/events", headers={"Accept": accept}) as response:
        assert response.headers["content-type"].startswith(accept)
        text, chunks = "", response.iter_text()
        for chunk in chunks:
            text += chunk
            if text.count("token.sampled") >= 3:
                break
        assert site.client.get(f"api/runs/{run_id}").json()["closed"] is False, "it is read while it cooks"
        assert site.client.delete(f"api/runs/{run_id}").status_code == 202
        text += "".join(chunks)
    assert '"log.closed"' in text


def test_the_cookie_is_for_tls_and_for_the_prefix(site: Proxied) -> None:
    with site.reader() as somebody:
        response = somebody.post("api/runs", json={"prompt": "hello"})
    cookie = response.headers["set-cookie"].lower()
    assert "secure" in cookie
    assert "path=/kitchen;" in cookie
    assert "httponly" in cookie
    assert response.json()["url"].startswith("/kitchen/?run=")
    assert response.headers["location"].startswith("/kitchen/api/runs/")


def test_a_form_from_our_own_page_is_taken_and_from_another_is_not(site: Proxied) -> None:
    origin = f"https://{PROXY}:{site.tls_port}"
    assert site.client.post("api/runs", data={"prompt": "hi"}, headers={"Origin": origin}).status_code == 303
    refused = site.client.post("api/runs", json={"prompt": "hi"}, headers={"Origin": "https://elsewhere.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site")


def test_limits_hold_for_who_calls_and_not_for_who_they_say_they_are(site: Proxied) -> None:
    with site.reader("127.0.0.3") as pushy, site.reader("127.0.0.4") as other:
        answers = [
            pushy.post("api/runs", content=b"{", headers={"X-Forwarded-For": f"10.0.0.{number}"}).status_code
            for number in range(25)
        ]
        assert 429 in answers
        assert other.post("api/runs", json={"prompt": "hello"}).status_code == 201


def test_too_large_is_said_in_the_kitchens_words_until_it_is_far_too_large(site: Proxied) -> None:
    with site.reader("127.0.0.5") as reader:
        large = reader.post("api/runs", json={"prompt": "x" * 300_000})
        assert large.status_code == 413
        assert large.headers["content-type"] == "application/problem+json"
        larger = reader.post("api/runs", json={"prompt": "x" * 2_000_000})
        assert larger.status_code == 413


@pytest.mark.parametrize("site", [BehindStrippingNginx, pytest.param(BehindCaddy, marks=slow)], indirect=True)
def test_chromium_asks_and_reads_behind_it(site: Proxied) -> None:
    complaints: list[str] = []
    sockets: list[str] = []
    with chromium() as browser:
        page = browser.new_page(ignore_https_errors=True)
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(site.url)
        until(page, "window.__kitchen?.state().opened")
        page.fill("#prompt-form textarea", "one two three")
        page.press("#prompt-form textarea", "Enter")
        until(page, "new URL(location.href).searchParams.has('run')")
        until(page, "window.__kitchen.state().closed !== null")
        assert page.url.startswith(f"{site.url}?run=")
        assert sockets[-1].startswith(f"wss://{PROXY}:{site.tls_port}/kitchen/api/runs/")
        page.reload()
        until(page, "window.__kitchen?.state().closed")
        assert page.evaluate("window.__kitchen.state().closed.reason") == "finished"
        assert [cookie["secure"] for cookie in page.context.cookies()] == [True]
    assert complaints == []


class ImpatientNginx(BehindNginx):
    """Cuts what is silent for 25 seconds."""

    changes = {"proxy_read_timeout 10m": "proxy_read_timeout 25s"}  # noqa: RUF012


@slow
def test_who_waits_in_line_is_kept_by_pings_and_comments(tmp_path: Path) -> None:
    site = ImpatientNginx(tmp_path, worker=(*WORKER, "--load-seconds", "45"))
    site.start(ready=False)
    try:
        run_id = site.run("early bird")
        events = {"url": f"api/runs/{run_id}/events", "headers": {"Accept": "text/event-stream"}, "timeout": 90}
        with site.wss(run_id) as socket, site.client.stream("GET", **events) as stream:
            text = "".join(stream.iter_text())
            over_socket = [event for frame in socket for event in json.loads(frame)["events"]]
        assert text.count("still here") >= 2
        assert '"log.closed"' in text
        assert_whole(over_socket, run_id)
        assert over_socket[-1]["reason"] == "finished"
    finally:
        site.stop()


def test_any_replica_answers_behind_the_cluster_s_nginx(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "one", trusted_proxies=PROXY) as one,
        serving(tmp_path / "two", trusted_proxies=PROXY) as two,
    ):
        port = free_port()
        own = {
            "    resolver 127.0.0.11 valid=5s;\n": "",  # (Docker's own, and a word that Debian's nginx is too old for)
            "server web:8000 resolve;": f"server 127.0.0.1:{one.port}; server 127.0.0.1:{two.port};",
            "listen 8080": f"listen {PROXY}:{port}",
        }
        documented = (ROOT / "docs" / "nginx" / "cluster.conf").read_text()
        (tmp_path / "documented.conf").write_text(with_own(documented, own))
        proxy = subprocess.Popen(nginx(tmp_path))
        try:
            with httpx.Client(base_url=f"http://{PROXY}:{port}/", timeout=20) as client:
                one.wait(lambda: _answers(client))
                assert client.get("metrics").status_code == 404
                run_id = one.run("the quick brown fox")
                one.events(run_id)
                seen = {client.get(f"api/runs/{run_id}").status_code for _ in range(8)}
                assert seen == {200, 404}, "each has its turn (these two share nothing)"
                one.stop()
                assert {client.get("healthz").status_code for _ in range(6)} == {200}, "one that is gone is passed over"
        finally:
            proxy.terminate()
            proxy.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("healthz").status_code == 200
    except httpx.TransportError:
        return False
