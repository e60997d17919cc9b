"""A request inside the engine, what was asked of it, and what comes out. Imports no torch: the app uses it too."""

from __future__ import annotations

import msgspec


class SamplingParams(msgspec.Struct, kw_only=True, frozen=True):
    """How to draw tokens. Defaults are the engine's; the page has its own. ``temperature`` 0 is greedy."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no cut."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    ignore_eos: bool = False
    drafter: str | None = None
