"""Measures the machine: how fast it multiplies, and how fast it reads. These are the roofs of the roofline
(Williams et al. 2009, https://doi.org/10.1145/1498765.1498785).

Arithmetic: the best of some large square matrix products, in each dtype that the engine can use. Bandwidth: the best of
some matrix-vector products over a matrix several times larger than any cache, all of which must come from memory (two
FLOPs for every four bytes: arithmetic does not hold it up). Under two seconds in all.

What was measured is kept under the cache directory by processor, threads and PyTorch version, for a week, unless other
programs took the processors away meanwhile: such a roof is too low, and the next start looks again.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import torch
from msgspec.structs import replace

from inference.events import Hardware

STREAM_BYTES = 400 * 2**20
"""Of the array that is read: about four times the largest last-level cache there is in common machines."""
SIDES = (512, 1024, 2048, 4096, 8192)
SECONDS_EACH = 0.25
"""Of one dtype's largest product, tried three times, and of the reading."""
KEPT_SECONDS = 7 * 24 * 3600.0
TRIES = 3
"""At least; the first warms up and does not count."""
FILE = "roofline.json"
UNDISTURBED_SHARE = 0.75
"""Of the processors' time. Alone it is about 0.95: allocating takes one thread."""


def measure(dtype: torch.dtype, device: torch.device, cache: Path | None = None) -> Hardware:
    """The machine that ``device`` is part of, for a model in ``dtype``. ``cache``: the directory to keep what was
    measured in, or None."""
    name, threads = processor_name(device), torch.get_num_threads()
    key = f"{name} | {device.type} | {threads} threads | torch {torch.__version__}"
    kept = _read(cache).get(key) if cache is not None else None
    if kept is not None and dtype_name(dtype) in kept.peaks and 0 <= time.time() - kept.measured_at < KEPT_SECONDS:
        return replace(kept, peak_flops=kept.peaks[dtype_name(dtype)])
    wall, busy = time.perf_counter(), time.process_time()
    peaks = {dtype_name(each): peak_flops(each, device) for each in dict.fromkeys((*usable_dtypes(device), dtype))}
    hardware = Hardware(
        device=device.type,
        name=name,
        num_threads=threads,
        memory_bytes=memory_bytes(device),
        peak_flops=peaks[dtype_name(dtype)],
        peaks=peaks,
        memory_bandwidth=memory_bandwidth(device),
        measured_at=time.time(),
    )
    share = (time.process_time() - busy) / ((time.perf_counter() - wall) * threads)
    if cache is not None and (device.type != "cpu" or share > UNDISTURBED_SHARE):
        _write(cache, {**_read(cache), key: hardware})
    return hardware


def usable_dtypes(device: torch.device) -> list[torch.dtype]:
    """What the engine can compute in on ``device``; int8 where torch multiplies it there."""
    dtypes = [torch.float32, torch.bfloat16] + ([torch.float16] if device.type == "cuda" else [])
    try:
        few = torch.ones(32, 32, dtype=torch.int8, device=device)
        torch._int_mm(few, few)
    except (AttributeError, RuntimeError):
        return dtypes
    return [*dtypes, torch.int8]


def dtype_name(dtype: torch.dtype) -> str:
    """``float32`` and so on."""
    return str(dtype).removeprefix("torch.")


@torch.inference_mode()
def peak_flops(dtype: torch.dtype, device: torch.device) -> float:
    """Best FLOP/s of a large square matrix product (of int8: integer operations, summed in int32). Larger sides are
    tried until one would take too long."""
    best = 0.0
    for side in SIDES:
        left, right = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
        product = torch.ones(side, side, dtype=torch.int32 if dtype == torch.int8 else dtype, device=device)
        multiply = torch._int_mm if dtype == torch.int8 else torch.mm
        seconds = best_seconds(partial(multiply, left, right, out=product), device, SECONDS_EACH / 4)
        best = max(best, 2 * side**3 / seconds)
        if TRIES * 8 * seconds > SECONDS_EACH:
            break
    return best


@torch.inference_mode()
def memory_bandwidth(device: torch.device) -> float:
    """Best bytes/s of reading a large array once, by all threads."""
    columns = 4096
    matrix = torch.ones(STREAM_BYTES // 4 // columns, columns, device=device)
    vector = torch.ones(columns, device=device)
    product = torch.empty(matrix.shape[0], device=device)
    seconds = best_seconds(lambda: torch.mv(matrix, vector, out=product), device, SECONDS_EACH)
    return matrix.numel() * matrix.element_size() / seconds


def best_seconds(work: Callable[[], object], device: torch.device, budget: float) -> float:
    """The least time ``work`` took, tried for ``budget`` seconds and at least ``TRIES`` times."""

    def once() -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    end = time.perf_counter() + budget
    best = min([once() for _ in range(TRIES)][1:])
    while time.perf_counter() < end:
        best = min(best, once())
    return best


def processor_name(device: torch.device) -> str:
    """The processor's own name, as it gives it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def memory_bytes(device: torch.device) -> int:
    """Memory of the device; for a processor what the machine, or the container, has."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return min(installed, int(limit)) if limit.isdigit() else installed


def _read(cache: Path) -> dict[str, Hardware]:
    try:
        return msgspec.json.decode((cache / FILE).read_bytes(), type=dict[str, Hardware])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write(cache: Path, measured: dict[str, Hardware]) -> None:
    """Replace the file in one step. A cache that cannot be written costs a second at the next start, no more."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, prefix=f".{FILE}-", delete=False) as file:
            file.write(msgspec.json.format(msgspec.json.encode(measured)))
        os.replace(file.name, cache / FILE)
    except OSError:
        return
