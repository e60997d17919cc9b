"""What `openkitchen doctor` does on a GPU, done under the interpreter: the same code on small shapes. What it measures
there means nothing; that it measures, checks, and believes no wrong kernel is what is shown."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
import torch

from app.doctor import examine_kernels
from benchmarks import kernel_rates
from benchmarks.kernel_rates import Batch, Heads, rates
from inference import kernel_check
from inference.kernel_check import RejectionCase

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_rates, "SECONDS_EACH", 0.0)
    shapes = {"decodes": (Batch(2, 20),), "prefills": (Batch(2, 17),), "rejections": (RejectionCase(2, 2, 500),)}
    monkeypatch.setattr(kernel_rates, "rates", partial(rates, heads=Heads(4, 2, 16), **shapes))


def test_kernels_are_checked_and_measured() -> None:
    said: list[str] = []
    report = examine_kernels(CPU, said.append, every=15)
    assert report.right
    assert {check.dtype for check in report.checks} == {"float32", "float16"}
    assert all(check.error is not None and check.error <= check.tolerance for check in report.checks)
    assert [rate.unit for rate in report.rates] == ["GB/s", "TFLOP/s", "thousand sequences/s"]
    assert all(rate.rate > 0 and rate.torch_seconds > 0 for rate in report.rates)
    assert f"{len(report.checks)} of {len(report.checks)} cases are right" in "\n".join(said)
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report


@pytest.mark.parametrize("wrong", [0.5, float("inf"), RuntimeError("out of resources")])
def test_a_wrong_kernel_is_said_and_not_measured(wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(*_: object) -> float:
        if isinstance(wrong, Exception):
            raise wrong
        return wrong

    monkeypatch.setattr(kernel_check, "attention_error", error)
    said: list[str] = []
    report = examine_kernels(CPU, said.append, every=40)
    assert not report.right
    assert report.rates == []
    assert any(line.startswith("!") and "decode" in line for line in said)
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report
