"""Limits by the clock, and settings by variable and option."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from app.data_dir import DataDirClaim
from app.limits import NUM_CALLERS, Rates, ReaderLimit
from app.problems import Problem
from app.settings import Settings


def rates(**changed: Any) -> Rates:
    plenty = {"per_minute": 60, "burst": 20, "per_minute_in_all": 1e6}
    sizes = {"bytes_per_minute": 1 << 30, "bytes_per_minute_in_all": 1 << 30}
    return Rates(**{**plenty, **sizes, **changed})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1e9]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


async def refused(counting: Coroutine[Any, Any, None]) -> int | None:
    """Seconds of Retry-After; None for what is let through."""
    try:
        await counting
    except Problem as problem:
        return int(problem.headers["Retry-After"])
    return None


def test_a_caller_is_held_to_a_burst_and_an_average(clock: list[float]) -> None:
    async def play() -> None:
        limit = rates(per_minute=60, burst=3)
        assert [await refused(limit.post("a")) for _ in range(4)] == [None, None, None, 3]
        assert await refused(limit.post("b")) is None, "another's is another's"
        clock[0] += 1.5
        assert await refused(limit.post("a")) == 2, "to the second, rounded up"
        clock[0] += 1.5
        assert await refused(limit.post("a")) is None
        for _ in range(1000):
            clock[0] += 0.1
            await refused(limit.post("c"))
        allowed = 0
        for _ in range(600):
            clock[0] += 0.1
            allowed += await refused(limit.post("c")) is None
        assert allowed == 60, "a minute's worth in a minute"

    asyncio.run(play())


def test_everybody_together_is_held_too(clock: list[float]) -> None:
    async def play() -> None:
        limit = rates(per_minute=60, burst=2, per_minute_in_all=4)
        waits = [await refused(limit.post(address)) for address in "aaaabbcc"]
        assert waits == [None, None, 2, 2, None, None, 60, 60], "what one is refused does not count against all"

    asyncio.run(play())


def test_bytes_are_counted(clock: list[float]) -> None:
    async def play() -> None:
        limit = rates(bytes_per_minute=8 * 1024, bytes_per_minute_in_all=12 * 1024)
        assert await refused(limit.body("a", 8 * 1024)) is None
        assert await refused(limit.body("a", 1)) == 60
        assert await refused(limit.body("b", 4 * 1024)) is None
        assert await refused(limit.body("c", 1024)) == 60

    asyncio.run(play())


def test_a_clock_that_is_put_back_locks_nobody_out(clock: list[float]) -> None:
    async def play() -> None:
        limit = rates(per_minute=60, burst=2)
        assert [await refused(limit.post("a")) for _ in range(3)] == [None, None, 2]
        clock[0] -= 3600
        assert [await refused(limit.post("a")) for _ in range(3)] == [None, None, 2]

    asyncio.run(play())


def test_what_is_remembered_of_callers_is_bounded_and_names_none() -> None:
    limit = rates(secret=lambda: b"secret")
    names = {limit._name(f"2001:db8:0:{number:x}::/64") for number in range(3 * NUM_CALLERS)}
    assert len(names) <= NUM_CALLERS
    assert "10.0.0.1" not in limit._name("10.0.0.1")


def test_a_redis_that_does_not_answer_leaves_each_to_count_for_itself() -> None:
    async def play() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            limit = rates(burst=2, redis_url=f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
            assert [await refused(limit.post("a")) is None for _ in range(3)] == [True, True, False]

    asyncio.run(play())


def test_places_of_readers_are_given_back() -> None:
    limit = ReaderLimit(per_run=1, in_all=5)
    with limit.reading("a"), pytest.raises(Problem), limit.reading("a"):
        pass
    assert limit.total == 0
    with limit.reading("a"):
        assert limit.total == 1


def test_settings_come_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENKITCHEN_PORT", "8123")
    monkeypatch.setenv("OPENKITCHEN_ROOT_PATH", "kitchen/")
    monkeypatch.setenv("OPENKITCHEN_TRUSTED_PROXIES", "10.0.0.1, 10.0.0.2")
    settings = Settings()
    assert (settings.port, settings.root_path) == (8123, "/kitchen")
    assert settings.trusted_proxies == ("10.0.0.1", "10.0.0.2")


def openkitchen(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_is_said_in_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = openkitchen("serve", "--port", str(port), "--data-dir", str(tmp_path))
    assert ended.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_option_is_said_in_words(tmp_path: Path) -> None:
    ended = openkitchen("serve", "--port", "70000", "--data-dir", str(tmp_path))
    assert ended.returncode == 2
    assert "port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_two_kitchens_do_not_share_a_folder(tmp_path: Path) -> None:
    claim = DataDirClaim(tmp_path)
    left_open = tmp_path / "runs" / f"{'A' * 22}.jsonl"
    left_open.parent.mkdir()
    left_open.write_bytes(b"")
    ended = openkitchen("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert ended.returncode == 1
    assert "Another kitchen" in ended.stderr
    assert "--data-dir" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert left_open.read_bytes() == b"", "the first one's live logs are left alone"
    claim.release()
    DataDirClaim(tmp_path).release()


def test_a_data_dir_that_is_a_file_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("not a folder")
    ended = openkitchen("serve", "--port", "0", "--data-dir", str(path))
    assert ended.returncode == 1
    assert "--data-dir" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_log_level_is_said_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENKITCHEN_LOG_LEVEL", "chatty")
    ended = openkitchen("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert ended.returncode == 2
    assert "log_level" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_options_of_record_are_variables_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENKITCHEN_RECORD_PROMPT", "hello")
    monkeypatch.setenv("OPENKITCHEN_RECORD_OUTPUT", str(tmp_path / "wrong.txt"))
    ended = openkitchen("record")
    assert ended.returncode == 1
    assert "NAME.jsonl.gz, not wrong.txt" in ended.stderr
