"""A real `openkitchen serve` in a process of its own, for benchmarks and browser tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 240


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Served:
    """Serve with a data directory of its own until the block is left. ``settings`` become ``OPENKITCHEN_*``."""

    def __init__(self, *, wait_ready: bool = True, root_path: str = "", **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{root_path}/"
        self._wait_ready = wait_ready
        self._data = tempfile.TemporaryDirectory(prefix="openkitchen-")
        self.data_dir = Path(self._data.name)
        self._env = os.environ | {f"OPENKITCHEN_{name.upper()}": str(value) for name, value in settings.items()}
        self._env |= {"OPENKITCHEN_DATA_DIR": self._data.name, "OPENKITCHEN_ROOT_PATH": root_path}
        self.log = Path(self._data.name) / "server.log"
        self.seconds_to_page = 0.0

    def __enter__(self) -> Self:
        began = time.monotonic()
        with self.log.open("wb") as log:
            command = [str(Path(sys.executable).with_name("openkitchen")), "serve", "--port", str(self.port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=self._env, cwd=ROOT)
        self._await("healthz")
        self.seconds_to_page = time.monotonic() - began
        if self._wait_ready:
            self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._data.cleanup()

    @property
    def pid(self) -> int:
        """Of the web process."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Until the engine takes requests."""
        self._await("readyz")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            body: bytes = response.read()
            return body

    def start_run(self, prompt: str, **params: object) -> dict[str, Any]:
        """``POST /api/runs``; the 201 body."""
        request = urllib.request.Request(
            self.url + "api/runs",
            data=json.dumps({"prompt": prompt, **params}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            created: dict[str, Any] = json.load(response)
            return created

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """The whole log, read to its end."""
        return [json.loads(line) for line in self.get(f"api/runs/{run_id}/events").splitlines()]

    def engine_pid(self) -> int:
        """The engine's process."""
        return self._engine_pids()[0]

    def spare_pid(self) -> int | None:
        """That of the one that waits to take its place, if there is one."""
        return next(iter(self._engine_pids()[1:]), None)

    def _engine_pids(self) -> list[int]:
        """The server's children that are engines, the oldest first: a spare is younger than whose place it takes."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        pids = [pid for pid in map(int, children) if b"inference.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if not pids:
            raise LookupError("no engine process")
        return pids

    def _await(self, path: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"serve ended with {self._process.returncode}:\n{self.log.read_text()[-4000:]}")
            try:
                self.get(path)
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        raise TimeoutError(f"/{path} did not answer 200 in {READY_SECONDS} s:\n{self.log.read_text()[-4000:]}")
