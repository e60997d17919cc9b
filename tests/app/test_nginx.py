"""Behind a real nginx with TLS and a prefix, by the very file that docs/nginx/ offers: what a reader has without one,
they have behind one. The kitchen is the whole site with the scripted engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.settings import ROOT
from benchmarks.browser import chromium, until
from tests.app.conftest import ServedSite, assert_whole

CONFIG = ROOT / "docs" / "nginx" / "kitchen.conf"
PROXY = "127.0.0.1"
READER = "127.0.0.2"
"""Another address than the proxy's, as a reader has."""
AROUND = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/kitchen.conf;
}}
"""


def program() -> str:
    """Debian keeps it where only root looks; ``./kitchen test`` unpacks it where only we do."""
    places = (shutil.which("nginx"), "/usr/sbin/nginx", str(ROOT / ".cache" / "nginx" / "usr" / "sbin" / "nginx"))
    found = next((place for place in places if place and os.access(place, os.X_OK)), None)
    assert found, "These tests want nginx: ./kitchen test gets it on a Debian; else install it."
    return found


def free_port() -> int:
    with socket.socket() as free:
        free.bind((PROXY, 0))
        port: int = free.getsockname()[1]
        return port


class Proxied(ServedSite):
    """The site, and nginx in front of it. ``client`` and ``url`` are a reader's: they lead to nginx."""

    def __init__(self, folder: Path, **changes: str) -> None:
        super().__init__(
            folder / "data", root_path="/kitchen", trusted_proxies=PROXY, posts_per_minute=6, posts_burst=20
        )
        self.folder = folder
        self.direct = self.port
        self.tls_port, self.plain_port = free_port(), free_port()
        self._certify()
        own = {
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "listen 443": f"listen {PROXY}:{self.tls_port}",
            "listen 80": f"listen {PROXY}:{self.plain_port}",
            "https://$host$": f"https://$host:{self.tls_port}$",
            "/etc/ssl/kitchen/fullchain.pem": str(folder / "certificate.pem"),
            "/etc/ssl/kitchen/privkey.pem": str(folder / "key.pem"),
        }
        text = CONFIG.read_text()
        for documented, tested in {**own, **changes}.items():
            assert documented in text, documented
            text = text.replace(documented, tested)
        (folder / "kitchen.conf").write_text(text)
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""))
        self.trust = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        self.trust.check_hostname = True
        self.url = f"https://{PROXY}:{self.tls_port}/kitchen/"
        self.client.close()
        self.client = self.reader()

    def _certify(self) -> None:
        """A certificate of our own making."""
        subject = ["-subj", "/CN=kitchen", "-addext", f"subjectAltName=IP:{PROXY}"]
        files = ["-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "certificate.pem")]
        new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
        subprocess.run(["openssl", *new, *subject, *files], check=True, capture_output=True)

    def reader(self, address: str = READER) -> httpx.Client:
        """A reader at another address, who trusts our certificate."""
        transport = httpx.HTTPTransport(verify=self.trust, local_address=address)
        return httpx.Client(base_url=self.url, timeout=20, transport=transport)

    def start(self, *, ready: bool = True, seconds: float = 15.0) -> None:
        self.nginx = subprocess.Popen(
            [program(), "-e", str(self.folder / "error.log"), "-c", str(self.folder / "nginx.conf")]
        )

        def listens() -> bool:
            assert self.nginx.poll() is None, (self.folder / "error.log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex((PROXY, self.tls_port)) == 0

        self.wait(listens)
        super().start(ready=ready, seconds=seconds)

    def stop(self) -> None:
        super().stop()
        self.nginx.terminate()
        self.nginx.wait(10)

    def wss(self, run_id: str) -> ClientConnection:
        url = f"{self.url.replace('https', 'wss', 1)}api/runs/{run_id}/socket"
        return connect(url, subprotocols=[Subprotocol("trace.v1")], ssl=self.trust, max_size=None, proxy=None)


@pytest.fixture(scope="module", params=["prefix left", "prefix stripped"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    stripped = {"proxy_pass http://kitchen;": "proxy_pass http://kitchen/;"}
    site = Proxied(tmp_path_factory.mktemp("nginx"), **(stripped if request.param == "prefix stripped" else {}))
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


def test_without_the_slash_and_without_tls(site: Proxied) -> None:
    no_slash = site.client.get(site.url.rstrip("/") + "?run=x")
    assert no_slash.status_code == 308
    assert no_slash.headers["location"].endswith("/kitchen/?run=x")
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
        assert "nginx" in larger.text


@pytest.mark.parametrize("site", ["prefix stripped"], indirect=True)
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
