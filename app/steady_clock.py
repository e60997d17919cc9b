"""What time it is, for who deletes by age: a clock that is set forward by mistake must not cost anybody their runs."""

from __future__ import annotations

import time

import structlog

logger = structlog.get_logger(__name__)

TOLERANCE_SECONDS = 300.0
"""A clock that is put right by more than this since we began is not believed until the next start."""


def _lived() -> float:
    # (Linux has a clock that nobody sets and that goes on while a laptop sleeps.)
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SteadyClock:
    """The wall's clock, as long as it moves on as we do."""

    def __init__(self) -> None:
        self._offset = time.time() - _lived()
        self._was_steady = True

    def is_steady(self) -> bool:
        """Nobody has set the wall's clock since we began, or they have put it back."""
        stepped = time.time() - _lived() - self._offset
        steady = abs(stepped) <= TOLERANCE_SECONDS
        if steady != self._was_steady:
            if steady:
                logger.info("clock.steady")
            else:
                hint = "no run goes by its age until the clock is back, or the kitchen is started again"
                logger.warning("clock.stepped", seconds=round(stepped), hint=hint)
        self._was_steady = steady
        return steady

    def now(self) -> float:
        """Unix seconds; where the clock was set meanwhile, what it would say had it not been."""
        return time.time() if self.is_steady() else _lived() + self._offset
