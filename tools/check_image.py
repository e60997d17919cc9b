"""Run an image as a careful host would and check that it does what docs/hosting.md says of it.

    python tools/check_image.py IMAGE                     # with docker or podman, whichever is here
    python tools/check_image.py IMAGE --engine buildah    # with neither, as root: Linux's own namespaces

The container has no network but its own loopback, a read-only root file system, no capabilities and two volumes. Exits
with 1 when something is not as it should be; says what was measured either way.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.containers import Container, Engine, engine_named

MAX_BYTES = 1.5e9
"""Without the model's weights."""
STOP_SECONDS = 10.0
"""What `docker stop` waits by default."""
PYTHON = "/opt/venv/bin/python"

ASK = """
import http.client, sys
method, path, body = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=120)
connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
response = connection.getresponse()
sys.stdout.write(f"{response.status}\\n")
sys.stdout.flush()
sys.stdout.buffer.write(response.read())
"""
WRITE = """
import sys
for folder in sys.argv[1:]:
    try:
        open(folder + "/written", "w").close()
        print(folder, "took it")
    except OSError as error:
        print(folder, error.strerror)
"""
CONNECT = """
import socket
try:
    socket.create_connection(("192.0.2.1", 443), 2).close()
    print("reached")
except OSError as error:
    print(error.strerror)
"""
WEIGH = """
import collections, json, os
sizes, seen = collections.Counter(), set()
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [f for f in folders if f not in ("proc", "sys", "dev", "data", "cache", "tmp")]
    parts = folder.split("/")[1:]
    packages = "site-packages" in parts and parts.index("site-packages") + 2
    name = "/" + "/".join(parts[: packages or (2 if parts[0] in ("opt", "usr") else 1)])
    for file in files:
        try:
            found = os.lstat(os.path.join(folder, file))
        except OSError:
            continue
        if (found.st_dev, found.st_ino) not in seen:
            seen.add((found.st_dev, found.st_ino))
            sizes[name] += found.st_size
print(json.dumps(sizes))
"""


MEMORY = """
import os, pathlib
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if process.name == str(os.getpid()):
        continue
    try:
        words = (process / "cmdline").read_bytes().replace(b"\\0", b" ").decode()
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    except OSError:
        continue
    if "openkitchen" in words or "inference" in words:
        name = "spare" if "--standby" in words else "engine" if "inference.worker" in words else "web"
        now, most = (int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))
        print(f"{name}: {now:.0f} MiB, {most:.0f} at most")
"""


class Check:
    """Says each thing as it is found; remembers whether all was well."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def that(self, right: bool, what: str, found: object = "") -> None:
        print(f"{'  ' if right else '! '}{what}{f': {found}' if found != '' else ''}", flush=True)
        if not right:
            self.failed.append(what)


class Site:
    """The kitchen in a container, asked from inside it: it has no way out."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and body; status 0 when nobody answers."""
        words = [PYTHON, "-I", "-c", ASK, method, path, json.dumps(body) if body is not None else ""]
        ran = self.container.execute(words)
        status, _, rest = ran.stdout.partition(b"\n")
        return (int(status), rest) if ran.returncode == 0 else (0, ran.stderr)

    def python(self, program: str, *words: str) -> str:
        ran = self.container.execute([PYTHON, "-I", "-c", program, *words])
        return (ran.stdout or ran.stderr).decode().strip()

    def wait(self, path: str, since: float, seconds: float) -> float:
        """Seconds from ``since`` until ``path`` answers 200."""
        while time.monotonic() < since + seconds:
            if not self.container.runs():
                break
            if self.ask("GET", path)[0] == 200:
                return time.monotonic() - since
            time.sleep(0.1)
        raise SystemExit(f"! {path} did not answer. The container's words:\n{self.container.words()}")

    def run(self, prompt: str, max_tokens: int) -> str:
        status, body = self.ask("POST", "/api/runs", {"prompt": prompt, "max_tokens": max_tokens, "seed": 0})
        if status != 201:
            raise SystemExit(f"! POST /api/runs answers {status}: {body.decode(errors='replace')}")
        return str(json.loads(body)["run_id"])

    def log(self, run_id: str) -> list[dict[str, Any]]:
        """A run's events until its log closes."""
        _, body = self.ask("GET", f"/api/runs/{run_id}/events")
        return [json.loads(line) for line in body.splitlines()]


@contextmanager
def served(engine: Engine, image: str, data: Path, cache: Path, **settings: object) -> Iterator[tuple[Site, float]]:
    """The site of a fresh container on these volumes, and when it was started; ended however the block ends."""
    env = {f"OPENKITCHEN_{name.upper()}": str(value) for name, value in settings.items()}
    container = engine.start(image, {"/data": data, "/cache": cache}, env)
    try:
        yield Site(container), container.began
    finally:
        container.remove()


def check_config(check: Check, config: dict[str, Any]) -> None:
    user, entry = str(config.get("User", "")), config.get("Entrypoint") or []
    check.that(user.split(":")[0] not in ("", "0", "root"), "the user is nobody special", user)
    check.that(bool(entry) and entry[0] != "/bin/sh", "the entry point is a program, no shell", entry)
    check.that(config.get("StopSignal") == "SIGTERM", "it is stopped by", config.get("StopSignal"))
    labels = config.get("Labels") or {}
    for name in ("title", "description", "licenses", "version", "revision"):
        check.that(
            f"org.opencontainers.image.{name}" in labels,
            f"label {name}",
            labels.get(f"org.opencontainers.image.{name}"),
        )
    check.that(set(config.get("Volumes") or {}) == {"/data", "/cache"}, "volumes", sorted(config.get("Volumes") or {}))


