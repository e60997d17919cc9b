"""What ``openkitchen doctor`` finds of a set-up: whether this host will serve the site that the settings ask for, and
what to change where it will not."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from app import redis_url
from app.data_dir import in_the_way
from app.server import SPARE_FILES, PortTaken, bind
from app.settings import ROOT, Settings
from inference.machine import Finding

LOW_DISK_BYTES = 200 * 2**20
"""With less than this nothing is served: a log that cannot be written ends its run."""
REDIS_SECONDS = 2.0
NUM_PINGS = 5
"""The shortest counts: the others waited for something besides the way."""
GGUF_GROWTH = 6
"""Weights of four bits and their scales become 32 bits when they are converted."""
BESIDES_WEIGHTS_BYTES = 750 * 2**20
"""Of both processes, without the weights: with the default model (517 MiB on disk) tools/check_image.py saw 1,176 MiB
and 66 MiB at most."""
CLOCK_SLACK_SECONDS = 86_400.0


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything about the host that can be seen without starting anything."""
    yield port(settings)
    yield data_dir(settings.data_dir)
    yield disk(settings)
    yield open_files(settings.max_readers)
    yield temporary_files()
    yield clock(time.time())
    yield from addresses(settings)
    if settings.engine == "none" and not settings.redis_url:
        yield Finding(
            topic="engine",
            state="lacks",
            value="none here, and no Redis over which another could cook: recordings and kept runs alone are served",
            advice="set OPENKITCHEN_REDIS_URL, or leave OPENKITCHEN_ENGINE away",
        )
    if settings.redis_url:
        yield redis(settings.redis_url)


def port(settings: Settings) -> Finding:
    """Whether it is free, or who has it."""
    where = f"{settings.port} on {settings.host}"
    try:
        bind(settings.host, settings.port).close()
    except PortTaken as error:
        if _is_claimed(settings.data_dir):
            value = f"{where}: taken, and so is the folder of runs: this kitchen is open now"
            return Finding(topic="port", state="has", value=value)
        advice = f"give another --port, or another --host where that is what fails: {error}"
        return Finding(topic="port", state="needs", value=f"{where} cannot be had", advice=advice)
    return Finding(topic="port", state="has", value=f"{where} is free" if settings.port else "any that is free")


def data_dir(folder: Path) -> Finding:
    """Whether runs can be kept there, by us alone."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding(
            topic="runs", state="needs", value=f"{folder}: {error.strerror or error}", advice=_owner(existing)
        )
    if found := in_the_way(folder):
        advice = "move it away, or name another folder with --data-dir"
        return Finding(topic="runs", state="needs", value=f"{folder}: {found}", advice=advice)
    if _is_claimed(folder):
        return Finding(
            topic="runs",
            state="lacks",
            value=f"{folder}: a kitchen that is open now keeps its runs there",
            advice="well if that is this one; a second kitchen wants a folder of its own: --data-dir",
        )
    return Finding(topic="runs", state="has", value=str(folder))


def _owner(folder: Path) -> str:
    """What to do about a folder that cannot be written to."""
    other = "name another folder with --data-dir"
    try:
        owner = folder.stat().st_uid
    except OSError:
        return other
    if owner != os.geteuid():
        return (
            f"it belongs to user {owner}, and this is user {os.geteuid()}: chown -R {os.geteuid()} {folder}; or {other}"
        )
    return other


def _is_claimed(folder: Path) -> bool:
    """Whether a running kitchen holds the lock (``data_dir.py``). Nothing is made, and nothing is kept."""
    try:
        with open(folder / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def disk(settings: Settings) -> Finding:
    """Whether logs may grow to what the settings allow."""
    folder = settings.data_dir
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    try:
        kept = sum(entry.stat().st_size for entry in os.scandir(folder / "runs"))
    except OSError:
        kept = 0
    value = (
        f"{free / 1e9:.1f} GB free; runs take {kept / 1e9:.1f} GB and may grow to {settings.max_log_bytes / 1e9:.1f} GB"
    )
    if free < LOW_DISK_BYTES:
        return Finding(topic="disk", state="needs", value=value, advice="make room: nothing can be written any more")
    if free + kept < settings.max_log_bytes:
        advice = "make room, or keep less: OPENKITCHEN_MAX_LOG_BYTES, OPENKITCHEN_KEEP_RUNS, OPENKITCHEN_KEEP_DAYS"
        return Finding(topic="disk", state="lacks", value=value, advice=advice)
    return Finding(topic="disk", state="has", value=value)


def memory(model: Path, size: int, have: int) -> Finding:
    """Whether a model of ``size`` bytes on disk fits into the ``have`` bytes of the machine, or of the container."""
    wanted = size * (GGUF_GROWTH if model.suffix == ".gguf" else 1) + BESIDES_WEIGHTS_BYTES
    value = f"about {wanted / 2**30:.1f} GiB of {have / 2**30:.1f} GiB"
    if wanted > have:
        advice = "give it more memory (KITCHEN_MEMORY with compose.yaml, MemoryMax with systemd), or a smaller --model"
        return Finding(topic="fits", state="needs", value=value, advice=advice)
    return Finding(topic="fits", state="has", value=value)


def open_files(max_readers: int) -> Finding:
    """Whether every reader can have their connection. (``serve`` raises the soft limit by itself, as far as it may.)"""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_readers + SPARE_FILES
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        allowed = "any number" if hard == resource.RLIM_INFINITY else f"{hard:,}"
        return Finding(topic="open files", state="has", value=f"{allowed} allowed, {wanted:,} wanted at most")
    return Finding(
        topic="open files",
        state="lacks",
        value=f"{hard:,} allowed, and {max_readers:,} readers want {wanted:,}",
        advice=f"raise the hard limit (LimitNOFILE={wanted} for systemd, ulimits in compose.yaml), "
        f"or set OPENKITCHEN_MAX_READERS={max(1, hard - SPARE_FILES)}",
    )


def temporary_files() -> Finding:
    """Whether there is a place for the socket to the engine."""
    try:
        with tempfile.TemporaryDirectory(prefix="openkitchen-") as folder:
            length = len(str(Path(folder) / "engine"))
    except OSError as error:
        advice = "name a folder that can be written to in TMPDIR; in a container, mount a tmpfs on /tmp"
        return Finding(topic="temporary", state="needs", value=str(error.strerror or error), advice=advice)
    if length > 100:
        value = f"{tempfile.gettempdir()}: {length} characters are too many for the name of a socket"
        return Finding(topic="temporary", state="needs", value=value, advice="name a shorter folder in TMPDIR")
    return Finding(topic="temporary", state="has", value=tempfile.gettempdir())


def clock(now: float) -> Finding:
    """Whether it is later than the program that asks was installed."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    installed = max(path.stat().st_mtime for path in (ROOT / "app").glob("*.py"))
    if now < installed - CLOCK_SLACK_SECONDS:
        behind = time.strftime("%Y-%m-%d", time.gmtime(installed))
        return Finding(
            topic="clock",
            state="needs",
            value=f"{shown}, but this program was installed on {behind}",
            advice="set the clock (timedatectl set-ntp true): runs are kept by their age, and TLS wants the right day",
        )
    return Finding(topic="clock", state="has", value=shown)


