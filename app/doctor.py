"""``openkitchen doctor``: what this machine has, what would be used, what is missing and how to get it; on a GPU also
whether the kernels are right and how fast they are.

The command's own process imports torch, through ``inference``; the web's never does, and never imports this file.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app import host_check
from app.settings import Settings
from benchmarks.chromium import chromium_path
from inference.events import Software
from inference.kernel_report import Check, KernelReport
from inference.machine import Finding, look
from inference.models import ModelNotFound, cache_dir, find_model

if TYPE_CHECKING:
    import torch

NOT_RUN = "compiled ahead of time and interpreted in the tests, not run: there is no GPU here"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` writes."""

    written_at: float
    """Unix seconds."""
    software: Software
    findings: list[Finding]
    kernels: KernelReport | None
    """None where no GPU has run them."""
    healthy: bool
    """Nothing that is needed is missing, and no kernel is wrong."""


def examine(settings: Settings, say: Callable[[str], object]) -> Report:
    """Look at everything, saying each finding as it is made."""
    from inference.software import software

    findings = []
    for finding in _findings(settings):
        findings.append(finding)
        say(line(finding))
    kernels = _kernels(say) if all(finding.state != "needs" for finding in findings) else None
    healthy = all(finding.state != "needs" for finding in findings) and (kernels is None or kernels.right)
    return Report(written_at=time.time(), software=software(), findings=findings, kernels=kernels, healthy=healthy)


def line(finding: Finding) -> str:
    mark = {"has": "  ", "lacks": "- ", "needs": "! "}[finding.state]
    advice = f"\n  {'':<12} {finding.advice}" if finding.advice else ""
    return f"{mark}{finding.topic:<12} {finding.value}{advice}"


def _findings(settings: Settings) -> Iterator[Finding]:
    yield Finding(topic="Python", state="has", value=f"{platform.python_version()}, {sys.executable}")
    yield from look(settings.device, settings.dtype)
    if settings.engine == "own":
        yield from _model(settings)
    yield _folder("cache", cache_dir(), "OPENKITCHEN_CACHE_DIR")
    yield from host_check.findings(settings)
    yield _chromium()


def _model(settings: Settings) -> Iterator[Finding]:
    """Where the model is, and whether it fits. Nothing is downloaded."""
    name = settings.model
    try:
        path = find_model(name, download=False)
    except ModelNotFound as error:
        yield Finding(
            topic="model",
            state="needs",
            value=str(error),
            advice=f"serve downloads {name} where it has a network; until then the page plays its recordings",
        )
        return
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()) if file.is_file())
    yield Finding(topic="model", state="has", value=f"{name}: {path}, {size / 1e6:.0f} MB")
    if not settings.device.startswith("cuda") and (memory := _memory_bytes()):
        yield host_check.memory(path, size, memory)


def _memory_bytes() -> int:
    """What the machine or the container has; 0 where nobody knows."""
    try:
        import torch

        from inference.roofline import memory_bytes
    except Exception:  # (a finding of its own)
        return 0
    return memory_bytes(torch.device("cpu"))


def _folder(topic: str, folder: Path, option: str) -> Finding:
    """Whether files can be written to ``folder``, which need not be there yet."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        advice = f"name another folder with {option}"
        return Finding(topic=topic, state="needs", value=f"{folder}: {error.strerror or error}", advice=advice)
    return Finding(topic=topic, state="has", value=f"{folder}, {free / 1e9:.1f} GB free")


def _chromium() -> Finding:
    """The browser of the tests and benchmarks; readers bring their own."""
    named = os.environ.get("OPENKITCHEN_CHROMIUM")
    found = chromium_path()
    if found is None and importlib.util.find_spec("playwright"):
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            found = playwright.chromium.executable_path
    if found and Path(found).exists():
        return Finding(topic="Chromium", state="has", value=found)
    return Finding(
        topic="Chromium",
        state="lacks",
        value=f"there is no {found}" if named else "none",
        advice="only browser tests and benchmarks want it: ./kitchen test installs it",
    )


def _kernels(say: Callable[[str], object]) -> KernelReport | None:
    """Run on the GPU, if there is one with Triton, what the tests run under the interpreter."""
    import torch

    if not torch.cuda.is_available():
        say(f"  {'kernels':<12} {NOT_RUN}")
        return None
    if importlib.util.find_spec("triton") is None:
        return None
    return examine_kernels(torch.device("cuda"), say)


def examine_kernels(device: torch.device, say: Callable[[str], object], *, every: int = 1) -> KernelReport:
    """Check every ``every``-th case on ``device``, then measure (in the interpreter's case too, if it is asked to)."""
    from benchmarks.kernel_rates import rates
    from inference.kernel_report import check_all, dtypes_of
    from inference.roofline import processor_name

    say(f"  {'kernels':<12} against their torch references (each is compiled first: some minutes)")
    checks = []
    for check in check_all(device, every=every):
        checks.append(check)
        if not check.right:
            say(f"! {'':<12} {check.case}, {check.dtype}: {_wrong(check)}")
    right = all(check.right for check in checks)
    say(f"{'  ' if right else '! '}{'':<12} {sum(check.right for check in checks)} of {len(checks)} cases are right")
    measured = []
    for rate in rates(device, dtypes_of(device)[-1]) if right else ():
        measured.append(rate)
        say(f"  {'':<12} {rate.what:<44} {rate.rate:>9.4g} {rate.unit:<20} {rate.speedup:.1f}x torch")
    return KernelReport(device=processor_name(device), checks=checks, rates=measured, right=right)


def _wrong(check: Check) -> str:
    return check.problem or f"error {check.error}, at most {check.tolerance:g} is rounding"
