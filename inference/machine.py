"""What this machine has for an engine: processors, memory, PyTorch, a GPU, Triton, and what would be used of it.

Nothing heavy is imported until it is looked for, since that it cannot be imported is one of the findings.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec

State = Literal["has", "lacks", "needs"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a diagnosis."""

    topic: str
    state: State
    """has; lacks (and does without); needs (nothing is served before that is mended)."""
    value: str
    advice: str = ""
    """What to do about it."""


CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time in each period of so many, or "max"."""


def num_processors() -> int:
    """Processors that this process may keep busy: what it may be scheduled on, or what its container is allowed, which
    is less where many threads would only be made to wait."""
    scheduled = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_LIMIT.read_text().split()
        return max(1, min(scheduled, int(quota) // int(period)))
    except (OSError, ValueError):
        return scheduled


def look(device: str, dtype: str) -> Iterator[Finding]:
    """Findings about the machine, given the ``device`` and ``dtype`` that were asked for."""
    yield _processor()
    try:
        import torch
        import transformers
    except Exception as error:  # a broken installation fails in many ways
        yield Finding(
            topic="PyTorch",
            state="needs",
            value=f"cannot be imported: {error}",
            advice="./kitchen serve installs what is missing; after a failed installation, remove .venv first",
        )
        return
    from inference.models import choose_device, choose_dtype
    from inference.roofline import memory_bytes

    cpu = torch.device("cpu")
    yield Finding(topic="memory", state="has", value=f"{memory_bytes(cpu) / 2**30:.1f} GiB")
    built_for = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for processors only"
    yield Finding(
        topic="PyTorch",
        state="has",
        value=f"{torch.__version__} ({built_for}), {torch.get_num_threads()} threads; "
        f"transformers {transformers.__version__}",
    )
    yield _gpu()
    yield _triton()
    try:
        chosen = choose_device(device)
        value = f"{chosen}, {str(choose_dtype(dtype, chosen)).removeprefix('torch.')}"
    except ValueError as error:
        yield Finding(topic="would use", state="needs", value=str(error), advice="give another --device or --dtype")
    else:
        yield Finding(topic="would use", state="has", value=value)


def _processor() -> Finding:
    """Says whether it multiplies bfloat16 in hardware, which decides between bfloat16 and float32."""
    from inference.models import cpu_flags

    units = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512")) if flag in cpu_flags()]
    bfloat16 = f"multiplies bfloat16 ({units[0]})" if units else "has no bfloat16 products"
    name = platform.processor() or platform.machine()
    if importlib.util.find_spec("torch"):
        try:
            import torch

            from inference.roofline import processor_name

            name = processor_name(torch.device("cpu"))
        except Exception:  # reported by the caller
            pass
    return Finding(topic="processor", state="has", value=f"{name}, {num_processors()} to use, {bfloat16}")


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Finding(
            topic="GPU",
            state="has",
            value=f"{torch.cuda.device_count()} x {properties.name}, {properties.total_memory / 2**30:.1f} GiB, "
            f"compute capability {properties.major}.{properties.minor}",
        )
    if shutil.which("nvidia-smi") and not torch.version.cuda:
        return Finding(
            topic="GPU",
            state="lacks",
            value="NVIDIA's driver is here, but this PyTorch was built without CUDA",
            advice="remove .venv and run ./kitchen serve without OPENKITCHEN_TORCH_INDEX",
        )
    return Finding(topic="GPU", state="lacks", value="none", advice="none needed: the default model runs on processors")


def _triton() -> Finding:
    try:
        found = version("triton")
    except PackageNotFoundError:
        return Finding(
            topic="Triton",
            state="lacks",
            value="none: attention runs in torch",
            advice="of use with a GPU, or to test the kernels: pip install triton -c constraints.txt",
        )
    import torch

    if not torch.cuda.is_available():
        return Finding(topic="Triton", state="has", value=f"{found}, not used without a GPU")
    if not any(shutil.which(name) for name in (os.environ.get("CC", ""), "cc", "gcc", "clang") if name):
        return Finding(
            topic="Triton",
            state="needs",
            value=f"{found}, but no C compiler, with which Triton builds its launcher",
            advice="install one: apt-get install gcc",
        )
    return Finding(topic="Triton", state="has", value=f"{found}: attention runs in Triton's kernels")
