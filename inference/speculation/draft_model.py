"""A smaller model with the same vocabulary as the drafter: classic speculative decoding (Leviathan et al. 2023).

It has a paged cache of its own and runs through the same model runner as the target. What the target rejected is
simply computed over: the drafter's tokens are compared with the sequence's, and its cache counts as far as they agree.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace
from itertools import takewhile
from operator import eq

import torch

from inference.block_manager import BlockManager
from inference.model_runner import ModelRunner
from inference.models import Model
from inference.sampler import Sampler, distribution
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence, SequenceId
from inference.speculation.drafter import Draft, Features


class ModelDrafter:
    """Drafts token by token, all sequences at once. Raises ``ValueError`` for a model of another vocabulary."""

    name = "model"
    feature_layers: tuple[int, ...] = ()

    def __init__(self, model: Model, *, vocab_size: int, num_blocks: int, block_size: int) -> None:
        if model.card.vocab_size != vocab_size:
            raise ValueError(
                f"drafter {model.card.name!r} has a vocabulary of {model.card.vocab_size} and the model one of "
                f"{vocab_size}: a drafter's ids must be the model's own"
            )
        self._max_model_len = model.card.max_model_len
        self.num_bytes = model.card.parameter_bytes
        self._blocks = BlockManager(num_blocks, block_size, enable_prefix_caching=False)
        self._runner = ModelRunner(model, self._blocks)
        self._shadows: dict[SequenceId, Sequence] = {}
        self._sampler = Sampler(vocab_size, torch.device(model.device), stream=1)

    def observe(self, features: Features) -> None:
        """It thinks for itself."""

    def fork(self, parent: SequenceId, child: SequenceId) -> None:
        """Nothing: the child's prompt is computed when it is first drafted for."""

    def forget(self, sequence_id: SequenceId) -> None:
        """Free its blocks."""
        if self._shadows.pop(sequence_id, None) is not None:
            self._blocks.release(sequence_id)
            self._sampler.forget(sequence_id)

    def propose(self, sequences: Seq[Sequence], counts: Seq[int]) -> list[Draft]:
        """Draws with each sequence's temperature and cuts: the nearer ``q`` to what the target will draw from, the
        better. Fewer than asked for where its own context or pool ends."""
        shadows = [self._shadow(sequence) for sequence in sequences]
        drafts = [Draft([], []) for _ in sequences]
        for place in range(max(counts, default=0)):
            active = [
                (shadow, draft)
                for shadow, draft, count in zip(shadows, drafts, counts, strict=True)
                if place < count and place == len(draft.token_ids) and self._fits(shadow, shadows)
            ]
            if not active:
                break
            logits = self._runner.execute([_rest(shadow) for shadow, _ in active])
            for (shadow, draft), row in zip(active, logits, strict=True):
                shadow.num_computed_tokens = shadow.num_tokens
                self._guess(row, shadow, draft)
        return drafts

    def _guess(self, row: torch.Tensor, shadow: Sequence, draft: Draft) -> None:
        q = distribution(row, shadow.params, shadow.token_ids)
        token = self._sampler.draw_from(q, shadow)
        assert draft.q is not None
        draft.q.append(q)
        draft.token_ids.append(token)
        shadow.token_ids.append(token)

    def _shadow(self, sequence: Sequence) -> Sequence:
        """Our copy of ``sequence``, brought up to date: computed as far as the tokens agree."""
        shadow = self._shadows.get(sequence.id)
        if shadow is None:
            shadow = self._shadows[sequence.id] = replace(sequence, num_computed_tokens=0)
            self._blocks.admit(sequence.id, [])
        agreed = sum(1 for _ in takewhile(bool, map(eq, shadow.token_ids, sequence.token_ids)))
        shadow.token_ids = list(sequence.token_ids)
        # The last token is always computed: its logits are what is wanted.
        shadow.num_computed_tokens = min(shadow.num_computed_tokens, agreed, shadow.num_tokens - 1)
        return shadow

    def _fits(self, shadow: Sequence, wanted: list[Sequence]) -> bool:
        """Room for all its tokens, at the expense of sequences that nobody asks about now."""
        if shadow.num_tokens > self._max_model_len:
            return False
        while not self._blocks.grow(shadow.id, shadow.num_tokens):
            idle = next((other for other in self._shadows.values() if other not in wanted), None)
            if idle is None:
                return False
            self._blocks.release(idle.id)
            del self._shadows[idle.id]
        return True


def _rest(shadow: Sequence) -> ScheduledItem:
    return ScheduledItem(shadow, shadow.num_computed_tokens, shadow.num_tokens, "decode", samples=True)
