"""The draft head (``eagle.py``) as a drafter: what the target thought of each sequence, and draws from its guesses."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import replace

import torch

from inference.sampler import Distribution, Sampler, best, distribution, is_plain
from inference.sequence import Sequence, SequenceId
from inference.speculation.drafter import Draft, Features
from inference.speculation.eagle import DraftState, EagleHead, draft


class EagleDrafter:
    """Drafts for all sequences at once. A sequence of which it has seen nothing yet gets no drafts."""

    def __init__(self, name: str, head: EagleHead) -> None:
        self._name = name
        self._head = head
        ids = head.draft_ids.tolist()
        self._places = {token: place for place, token in enumerate(ids)}
        """Of each token that the head may propose, in its logits."""
        self._sampler = Sampler(len(ids), head.draft_ids.device, stream=1)
        self._states: dict[SequenceId, DraftState] = {}

    @property
    def name(self) -> str:
        return self._name

    @property
    def feature_layers(self) -> tuple[int, ...]:
        return self._head.config.feature_layers

    @property
    def num_bytes(self) -> int:
        return self._head.num_bytes

    def observe(self, features: Features) -> None:
        """Features stay as they are until the next draft."""
        self._state(features.sequence_id).observe(features.start, features.hidden)

    def propose(self, sequences: Seq[Sequence], counts: Seq[int]) -> list[Draft]:
        """``counts`` guesses or, where the target's features are missing, none."""
        drafts = [Draft([], None if is_plain(sequence.params) else []) for sequence in sequences]
        able = [i for i, sequence in enumerate(sequences) if counts[i] and self._can_draft(sequence)]
        if not able:
            return drafts
        chosen = [(sequences[i], drafts[i]) for i in able]

        def choose(_: int, logits: torch.Tensor) -> torch.Tensor:
            if all(each.q is None for _, each in chosen):
                return best(logits)
            return torch.tensor([self._choose(*each, row) for each, row in zip(chosen, logits, strict=True)])

        states = [self._state(sequence.id) for sequence, _ in chosen]
        tokens = [sequence.token_ids for sequence, _ in chosen]
        drafted = draft(self._head, states, tokens, max(counts[i] for i in able), choose)
        for i, ids in zip(able, drafted.token_ids, strict=True):
            each, count = drafts[i], counts[i]
            each.token_ids, each.q = ids[:count], None if each.q is None else each.q[:count]
        return drafts

    def fork(self, parent: SequenceId, child: SequenceId) -> None:
        """The child remembers what the parent does."""
        if (state := self._states.get(parent)) is not None:
            self._states[child] = replace(state, keys=state.keys.clone(), values=state.values.clone())

    def forget(self, sequence_id: SequenceId) -> None:
        """Drop what is known of it."""
        self._states.pop(sequence_id, None)
        self._sampler.forget(sequence_id)

    def _choose(self, sequence: Sequence, drafted: Draft, row: torch.Tensor) -> int:
        """The place of the next guess after ``drafted``, whose distribution is kept there."""
        if drafted.q is None:
            return int(best(row.unsqueeze(0)))
        said = {self._places[token] for token in sequence.token_ids if token in self._places}
        q = distribution(row, sequence.params, [*said, *(self._places[token] for token in drafted.token_ids)])
        place = self._sampler.draw_from(q, sequence)
        ids = self._head.draft_ids if q.ids is None else self._head.draft_ids[q.ids]
        drafted.q.append(Distribution(q.mass, ids))
        drafted.token_ids.append(int(self._head.draft_ids[place]))
        return place

    def _state(self, sequence_id: SequenceId) -> DraftState:
        if sequence_id not in self._states:
            self._states[sequence_id] = DraftState.new(self._head)
        return self._states[sequence_id]

    def _can_draft(self, sequence: Sequence) -> bool:
        """Whether the target's features of all but the last token are known, and some of them are new."""
        state = self._state(sequence.id)
        return state.num_observed == sequence.num_tokens - 1 and len(state.waiting) > 0
