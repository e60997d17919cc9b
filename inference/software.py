"""Which software this is."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inference.events import Software


def software() -> Software:
    """Versions of what runs."""

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return ""

    return Software(
        openkitchen=of("openkitchen") or "0+checkout",
        commit=os.environ.get("OPENKITCHEN_COMMIT") or _commit(),
        torch=of("torch"),
        transformers=of("transformers"),
        python=platform.python_version(),
    )


def _commit() -> str:
    """The commit of the checkout that this file is in, if it is in one."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        shown = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stdout.strip() if shown.returncode == 0 else ""
