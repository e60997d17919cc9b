"""What a drafter is: somebody cheap who guesses the next tokens, so that the model can check several at once.

A drafter may be wrong as often as it likes: rejection sampling (``rejection.py``) makes what comes out the target's
own. It only has to say truthfully from which distribution ``q`` each guess was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Protocol

import torch

from inference.sequence import Sequence

MAX_SPECULATIVE_TOKENS = 16


@dataclass(slots=True)
class Draft:
    """Guesses for one sequence. ``q`` [k, vocab] float32: what each was drawn from; None: each was certain (all of
    ``q`` on the guess itself), as for a look-up."""

    token_ids: list[int]
    q: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(slots=True)
class Features:
    """What the target's pass left behind for one sequence: ``hidden`` [layers, tokens, hidden_size] of the tokens at
    ``start <= position < start + tokens``, for the layers that the drafter asked for."""

    sequence: Sequence
    start: int
    hidden: torch.Tensor


class Drafter(Protocol):
    """Guesses. It keeps what it likes about a sequence under its id until it is told to forget it."""

    @property
    def name(self) -> str:
        """As in ``EngineConfig.drafter`` and ``SamplingParams.drafter``."""
        ...

    @property
    def parameter_bytes(self) -> int:
        """What it keeps in memory beside the target: the price of guessing."""
        ...

    @property
    def feature_layers(self) -> tuple[int, ...]:
        """The decoder layers of the target whose outputs it wants to see; () for none."""
        ...

    def observe(self, features: Seq[Features]) -> None:
        """Learn of the target's pass over tokens that are certain (never of rejected guesses)."""
        ...

    def propose(self, sequences: Seq[Sequence], counts: Seq[int]) -> list[Draft]:
        """At most ``counts[i]`` guesses for what follows ``sequences[i]``'s tokens; fewer, or none, where it has none
        to give. Guesses are drawn at the sequence's own temperature."""
        ...

    def forget(self, key: str) -> None:
        """The sequence of that key (``Sequence.key``) has ended, or lost its cache."""
        ...
