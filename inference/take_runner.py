"""Cooks the takes that want a second engine, one at a time, and only while the first has nothing to do.

Two engines never step at once, or neither's clock means anything. So takes wait in a line until the first engine is
idle. When an ordinary request comes in while a take cooks, somebody has to give way:

- Pausing the take would falsify its clock, and letting the reader who just pressed Enter wait for it to end (half a
  minute, at worst) would be rude. So the request waits for at most ``PATIENCE_SECONDS``, which its own log shows; a
  take that has not ended by then is given up, and its log says why (``interrupted``). A page plays the recorded take
  then.
- A take that the first engine has kept waiting for ``LINE_SECONDS`` is told the same: a kitchen that has been busy for
  so long may be busy for longer. (The takes before it in the line do not count: a reader asks for several at once.)

Weights of another precision are made in one go before the take begins (``side_engine.py``): for these seconds the first
engine's readers wait too.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from inference.engine import Engine
from inference.events import AnyEvent, CloseReason, Event
from inference.messages import Cooking, CookTake, Events, Reply, TakeEnded
from inference.models import Model
from inference.side_engine import SideEngines
from inference.submission import Refused, check_take, submit_take
from inference.take_plan import Neighbour, Plan, plan
from inference.takes import KnobError

logger = logging.getLogger("inference.takes")

PATIENCE_SECONDS = 2.0
LINE_SECONDS = 60.0
BUSY = "Other readers' prompts came first: two engines never cook at once here."


@dataclass
class _Waiting:
    command: CookTake
    plan: Plan
    since: float


@dataclass
class _Current:
    """The take that cooks."""

    command: CookTake
    plan: Plan
    engine: Engine
    later: list[Neighbour]
    """Neighbours who have not come yet."""
    num_come: int = 0
    num_steps: int = 0


class TakeRunner:
    """The line of takes, and the one that cooks. ``say`` hears of ``Cooking``, ``Events`` and ``TakeEnded``."""

    def __init__(
        self,
        first: Engine,
        model: Model,
        say: Callable[[Reply], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first = first
        self._model = model
        self._say = say
        self._clock = clock
        self._engines = SideEngines(model, clock)
        self._line: deque[_Waiting] = deque()
        self._current: _Current | None = None
        self._contested_since: float | None = None
        self._ended_at = -math.inf
        """When the last take did."""
        self._said: list[Event] = []

    # ---- the line

    def add(self, command: CookTake) -> int:
        """Into the line. Returns the number of prompt tokens. Raises ``Refused``, before any work, for what cannot be
        cooked here."""
        known = {waiting.command.request_id for waiting in self._line}
        if command.request_id in known or (self._current and self._current.command.request_id == command.request_id):
            raise Refused("invalid", f"request_id {command.request_id!r} is already in the line")
        check_take(command, self._model)
        num_tokens = len(command.take.prompt_ids(command.parent))
        longest = num_tokens + command.take.params(command.parent).max_tokens
        if longest > self._first.max_model_len:
            raise Refused("too_long", f"the take has {longest} tokens; max_model_len is {self._first.max_model_len}")
        try:
            made = plan(command.take, command.parent, self._model, self._first.config)
        except KnobError as error:
            raise Refused("invalid", str(error), error.field) from error
        self._line.append(_Waiting(command, made, self._clock()))
        return num_tokens

    def abort(self, request_id: str) -> bool:
        """End a take, now. False if it is not here."""
        if self._current is not None and self._current.command.request_id == request_id:
            self._give_up("stopped", "Stopped by the one who asked.")
            return True
        for waiting in self._line:
            if waiting.command.request_id == request_id:
                self._line.remove(waiting)
                self._say(TakeEnded(request_id=request_id, reason="stopped", detail="Stopped by the one who asked."))
                return True
        return False

    @property
    def has_work(self) -> bool:
        """Whether anybody cooks or waits."""
        return self._current is not None or bool(self._line)

    # ---- cooking

    def step(self, *, first_is_busy: bool) -> bool:
        """Make one step of the take that cooks, or begin the next. False if the machine is the first engine's."""
        if self._current is None:
            return self._next(first_is_busy)
        if not first_is_busy:
            self._contested_since = None
        elif self._contested_since is None:
            self._contested_since = self._clock()
        elif self._clock() - self._contested_since > PATIENCE_SECONDS:
            self._give_up("interrupted", BUSY)
            return False
        self._step(self._current)
        return True

    def _next(self, first_is_busy: bool) -> bool:
        while first_is_busy and self._line and self._kept_waiting(self._line[0]) > LINE_SECONDS:
            late = self._line.popleft().command.request_id
            self._say(TakeEnded(request_id=late, reason="interrupted", detail=BUSY))
        if first_is_busy:
            return False
        if not self._line:
            self._engines.drop_unused()
            return False
        self._begin(self._line.popleft())
        return True

    def _kept_waiting(self, waiting: _Waiting) -> float:
        """Seconds since it could have begun, but for the first engine."""
        return self._clock() - max(waiting.since, self._ended_at)

    def _begin(self, waiting: _Waiting) -> None:
        command, made = waiting.command, waiting.plan
        try:
            engine = self._engines.build(made, self._said.append)
            self._current = current = _Current(command, made, engine, made.neighbours)
            cooking = Cooking(
                request_id=command.request_id,
                model=engine.model.card,
                engine=engine.card,
                knobs=made.knobs,
                monotonic=time.monotonic(),
            )
            self._say(cooking)
            if made.joining == "before":
                self._welcome(current)
            submit_take(engine, engine.model, command, self._said.append)
            if made.joining == "behind" and not made.arrival_steps:
                self._welcome(current)
            self._flush(current)
        except (Refused, ValueError) as error:
            self._end(command, "rejected", str(error))
        except Exception as error:
            self._fail(command, error)

    def _welcome(self, current: _Current, most: int | None = None) -> None:
        """The neighbours come, ``most`` of them at a time."""
        come, current.later = current.later[:most], current.later[most:] if most else []
        for neighbour in come:
            current.num_come += 1
            current.engine.add_request(
                neighbour.token_ids,
                neighbour.params,
                request_id=f"neighbour-{current.num_come}",
                num_public_tokens=neighbour.num_public_tokens,
                # One's own prompt is not found by another, as it is on the first engine.
                cache_salt=f"neighbour-{current.num_come}",
            )

    def _step(self, current: _Current) -> None:
        try:
            outputs = current.engine.step()
            current.num_steps += 1
            if current.plan.arrival_steps:
                idle = not current.engine.has_unfinished_requests()
                if idle or current.num_steps % current.plan.arrival_steps == 0:  # an empty kitchen waits for nobody
                    self._welcome(current, 1)
            # (Before they come nobody writes but the reader.)
            elif current.later and any(
                output.finish_reason is not None or output.usage.completion_tokens >= current.plan.after
                for output in outputs
            ):
                self._welcome(current)
            self._flush(current)
            if not current.engine.has_unfinished_requests():
                current.engine.check_integrity()
                self._end(current.command, "finished", "")
        except Exception as error:
            self._fail(current.command, error)

    def _give_up(self, reason: CloseReason, detail: str) -> None:
        current = self._current
        assert current is not None
        current.engine.abort(current.command.request_id)
        for number in range(1, current.num_come + 1):
            current.engine.abort(f"neighbour-{number}")
        self._flush(current)
        self._end(current.command, reason, detail)

    def _fail(self, command: CookTake, error: Exception) -> None:
        """The take's engine raised: the take ends, the first engine has nothing to do with it."""
        logger.exception("a take failed", exc_info=error)
        if self._current is not None:
            self._flush(self._current)
        self._end(command, "error", f"the take's engine failed: {type(error).__name__}: {error}")

    def _end(self, command: CookTake, reason: CloseReason, detail: str) -> None:
        self._current = self._contested_since = None
        self._ended_at = self._clock()
        self._said.clear()
        self._say(TakeEnded(request_id=command.request_id, reason=reason, detail=detail))

    def _flush(self, current: _Current) -> None:
        said = cast(list[AnyEvent], list(self._said))
        self._said.clear()
        if said:
            self._say(Events(events=said, take=current.command.request_id))
