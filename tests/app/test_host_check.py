"""What ``openkitchen doctor`` says of a set-up that will not do: each fault is made, and the finding names what to
change."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from app import host_check
from app.cli import app
from app.data_dir import DataDirClaim
from app.server import SPARE_FILES, allow_open_files
from app.settings import Settings
from inference import machine
from inference.machine import Finding


def settings(tmp_path: Path, **given: object) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path / "data", "port": 0, **given})


def only(findings: list[Finding], topic: str) -> Finding:
    found = [finding for finding in findings if finding.topic == topic]
    assert len(found) == 1, findings
    return found[0]


def test_a_sound_host_has_everything(tmp_path: Path) -> None:
    found = list(host_check.findings(settings(tmp_path)))
    assert [finding for finding in found if finding.state == "needs"] == []
    assert not (tmp_path / "data").exists(), "it looks, and leaves nothing"


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = host_check.port(settings(tmp_path, port=port))
    assert found.state == "needs"
    assert str(port) in found.value
    assert "--port" in found.advice


def test_this_kitchen_being_open_is_no_illness(tmp_path: Path) -> None:
    claim = DataDirClaim(tmp_path / "data")
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        found = host_check.port(settings(tmp_path, port=ours.getsockname()[1]))
    assert found.state == "has"
    assert "open now" in found.value
    assert host_check.data_dir(tmp_path / "data").state == "lacks"
    claim.release()
    assert host_check.data_dir(tmp_path / "data").state == "has"


def test_looking_does_not_hold_the_folder(tmp_path: Path) -> None:
    DataDirClaim(tmp_path / "data").release()
    assert host_check.data_dir(tmp_path / "data").state == "has"
    DataDirClaim(tmp_path / "data").release()


def test_a_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**given: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 10001)
    found = host_check.data_dir(tmp_path)
    assert (found.state, found.value) == ("needs", f"{tmp_path}: Permission denied")
    us = os.geteuid()
    assert f"it belongs to user {us - 10001}, and this is user {us}: chown -R {us} {tmp_path}" in found.advice


@pytest.mark.parametrize(
    ("free", "state", "word"), [(10**7, "needs", "make room"), (10**9, "lacks", "OPENKITCHEN_MAX_LOG_BYTES")]
)
def test_a_disk_that_is_nearly_full(
    free: int, state: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    found = host_check.disk(settings(tmp_path))
    assert found.state == state
    assert word in found.advice


def test_logs_that_are_kept_already_need_no_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=300 * 2**20))
    runs = tmp_path / "data" / "runs"
    runs.mkdir(parents=True)
    with (runs / "one.jsonl.gz").open("wb") as log:
        log.truncate(800 * 2**20)
    assert host_check.disk(settings(tmp_path, max_log_bytes=2**30)).state == "has"


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1024))
    found = host_check.open_files(2000)
    assert found.state == "lacks"
    assert f"LimitNOFILE={2000 + SPARE_FILES}" in found.advice
    assert f"OPENKITCHEN_MAX_READERS={1024 - SPARE_FILES}" in found.advice
    assert host_check.open_files(1024 - SPARE_FILES).state == "has"


def test_serve_raises_the_limit_as_far_as_it_may() -> None:
    program = """
import resource
from app.server import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
allow_open_files(300); print(resource.getrlimit(resource.RLIMIT_NOFILE))
allow_open_files(3000); print(resource.getrlimit(resource.RLIMIT_NOFILE))
allow_open_files(100); print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["(300, 512)", "(512, 512)", "(512, 512)"]
    assert allow_open_files(1) is None


def test_nowhere_for_the_engines_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    found = host_check.temporary_files()
    assert found.state == "needs"
    assert "TMPDIR" in found.advice
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert "shorter" in host_check.temporary_files().advice


def test_a_clock_that_stands_before_the_program_was_installed() -> None:
    assert host_check.clock(time.time()).state == "has"
    found = host_check.clock(0.0)
    assert found.state == "needs"
    assert "1970-01-01" in found.value
    assert "timedatectl" in found.advice


