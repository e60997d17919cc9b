"""The kitchen's line, in Redis: orders of all replicas, taken by whoever has an engine and a seat for them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from app.cluster_link import Link
from app.cluster_log import Record
from app.cluster_scripts import FORGET, HAND_OVER, NEXT, PUSH, PUT_BACK, STANDING, TAKE_OUT
from app.orders import WAITING_RETRY_SECONDS
from app.problems import FieldError, Problem, retry_later
from app.settings import Settings

ORDER_SECONDS = 6 * 3600
"""A prompt that nobody cooked by then is gone from Redis."""
MOST_TRIES = 3
"""An order that was taken so often by replicas that died before they began it is not tried again."""
LINES = ("line", "takes")
"""Takes that are cooked apart have one of their own: each of them has a machine for itself."""


class Refusal(msgspec.Struct, kw_only=True):
    """What an engine said of an order, on its way to who took it from its visitor."""

    status: int
    code: str
    detail: str
    field: str = ""

    @classmethod
    def of(cls, problem: Problem) -> Refusal:
        """What is to be told."""
        field = problem.errors[0].field if problem.errors else ""
        return cls(status=problem.status, code=problem.code, detail=problem.detail, field=field)

    def problem(self) -> Problem:
        """The same for the caller."""
        errors = (FieldError(self.field, self.detail),) if self.field else ()
        return Problem(self.status, self.code, self.detail, errors)


class Taken(NamedTuple):
    """An order out of the line, in the name of this replica."""

    run_id: str
    record: Record
    order: bytes | None
    """None: it was kept too long."""


class SharedLine:
    """``Line`` for several replicas: the same turns. Every method raises RedisGone."""

    def __init__(self, link: Link, name: str, settings: Settings) -> None:
        self._link = link
        self._name = name
        self._settings = settings

    async def push(self, run_id: str, record: Record, order: bytes, *, bounded: bool = True) -> None:
        """To the end of its visitor's own. Raises 429 where the bounds on all replicas together are reached."""
        settings = self._settings
        bounds = (
            settings.max_runs_per_visitor,
            settings.max_runs_per_address,
            settings.max_waiting_runs,
            settings.max_waiting_takes,
        )
        said = await self._link.script(
            PUSH, run_id, msgspec.json.encode(record), order, ORDER_SECONDS, *(bounds if bounded else [""] * 4)
        )
        if said not in (b"taken", b"known"):
            raise self._full(said.decode())

    def _full(self, bound: str) -> Problem:
        settings = self._settings
        details = {
            "visitor": f"You have {settings.max_runs_per_visitor} runs cooking already. Wait for one, or stop one.",
            "address": f"{settings.max_runs_per_address} runs from your address are cooking already.",
            "line": f"The line is full: {settings.max_waiting_runs} runs are waiting. Please try again shortly.",
            "takes": f"{settings.max_waiting_takes} takes are waiting for the stove. Please try again shortly.",
        }
        code = "too_many_runs" if bound in ("visitor", "address") else "line_full"
        return retry_later(429, code, details[bound], WAITING_RETRY_SECONDS)

    async def next(self, line: str) -> Taken | None:
        """Who is next: it is this replica's from now on."""
        got = await self._link.script(NEXT, line, self._name)
        return Taken(got[0].decode(), msgspec.json.decode(got[1], type=Record), got[2]) if got else None

    async def standing(self, line: str) -> list[str]:
        """Every run that waits, who is next first."""
        return [run_id.decode() for run_id in await self._link.script(STANDING, line)]

    async def record(self, run_id: str) -> Record | None:
        """None of a run that is not live."""
        text = await self._link.command("HGET", "kitchen:runs", run_id)
        return None if text is None else msgspec.json.decode(text, type=Record)

    async def take_out(self, run_id: str) -> bool:
        """A run whose turn will not come, to be ended by this replica. False where another cooks it: it is told to
        stop."""
        owner = await self._link.script(TAKE_OUT, run_id, self._name)
        if owner not in (b"", b"gone"):
            await self._link.command("XADD", "kitchen:news", "*", "word", "stop", "id", run_id, "more", "")
        return bool(owner == b"")

    async def withdraw(self, run_id: str) -> None:
        """It may be in the line, and nobody will ever learn of it."""
        if await self.take_out(run_id):
            await self.forget(run_id)

    async def put_back(self, run_id: str) -> bool:
        """To the front again, what was taken and not begun. False for a run that is ours to end instead."""
        said = await self._link.script(PUT_BACK, run_id, self._name, MOST_TRIES)
        return said in (b"waits", b"not ours")

    async def hand_over(self, run_id: str, to: str, refusal: Refusal) -> None:
        """What the engine would not have, to who took it from its visitor."""
        await self._link.script(HAND_OVER, run_id, self._name, to, msgspec.json.encode(refusal))

    async def forget(self, run_id: str) -> None:
        """A run of which nobody was told."""
        await self._link.script(FORGET, run_id, self._name)
