"""The recordings that came with the page, by name: ``tomato-soup``, ``tomato-soup.rush-hour``."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

from app.settings import ROOT

FOLDER = ROOT / "static" / "recordings"
SUFFIX = ".jsonl.gz"


@cache
def recordings() -> dict[str, Path]:
    """All there are: nothing that a name spells is ever looked for on disk."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted(FOLDER.glob(f"*{SUFFIX}"))}


def recorded_lines(name: str) -> list[bytes] | None:
    """The log, None for an unknown name."""
    path = recordings().get(name)
    return gzip.decompress(path.read_bytes()).splitlines() if path else None
