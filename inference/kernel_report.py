"""What a device made of the Triton kernels: every case against its reference, and how fast they are.

The words of the report need neither torch nor Triton, so that a program may read one on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import torch


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One case of ``inference.kernel_check`` in one dtype."""

    case: str
    dtype: str
    error: float | None
    """Largest absolute difference from the reference; of the rejection sampler, sequences judged otherwise. None where
    there was no number to compare."""
    tolerance: float
    right: bool
    problem: str = ""
    """What the compiler or the device said, if it never came to a comparison."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a kernel is, and the torch code that runs where it does not."""

    what: str
    seconds: float
    torch_seconds: float
    rate: float
    unit: str

    @property
    def speedup(self) -> float:
        return self.torch_seconds / self.seconds


class KernelReport(msgspec.Struct, frozen=True, kw_only=True):
    device: str
    checks: list[Check]
    rates: list[Rate]
    """Empty where a check failed: the speed of a wrong answer is of no interest."""
    right: bool


def dtypes_of(device: torch.device) -> list[torch.dtype]:
    """What the attention kernels are checked in on ``device``; the last is what they are measured in."""
    import torch

    dtypes = [torch.float32, torch.float16]
    # Not under the interpreter, whose products of bfloat16 are wrong.
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        dtypes.append(torch.bfloat16)
    return dtypes


def check_all(device: torch.device, *, every: int = 1) -> Iterator[Check]:
    """Each ``every``-th case, in each dtype where it has one. Compiling takes a second or more a case."""
    from inference.kernel_check import CASES, REJECTION_CASES, TOLERANCES, attention_error, rejection_differences

    for rejection in REJECTION_CASES[::every]:
        yield _check(str(rejection), "float32", 0.0, partial(rejection_differences, rejection, device))
    for dtype in dtypes_of(device):
        for case in CASES[::every]:
            yield _check(
                str(case),
                str(dtype).removeprefix("torch."),
                TOLERANCES[dtype],
                partial(attention_error, case, dtype, device),
            )


def _check(case: str, dtype: str, tolerance: float, compare: Callable[[], float]) -> Check:
    error: float = math.inf
    problem = ""
    try:
        error = compare()
    except Exception as raised:  # a compiler and a driver raise what they like, and one case must not hide the others
        problem = f"{type(raised).__name__}: {raised}".splitlines()[0]
    return Check(
        case=case,
        dtype=dtype,
        error=error if math.isfinite(error) else None,
        tolerance=tolerance,
        right=error <= tolerance,
        problem=problem,
    )
