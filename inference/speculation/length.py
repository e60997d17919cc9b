"""How many tokens to draft next, from how the last drafts of the sequence fared."""

from __future__ import annotations

import math

WORTH = 0.12
"""The chance of being used that makes a draft worth its cost. Chosen, not measured: if drafting a token and computing
one more in the pass cost about 0.08 of a step, and a step that long gives about 1.5 tokens, a draft must bring 0.12
(``benchmarks/speculation.py`` measures both costs on the machine at hand)."""
HOPE = 0.7
"""Acceptance that a new sequence is credited with."""
MEMORY = 0.9
"""How much of the estimate a further draft leaves standing."""
REST = 16
"""Steps after which a drafter that was not worth it gets another chance."""


class DraftLength:
    """A draft at place ``j`` is only used if it and all before it are accepted. If each is with chance ``a``, that is
    ``a ** j``: so draft as far as that is worth what it costs, at most ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._acceptance = HOPE
        self._rested = 0

    def next(self) -> int:
        """How many to draft in the next step."""
        acceptance = min(max(self._acceptance, 1e-9), 1 - 1e-9)
        length = min(self._most, int(math.log(WORTH) / math.log(acceptance)))
        if length:
            return length
        self._rested += 1
        return int(self._rested % REST == 0)

    def judged(self, num_accepted: int, num_drafts: int) -> None:
        """Learn how a draft fared. What stands behind the first rejection was not judged."""
        for accepted in [1.0] * num_accepted + [0.0] * (num_accepted < num_drafts):
            self._acceptance += (1.0 - MEMORY) * (accepted - self._acceptance)
