"""Numbers that the prose takes from elsewhere: ``cited.toml``, each with its source."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("cited.toml")


@dataclass(frozen=True, slots=True)
class Cited:
    """One number as its source has it. ``date`` is the source's own."""

    value: str
    unit: str
    says: str
    title: str
    url: str
    date: date

    def __post_init__(self) -> None:
        if not self.url.startswith("https://"):
            raise ValueError(f"no address of a source: {self.url!r}")
        for name in ("value", "says", "title"):
            if not getattr(self, name):
                raise ValueError(f"a cited number without its {name}")


@cache
def cited_facts() -> dict[str, Cited]:
    """Every cited number by its key. A wrong entry raises here, when the first page is made."""
    return {key: Cited(**fields) for key, fields in tomllib.loads(FILE.read_text("utf-8")).items()}
