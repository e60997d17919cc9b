"""The signal to stop, sent to a real process: runs may finish, no more are taken, and a second signal is in a hurry."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.app.conftest import ServedSite, assert_whole, serving

SERVER = """
import sys
from app.main import create_app
from app.server import bind, make_server
from app.settings import Settings
from tests.app.conftest import WORKER
settings = Settings(host="127.0.0.1", port=int(sys.argv[1]))
listener = bind(settings.host, settings.port)
make_server(create_app(settings, worker=(*WORKER, *sys.argv[2:])), settings).run(sockets=[listener])
"""


class Kitchen:
    """The site in a process of its own, with the scripted engine."""

    def __init__(self, data_dir: Path, drain_seconds: float, *worker: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        env = os.environ | {"OPENKITCHEN_DATA_DIR": str(data_dir), "OPENKITCHEN_DRAIN_SECONDS": str(drain_seconds)}
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, str(self.port), *worker], env=env)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/", timeout=20)

    def wait_for(self, path: str) -> None:
        def answers() -> bool:
            try:
                return self.client.get(path).status_code == 200
            except httpx.TransportError:
                return False

        ServedSite.wait(answers, 20, every=0.05)

    def post(self, prompt: str, **params: Any) -> httpx.Response:
        return self.client.post("api/runs", json={"prompt": prompt, **params})

    def run(self, prompt: str, **params: Any) -> str:
        response = self.post(prompt, **params)
        assert response.status_code == 201, response.text
        return str(response.json()["run_id"])

    def signal(self, number: int = signal.SIGTERM) -> float:
        self.process.send_signal(number)
        return time.monotonic()

    def ended(self, since: float) -> float:
        self.process.wait(30)
        return time.monotonic() - since


class Reader(threading.Thread):
    """Follows a run from its first event to the end of the stream."""

    def __init__(self, kitchen: Kitchen, run_id: str) -> None:
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{kitchen.port}/api/runs/{run_id}/events"
        self.events: list[dict[str, Any]] = []
        self.start()

    def run(self) -> None:
        with httpx.stream("GET", self.url, timeout=20) as response:
            self.events += [json.loads(line) for line in response.iter_lines()]

    def all(self) -> list[dict[str, Any]]:
        self.join(30)
        assert not self.is_alive()
        return self.events


@contextmanager
def kitchen(data_dir: Path, drain_seconds: float = 15.0, *worker: str, until: str = "readyz") -> Iterator[Kitchen]:
    started = Kitchen(data_dir, drain_seconds, *worker)
    try:
        started.wait_for(until)
        yield started
    finally:
        started.client.close()
        started.process.kill()
        started.process.wait()


def test_runs_finish_and_no_more_are_taken(tmp_path: Path) -> None:
    with kitchen(tmp_path) as open_kitchen:
        run_id = open_kitchen.run("SLOW LONG story", max_tokens=40)
        reader = Reader(open_kitchen, run_id)
        told = open_kitchen.signal()
        ServedSite.wait(lambda: open_kitchen.client.get("readyz").status_code == 503, 2)
        assert open_kitchen.client.get("readyz").json()["code"] == "closing"
        refused = open_kitchen.post("too late")
        assert (refused.status_code, refused.json()["code"]) == (503, "closing")
        assert int(refused.headers["retry-after"]) >= 1
        assert open_kitchen.client.get("healthz").status_code == 200
        assert open_kitchen.client.get("").status_code == 200
        late = Reader(open_kitchen, run_id)
        seconds = open_kitchen.ended(told)
    for events in (reader.all(), late.all()):
        assert_whole(events, run_id)
        assert events[-1]["reason"] == "finished"
        assert events[-1]["totals"]["completion_tokens"] == 40
    assert seconds < 10, "it ends when the last run has, not when the time is up"


def test_what_cannot_finish_in_time_is_told_so(tmp_path: Path) -> None:
    with kitchen(tmp_path, 0.5) as open_kitchen:
        run_id = open_kitchen.run("SLOW LONG story", max_tokens=400)
        reader = Reader(open_kitchen, run_id)
        seconds = open_kitchen.ended(open_kitchen.signal())
    events = reader.all()
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "interrupted"
    assert "while this was cooking" in events[-1]["detail"]
    assert 0.5 <= seconds < 5
    with serving(tmp_path) as again:
        assert again.events(run_id) == events


def test_what_never_had_its_turn_is_told_so(tmp_path: Path) -> None:
    with kitchen(tmp_path, 0.3, "--load-seconds", "30", until="healthz") as open_kitchen:
        run_id = open_kitchen.run("early bird")
        reader = Reader(open_kitchen, run_id)
        ServedSite.wait(lambda: open_kitchen.client.get(f"api/runs/{run_id}").status_code == 200)
        open_kitchen.ended(open_kitchen.signal())
    events = reader.all()
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "interrupted"
    assert "before this had its turn" in events[-1]["detail"]


def test_a_second_signal_is_in_a_hurry(tmp_path: Path) -> None:
    with kitchen(tmp_path, 60) as open_kitchen:
        run_id = open_kitchen.run("SLOW LONG story", max_tokens=400)
        reader = Reader(open_kitchen, run_id)
        open_kitchen.signal()
        ServedSite.wait(lambda: open_kitchen.client.get("readyz").status_code == 503, 2)
        seconds = open_kitchen.ended(open_kitchen.signal())
    events = reader.all()
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "interrupted"
    assert seconds < 3
