"""A smaller model with the same vocabulary as the drafter: classic speculative decoding (Leviathan et al. 2023).

It has a paged cache of its own and runs through the same model runner as the target. What the target rejected is
simply computed over: the drafter's tokens are compared with the sequence's, and its cache counts as far as they agree.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace
from itertools import takewhile

import torch

from inference.block_manager import BlockManager
from inference.model_runner import ModelRunner
from inference.models import Model
from inference.sampler import Sampler, probabilities
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence
from inference.speculation.drafter import Draft, Features
from inference.speculation.rejection import draw


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
        self.parameter_bytes = model.card.parameter_bytes
        self._max_model_len = model.card.max_model_len
        self._blocks = BlockManager(num_blocks, block_size, enable_prefix_caching=False)
        self._runner = ModelRunner(model, self._blocks)
        self._shadows: dict[str, Sequence] = {}
        self._sampler = Sampler(vocab_size, torch.device(model.device))

    def observe(self, features: Seq[Features]) -> None:
        """It thinks for itself."""

    def forget(self, key: str) -> None:
        """Free its blocks."""
        if self._shadows.pop(key, None) is not None:
            self._blocks.release(key)
            self._sampler.forget(key)

    def propose(self, sequences: Seq[Sequence], counts: Seq[int]) -> list[Draft]:
        """Draws at each sequence's temperature and cuts: the nearer ``q`` to what the target will draw from, the better."""
        shadows = [self._shadow(sequence) for sequence in sequences]
        guesses: list[list[int]] = [[] for _ in sequences]
        rows: list[list[torch.Tensor]] = [[] for _ in sequences]
        for place in range(max(counts, default=0)):
            active = [
                i for i, count in enumerate(counts) if place < count and place == len(guesses[i]) and self._fits(shadows[i])
            ]
            if not active:
                break
            logits = self._runner.execute([_everything(shadows[i]) for i in active])
            for i, row in zip(active, logits, strict=True):
                shadow = shadows[i]
                shadow.num_computed_tokens = shadow.num_tokens
                q = probabilities(row, shadow.params, shadow.token_ids)
                guess = draw(q, self._sampler.uniforms(shadow, 1)[0])
                guesses[i].append(guess)
                rows[i].append(q)
                shadow.token_ids.append(guess)
        return [Draft(ids, torch.stack(q) if q else None) for ids, q in zip(guesses, rows, strict=True)]

    def _shadow(self, sequence: Sequence) -> Sequence:
        """Our copy of ``sequence``, brought up to date: computed as far as the tokens agree."""
        shadow = self._shadows.get(sequence.key)
        if shadow is None:
            shadow = self._shadows[sequence.key] = replace(sequence, token_ids=[], num_computed_tokens=0)
            self._blocks.admit(sequence.key, [])
        agreed = sum(1 for _ in takewhile(eq_pair, zip(shadow.token_ids, sequence.token_ids, strict=False)))
        shadow.token_ids = list(sequence.token_ids)
        # The last token is always computed: its logits are what is wanted.
        shadow.num_computed_tokens = min(shadow.num_computed_tokens, agreed, shadow.num_tokens - 1)
        return shadow

    def _fits(self, shadow: Sequence) -> bool:
        return shadow.num_tokens <= self._max_model_len and self._blocks.grow(shadow.key, shadow.num_tokens)


def eq_pair(pair: tuple[int, int]) -> bool:
    """Whether both are the same token."""
    return pair[0] == pair[1]


def _everything(shadow: Sequence) -> ScheduledItem:
    return ScheduledItem(shadow, shadow.num_computed_tokens, shadow.num_tokens, "decode", samples=True)
