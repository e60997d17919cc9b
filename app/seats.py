"""The engine's seats: who has been handed to it, how long a seat is held, and what that says to those who wait."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from inference.events import EngineCard

AHEAD = 1
"""Runs handed over beyond the engine's seats, so that a seat which becomes free is taken in the very next step. They
wait in the engine's own line, where no turns are taken: hence no more than this."""
REMEMBERED = 32
"""Runs whose time in a seat the expected wait is worked out from, the last ones."""


@dataclass(frozen=True)
class Wait:
    """An estimate: modelled, from what was measured of the last runs."""

    seconds: float
    num_seats: int
    num_runs: int
    """Measured ones."""
    seat_seconds: float
    """How long these held a seat, on average (a run of several samples: its seats added up)."""
    kind: str = "modelled"

    def to_dict(self) -> dict[str, Any]:
        """As ``GET /api/runs/{id}`` has it."""
        return {**asdict(self), "seconds": round(self.seconds, 1), "seat_seconds": round(self.seat_seconds, 3)}


class Seats:
    """Counts seats as the engine will: one for each sample of a run. Memory is bounded by the seats."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._held: deque[float] = deque(maxlen=REMEMBERED)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._taken

    @staticmethod
    def of(engine: EngineCard) -> int:
        """How many there are: every running sequence gets a token a step, so no more than the step's budget."""
        return min(engine.max_num_seqs, engine.max_num_batched_tokens)

    def has_room(self, engine: EngineCard) -> bool:
        """Whether one more run is to be handed over."""
        return sum(self._taken.values()) < self.of(engine) + AHEAD

    def num_ahead(self, engine: EngineCard) -> int:
        """Of those handed over, how many have to wait for a seat."""
        free = self.of(engine)
        for number, count in enumerate(self._taken.values()):
            if free <= 0:
                return len(self._taken) - number
            free -= count
        return 0

    def take(self, run_id: str, count: int) -> None:
        """Handed over."""
        self._taken[run_id] = count

    def leave(self, run_id: str, held_seconds: float | None) -> bool:
        """Ended, ``held_seconds`` after it was seated (None: it never was). False if it had not been handed over."""
        count = self._taken.pop(run_id, None)
        if count is not None and held_seconds is not None:
            self._held.append(count * held_seconds)
        return count is not None

    def clear(self) -> None:
        """The engine is gone, and all who sat in it. What was measured still says how long the next will take."""
        self._taken.clear()

    def expected_wait(self, place: int, engine: EngineCard) -> Wait | None:
        """Until a seat for who has ``place`` others before it: so many seats have to become free, one more than that,
        and they do so at the rate of the last runs. None before any run has shown how long that takes."""
        if not self._held:
            return None
        seat_seconds = sum(self._held) / len(self._held)
        num_seats = self.of(engine)
        return Wait((place + 1) * seat_seconds / num_seats, num_seats, len(self._held), seat_seconds)
