"""Every reader of a run reads the same log, whenever it joins, however it reads, and however often it is cut off."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.app.conftest import ServedSite, assert_whole, serving

LONG = "SLOW LONG the quick brown fox"


def read_socket(site: ServedSite, run_id: str, rng: random.Random) -> list[dict[str, Any]]:
    time.sleep(rng.uniform(0, 1.5))
    events: list[dict[str, Any]] = []
    while True:
        frames_left = rng.randint(1, 8) if rng.random() < 0.4 else None
        with site.socket(run_id, len(events)) as socket:
            assert socket.subprotocol == "trace.v1"
            while frames_left is None or frames_left > 0:
                try:
                    frame = json.loads(socket.recv())
                except ConnectionClosed:
                    assert socket.close_code == 1000
                    return events
                assert frame["v"] == 1
                assert frame["seq"] == len(events) + 1 == frame["events"][0]["seq"]
                events += frame["events"]
                frames_left = None if frames_left is None else frames_left - 1


def test_fifty_readers_join_at_random_and_are_cut_off(site: ServedSite) -> None:
    run_id = site.run(LONG, max_tokens=100)
    with ThreadPoolExecutor(50) as pool:
        logs = list(pool.map(lambda seed: read_socket(site, run_id, random.Random(seed)), range(50)))
    whole = site.events(run_id)
    assert_whole(whole, run_id)
    assert sum(event["type"] == "token.sampled" for event in whole) == 100
    assert all(log == whole for log in logs)


def test_no_message_refers_to_another_so_that_all_readers_can_be_sent_the_same_bytes(site: ServedSite) -> None:
    run_id = site.run("one two three")
    site.events(run_id)
    with site.socket(run_id) as reader:
        assert "server_no_context_takeover" in reader.response.headers["Sec-WebSocket-Extensions"]


def test_lines_follow_a_live_run_to_its_end(site: ServedSite) -> None:
    run_id = site.run(LONG, max_tokens=20)
    began = time.monotonic()
    events = site.events(run_id)
    assert time.monotonic() - began > 0.2, "the run was live"
    assert_whole(events, run_id)
    assert site.events(run_id, after=len(events) - 2) == events[-2:]
    assert site.events(run_id, after=10_000) == []


def sse(site: ServedSite, run_id: str, **headers: str) -> list[tuple[int, dict[str, Any]]]:
    accept = {"Accept": "text/event-stream", **headers}
    with site.client.stream("GET", f"api/runs/{run_id}/events", headers=accept) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers
        messages = "".join(response.iter_text()).split("\n\n")
    found = []
    for message in messages:
        fields = dict(line.split(": ", 1) for line in message.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((int(fields["id"]), json.loads(fields["data"])))
    return found


def test_server_sent_events_resume_by_their_last_id(site: ServedSite) -> None:
    run_id = site.run(LONG, max_tokens=20)
    live = sse(site, run_id)
    assert_whole([event for _, event in live], run_id)
    assert all(number == event["seq"] for number, event in live)
    assert sse(site, run_id, **{"Last-Event-ID": "7"}) == live[7:]
    over = {"Accept": "text/event-stream", "Last-Event-ID": str(len(live))}
    assert site.client.get(f"api/runs/{run_id}/events", headers=over).status_code == 204, "stop reconnecting"


def test_a_socket_past_the_end_of_a_live_log_waits(site: ServedSite) -> None:
    run_id = site.run(LONG, max_tokens=40)
    with site.socket(run_id, 60) as socket:
        assert json.loads(socket.recv())["seq"] == 61


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 40, "٣"])
def test_a_bad_after_is_refused(site: ServedSite, after: str) -> None:
    run_id = site.run("hello")
    response = site.client.get(f"api/runs/{run_id}/events", params={"after": after})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "after"
    from urllib.parse import quote

    with site.socket(run_id, quote(after)) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_socket_to_an_unknown_run_is_told_so(site: ServedSite) -> None:
    with site.socket("A" * 22) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404


def test_a_reader_that_never_reads_is_cut_off_and_holds_up_nobody(tmp_path: Path) -> None:
    with serving(tmp_path, send_timeout=0.5) as site:
        run_id = site.run("LONG " + "word " * 400, max_tokens=400)
        whole = site.events(run_id)
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", site.port))
            for _ in range(40):  # pipelined: more than all the buffers on the way can hold
                deaf.sendall(f"GET /api/runs/{run_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            site.wait(lambda: site.site.readers.total == 1)
            began = time.monotonic()
            assert site.events(run_id) == whole
            assert time.monotonic() - began < 2
            site.wait(lambda: site.site.readers.total == 0, 5)
            site.wait(lambda: not [c for c in site.server.server_state.connections if c.transport.is_closing()])


def test_readers_are_limited_per_run_and_in_all(tmp_path: Path) -> None:
    with serving(tmp_path, max_readers_per_run=2, max_readers=3) as site:
        first, second = (site.run(LONG, max_tokens=200) for _ in range(2))
        with site.socket(first) as a, site.socket(first) as b, site.socket(second) as c:
            for socket_ in (a, b, c):
                socket_.recv()
            for run_id in (first, second):
                response = site.client.get(f"api/runs/{run_id}/events")
                assert response.status_code == 429
                assert int(response.headers["retry-after"]) >= 1
                with site.socket(run_id) as refused, pytest.raises(ConnectionClosed) as closed:
                    refused.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1013
        site.wait(lambda: site.site.readers.total == 0)


def test_frames_reach_readers_while_a_run_is_live(site: ServedSite) -> None:
    """The first frame at once, the next ones gathered: fewer frames than events, none held back to the end."""
    run_id = site.run(LONG, max_tokens=30)
    arrivals: list[tuple[float, int]] = []

    def read() -> None:
        with site.socket(run_id) as socket:
            try:
                while True:
                    arrivals.append((time.monotonic(), len(json.loads(socket.recv())["events"])))
            except ConnectionClosed:
                pass

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(20)
    assert len(arrivals) > 10
    assert sum(count for _, count in arrivals) > 2 * len(arrivals)
    assert arrivals[-1][0] - arrivals[0][0] > 0.3
