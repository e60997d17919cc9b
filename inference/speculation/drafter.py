"""What a drafter is: somebody cheap who guesses the next tokens, so that the model can check several at once.

A drafter may be wrong as often as it likes: rejection sampling (``rejection.py``) makes what comes out the target's
own. It only has to say truthfully from which distribution ``q`` each guess was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Protocol

import torch

from inference.sampler import Distribution
from inference.sequence import Sequence, SequenceId

MAX_SPECULATIVE_TOKENS = 16


@dataclass(slots=True)
class Draft:
    """Guesses for one sequence. ``q``: what each was drawn from; None: each was certain (all of ``q`` on the guess
    itself), as for a look-up."""

    token_ids: list[int]
    q: list[Distribution] | None = None

    def probabilities(self) -> list[float]:
        """Of each guess, when it was drawn."""
        if self.q is None:
            return [1.0] * len(self.token_ids)
        return [each.probability(token) for each, token in zip(self.q, self.token_ids, strict=True)]


@dataclass(slots=True)
class Features:
    """What the target's pass left behind for one sequence: ``hidden`` [n, layers * hidden_size], the outputs of the
    decoder layers that the drafter asked for, side by side, of the tokens ``start <= position < start + n``."""

    sequence_id: SequenceId
    start: int
    hidden: torch.Tensor


class Drafter(Protocol):
    """Guesses. It keeps what it likes about a sequence under its id until it is told to forget it."""

    @property
    def name(self) -> str:
        """As in ``EngineConfig.drafter`` and ``SamplingParams.drafter``."""
        ...

    @property
    def feature_layers(self) -> tuple[int, ...]:
        """The decoder layers of the target whose outputs it wants to see, counted from 0; () for none."""
        ...

    @property
    def num_bytes(self) -> int:
        """What its weights and tables occupy, beside the target's. What it keeps of sequences is not in it."""
        ...

    def observe(self, features: Features) -> None:
        """Learn of the target's pass over tokens that stand (never of rejected guesses), or that it will stand in the
        same way again: what was preempted is computed once more."""
        ...

    def propose(self, sequences: Seq[Sequence], counts: Seq[int]) -> list[Draft]:
        """At most ``counts[i]`` guesses for what follows ``sequences[i]``'s tokens; fewer, or none, where it has none
        to give. Guesses are drawn at the sequence's own temperature, from numbers of the drafter's own."""
        ...

    def fork(self, parent: SequenceId, child: SequenceId) -> None:
        """``child`` begins as the double of ``parent``."""
        ...

    def forget(self, sequence_id: SequenceId) -> None:
        """The sequence has ended."""
        ...