@pytest.mark.parametrize(
    ("origin", "advice"),
    [
        ("example.org", "https://example.org"),
        ("example.org/kitchen", "https://example.org"),
        ("https://example.org/kitchen", "OPENKITCHEN_ROOT_PATH=/kitchen"),
        ("https://example.org/", "https://example.org"),
        ("https://[", "as browsers do"),
        ("ftp://example.org", "https://example.org"),
    ],
)
def test_origins_that_no_browser_sends(origin: str, advice: str, tmp_path: Path) -> None:
    given = settings(tmp_path, public_origins=origin, trusted_proxies="127.0.0.1")
    found = only(list(host_check.addresses(given)), "origin")
    assert found.state == "needs"
    assert advice in found.advice


def test_proxies_that_are_never_believed(tmp_path: Path) -> None:
    for nonsense in ("10.0.0.0/8", "proxy.local", "*"):
        found = only(list(host_check.addresses(settings(tmp_path, trusted_proxies=nonsense))), "proxies")
        assert (found.state, nonsense in found.value) == ("needs", True)
    unbelieved = list(host_check.addresses(settings(tmp_path, public_origins="https://example.org")))
    assert only(unbelieved, "proxies").state == "lacks"
    sound = settings(
        tmp_path, public_origins="https://example.org", trusted_proxies="127.0.0.1, ::1", root_path="/kitchen"
    )
    assert list(host_check.addresses(sound)) == []


def test_a_redis_that_does_not_answer() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        found = host_check.redis(f"redis://cook:secret@127.0.0.1:{nobody.getsockname()[1]}/0")
    assert found.state == "needs"
    assert "OPENKITCHEN_REDIS_URL" in found.advice
    assert "secret" not in found.value + found.advice
    assert host_check.redis("127.0.0.1:6379").state == "needs"