def check_walls(check: Check, site: Site) -> None:
    status = dict(line.split(":\t", 1) for line in site.python("print(open('/proc/1/status').read())").splitlines())
    check.that(status["Uid"].split()[0] == "10001", "runs as user", status["Uid"].split()[0])
    check.that(int(status["CapEff"], 16) == 0, "capabilities", status["CapEff"])
    check.that(status["NoNewPrivs"] == "1", "may gain no privileges", status["NoNewPrivs"])
    for line in site.python(WRITE, "/", "/etc", "/opt/openkitchen", "/opt/venv", "/model").splitlines():
        check.that("Read-only" in line, "root file system", line)
    check.that(site.python(WRITE, "/tmp").endswith("took it"), "may write to /tmp")
    check.that(site.python(CONNECT) == "Network is unreachable", "the network", site.python(CONNECT))


def check_size(check: Check, site: Site) -> None:
    sizes: dict[str, int] = json.loads(site.python(WEIGH))
    total, model = sum(sizes.values()), sizes.get("/model", 0)
    check.that(total - model < MAX_BYTES, "size without the model, MB", round((total - model) / 1e6))
    print(f"  the model, MB: {model / 1e6:.0f}")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:14]:
        print(f"    {size / 1e6:7.1f} MB  {name}")


def check_run(check: Check, site: Site) -> tuple[str, list[dict[str, Any]]]:
    status, page = site.ask("GET", "/")
    check.that(status == 200 and b"<title" in page, "the page", f"{status}, {len(page)} bytes")
    check.that(b'src="static/dist/main.min.js"' in page, "its scripts are a bundle")
    status, script = site.ask("GET", "/static/dist/main.min.js")
    check.that(status == 200 and len(script) > 0, "which is there", f"{status}, {len(script)} bytes")
    run_id = site.run("Why is the sky blue?", 48)
    log = site.log(run_id)
    check.that(
        [event["seq"] for event in log] == list(range(1, len(log) + 1)), "a run's log has no gap, events", len(log)
    )
    check.that((log[-1]["type"], log[-1]["reason"]) == ("log.closed", "finished"), "it ends with", log[-1]["reason"])
    opened, totals = log[0], log[-1]["totals"]
    print(f"  model {opened['model']['name']} ({opened['model']['note']}), {opened['model']['dtype']}")
    print(f"  {totals['completion_tokens']} tokens in {totals['seconds']:.2f} s")
    return run_id, log


def stop(check: Check, site: Site) -> None:
    began = time.monotonic()
    status = site.container.stop(STOP_SECONDS)
    seconds = time.monotonic() - began
    check.that(status in (0, 143), "ends on SIGTERM with status", status)
    check.that(seconds < STOP_SECONDS, "and within what docker stop waits, s", round(seconds, 1))
    if seconds >= STOP_SECONDS:
        print("\n".join(site.container.words().splitlines()[-8:]))


def check_image(engine: Engine, image: str, folder: Path, **settings: object) -> list[str]:
    """Everything; returns what was not as it should be."""
    check = Check()
    check_config(check, engine.config(image))
    data, cache = folder / "data", folder / "cache"
    with served(engine, image, data, cache, **settings) as (site, began):
        print(f"  page after {site.wait('/', began, 60):.1f} s, with fresh volumes")
        print(f"  ready after {site.wait('/readyz', began, 300):.1f} s (the machine is measured once)")
        check_walls(check, site)
        check_size(check, site)
        healthy = site.container.execute([PYTHON, "-S", "-m", "app.healthcheck"])
        check.that(healthy.returncode == 0, "the health check", healthy.stderr.decode().strip() or "well")
        run_id, log = check_run(check, site)
        for line in site.python(MEMORY).splitlines():
            print(f"  memory of {line}")
        live = site.run("Tell me a very long story.", 2000)
        stop(check, site)
    with served(engine, image, data, cache, **settings) as (site, began):
        print(f"  page after {site.wait('/', began, 60):.1f} s, started again")
        print(f"  ready after {site.wait('/readyz', began, 300):.1f} s, started again")
        check.that(site.log(run_id) == log, "the run is kept, word for word")
        closed = site.log(live)[-1]
        check.that(closed["type"] == "log.closed", "what was cut short says so", closed.get("detail"))
        check_run(check, site)
        stop(check, site)
    with served(engine, image, data, cache, **settings | {"model": "/nowhere"}) as (site, began):
        site.wait("/", began, 60)
        status, body = site.ask("GET", "/readyz")
        deadline = time.monotonic() + 60
        while b"no_model" not in body and time.monotonic() < deadline:
            time.sleep(0.5)
            status, body = site.ask("GET", "/readyz")
        check.that(
            status == 503 and b"no_model" in body, "without its model it serves the page and says why", body[:140]
        )
        stop(check, site)
    return check.failed


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("image")
    parser.add_argument("--engine", choices=("docker", "podman", "buildah"), help="found by itself if not named")
    options = parser.parse_args(words)
    engine = engine_named(options.engine)
    try:
        with tempfile.TemporaryDirectory(prefix="check-image-") as folder:
            failed = check_image(engine, options.image, Path(folder))
    finally:
        engine.close()
    print(f"{len(failed)} things are wrong: {', '.join(failed)}" if failed else "all is well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
