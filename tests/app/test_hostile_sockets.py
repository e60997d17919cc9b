"""Sockets that are sent what nobody should send: nothing breaks, nothing hangs, nothing grows, and readers beside them
read on."""

from __future__ import annotations

import gc
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ConnectionClosed

from app.connections import SocketConnection
from tests.app.conftest import ServedSite, assert_whole, serving
from tests.app.hostile import CONTINUATION, PING, TEXT, attacks, bomb, frame, handshake


def resident_bytes() -> int:
    """Of this process, which serves the site too."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def opened(site: ServedSite, run_id: str, extra: str = "") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", site.port), timeout=20)
    connection.sendall(handshake(f"/api/runs/{run_id}/socket", extra=extra))
    assert connection.recv(12) == b"HTTP/1.1 101"
    return connection


def close_code(connection: socket.socket) -> int | None:
    """Of the close frame with which the server ends; None if it just cuts."""
    data = b""
    try:
        while chunk := connection.recv(65_536):
            data += chunk
    except OSError:
        return None
    place = data.rfind(b"\x88")
    return int.from_bytes(data[place + 2 : place + 4], "big") if place >= 0 else None


def test_a_message_of_ever_more_empty_fragments(site: ServedSite) -> None:
    with opened(site, site.run("SLOW LONG", max_tokens=150)) as connection:
        connection.sendall(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, fin=False) * 2_000)
        assert close_code(connection) == 1008


def test_a_message_that_swells(site: ServedSite) -> None:
    before = resident_bytes()
    with opened(
        site, site.run("SLOW LONG", max_tokens=150), "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    ) as connection:
        connection.sendall(frame(TEXT, bomb(200_000_000), rsv=4))
        # (None: it was cut before all of it had been read.)
        assert close_code(connection) in (1009, None)
    assert resident_bytes() - before < 50_000_000


def test_pings_whose_pongs_are_not_taken(site: ServedSite) -> None:
    """The pongs wait in our memory: not for ever."""
    run_id = site.run("SLOW LONG", max_tokens=400)
    before, sent = resident_bytes(), 0
    with opened(site, run_id) as connection:
        connection.settimeout(5)
        pings = frame(PING, b"x" * 125) * 1_000
        try:
            while sent < 200_000_000:
                connection.sendall(pings)
                sent += len(pings)
        except OSError:
            pass
    assert sent < 100_000_000, "the connection was cut"
    assert resident_bytes() - before < 50_000_000
    site.client.delete(f"api/runs/{run_id}")


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ("Sec-WebSocket-Protocol: a\x7f\r\n", 400),
        ("Sec-WebSocket-Protocol: ,,;=\r\n", 400),
        ("Content-Length: 3\r\n", 400),
        ("X: " + "y" * 10_000 + "\r\n", 431),
        ("X: y\r\n" * 200, 431),
    ],
)
def test_a_handshake_that_cannot_be_read_is_answered(site: ServedSite, extra: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(handshake("/api/runs/none/socket", extra=extra))
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"WebSocket" in answer.partition(b"\r\n\r\n")[2]


def test_an_upgrade_that_nobody_completes_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason: here uvicorn's own way with a handshake that it cannot read, which is none."""
    monkeypatch.setattr(SocketConnection, "data_received", WebSocketsSansIOProtocol.data_received)
    with serving(tmp_path, head_timeout=0.5) as site:
        run_id = site.run("SLOW LONG", max_tokens=100)
        with opened(site, run_id) as reader, socket.create_connection(("127.0.0.1", site.port), timeout=10) as bad:
            bad.sendall(handshake("/api/runs/none/socket", extra="Sec-WebSocket-Protocol: a\x7f\r\n"))
            began = time.monotonic()
            assert close_code(bad) is None
            assert time.monotonic() - began < 5, "cut, and not given up by us"
            time.sleep(0.6)
            reader.sendall(frame(PING, b"still here"))
            said = b""
            while b"still here" not in said:
                more = reader.recv(65_536)
                assert more, "one whose handshake is done stays"
                said += more
            assert len(site.server.server_state.connections) <= 3


def rain(site: ServedSite, paths: list[str], num_messages: int, seed: int) -> None:
    """So many messages from four sides, until all their connections are gone."""
    with ThreadPoolExecutor(4) as pool:
        sides = [(paths[side % len(paths)], seed + side, num_messages // 4) for side in range(4)]
        sent = sum(pool.map(lambda side: max(attacks(site.port, *side)), sides))
    assert sent >= num_messages // 4 * 4
    state = site.server.server_state
    # (The client of the tests may keep one.)
    site.wait(lambda: len(state.connections) <= 1 and site.site.readers.total == 0, 40)


def storm(tmp_path: Path, num_messages: int, seed: int, most_growth: int) -> None:
    with serving(tmp_path, head_timeout=2.0, send_timeout=2.0) as site:
        closed, run_id = site.run("hello there"), site.run("SLOW LONG", max_tokens=400)
        paths = [f"/api/runs/{each}/socket" for each in (closed, run_id)]
        read: list[dict[str, Any]] = []

        def follow() -> None:
            with site.socket(run_id) as follower, suppress(ConnectionClosed):
                while True:
                    read.extend(json.loads(follower.recv(timeout=60))["events"])

        beside = threading.Thread(target=follow)
        beside.start()
        with ThreadPoolExecutor(1) as pool:
            raining = pool.submit(rain, site, paths, num_messages // 2, seed)
            beside.join(60)
            assert read == site.events(run_id)
            raining.result()
        assert_whole(read, run_id)
        read.clear()
        gc.collect()
        memory, files = resident_bytes(), open_files()
        rain(site, paths, num_messages // 2, seed + 4)
        gc.collect()
        assert open_files() <= files + 1
        assert resident_bytes() - memory < most_growth
        assert site.client.get("healthz", timeout=5).status_code == 200
        assert 'status="500"' not in site.client.get("metrics").text


def test_hostile_messages(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    storm(tmp_path, 400, 1, most_growth=80_000_000)  # (an allocator that is still warming up)
    assert "Exception in ASGI" not in capfd.readouterr().err


@pytest.mark.slow
def test_ten_thousand_hostile_messages(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    storm(tmp_path, 10_000, 100, most_growth=15_000_000)
    assert "Exception in ASGI" not in capfd.readouterr().err