def addresses(settings: Settings) -> Iterator[Finding]:
    """Whether what is said of the proxy in front can ever be true."""
    for origin in settings.public_origins:
        if problem := _origin_problem(origin, settings.root_path):
            yield Finding(topic="origin", state="needs", value=f"{origin}: {problem[0]}", advice=problem[1])
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_address(proxy)
        except ValueError:
            advice = "write out the address that the proxy's connections come from, one for each proxy"
            value = f"{proxy} is no address, so no proxy is ever believed by it"
            yield Finding(topic="proxies", state="needs", value=value, advice=advice)
    https = any(origin.startswith("https://") for origin in settings.public_origins)
    if https and not settings.trusted_proxies:
        yield Finding(
            topic="proxies",
            state="lacks",
            value="the site is to be found by https, but no proxy is trusted",
            advice="set OPENKITCHEN_TRUSTED_PROXIES to the proxy's address: until then cookies are not marked Secure, "
            "and all readers share one address and its limits",
        )


def _origin_problem(origin: str, root_path: str) -> tuple[str, str] | None:
    """What is wrong with an origin, and what to do; None if nothing is."""
    try:
        parts = urlsplit(origin)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "not an origin", 'write it as browsers do: "https://example.org"'
    if parts.scheme not in ("http", "https") or not host:
        return "no scheme", f"https://{origin.split('://')[-1].split('/')[0]}, or http:// where there is no TLS"
    if parts.path or parts.query or parts.fragment:
        prefix = "" if root_path else f"; the path belongs into OPENKITCHEN_ROOT_PATH={parts.path.rstrip('/') or '/'}"
        return "an origin has no path", f"{parts.scheme}://{parts.netloc}{prefix}"
    return None


def redis(url: str) -> Finding:
    """Whether it answers, and forgets nothing by itself."""
    try:
        from redis import Redis
        from redis.exceptions import RedisError
    except ImportError:
        advice = "pip install redis -c constraints.txt"
        return Finding(topic="Redis", state="needs", value="its client is not installed", advice=advice)
    try:
        redis_url.check(url)
    except ValueError as error:
        return Finding(topic="Redis", state="needs", value="its address cannot be read", advice=f"it {error}")
    shown = redis_url.shown(url)
    client = Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
    try:
        with client:
            version = client.info("server")["redis_version"]
            policy = client.info("memory").get("maxmemory_policy", "noeviction")
            seconds = min(_round_trip(client.ping) for _ in range(NUM_PINGS))
    except (RedisError, OSError) as error:
        advice = "start it, or mend OPENKITCHEN_REDIS_URL; empty: this kitchen keeps everything to itself"
        return Finding(topic="Redis", state="needs", value=f"{shown}: {error}", advice=advice)
    if policy != "noeviction":
        value = f"{version} at {shown} drops what it likes when it is full ({policy})"
        return Finding(
            topic="Redis", state="lacks", value=value, advice="redis-cli config set maxmemory-policy noeviction"
        )
    return Finding(topic="Redis", state="has", value=f"{version} at {shown}, {seconds * 1000:.2f} ms there and back")


def _round_trip(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began
