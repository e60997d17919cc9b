"""The machine's roofs: plausible, and measured once."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
import torch

from inference import roofline
from inference.events import Hardware


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "SECONDS_EACH", 0.02)
    monkeypatch.setattr(roofline, "STREAM_BYTES", 2**24)
    monkeypatch.setattr(roofline, "SIDES", (128, 256))


CPU = torch.device("cpu")


@pytest.mark.usefixtures("quick")
def test_measured_once_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "UNDISTURBED_SHARE", -1.0)
    first = roofline.measure(torch.float32, CPU, tmp_path)
    assert first.device == "cpu"
    assert first.name
    assert first.num_threads == torch.get_num_threads()
    assert 1e8 < first.peak_flops < 1e15
    assert 1e7 < first.memory_bandwidth < 1e13
    assert first.memory_bytes > 2**28
    assert roofline.measure(torch.float32, CPU, tmp_path) == first
    assert roofline.measure(torch.bfloat16, CPU, tmp_path) != first
    kept = msgspec.json.decode((tmp_path / roofline.FILE).read_bytes(), type=dict[str, Hardware])
    assert len(kept) == 2
    assert [file.name for file in tmp_path.iterdir()] == [roofline.FILE]


@pytest.mark.usefixtures("quick")
def test_old_damaged_and_disturbed_measurements_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / roofline.FILE).write_text("{not json")
    monkeypatch.setattr(roofline, "UNDISTURBED_SHARE", 1e9)
    roofline.measure(torch.float32, CPU, tmp_path)
    assert (tmp_path / roofline.FILE).read_text() == "{not json"
    monkeypatch.setattr(roofline, "UNDISTURBED_SHARE", -1.0)
    first = roofline.measure(torch.float32, CPU, tmp_path)
    old = {key: msgspec.structs.replace(value, measured_at=time.time() - 10 * roofline.KEPT_SECONDS)
           for key, value in roofline._read(tmp_path).items()}  # fmt: skip
    roofline._write(tmp_path, old)
    assert roofline.measure(torch.float32, CPU, tmp_path).measured_at >= first.measured_at


@pytest.mark.usefixtures("quick")
def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert roofline.measure(torch.float32, CPU, tmp_path / "file" / "below").peak_flops > 0
