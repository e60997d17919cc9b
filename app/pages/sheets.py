"""Sheets that leave as one: a request each would cost a phone its round trips before the first screen is painted."""

from __future__ import annotations

from functools import lru_cache

import rcssmin

from app.settings import ROOT

FOLDER = ROOT / "static" / "css"
BUNDLES = {
    "first_screen": ("theme", "base", "layout", "stage", "hall", "prologue", "rooms_nav"),
    "shelves": ("theme", "base", "layout", "prologue", "shelf"),
    "embedded": ("theme", "base", "layout", "stage", "hall", "embed"),
    "all_rooms": (
        "controls",
        "tools",
        "share",
        "rooms",
        "calculator",
        "loop",
        "attention",
        "batching",
        "paging",
        "speculation",
        "embed_dialog",
    ),
}
"""``static/css/NAME.css`` by what it is made of, in the order of the cascade: what the first screen waits for, and what
all after it does. They lie where their parts do, so that ``url(../fonts/...)`` holds."""


def bundle(name: str) -> bytes:
    """The sheets of a bundle without their comments, as they are on disk now. Raises KeyError for another name."""
    paths = [FOLDER / f"{part}.css" for part in BUNDLES[name]]
    return _joined(tuple((str(path), path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=8)
def _joined(versions: tuple[tuple[str, int], ...]) -> bytes:
    parts = []
    for path, _ in versions:
        with open(path, encoding="utf-8") as file:
            parts.append(str(rcssmin.cssmin(file.read())))
    return "\n".join(parts).encode()
