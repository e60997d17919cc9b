"""What stands between the site and whoever knocks: origins, hosts, tokens, caches, and the patience of the wire."""

from __future__ import annotations

import gzip
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from app.main import PROGRAMS_AND_PAGES
from tests.app.conftest import ServedSite, serving

ROUTES = [route for module in PROGRAMS_AND_PAGES for route in module.router.routes if isinstance(route, APIRoute)]
WRITING = [(route, method) for route in ROUTES for method in route.methods if method not in ("GET", "HEAD")]
READING = [route for route in ROUTES if "GET" in route.methods]
PUBLIC = {"/api/schema/events.json", "/api/schema/openapi.json"}


def address(route: APIRoute, run_id: str) -> str:
    """With something in each of its places."""
    return re.sub(r"\{[^}]+\}", run_id, route.path).lstrip("/")


def read_to_the_end(opened: Any) -> None:
    try:
        while True:
            opened.recv(timeout=10)
    except ConnectionClosed:
        pass


def follow(site: ServedSite, run_id: str, origin: str | None = None, **headers: str) -> int:
    """The code with which a socket to a closed run closes."""
    url = f"{site.url.replace('http', 'ws', 1)}api/runs/{run_id}/socket"
    with connect(url, origin=Origin(origin) if origin else None, additional_headers=headers, proxy=None) as opened:
        read_to_the_end(opened)
        assert opened.close_code is not None
        return opened.close_code


# ---- origins


def test_sockets_are_for_our_own_pages(site: ServedSite) -> None:
    run_id = site.run("hello")
    site.events(run_id)
    own = f"http://127.0.0.1:{site.port}"
    assert follow(site, run_id) == 1000, "programs have no origin"
    assert follow(site, run_id, own) == 1000
    for foreign in (
        "https://evil.example",
        "null",
        f"http://127.0.0.1:{site.port + 1}",
        "http://[",
        own + ".evil.example",
    ):
        assert follow(site, run_id, foreign) == 4403, foreign
    assert follow(site, run_id, own, **{"Sec-Fetch-Site": "cross-site"}) == 4403


@pytest.mark.parametrize(
    "allowed", [{"socket_origins": ("https://class.example",)}, {"public_origins": ("https://class.example",)}]
)
def test_sockets_of_pages_that_are_let_in(tmp_path: Path, allowed: dict[str, tuple[str, ...]]) -> None:
    with serving(tmp_path, **allowed) as site:
        run_id = site.run("hello")
        assert follow(site, run_id, "https://class.example") == 1000
        assert follow(site, run_id, "https://evil.example") == 4403


def test_sockets_for_all_if_so_wished(tmp_path: Path) -> None:
    with serving(tmp_path, socket_origins="*") as site:
        assert follow(site, site.run("hello"), "null") == 1000


@pytest.mark.parametrize(("route", "method"), WRITING, ids=lambda part: getattr(part, "path", part))
def test_no_other_sites_page_writes(site: ServedSite, route: APIRoute, method: str) -> None:
    """Whatever route comes to be: nothing is written on the word of another site's page, which carries our cookie."""
    run_id = site.run("hello")
    before = site.client.get(f"api/runs/{run_id}").json()
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        for body in ({"json": {"prompt": "x", "take": "standard"}}, {"data": {"prompt": "x"}}):
            response = site.client.request(method, address(route, run_id), headers=headers, **body)
            assert response.status_code == 403, (route.path, method, headers)
    after = site.client.get(f"api/runs/{run_id}").json()
    assert before["run_id"] == after["run_id"]


@pytest.mark.parametrize("route", READING, ids=lambda route: route.path)
def test_what_is_read_is_kept_by_no_cache_unless_it_is_everybodys(site: ServedSite, route: APIRoute) -> None:
    run_id = site.run("hello")
    site.events(run_id)
    response = site.client.get(address(route, run_id), headers={"Accept-Encoding": "identity"})
    assert response.status_code < 500
    cache = response.headers["cache-control"]
    assert route.path in PUBLIC or "no-store" in cache or run_id not in response.text, cache
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_answers_that_say_nothing_of_caches_are_not_kept(site: ServedSite) -> None:
    created = site.post("hello")
    run_id = created.json()["run_id"]
    site.events(run_id)
    for response in (
        created,
        site.client.post(f"api/runs/{run_id}/takes", json={"take": "standard"}),
        site.client.delete(f"api/runs/{run_id}"),
        site.client.get("nope"),
    ):
        assert response.headers["cache-control"] == "no-store", response.request.url
    static = site.client.get("static/favicon.svg")
    again = site.client.get("static/favicon.svg", headers={"If-None-Match": static.headers["etag"]})
    assert (again.status_code, again.headers["cache-control"]) == (304, "public, no-cache")


# ---- hosts and tokens


def test_only_the_names_that_it_has(tmp_path: Path) -> None:
    with serving(tmp_path, allowed_hosts="kitchen.example, *.school.example") as site:
        for host in (
            "kitchen.example",
            "KITCHEN.example:8080",
            "a.school.example",
            "localhost:1",
            f"127.0.0.1:{site.port}",
        ):
            assert site.client.get("healthz", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "kitchen.example.evil.example", "school.example", "xkitchen.example", ""):
            refused = site.client.get("healthz", headers={"Host": host})
            assert refused.status_code == 421, host
            assert refused.headers["content-type"] == "application/problem+json"
            assert "default-src 'none'" in refused.headers["content-security-policy"]
        run_id = site.run("hello")
        with pytest.raises(InvalidStatus):
            follow(site, run_id, **{"Host": "evil.example"})


