"""Which Open Kitchen this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("openkitchen")
except PackageNotFoundError:
    VERSION = "0+checkout"
