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

import torch

from inference.model_runner import ModelRunner
from inference.sampler import Sampler
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence, SequenceId
from inference.speculation.drafter import Drafter, Features
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

    @property
    def names(self) -> list[str]:
        """Of the drafters; the first is the default."""
        return list(self._drafters)

    @property
    def num_bytes(self) -> dict[str, int]:
        """What each of them occupies."""
        return {name: drafter.num_bytes for name, drafter in self._drafters.items()}

    def drafter_of(self, sequence: Sequence) -> Drafter | None:
        """The one its request picked, or the first; None if it wants none."""
        name = sequence.params.drafter
        return self._drafters.get(next(iter(self._drafters)) if name is None else name)

    def num_drafts(self, sequence: Sequence) -> int:
        """How many drafts ``sequence`` could use now."""
        if self.drafter_of(sequence) is None:
            return 0
        return self._length(sequence).next() if self._adaptive else self._k

    def draft(self, items: list[ScheduledItem]) -> None:
        """Have guesses made for the ``items`` that have room for them, and put them there."""
        for drafter in self._drafters.values():
            mine = [item for item in items if item.room_for_drafts and self.drafter_of(item.sequence) is drafter]
            if not mine:
                continue
            drafts = drafter.propose([item.sequence for item in mine], [item.room_for_drafts for item in mine])
            for item, draft in zip(mine, drafts, strict=True):
                if draft.token_ids:
                    item.take(draft)

    def judge(self, item: ScheduledItem, rows: torch.Tensor, sampler: Sampler) -> Verdict:
        """Verify the item's draft by its ``rows`` of logits."""
        assert item.draft is not None
        verdict = verify(rows, item.sequence, item.draft, sampler)
        if self._adaptive:
            self._length(item.sequence).judged(verdict.num_accepted, len(item.draft.token_ids))
        return verdict

    def layers(self, items: list[ScheduledItem]) -> tuple[int, ...]:
        """The decoder layers whose outputs some drafter will want to see of ``items``."""
        drafters = [self.drafter_of(item.sequence) for item in items]
        return tuple(sorted({layer for drafter in drafters if drafter for layer in drafter.feature_layers}))

    @torch.inference_mode()
    def observe(self, items: list[ScheduledItem], runner: ModelRunner) -> None:
        """Show the drafters what the last pass made of those tokens of ``items`` that stand."""
        for item in items:
            drafter = self.drafter_of(item.sequence)
            if drafter is not None and drafter.feature_layers:
                hidden = torch.cat([runner.layer_output(layer, item) for layer in drafter.feature_layers], dim=-1)
                num_standing = item.stop - item.num_dropped - item.start
                drafter.observe(Features(item.sequence.id, item.start, hidden[:num_standing]))

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """``child`` begins as the double of ``parent``."""
        if (drafter := self.drafter_of(parent)) is not None:
            drafter.fork(parent.id, child.id)

    def forget(self, sequence: Sequence) -> None:
        """It has ended."""
        if (drafter := self.drafter_of(sequence)) is not None:
            drafter.forget(sequence.id)
        self._lengths.pop(sequence.id, None)

    def _length(self, sequence: Sequence) -> DraftLength:
        return self._lengths.setdefault(sequence.id, DraftLength(self._k))
