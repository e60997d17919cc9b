"""One figure: what was measured, what it should be, and in which words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Figure:
    """A measured number beside its bound. ``bound`` is text for people, ``met`` is null where none is set."""

    name: str
    value: float
    unit: str
    bound: str = ""
    met: bool | None = None

    def line(self) -> str:
        verdict = "" if self.met is None else ("  met" if self.met else "  NOT MET")
        bound = f"   ({self.bound}{verdict})" if self.bound else ""
        return f"{self.name:<62} {self.value:>10.3f} {self.unit}{bound}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def at_least(name: str, value: float, unit: str, bound: float) -> Figure:
    return Figure(name, value, unit, f"at least {bound:g} {unit}".rstrip(), value >= bound)


def under(name: str, value: float, unit: str, bound: float) -> Figure:
    return Figure(name, value, unit, f"under {bound:g} {unit}".rstrip(), value < bound)


def percentile(values: Sequence[float], q: float) -> float:
    """The ``q``-th percentile (0 to 100) with linear interpolation."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
