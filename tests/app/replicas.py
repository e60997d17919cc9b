"""A real Redis and real replicas around it, each a process that can be stopped, killed and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 3.0
"""Short, so that a death is soon noticed; but a busy machine keeps a live one waiting for a second."""


def wait(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


class RedisServer:
    """``redis-server`` on a free port, which it keeps when it is started again. Nothing is saved."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program, "redis-server is missing. As root: apt-get install redis-server"
        words = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        wait(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def cli(self, *words: str) -> str:
        """What it answers, as people would ask."""
        command = ["redis-cli", "-p", str(self.port), *words]
        return (
            subprocess.run(command, capture_output=True, check=True, timeout=10).stdout.decode(errors="replace").strip()
        )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """With all that it knew."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Replica:
    """One web server, with the scripted engine behind it or none."""

    def __init__(self, name: str, directory: Path, redis: RedisServer, **settings: Any) -> None:
        self.name = name
        self.directory = directory / name
        values: dict[str, Any] = {
            "redis_url": redis.url, "lease_seconds": LEASE_SECONDS, "posts_per_minute": 1e6, "posts_burst": 100_000,
            "max_runs_per_visitor": 100, "max_runs_per_address": 100, "max_waiting_runs": 100,
        } | settings  # fmt: skip
        self._environment = {f"OPENKITCHEN_{name.upper()}": str(value) for name, value in values.items()}
        self.log = directory / f"{name}.log"
        self.port = 0
        self.client = httpx.Client(timeout=20)

    @property
    def has_engine(self) -> bool:
        return self._environment.get("OPENKITCHEN_ENGINE") != "none"

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        environment = {**os.environ, **self._environment, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.app.replica", str(self.directory)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        while line and not line.startswith("port "):
            line = self.process.stdout.readline().decode()
        assert line, self.log.read_text()
        self.port = int(line.split()[1])
        self.client.base_url = httpx.URL(f"http://127.0.0.1:{self.port}/")
        wait(lambda: self.client.get("readyz").status_code == 200)

    def kill(self) -> None:
        """At once, and its engine with it, as a machine that is switched off."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """In a hurry: a second signal ends what still cooks."""
        if self.process.poll() is None:
            self.process.terminate()
            time.sleep(0.1)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self.client.close()

    def post(self, prompt: str, **params: Any) -> httpx.Response:
        return self.client.post("api/runs", json={"prompt": prompt, **params})

    def run(self, prompt: str, **params: Any) -> str:
        response = self.post(prompt, **params)
        assert response.status_code == 201, response.text
        run_id: str = response.json()["run_id"]
        return run_id

    def lines(self, run_id: str, after: int = 0) -> bytes:
        """The log as it is sent, to its end."""
        return self.client.get(f"api/runs/{run_id}/events", params={"after": after}).content

    def events(self, run_id: str, after: int = 0) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines(run_id, after).splitlines()]

    def summary(self, run_id: str) -> dict[str, Any]:
        response = self.client.get(f"api/runs/{run_id}")
        assert response.status_code == 200, response.text
        return dict(response.json())


class Reader:
    """Reads a run by socket, at one replica and, when that one is gone, at the next, from where it was."""

    def __init__(self, run_id: str, *replicas: Replica) -> None:
        self.run_id = run_id
        self._ports = [replica.port for replica in replicas]
        self.events: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        deadline = time.monotonic() + 60
        turn = 0
        while time.monotonic() < deadline:
            port = self._ports[turn % len(self._ports)]
            url = f"ws://127.0.0.1:{port}/api/runs/{self.run_id}/socket?after={len(self.events)}"
            try:
                with connect(url, subprotocols=[Subprotocol("trace.v1")], max_size=None, proxy=None) as link:
                    while True:
                        frame = json.loads(link.recv())
                        assert frame["seq"] == len(self.events) + 1 == frame["events"][0]["seq"], "in order, once"
                        self.events += frame["events"]
            except ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code == 1000:
                    return self.events
            except (OSError, WebSocketException):
                pass  # It died while we were shaking hands.
            turn += 1
            time.sleep(0.05)
        raise AssertionError("the log did not end")


@contextmanager
def cluster(directory: Path, **replicas: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """``cluster(tmp, web={"engine": "none"}, cook={})``: the Redis, then the replicas in their order."""
    with ExitStack() as stack:
        redis = RedisServer(directory)
        redis.start()
        stack.callback(redis.kill)
        found = [Replica(name, directory, redis, **settings) for name, settings in replicas.items()]
        for replica in found:
            replica.launch()
            stack.callback(replica.stop)
        # Those with an engine first: a replica without is ready when it sees another's.
        for replica in sorted(found, key=lambda replica: not replica.has_engine):
            replica.wait_ready()
        yield (redis, *found)
