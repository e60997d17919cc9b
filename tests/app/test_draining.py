"""The signal to stop, sent to a real process: runs may finish, no more are taken, and a second signal is in a hurry."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.app.conftest import ServedSite, assert_whole, serving
from tests.app.site_process import SiteProcess


class Kitchen(SiteProcess):
    """One that is told to stop, and read from meanwhile."""

    def post(self, prompt: str) -> httpx.Response:
        return self.client.post("api/runs", json={"prompt": prompt})

    def tell(self) -> float:
        """Send the signal; the time then."""
        self.process.send_signal(signal.SIGTERM)
        return time.monotonic()

    def ended(self, since: float) -> float:
        """Wait for the end; seconds since then."""
        self.process.wait(30)
        return time.monotonic() - since


class Reader(threading.Thread):
    """Follows a run from its first event to the end of the stream."""

    def __init__(self, kitchen: SiteProcess, run_id: str) -> None:
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{kitchen.port}/api/runs/{run_id}/events"
        self.events: list[dict[str, Any]] = []
        self.connected = threading.Event()
        self.start()
        assert self.connected.wait(20)

    def run(self) -> None:
        with httpx.stream("GET", self.url, timeout=20) as response:
            self.connected.set()
            for line in response.iter_lines():
                self.events.append(json.loads(line))

    def all(self) -> list[dict[str, Any]]:
        self.join(30)
        assert not self.is_alive()
        return self.events


def test_runs_finish_and_no_more_are_taken(tmp_path: Path) -> None:
    with Kitchen(tmp_path, drain_seconds=60) as kitchen:
        short, long = kitchen.run("SLOW LONG story", max_tokens=20), kitchen.run("SLOW LONG story", max_tokens=400)
        readers = {short: Reader(kitchen, short), long: Reader(kitchen, long)}
        kitchen.tell()
        ServedSite.wait(lambda: kitchen.client.get("readyz").status_code == 503)
        assert kitchen.client.get("readyz").json()["code"] == "closing"
        refused = kitchen.post("too late")
        assert (refused.status_code, refused.json()["code"]) == (503, "closing")
        assert int(refused.headers["retry-after"]) >= 1
        assert kitchen.client.get("healthz").status_code == 200
        assert kitchen.client.get("").status_code == 200
        late = Reader(kitchen, long)
        finished = readers[short].all()
        assert_whole(finished, short)
        assert finished[-1]["reason"] == "finished"
        assert finished[-1]["totals"]["completion_tokens"] == 20
        assert kitchen.process.poll() is None, "another run is cooking"
        assert kitchen.client.delete(f"api/runs/{long}").status_code == 202
        seconds = kitchen.ended(time.monotonic())
    for events in (readers[long].all(), late.all()):
        assert_whole(events, long)
        assert events[-1]["reason"] == "stopped"
    assert seconds < 20, "it ends when the last run has, not when the time is up"


def test_what_cannot_finish_in_time_is_told_so(tmp_path: Path) -> None:
    with Kitchen(tmp_path, drain_seconds=0.5) as kitchen:
        run_id = kitchen.run("SLOW LONG story", max_tokens=400)
        reader = Reader(kitchen, run_id)
        seconds = kitchen.ended(kitchen.tell())
    events = reader.all()
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "interrupted"
    assert "while this was cooking" in events[-1]["detail"]
    assert 0.5 <= seconds < 20
    with serving(tmp_path) as again:
        assert again.events(run_id) == events


def test_what_never_had_its_turn_is_told_so(tmp_path: Path) -> None:
    with Kitchen(tmp_path, "--load-seconds", "30", ready=False, drain_seconds=0.3) as kitchen:
        run_id = kitchen.run("early bird")
        reader = Reader(kitchen, run_id)
        ServedSite.wait(lambda: kitchen.client.get(f"api/runs/{run_id}").status_code == 200)
        kitchen.ended(kitchen.tell())
    events = reader.all()
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "interrupted"
    assert "before this had its turn" in events[-1]["detail"]


def test_a_second_signal_is_in_a_hurry(tmp_path: Path) -> None:
    with Kitchen(tmp_path, drain_seconds=60) as kitchen:
        run_id = kitchen.run("SLOW LONG story", max_tokens=400)
        reader = Reader(kitchen, run_id)
        kitchen.tell()
        ServedSite.wait(lambda: kitchen.client.get("readyz").status_code == 503, 2)
        seconds = kitchen.ended(kitchen.tell())
    events = reader.all()
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "interrupted"
    assert seconds < 30
