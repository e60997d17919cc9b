"""Both attention kernels against the torch reference over the grid, and kernels that are wrong on purpose."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import inference.attention
from inference.kernel_check import CASES, TOLERANCES, AttentionCase, attention_error

CPU = torch.device("cpu")
LONG_DECODE = AttentionCase(lengths=(130, 17), splits=1)
SPLIT_DECODE = AttentionCase(lengths=(130, 17), splits=8)
LONG_PREFILL = AttentionCase(lengths=(130, 21), queries=(67, 5))


# The interpreter gets products of bfloat16 wrong, so that type is left to a GPU (`openkitchen doctor`).
@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, torch.float32) for case in CASES] + [(case, torch.float16) for case in CASES[::4]],
    ids=str,
)
def test_the_kernel_equals_the_reference(case: AttentionCase, dtype: torch.dtype) -> None:
    assert attention_error(case, dtype, CPU) <= TOLERANCES[dtype]


MUTANTS = {
    "no rescale of the output": ("triton_tile", "output * rescale[:, None]", "output"),
    "no rescale of the total": ("triton_tile", "total * rescale + ", "total + "),
    "no soft-cap": ("triton_tile", "if SOFTCAP is not None", "if False"),
    "nothing masked": ("triton_tile", "tl.where(seen, scores, ", "tl.where(scores == scores, scores, "),
    "a key past the end": ("triton_decode", "seen = (keys < stop)", "seen = (keys <= stop)"),
    "window one short, decode": ("triton_decode", "length - WINDOW, 0", "length - WINDOW + 1, 0"),
    "splits not rescaled": ("triton_decode", "output * rescale[:, None]", "output"),
    "every split has the sink": ("triton_decode", "if split == 0", "if split >= 0"),
    "sees its successor": ("triton_prefill", "<= positions[:, None]", "<= positions[:, None] + 1"),
    "blind to itself": ("triton_prefill", "<= positions[:, None]", "< positions[:, None]"),
    "window one long, prefill": ("triton_prefill", "> positions[:, None] - WINDOW", ">= positions[:, None] - WINDOW"),
    "another's key head": ("triton_prefill", "head // GROUPS", "0"),
    "chunk starts at zero": ("triton_prefill", "start + local", "local"),
}
HARD = [
    LONG_DECODE,
    SPLIT_DECODE,
    AttentionCase(lengths=(130, 17), splits=8, sinks=True, sliding_window=70, softcap=3.0),
    LONG_PREFILL,
    AttentionCase(lengths=(130, 21), queries=(67, 5), kv_heads=2, sinks=True, sliding_window=70, softcap=3.0),
]


def mutated(folder: Path, module: str, right: str, wrong: str) -> tuple[ModuleType, ModuleType]:
    """The decode and prefill modules, made again from sources in which ``right`` reads ``wrong``."""
    package = folder / f"mutant_{len(list(folder.iterdir()))}"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("triton_tile", "triton_decode", "triton_prefill"):
        source = Path(inference.attention.__path__[0], f"{name}.py").read_text()
        if name == module:
            assert right in source, f"{name}.py no longer says {right!r}"
            source = source.replace(right, wrong)
        (package / f"{name}.py").write_text(
            source.replace("inference.attention.triton_tile", f"{package.name}.triton_tile")
        )
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        decode = importlib.import_module(f"{package.name}.triton_decode")
        prefill = importlib.import_module(f"{package.name}.triton_prefill")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
            del sys.modules[name]
    return decode, prefill


def errors(folder: Path, module: str, right: str, wrong: str) -> Iterator[float]:
    """Of one hard case after the other, as shares of the tolerance."""
    decode, prefill = mutated(folder, module, right, wrong)
    for case in HARD:
        error = attention_error(case, torch.float32, CPU, decode=decode.paged_decode, prefill=prefill.paged_prefill)
        yield error / TOLERANCES[torch.float32]


def test_the_unchanged_copy_passes(tmp_path: Path) -> None:
    assert max(errors(tmp_path, "triton_tile", "", "")) <= 1


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_kernel_is_caught(name: str, tmp_path: Path) -> None:
    assert any(error > 100 for error in errors(tmp_path, *MUTANTS[name]))
