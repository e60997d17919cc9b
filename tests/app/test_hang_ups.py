"""Peers that go, or stop speaking HTTP, in the middle of what they send: nothing of ours broke, and nothing says so."""

from __future__ import annotations

import socket

import pytest

from tests.app.conftest import ServedSite

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


def head(method: str, path: str, media_type: str, length: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n{length}\r\n\r\n".encode()


def answered(site: ServedSite) -> dict[str, float]:
    """Requests that brought a body, by their status."""
    counts: dict[str, float] = {}
    for line in site.client.get("metrics").text.splitlines():
        if line.startswith("openkitchen_http_requests_total{") and 'method="GET"' not in line:
            status = line.partition('status="')[2][:3]
            counts[status] = counts.get(status, 0.0) + float(line.rpartition(" ")[2])
    return counts


def assert_quiet(written: str) -> None:
    assert "Traceback" not in written
    assert "ClientDisconnect" not in written
    assert '"level": "error"' not in written


@pytest.mark.parametrize(
    ("method", "path", "media_type"),
    [
        ("POST", "/api/runs", JSON),
        ("POST", "/api/runs", FORM),
        ("POST", "/api/runs/none/takes", JSON),
        ("PATCH", "/api/runs/none", JSON),
    ],
)
@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_who_hangs_up_in_a_body_is_no_fault(
    site: ServedSite, method: str, path: str, media_type: str, length: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = answered(site)
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(head(method, path, media_type, length))
        connection.sendall(b'{"pro' if length.startswith("Content") else b'5\r\n{"pro\r\n')
    site.wait(lambda: sum(answered(site).values()) > sum(before.values()), 10)
    assert answered(site).get("500", 0) == before.get("500", 0)
    written = capfd.readouterr().err
    assert_quiet(written)
    assert '"level": "warning"' not in written


@pytest.mark.parametrize("media_type", [JSON, FORM])
@pytest.mark.parametrize("chunks", [b"no number\r\n", b'5\r\n{"pro\r\nzz\r\n', b'5\r\n{"prompt": "a"}\r\n'])
def test_a_body_whose_chunks_are_none_is_a_bad_request(
    site: ServedSite, media_type: str, chunks: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    before = answered(site)
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(head("POST", "/api/runs", media_type, "Transfer-Encoding: chunked") + chunks)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"content-security-policy" in answer
    site.wait(lambda: answered(site).get("400", 0) > before.get("400", 0), 10)
    assert answered(site).get("500", 0) == before.get("500", 0)
    assert_quiet(capfd.readouterr().err)


def test_chunks_that_go_wrong_after_the_answer_end_the_connection(
    site: ServedSite, capfd: pytest.CaptureFixture[str]
) -> None:
    """Answered before the body is read; what then comes finds no place for a second answer."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(head("GET", "/healthz", JSON, "Transfer-Encoding: chunked"))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        try:
            connection.sendall(b"no number\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        except OSError:
            answer = b""
    assert b"HTTP/1.1" not in answer
    assert_quiet(capfd.readouterr().err)
