"""Who does not read holds up nobody, costs little, and is told where to go on; who reads slowly gets it all."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from app.broadcast import MAX_FRAME_BYTES, MAX_FRAME_EVENTS, Broadcast, FrameClock
from app.fanout import Fanout
from app.wire import WRITE_BUFFER_BYTES, Frame, Wire
from benchmarks.reader_swarm import deaf_socket
from tests.app.conftest import ServedSite, assert_whole, serving

STORY = "LONG " + "word " * 400


@contextmanager
def narrow(site: ServedSite, run_id: str, after: int = 0) -> Iterator[ClientConnection]:
    """A reader whose buffers hold next to nothing: what it does not ask for stays with the server."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", site.port))
        url = f"ws://127.0.0.1:{site.port}/api/runs/{run_id}/socket?after={after}"
        with connect(url, sock=sock, max_queue=1, max_size=None, compression=None, ping_interval=None) as reader:
            yield reader


def read_on(reader: ClientConnection, seconds: float = 0.0) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    try:
        while True:
            events += json.loads(reader.recv(timeout=10))["events"]
            time.sleep(seconds)
    except ConnectionClosed:
        return events


def test_who_stops_reading_is_dropped_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # (The run is to be more than all buffers on the way can hold.)
    monkeypatch.setattr("app.wire.WRITE_BUFFER_BYTES", 8192)
    monkeypatch.setattr("app.wire.SEND_BUFFER_BYTES", 8192)
    monkeypatch.setattr("app.broadcast.MAX_FRAME_BYTES", 32768)
    with serving(tmp_path, send_timeout=0.5) as site:
        run_id = site.run(STORY, max_tokens=120)
        whole = site.events(run_id)
        with narrow(site, run_id) as deaf:
            site.wait(lambda: site.site.readers.total == 1)
            site.wait(lambda: site.site.readers.total == 0, 5)
            assert site.site.clock.num_dropped == 1
            events = read_on(deaf)
            assert deaf.close_code == 4408
            assert deaf.close_reason == f"too slow; resume with after={events[-1]['seq']}"
        with narrow(site, run_id, events[-1]["seq"]) as again:
            events += read_on(again)
            assert again.close_code == 1000
        assert events == whole


def test_fifty_who_read_nothing_hold_up_nobody_and_hold_little(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        run_id = site.run(STORY, max_tokens=400)
        whole = site.events(run_id)
        deaf = [deaf_socket("127.0.0.1", site.port, run_id) for _ in range(50)]
        site.wait(lambda: site.site.readers.total == 50)
        wires = [each for each in list(site.server.server_state.connections) if isinstance(each, Wire)]
        site.wait(lambda: all(wire.is_paused for wire in wires))
        assert len(wires) == 50
        assert max(wire.num_unsent_bytes for wire in wires) <= WRITE_BUFFER_BYTES + MAX_FRAME_BYTES
        with site.socket(run_id) as reader:
            assert read_on(reader) == whole
        live = site.run("SLOW LONG", max_tokens=10)
        assert_whole(site.events(live), live)
        for sock in deaf:
            sock.close()
        site.wait(lambda: site.site.readers.total == 0)


def test_who_reads_slowly_gets_it_all(tmp_path: Path) -> None:
    """Slower than the timeout for silence, but never silent for so long."""
    with serving(tmp_path, send_timeout=0.3) as site:
        run_id = site.run(STORY, max_tokens=400)
        whole = site.events(run_id)
        with narrow(site, run_id) as slow:
            events = read_on(slow, 0.15)
            assert slow.close_code == 1000
        assert events == whole


def test_frames_are_cut_at_the_same_places_for_all() -> None:
    """However far behind somebody is: from the first whole frame on it reads the same ones as everybody."""
    log = Broadcast([b"x" * (1 + 700 * (i % 3)) for i in range(5_000)], closed=True)

    def cuts(position: int) -> list[int]:
        found = []
        while position < len(log.lines):
            stop = log.batch_end(position)
            assert position < stop <= position + MAX_FRAME_EVENTS
            assert sum(map(len, log.lines[position:stop])) <= MAX_FRAME_BYTES
            found.append(position := stop)
        return found

    whole = cuts(0)
    for start in (1, 511, 512, 1_700, 4_999):
        assert set(cuts(start)[1:]) <= set(whole)
    assert log.batch_end(5_000) == 5_000


@pytest.mark.parametrize(("num_readers", "window"), [(1, 0.016), (200, 0.02), (1_000, 0.1), (5_000, 0.25)])
def test_frames_widen_with_readers(num_readers: int, window: float) -> None:
    clock = FrameClock(0.016, lambda: num_readers)
    for _ in range(200):
        clock.note(20e-6 * num_readers, num_readers)
    assert clock.window() == pytest.approx(window)


class Pipe:
    """Stands for a connection, where only what the fan-out asks of it matters."""

    def __init__(self) -> None:
        self.is_open, self.is_paused, self.num_unsent_bytes = True, False, 0
        self.frames: list[dict[str, Any]] = []
        self.ended: int | None = None

    def write(self, frame: Frame) -> None:
        self.frames.append(json.loads(frame.text))

    def end(self, code: int, reason: str = "") -> None:
        self.is_open, self.ended = False, code

    drop = end


def test_who_leaves_twice_does_not_take_the_next_reader_along() -> None:
    async def play() -> None:
        log, clock = Broadcast(), FrameClock(0.0, lambda: 1)
        first, second = Pipe(), Pipe()
        old = Fanout.of(log, clock, 0.01)
        dropped = old.join(first, 0)  # type: ignore[arg-type]
        first.is_paused = True
        first.on_pause()  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        assert first.ended == 4408
        Fanout.of(log, clock, 0.01).join(second, 0)  # type: ignore[arg-type]
        old.leave(dropped)
        log.publish([b"{}"], last=True)
        await asyncio.sleep(0.05)
        assert second.frames == [{"v": 1, "seq": 1, "events": [{}]}]
        assert second.ended == 1000

    asyncio.run(play())
