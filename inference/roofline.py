"""Measures the machine: how fast it multiplies, and how fast it reads. These are the two roofs of the roofline.

Arithmetic: the best of some large square matrix products in the model's dtype, out of one pre-allocated set of
tensors. Bandwidth: the best of some matrix-vector products over a matrix several times larger than any cache, all of
which must come from memory (two FLOPs for every four bytes: arithmetic does not hold it up). About a second in all.

What was measured is kept under the cache directory by processor, threads, dtype and PyTorch version, for a week,
unless other programs took the processors away meanwhile: such a roof is too low, and the next start looks again.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from inference.events import Hardware

STREAM_BYTES = 400 * 2**20
"""Of the array that is read: about four times the largest last-level cache there is in common machines."""
SIDES = (1024, 2048, 4096, 8192)
SECONDS_EACH = 0.35
KEPT_SECONDS = 7 * 24 * 3600.0
FILE = "roofline.json"
UNDISTURBED_SHARE = 0.75
"""Of the processors' time. Alone it is about 0.95: allocating takes one thread."""


def measure(dtype: torch.dtype, device: torch.device, cache: Path | None = None) -> Hardware:
    """The machine that ``device`` is part of. ``cache``: the directory to keep the measurement in, or None."""
    name, threads = processor_name(device), torch.get_num_threads()
    key = f"{name} | {device.type} | {threads} threads | {dtype} | torch {torch.__version__}"
    kept = _read(cache).get(key) if cache is not None else None
    if kept is not None and 0 <= time.time() - kept.measured_at < KEPT_SECONDS:
        return kept
    wall, busy = time.perf_counter(), time.process_time()
    hardware = Hardware(
        device=device.type,
        name=name,
        num_threads=threads,
        memory_bytes=memory_bytes(device),
        peak_flops=peak_flops(dtype, device),
        memory_bandwidth=memory_bandwidth(device),
        measured_at=time.time(),
    )
    share = (time.process_time() - busy) / ((time.perf_counter() - wall) * threads)
    if cache is not None and (device.type != "cpu" or share > UNDISTURBED_SHARE):
        _write(cache, {**_read(cache), key: hardware})
    return hardware


@torch.inference_mode()
def peak_flops(dtype: torch.dtype, device: torch.device) -> float:
    """Best FLOP/s of a large square matrix product. Larger sides are tried until one would take too long."""
    best = 0.0
    for side in SIDES:
        left, right, product = (torch.empty(side, side, dtype=dtype, device=device).fill_(0.5) for _ in range(3))

        def multiply(a: torch.Tensor = left, b: torch.Tensor = right, out: torch.Tensor = product) -> None:
            torch.mm(a, b, out=out)

        seconds = best_seconds(multiply, device, SECONDS_EACH / 2)
        best = max(best, 2 * side**3 / seconds)
        if 8 * seconds > SECONDS_EACH:
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
    """The least time ``work`` took, tried for ``budget`` seconds and at least twice, after one try that warms up."""

    def once() -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    end = time.perf_counter() + budget
    once()
    best = min(once(), once())
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
