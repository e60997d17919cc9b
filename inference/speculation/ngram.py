"""Prompt look-up: what followed the last time these words were said (Saxena 2023, "Prompt Lookup Decoding").

It costs nothing and knows nothing. Where an answer copies from its prompt (an edit, a summary, code) it is hard to
beat.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from inference.sequence import Sequence, SequenceId
from inference.speculation.drafter import Draft, Features


@dataclass(slots=True)
class _Index:
    """What followed each run of tokens, the last time: kept up to date, never rebuilt."""

    num_tokens: int = 0
    """Tokens whose place in a run is known."""
    followed: dict[tuple[int, ...], int] = field(default_factory=dict)
    """Run to the place after it."""


class NgramDrafter:
    """Looks for the longest of the ``max_n .. min_n`` last tokens earlier in the sequence, latest place first."""

    name = "ngram"
    feature_layers: tuple[int, ...] = ()
    num_bytes = 0

    def __init__(self, max_n: int = 3, min_n: int = 1) -> None:
        if not 1 <= min_n <= max_n:
            raise ValueError(f"min_n must be at least 1 and at most max_n, got {min_n} and {max_n}")
        self._sizes = range(max_n, min_n - 1, -1)
        self._indexes: dict[SequenceId, _Index] = {}

    def observe(self, features: Features) -> None:
        """Nothing to learn: the tokens say it all."""

    def propose(self, sequences: Seq[Sequence], counts: Seq[int]) -> list[Draft]:
        """The tokens that followed; certain, so without ``q``."""
        return [Draft(self._look_up(sequence, count)) for sequence, count in zip(sequences, counts, strict=True)]

    def fork(self, parent: SequenceId, child: SequenceId) -> None:
        """Nothing: an index of the child's own is made when it is first looked into."""

    def forget(self, sequence_id: SequenceId) -> None:
        """Drop the index."""
        self._indexes.pop(sequence_id, None)

    def _look_up(self, sequence: Sequence, count: int) -> list[int]:
        tokens = sequence.token_ids
        index = self._indexes.setdefault(sequence.id, _Index())
        # Tokens only ever come on top. The newest run is left out: it is what is looked for.
        for stop in range(index.num_tokens + 1, len(tokens)):
            for size in self._sizes:
                if size <= stop:
                    index.followed[tuple(tokens[stop - size : stop])] = stop
        index.num_tokens = len(tokens) - 1
        for size in self._sizes:
            place = index.followed.get(tuple(tokens[-size:])) if size <= len(tokens) else None
            if place is not None:
                return tokens[place : place + count]
        return []