def test_metrics_behind_a_token(tmp_path: Path) -> None:
    with serving(tmp_path, metrics_token="let-me-in") as site:
        for given in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic let-me-in"}, {"Authorization": "é"}):
            headers = {name: value.encode() for name, value in given.items()}
            refused = site.client.get("metrics", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        allowed = site.client.get("metrics", headers={"Authorization": "Bearer let-me-in"})
        assert "openkitchen_build_info" in allowed.text


@pytest.mark.parametrize(
    "path",
    [
        "static/../pyproject.toml",
        "static/%2e%2e/pyproject.toml",
        "static/..%2fpyproject.toml",
        "static/%2e%2e%2fpyproject.toml",
        "static/..%5cpyproject.toml",
        "static//etc/passwd",
        "static/recordings/..%2f..%2fpyproject.toml",
        "static/css/..%2f..%2f..%2fetc/passwd.css",
        "static/%00",
        "static/js/%00.js",
        "api/runs/..%2f..%2fsecret",
        "embed/..%2f..%2fpyproject.toml",
        "static/" + "a/" * 2_000,
    ],
)
def test_no_way_out_of_the_folder(site: ServedSite, path: str) -> None:
    """Sent as they stand: a client would tidy them."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.split(b" ")[1] in (b"404", b"400"), answer[:200]
    assert b"[project]" not in answer
    assert b"root:" not in answer


def test_no_header_is_written_by_a_caller(site: ServedSite) -> None:
    for path in (
        f"?run={'A' * 22}%0d%0aX-Evil:1",
        "%0d%0aX-Evil:1",
        "api/runs/%0d%0aX-Evil:1",
        "oembed?url=%0d%0aX-Evil:1",
    ):
        response = httpx.get(site.url + path)
        assert "x-evil" not in response.headers


# ---- the patience of the wire


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    with serving(tmp_path_factory.mktemp("hasty"), head_timeout=0.5, body_timeout=0.5) as served:
        served.server.config.timeout_keep_alive = 0.5  # type: ignore[assignment]
        yield served


def until_cut(connection: socket.socket) -> tuple[float, bytes]:
    began = time.monotonic()
    try:
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    except ConnectionResetError:
        answer = b""
    return time.monotonic() - began, answer


@pytest.mark.parametrize(
    "start",
    [b"", b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET /api/runs/x/socket HTTP/1.1\r\nUpgrade: websocket\r\n"],
)
def test_a_connection_without_a_request_is_cut(hasty: ServedSite, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        connection.sendall(start)
        seconds, answer = until_cut(connection)
    assert seconds < 4
    assert answer == b""


def test_a_head_that_drips_is_cut_too(hasty: ServedSite) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        began = time.monotonic()
        with suppress(OSError):
            for letter in b"GET / HTTP/1.1\r\nX-Slow: " + b"x" * 200:
                connection.sendall(bytes([letter]))
                time.sleep(0.05)
        assert time.monotonic() - began < 5


def test_a_second_request_must_come_whole_as_well(hasty: ServedSite) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert until_cut(connection)[0] < 4


def test_a_long_answer_is_not_cut(hasty: ServedSite) -> None:
    run_id = hasty.run("SLOW LONG", max_tokens=60)
    assert hasty.events(run_id)[-1]["reason"] == "finished"
    with hasty.socket(hasty.run("SLOW LONG", max_tokens=60)) as opened:
        read_to_the_end(opened)
        assert opened.close_code == 1000


def test_a_body_that_nobody_reads_holds_nothing(hasty: ServedSite) -> None:
    """A GET with a body that drips: it is answered, and the connection does not stay for the rest."""
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=15) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        seconds, answer = until_cut(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds < 10


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /api/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/runs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        b"HELO kitchen\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["header", "query", "headers", "hosts", "smuggled", "negative", "chunk", "version", "tls", "bytes"],
)
def test_what_is_no_request_is_answered_briefly(hasty: ServedSite, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as connection:
        try:
            connection.sendall(request_)
        except OSError:
            return  # cut while it was still talking
        seconds, answer = until_cut(connection)
    assert seconds < 8
    if answer:
        head = answer.partition(b"\r\n\r\n")[0].lower()
        # (A long head that comes in one piece is read: it is no longer than what is read at once.)
        assert head.split(b" ")[1][:1] in (b"2", b"4"), head
        assert b"content-security-policy: default-src 'none'" in head
        assert b"nosniff" in head


def test_a_query_of_many_kilobytes_is_only_a_query(site: ServedSite) -> None:
    assert site.client.get("", params={"run": "x" * 10_000}).status_code == 404
    assert site.client.get("fragments/calculator/result", params={"context": "9" * 10_000}).status_code == 422
    assert site.client.get("healthz?" + "a=1&" * 3_000).status_code == 200


def test_a_packed_body_is_not_unpacked(site: ServedSite) -> None:
    """Ten megabytes of spaces in ten kilobytes stay ten kilobytes of nonsense."""
    packed = gzip.compress(b'{"prompt": "x"}' + b" " * 10_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert site.client.post("api/runs", content=packed, headers=headers).status_code == 400
