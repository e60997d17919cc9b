"""The site with the scripted engine behind it in a process of its own, which can be killed. ``python -m
tests.app.site_process DATA_DIR`` prints its port; settings come from ``OPENKITCHEN_*``, the worker's arguments follow
the folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.app.conftest import WORKER

READY_SECONDS = 20.0


class SiteProcess:
    """Serves until the block is left; ``kill`` ends it as a power cut would."""

    def __init__(self, data_dir: Path, *worker: str, ready: bool = True, **settings: Any) -> None:
        self._ready = ready
        self._command = [sys.executable, "-m", "tests.app.site_process", str(data_dir), *worker]
        defaults: dict[str, Any] = {"posts_per_minute": 1e6, "posts_burst": 100_000, "max_runs_per_visitor": 100}
        defaults |= {"max_runs_per_address": 100, "max_waiting_runs": 100, "engine_restart_seconds": 0.1}
        defaults |= {"drain_seconds": 0.0, "spare_engine": False}
        self._env = os.environ | {
            f"OPENKITCHEN_{key.upper()}": str(value) for key, value in (defaults | settings).items()
        }

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, env=self._env)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/", timeout=20)
        if self._ready:
            self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while self.client.get("readyz").status_code != 200:
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def run(self, prompt: str, **params: Any) -> str:
        response = self.client.post("api/runs", json={"prompt": prompt, **params})
        assert response.status_code == 201, response.text
        run_id: str = response.json()["run_id"]
        return run_id

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """The log, read until it closes."""
        return [json.loads(line) for line in self.client.get(f"api/runs/{run_id}/events").text.splitlines()]


def main() -> None:
    from app.log_setup import set_up_logging
    from app.main import create_app
    from app.server import bind, make_server
    from app.settings import Settings

    set_up_logging("warning", as_json=True)
    settings = Settings(host="127.0.0.1", port=0, data_dir=Path(sys.argv[1]))
    listener = bind("127.0.0.1", 0)
    app = create_app(settings, worker=(*WORKER, *sys.argv[2:]))
    server = make_server(app, settings, lambda: print(listener.getsockname()[1], flush=True))  # noqa: T201
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
