"""The machine's roofs: plausible, and measured once."""

from __future__ import annotations

import time
from collections.abc import Callable
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
    assert {"float32", "bfloat16"} <= first.peaks.keys()
    assert all(1e7 < peak < 1e15 for peak in first.peaks.values())
    assert first.peak_flops == first.peaks["float32"]
    assert roofline.measure(torch.float32, CPU, tmp_path) == first
    second = roofline.measure(torch.bfloat16, CPU, tmp_path)
    assert second == msgspec.structs.replace(first, peak_flops=first.peaks["bfloat16"])
    other = roofline.measure(torch.float64, CPU, tmp_path)
    assert other.peaks.keys() == first.peaks.keys() | {"float64"}
    kept = msgspec.json.decode((tmp_path / roofline.FILE).read_bytes(), type=dict[str, Hardware])
    assert list(kept.values()) == [other]
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


@pytest.mark.usefixtures("quick")
def test_another_machine_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "UNDISTURBED_SHARE", -1.0)
    first = roofline.measure(torch.float32, CPU, tmp_path)
    monkeypatch.setattr(roofline, "processor_name", lambda device: "another")
    second = roofline.measure(torch.float32, CPU, tmp_path)
    assert (second.name, second.measured_at > first.measured_at) == ("another", True)
    assert len(roofline._read(tmp_path)) == 2


@pytest.mark.usefixtures("quick")
def test_a_processor_without_int8_products_has_no_such_roof(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("not here")

    assert torch.int8 in roofline.usable_dtypes(CPU)
    monkeypatch.setattr(torch, "_int_mm", missing)
    assert roofline.measure(torch.float32, CPU).peaks.keys() == {"float32", "bfloat16"}


def test_the_operations_counted_are_those_of_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that gives each product as many seconds as it has multiply-adds, every machine makes 2 FLOP/s."""
    monkeypatch.setattr(roofline, "SIDES", (8, 16))

    def clock(work: Callable[[], torch.Tensor], device: torch.device, budget: float) -> float:
        return float(work().shape[0] ** 3)

    monkeypatch.setattr(roofline, "best_seconds", clock)
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        assert roofline.peak_flops(dtype, CPU) == 2.0
