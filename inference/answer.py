"""The text of an answer as it grows, one token at a time, and the stop strings that may end it."""

from __future__ import annotations

from dataclasses import dataclass

from inference.tokenizer import IncrementalDetokenizer


@dataclass(slots=True)
class Answer:
    """The text of a sample as it grows. What may be the beginning of a stop string is held back until it is not."""

    detokenizer: IncrementalDetokenizer
    text: str = ""
    stop: str | None = None
    _held: str = ""

    def add(self, piece: str, stops: tuple[str, ...], *, last: bool) -> str:
        """Take in ``piece``; what the text grows by. Cut at the first stop string, which may span tokens. With the
        ``last`` piece nothing is held back."""
        pending = self._held + piece
        found = [(place, stop) for stop in stops if (place := pending.find(stop)) >= 0]
        if found:
            place, self.stop = min(found)
        else:
            place = len(pending) - (0 if last else max((_overlap(pending, stop) for stop in stops), default=0))
        self._held = "" if found else pending[place:]
        self.text += pending[:place]
        return pending[:place]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` with which ``stop``, longer than it, begins."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
