"""Speculative decoding inside the engine (Leviathan, Kalman and Matias 2023; Chen et al. 2023)::

    scheduler     gives a decoding sequence room for up to k drafts       (``num_drafts``)
    draft         its drafter guesses; the guesses join its item          (``Drafter.propose``)
    model runner  one pass over the last certain token and the drafts     (k + 1 rows of logits)
    verify        keep, replace, go on                                    (``verification.py``)
    observe       the drafter sees what the target made of what stands    (``Drafter.observe``)

Rejected drafts leave keys and values behind that count for nothing: ``num_computed_tokens`` stops before them, and the
next pass writes over them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch

from inference.model_runner import ModelRunner
from inference.sampler import Sampler
from inference.scheduler import ScheduledItem
from inference.sequence import GREEDY_BELOW, Sequence, SequenceId
from inference.speculation.drafter import Draft, Drafter, Features
from inference.speculation.length import DraftLength
from inference.speculation.verification import Verdict, verify

OFF = "none"
"""``SamplingParams.drafter`` of a request that wants none."""


class Speculator:
    """The drafters that an engine has loaded, and who drafts for whom, how much."""

    def __init__(self, drafters: dict[str, Drafter], num_speculative_tokens: int, *, adaptive: bool) -> None:
        self._drafters = drafters
        self._k = num_speculative_tokens
        self._adaptive = adaptive
        self._lengths: dict[SequenceId, DraftLength] = {}

    def check(self, name: str | None) -> None:
        """Raise ``ValueError`` unless a request may ask for the drafter ``name``."""
        if name not in (None, OFF, *self._drafters):
            known = ", ".join(repr(each) for each in (*self._drafters, OFF))
            raise ValueError(f"drafter must be null or one of {known}, got {name!r}")

    def num_drafts(self, sequence: Sequence) -> int:
        """How many drafts are worth having for ``sequence`` now."""
        if self.drafter_of(sequence) is None:
            return 0
        return self._length(sequence).next() if self._adaptive else self._k

    def drafter_of(self, sequence: Sequence) -> Drafter | None:
        """The one its request picked, or the first; None if it wants none."""
        name = sequence.params.drafter
        return self._drafters.get(next(iter(self._drafters)) if name is None else name)

    def layers(self, items: Iterable[ScheduledItem]) -> tuple[int, ...]:
        """The decoder layers whose outputs some drafter will want to see of ``items``."""
        drafters = [self.drafter_of(item.sequence) for item in items]
        return tuple(sorted({layer for drafter in drafters if drafter for layer in drafter.feature_layers}))

    def draft(self, items: Iterable[ScheduledItem]) -> float:
        """Have guesses made for the ``items`` that have room for them and put them there. Returns the seconds."""
        started = time.perf_counter()
        for drafter in self._drafters.values():
            mine = [item for item in items if item.room_for_drafts and self.drafter_of(item.sequence) is drafter]
            if mine:
                drafts = drafter.propose([item.sequence for item in mine], [item.room_for_drafts for item in mine])
                for item, draft in zip(mine, drafts, strict=True):
                    if draft.token_ids:
                        item.take(draft)
        return time.perf_counter() - started
