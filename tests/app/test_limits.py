"""Limits by the clock, and settings by variable and option."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.data_dir import DataDirClaim
from app.limits import MAX_ADDRESSES, RateLimit, ReaderLimit
from app.problems import Problem
from app.settings import Settings


def test_a_bucket_empties_and_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(per_minute=60, burst=3, clock=lambda: now[0])
    for _ in range(3):
        limit.take("a")
    with pytest.raises(Problem) as refused:
        limit.take("a")
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == "1"
    limit.take("b")
    now[0] = 1.0
    limit.take("a")
    with pytest.raises(Problem):
        limit.take("a")


def test_a_bucket_forgets_no_debt_but_is_bounded() -> None:
    limit = RateLimit(per_minute=60, burst=1, clock=lambda: 0.0)
    for number in range(MAX_ADDRESSES + 50):
        limit.take(str(number))
    assert len(limit._buckets) == MAX_ADDRESSES
    with pytest.raises(Problem):
        limit.take(str(MAX_ADDRESSES + 49))


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
