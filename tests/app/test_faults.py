"""What can go wrong, done to it: no accepted run without a closed log, none stuck, nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from tests.app.conftest import WORKER, ServedSite, assert_whole, serving
from tests.app.full_disk import fill_up
from tests.app.site_process import SiteProcess

RECOVERY_SECONDS = 10.0


def assert_no_leftovers(data_dir: Path) -> None:
    """Every log on disk is whole and packed, and beside it is what is known about it."""
    runs = data_dir / "runs"
    assert not list(runs.glob("*.new"))
    assert not list(runs.glob("*.jsonl")), "an open log was left behind"
    for packed in runs.glob("*.jsonl.gz"):
        events = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]
        run_id = packed.name.partition(".")[0]
        assert_whole(events, run_id)
        assert (runs / f"{run_id}.json").exists()


def test_a_pause_of_the_site_is_not_held_against_its_engine(tmp_path: Path) -> None:
    """A paused container, a laptop that slept: it was we who could not hear."""
    with SiteProcess(tmp_path, engine_hang_seconds=1.0) as site:
        run_id = site.run("SLOW LONG", max_tokens=150)
        time.sleep(0.3)
        site.process.send_signal(signal.SIGSTOP)
        time.sleep(2.0)
        site.process.send_signal(signal.SIGCONT)
        assert site.events(run_id)[-1]["reason"] == "finished"


def test_the_engine_is_killed_at_twenty_moments(tmp_path: Path) -> None:
    chance = random.Random(20)
    accepted: list[str] = []
    with serving(tmp_path) as site:
        for number in range(20):
            accepted += [site.run(f"SLOW LONG number {number}", max_tokens=200), site.run("SLOW short one")]
            time.sleep(chance.uniform(0.0, 0.12))
            began = time.monotonic()
            os.kill(site.site.kitchen.pid, signal.SIGKILL)
            for run_id in accepted[-2:]:
                assert_whole(site.events(run_id), run_id)
            site.wait(lambda: site.client.get("readyz").status_code == 200, RECOVERY_SECONDS, every=0.02)
            assert time.monotonic() - began < RECOVERY_SECONDS
        last = site.run("and now")
        assert site.events(last)[-1]["reason"] == "finished"
        assert site.site.store.live() == []
        site.wait(lambda: not list((tmp_path / "runs").glob("*.jsonl")))
    assert_no_leftovers(tmp_path)
    assert len(list((tmp_path / "runs").glob("*.gz"))) == len(accepted) + 1


def test_an_engine_that_never_comes_up_is_tried_less_and_less(tmp_path: Path) -> None:
    with serving(tmp_path, worker=("/bin/false",), ready=False, engine_restart_seconds=0.05) as site:
        site.wait(lambda: site.site.kitchen.num_restarts >= 4)
        assert site.site.kitchen.status.state == "failed"
        assert site.site.kitchen.status.retry_seconds > 0.2


def test_the_web_process_is_killed(tmp_path: Path) -> None:
    chance = random.Random(5)
    accepted: list[str] = []
    for _ in range(4):
        with SiteProcess(tmp_path) as site:
            engines = psutil.Process(site.process.pid).children()
            assert len(engines) == 1
            accepted += [site.run("SLOW LONG story", max_tokens=300) for _ in range(3)]
            accepted.append(site.run("quick"))
            time.sleep(chance.uniform(0.0, 0.15))
            site.kill()
        _, alive = psutil.wait_procs(engines, timeout=5)
        assert alive == [], "the engine outlived its kitchen"
    began = time.monotonic()
    with SiteProcess(tmp_path) as site:
        assert time.monotonic() - began < RECOVERY_SECONDS
        for run_id in accepted:
            events = site.events(run_id)
            assert_whole(events, run_id)
            assert events[-1]["reason"] in ("interrupted", "finished")
    assert_no_leftovers(tmp_path)


@pytest.mark.parametrize("room", [0, 100, 3_000, 40_000])
def test_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    accepted = []
    with serving(tmp_path) as site:
        before = site.run("SLOW LONG before", max_tokens=150)
        with monkeypatch.context() as patch:
            fill_up(patch, room)
            for _ in range(4):
                response = site.post("SLOW LONG meanwhile", max_tokens=150)
                assert response.status_code in (201, 503), response.text
                if response.status_code == 201:
                    accepted.append(response.json()["run_id"])
                else:
                    assert response.json()["code"] == "disk"
                    assert int(response.headers["retry-after"]) >= 1
            told = {run_id: site.events(run_id) for run_id in (before, *accepted)}
            for run_id, events in told.items():
                assert_whole(events, run_id)
            assert site.client.get("").status_code == 200
            assert site.client.get("healthz").status_code == 200
        after = site.run("there is room again")
        assert site.events(after)[-1]["reason"] == "finished"
    # What could not be written is written at the next start: the same events, and an end.
    with serving(tmp_path) as site:
        for run_id, events in told.items():
            healed = site.events(run_id)
            assert_whole(healed, run_id)
            assert healed[:-1] == events[: len(healed) - 1]
        assert site.events(after)[-1]["reason"] == "finished"
    assert_no_leftovers(tmp_path)


@pytest.mark.parametrize("hours", [-30, 30])
def test_the_clock_is_stepped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    real = time.time
    with serving(tmp_path) as site:
        run_id = site.run("SLOW LONG", max_tokens=60)
        with site.socket(run_id) as reader:
            reader.recv()
            monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
            later = site.run("SLOW after the step")
            told = [event for frame in reader for event in json.loads(frame)["events"]]
            assert told[-1]["type"] == "log.closed"
            for asked in (run_id, later):
                events = site.events(asked)
                assert_whole(events, asked)
                assert events[-1]["reason"] == "finished"
                assert events[-1]["totals"]["seconds"] < 60, "seconds are of a clock that nobody steps"
        assert site.client.get(f"api/runs/{run_id}").status_code == 200
        monkeypatch.setattr(time, "time", real)
        assert site.events(site.run("and back"))[-1]["reason"] == "finished"


def request_bytes(site: ServedSite, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = (f"{method} /{path} HTTP/1.1", f"Host: 127.0.0.1:{site.port}", *headers)
    length = (f"Content-Length: {len(body)}",) if method == "POST" else ()
    return "\r\n".join((*lines, *length, "", "")).encode() + body


UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip


def vanish(site: ServedSite, data: bytes, *, read: int, rudely: bool) -> None:
    """Send, read ``read`` bytes of the answer, and be gone: with a reset, or politely in the middle."""
    with socket.create_connection(("127.0.0.1", site.port)) as client:
        if rudely:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(data)
        if read:
            client.settimeout(5)
            client.recv(read)


@pytest.mark.parametrize("rudely", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("state", ["warming", "live", "closed"])
def test_a_client_vanishes(tmp_path: Path, state: str, rudely: bool) -> None:
    worker = (*WORKER, "--load-seconds", "0.6" if state == "warming" else "0")
    with serving(tmp_path, worker=worker, ready=state != "warming") as site:
        run_id = site.run("SLOW LONG", max_tokens=60) if state != "closed" else site.run("three short words")
        if state == "closed":
            site.events(run_id)
        base = f"api/runs/{run_id}"
        ndjson = request_bytes(site, f"{base}/events")
        stream = request_bytes(site, f"{base}/events", "Accept: text/event-stream")
        upgrade = request_bytes(site, f"{base}/socket", *UPGRADE)
        post = request_bytes(
            site, "api/runs", "Content-Type: application/json", method="POST", body=b'{"prompt": "SLOW gone"}'
        )
        for data in (ndjson, stream, upgrade, post, request_bytes(site, "")):
            for sent, read in ((data, 0), (data, 1), (data, 4096), (data[: len(data) // 2], 0), (data[:-3], 0)):
                vanish(site, sent, read=read, rudely=rudely)
        events = site.events(run_id)
        assert_whole(events, run_id)
        assert events[-1]["reason"] == "finished"
        site.wait(lambda: site.site.readers.total == 0)
        site.wait(lambda: not site.site.store.live())
        assert site.events(site.run("somebody who stays"))[-1]["reason"] == "finished"
    assert_no_leftovers(tmp_path)
