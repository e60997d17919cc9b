"""A site on a real port, with the scripted engine behind it; and helpers to post, follow and read."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from app.log_setup import set_up_logging
from app.main import create_app
from app.server import bind, make_server
from app.settings import Settings

WORKER = (sys.executable, "-m", "tests.app.fake_worker")


set_up_logging("info", as_json=True)


class ServedSite:
    """The site while it is served. Not a mock of anything: uvicorn, sockets, files and a second process."""

    def __init__(self, data_dir: Path, worker: tuple[str, ...] | None = WORKER, **settings: Any) -> None:
        defaults: dict[str, Any] = {"posts_per_minute": 1e6, "posts_burst": 100_000, "max_runs_per_visitor": 100}
        defaults |= {"posts_per_minute_in_all": 1e6, "post_bytes_per_minute": 1 << 30}
        defaults |= {"max_runs_per_address": 100, "max_waiting_runs": 100, "engine_restart_seconds": 0.1}
        defaults |= {"drain_seconds": 0.0, "spare_engine": False}
        self.settings = Settings(host="127.0.0.1", port=0, data_dir=data_dir, **(defaults | settings))
        self.app = create_app(self.settings, worker=worker)
        self.site = self.app.state.site
        listener = bind("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{self.settings.root_path}/"
        self.server = make_server(self.app, self.settings)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def start(self, *, ready: bool = True, seconds: float = 15.0) -> None:
        self.thread.start()
        self.wait(lambda: self.server.started)
        if ready:
            # (Asking a hundred times a second would take a core from the engine that is to become ready.)
            self.wait(lambda: self.client.get("readyz").status_code == 200, seconds, every=0.1)

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive(), "the server did not stop"

    @staticmethod
    def wait(condition: Callable[[], object], seconds: float = 15.0, every: float = 0.01) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(every)

    def post(self, prompt: str, **params: Any) -> httpx.Response:
        return self.client.post("api/runs", json={"prompt": prompt, **params})

    def run(self, prompt: str, **params: Any) -> str:
        response = self.post(prompt, **params)
        assert response.status_code == 201, response.text
        run_id: str = response.json()["run_id"]
        return run_id

    def events(self, run_id: str, after: int = 0) -> list[dict[str, Any]]:
        """The log, read until it closes."""
        text = self.client.get(f"api/runs/{run_id}/events", params={"after": after}).text
        return [json.loads(line) for line in text.splitlines()]

    def socket(self, run_id: str, after: int | str | None = None) -> Any:
        query = "" if after is None else f"?after={after}"
        url = f"{self.url.replace('http', 'ws', 1)}api/runs/{run_id}/socket{query}"
        return connect(url, subprotocols=[Subprotocol("trace.v1")], max_size=None, proxy=None)


@contextmanager
def serving(data_dir: Path, *, ready: bool = True, **settings: Any) -> Iterator[ServedSite]:
    served = ServedSite(data_dir, **settings)
    served.start(ready=ready)
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    with serving(tmp_path_factory.mktemp("data")) as served:
        yield served


def assert_whole(events: list[dict[str, Any]], run_id: str) -> None:
    """No gap, no repeat, time never runs back, opened first, closed last."""
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    times = [event["t"] for event in events]
    assert times == sorted(times)
    assert events[0]["type"] == "log.opened"
    assert events[0]["run_id"] == run_id
    assert [event["type"] for event in events].count("log.closed") == 1
    assert events[-1]["type"] == "log.closed"
