"""Where the browser of benchmarks and tests is. (Imports no Playwright: a kitchen that only serves has none.)"""

from __future__ import annotations

import os
import shutil


def chromium_path() -> str | None:
    """The system's Chromium, or None for the one that Playwright downloaded."""
    return os.environ.get("OPENKITCHEN_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