@pytest.mark.parametrize(
    ("limit", "most"), [("max 100000", 10**6), ("150000 100000", 1), ("50000 100000", 1), ("nonsense", 10**6)]
)
def test_a_containers_share_of_the_processors(
    limit: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    monkeypatch.setattr(machine, "CPU_LIMIT", file)
    scheduled = len(os.sched_getaffinity(0))
    assert machine.num_processors() == min(scheduled, most)


def test_a_model_that_does_not_fit() -> None:
    found = host_check.memory(Path("/model"), 517 * 2**20, 2**30)
    assert found.state == "needs"
    assert "of 1.0 GiB" in found.value
    assert "KITCHEN_MEMORY" in found.advice
    assert host_check.memory(Path("/model"), 517 * 2**20, 2 * 2**30).state == "has"
    assert host_check.memory(Path("model.gguf"), 517 * 2**20, 2 * 2**30).state == "needs"


def test_nobody_who_cooks(tmp_path: Path) -> None:
    found = only(list(host_check.findings(settings(tmp_path, engine="none"))), "engine")
    assert (found.state, "OPENKITCHEN_REDIS_URL" in found.advice) == ("lacks", True)


HIDDEN = "hunter2"
BAD_REDIS = [
    "redis://user:hunter2/x@host:6379/0",
    "redis://user:hunter2#x@host:6379/0",
    "redis://user:hunter2?x@host:6379/0",
    "redis://user:hunter2@[::1/0",
    "redis://user:hunter2@host:99999999/0",
    "redis://user:1/hunter2@host:6379/0",
    "redis://user:1#hunter2@host:6379/0",
    "redis://user:hunter2@host:6379/0?socket_timeout=soon",
    "redis://user:hunter2@host:6379/0?no_such_option=1",
    "rediss://user:hunter2@host:6379/0?ssl_cert_reqs=hunter2",
    "user:hunter2@host:6379",
]


@pytest.mark.parametrize("command", ["serve", "doctor"])
@pytest.mark.parametrize("url", BAD_REDIS)
def test_a_redis_that_cannot_be_read_is_one_sentence_without_the_password(
    url: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENKITCHEN_REDIS_URL", url)
    result = CliRunner().invoke(app, [command, "--data-dir", str(tmp_path), "--port", "0"])
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit), "no traceback"
    assert result.output.startswith("redis_url: ")
    assert "must look like redis://host:6379/0" in result.output
    assert "%2F" in result.output
    assert len(result.output.splitlines()) == 1
    assert HIDDEN not in result.output


@pytest.mark.parametrize("url", BAD_REDIS)
def test_a_redis_that_cannot_be_read_is_shown_nowhere(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(redis_url=url)
    found = host_check.redis(url)
    assert found.state == "needs"
    assert HIDDEN not in f"{refused.value} {found}"


def test_a_redis_that_is_away_is_shown_without_its_password() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        url = f"redis://user:hunter2@127.0.0.1:{port}/0?password=hunter2"
        found = host_check.redis(url)
    assert found.state == "needs"
    assert found.value.startswith(f"redis://127.0.0.1:{port}/0: ")
    assert HIDDEN not in f"{found} {Settings(redis_url=url)!r}"


@pytest.mark.parametrize(
    "url", ["redis://localhost", "rediss://:p%2Fw@host:1/3", "redis://[::1]:6379/0?protocol=3", "redis:///0"]
)
def test_a_redis_that_can_be_read(url: str) -> None:
    assert Settings(redis_url=url).redis_url == url


def served_until_ready(tmp_path: Path, **env: str) -> str:
    """What ``serve`` writes until it is served, or ends."""
    command = [sys.executable, "-m", "app.cli", "serve", "--engine", "none", "--port", "0", "--data-dir", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | env
    ) as process:
        assert process.stdout is not None
        written = ""
        for line in process.stdout:
            written += line
            if "is served at" in line:
                process.terminate()
    return written


@pytest.mark.parametrize(
    ("name", "is_folder", "words"),
    [("runs", False, "runs is not a folder"), ("secret", True, "secret is not a file"), ("lock", True, "directory")],
)
def test_what_stands_in_the_way_of_ours(name: str, is_folder: bool, words: str, tmp_path: Path) -> None:
    if is_folder:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).touch()
    result = CliRunner().invoke(app, ["serve", "--engine", "none", "--port", "0", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "no traceback"
    assert words in result.output
    assert "--data-dir" in result.output
    assert len(result.output.splitlines()) == 1
    if name != "lock":
        found = host_check.data_dir(tmp_path)
        assert (found.state, words in found.value) == ("needs", True)


def test_a_folder_that_takes_no_more_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, secret: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("app.security._write_secret", full)
    result = CliRunner().invoke(app, ["serve", "--engine", "none", "--port", "0", "--data-dir", str(tmp_path)])
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert f"{tmp_path / 'secret'}: No space left on device" in result.output


def test_settings_that_will_never_hold_are_said_when_serving_begins(tmp_path: Path) -> None:
    env = {"OPENKITCHEN_TRUSTED_PROXIES": "10.0.0.0/8", "OPENKITCHEN_PUBLIC_ORIGINS": "example.org"}
    given = settings(tmp_path, trusted_proxies=("10.0.0.0/8",), public_origins=("example.org",))
    written = served_until_ready(tmp_path, **env)
    assert "is served at" in written, "served all the same"
    for finding in host_check.addresses(given):
        assert finding.value in written
        assert finding.advice in written.replace('\\"', '"')
    assert written.count("settings.") == 2


def test_sound_settings_are_served_without_a_word(tmp_path: Path) -> None:
    env = {"OPENKITCHEN_TRUSTED_PROXIES": "10.0.0.1", "OPENKITCHEN_PUBLIC_ORIGINS": "https://example.org"}
    assert "settings." not in served_until_ready(tmp_path, **env)
