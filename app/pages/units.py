"""Numbers as people read them."""

from __future__ import annotations

from math import ceil

_PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def human_bytes(count: float) -> str:
    """Bytes in powers of a thousand, three figures: ``94.4 MB``. The space does not break."""
    value, index = float(count), 0
    # 999.5 would be rounded to four figures, so it belongs to the next prefix.
    while value >= 999.5 and index < len(_PREFIXES) - 1:
        value /= 1000
        index += 1
    if index == 0:
        return f"{int(value)}\N{NO-BREAK SPACE}B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}\N{NO-BREAK SPACE}{_PREFIXES[index]}B"


def human_count(count: int) -> str:
    """A whole number with its thousands apart."""
    return f"{count:,}"


def human_duration(seconds: float) -> str:
    """``4.1 s``, ``38 s`` or ``3 min``: two figures."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def human_figure(value: float) -> str:
    """Three figures, or all of those before the point: ``0.027``, ``26.9``, ``2,041``."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1e-3 else f"{value:.1g}"


def human_wait(seconds: float) -> str:
    """``1 s``, ``38 s`` or ``3 min``: an estimate, in whole units and rounded up."""
    return f"{max(1, ceil(seconds))} s" if seconds < 90 else f"{ceil(seconds / 60)} min"
