"""From a prompt to a run and back: hands requests to the engine, and what it says to the logs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal

import structlog
from msgspec.structs import asdict, replace

from app.kitchen import Kitchen
from app.line import Line, Order
from app.metrics import Metrics
from app.problems import FieldError, Problem, closing, retry_later
from app.run_store import RunStore
from app.runs import Lineage, Run
from app.seats import Seats, Wait
from app.settings import Settings
from app.tracing import Tracing
from inference.events import CloseReason
from inference.messages import Accepted, Check, Cooking, CookTake, Events, Generate, Ready, Rejected, TakeEnded
from inference.probes import Probes
from inference.sequence import SamplingParams
from inference.takes import Parent, Take

logger = structlog.get_logger(__name__)

WAITING_RETRY_SECONDS = 5.0
DRAIN_CHECK_SECONDS = 0.05
_INTERRUPTED_COOKING = "The kitchen was shut down while this was cooking."
_INTERRUPTED_WAITING = "The kitchen was shut down before this had its turn."
_REJECTED_STATUS = {"too_long": 413, "invalid": 422}
_KEPT = "The engine fell over and is being started again. This run had not begun, and waits on."
_ANOTHER = "The engine came back as another one than this log began with, so it could not go on."


class Orders:
    """All live runs: whether another is taken, whose turn is next, and each of the engine's messages into every log.

    A run waits in the line until the engine has a seat for it: the engine serves first come, first served, and would
    let one visitor's thirty runs go before another's first. Its log is open all that time and says ``request.queued``
    as its place changes, as the engine's own line does: time zero is when it was asked for, and waiting is waiting,
    wherever it is done. The engine is told how long that was (``waited``), and goes on from there.
    """

    def __init__(
        self,
        kitchen: Kitchen,
        store: RunStore,
        settings: Settings,
        metrics: Metrics,
        tracing: Tracing,
        line: Line | None = None,
    ) -> None:
        self._kitchen = kitchen
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._tracing = tracing
        self._line = line or Line()
        self._seats = Seats()
        self._handing_over = asyncio.Lock()
        self._num_standing = 0
        """In the line, as last looked at."""
        self._replies: dict[str, asyncio.Future[Accepted | Rejected | None]] = {}
        """Callers who wait for the engine's word; None: it gives none, and the run waits all the same."""
        self._settling: set[asyncio.Task[None]] = set()
        self._closing = False
        kitchen.is_busy = lambda: any(run.log is not None and run.log.is_open for run in store.live())

    # ---- taking orders

    def check_room(self, visitor_digest: str, address: str) -> None:
        """Raise 503 or 429 when one more run cannot be taken now. Takes that are cooked apart have a line of their own
        (``cook_take``): a race is several at once, and its lanes are nobody's runs to wait for."""
        status = self._kitchen.status
        if self._closing or not status.takes_orders:
            raise self._unavailable()
        live = [run for run in self._store.live() if run.log is None or not run.log.is_apart]
        if sum(run.creator == visitor_digest for run in live) >= self._settings.max_runs_per_visitor:
            detail = f"You have {self._settings.max_runs_per_visitor} runs cooking already. Wait for one, or stop one."
            raise retry_later(429, "too_many_runs", detail, WAITING_RETRY_SECONDS)
        if sum(run.address == address for run in live) >= self._settings.max_runs_per_address:
            detail = f"{self._settings.max_runs_per_address} runs from your address are cooking already."
            raise retry_later(429, "too_many_runs", detail, WAITING_RETRY_SECONDS)
        if sum(run.is_waiting for run in live) >= self._settings.max_waiting_runs:
            detail = f"The line is full: {self._settings.max_waiting_runs} runs are waiting. Please try again shortly."
            raise retry_later(429, "line_full", detail, WAITING_RETRY_SECONDS)

    def _unavailable(self) -> Problem:
        status = self._kitchen.status
        if status.state == "no_model":
            detail = f"This kitchen has no model to cook with; its recordings play all the same. {status.detail}"
            return retry_later(503, "no_model", detail, 300.0)
        if self._closing or status.state == "stopped":
            return closing()
        detail = "The engine fell over and is being started again."
        return retry_later(503, "engine_restarting", detail, max(status.retry_seconds, 5.0))

    @staticmethod
    def _unwritable() -> Problem:
        return retry_later(503, "disk", "The kitchen cannot write a new log just now.", 60.0)

    async def take(
        self, prompt: str, params: SamplingParams, probes: Probes, *, creator: str, cache_salt: str, address: str
    ) -> Run:
        """Make a run of it. With the engine ready, waits for its word on the length; a run that it refuses leaves no
        trace. Raises Problem."""
        self.check_room(creator, address)
        run = self._create(creator, address, params, probes)
        request = Generate(request_id=run.run_id, prompt=prompt, params=params, probes=probes, cache_salt=cache_salt)
        await self._enter(run, request)
        self._metrics.runs_started.inc()
        self._tracing.asked(run.run_id)
        warming = self._kitchen.ready is None
        logger.info("run.accepted", prompt_chars=len(prompt), max_tokens=params.max_tokens, warming=warming)
        return run

    async def cook_take(
        self, take: Take, parent: Parent, parent_id: str, *, creator: str, cache_salt: str, address: str
    ) -> Run:
        """Make a run of it, whose parent is ``parent_id``; as ``take``, but that the engine must be ready. Those that
        are cooked apart have a line of their own in the engine process, a shorter one: each has the machine for
        itself."""
        self.check_room(creator, address)
        ready = self._kitchen.ready
        if ready is None:
            raise retry_later(503, "warming", "The engine is still warming up.", WAITING_RETRY_SECONDS)
        apart = sum(run.log is not None and run.log.is_apart for run in self._store.live())
        if take.apart and apart >= self._settings.max_waiting_takes:
            detail = f"{self._settings.max_waiting_takes} takes are waiting for the stove. Please try again shortly."
            raise retry_later(429, "line_full", detail, WAITING_RETRY_SECONDS)
        lineage = Lineage(parent_id, take)
        run = self._create(creator, address, take.params(parent), take.asked_probes, lineage)
        command = CookTake(request_id=run.run_id, take=take, parent=parent, cache_salt=cache_salt)  # type: ignore[arg-type]
        await self._enter(run, command)
        self._metrics.runs_started.inc()
        self._tracing.asked(run.run_id)
        logger.info("take.accepted", take=take.name)
        return run

    def _create(
        self,
        creator: str,
        address: str,
        params: SamplingParams,
        probes: Probes,
        lineage: Lineage | None = None,
        run_id: str = "",
    ) -> Run:
        try:
            return self._store.create(creator, address, public_params(params, probes), probes, lineage, run_id)
        except OSError as error:
            logger.error("run.unwritable", error=str(error))
            raise self._unwritable() from error

    async def _enter(self, run: Run, request: Generate | CookTake) -> None:
        """To the engine if it has a seat, else into the line. With the engine ready, waits for its word. Raises Problem
        for what it refuses."""
        assert run.log is not None
        ready = self._kitchen.ready
        reply: asyncio.Future[Accepted | Rejected | None] = asyncio.get_running_loop().create_future()
        self._replies[run.run_id] = reply
        try:
            if run.log.is_apart:  # (its log opens when its engine is known)
                self._kitchen.send(request)
            else:
                await self._join(run, request, ready)
            if ready is None:
                return
            answer = await asyncio.wait_for(reply, self._settings.accept_timeout)
        except TimeoutError:
            # A busy engine: the run is queued all the same, and a late refusal closes its log.
            return
        except asyncio.CancelledError:
            # The caller hung up before it learned the run's id: nobody will ever read this.
            self.stop(run)
            raise
        finally:
            self._replies.pop(run.run_id, None)
        if isinstance(answer, Rejected):
            self._seats.leave(run.run_id, None)
            self._store.discard(run)
            self._spawn(self._depart(run.run_id))
            raise _refusal(answer)

    async def _join(self, run: Run, request: Generate | CookTake, ready: Ready | None) -> None:
        """Into the line, and out of it if the engine has a seat; else the engine is asked whether it will ever do."""
        assert run.log is not None
        if ready is not None:
            run.log.open(ready)
        if run.log.is_closed:
            self._store.discard(run)
            raise self._unwritable()
        await self._line.push(Order(run_id=run.run_id, visitor=run.creator, address=run.address, request=request))
        await self._hand_over()
        if ready is not None and run.run_id not in self._seats:
            self._kitchen.send(Check(request=request))

    async def _hand_over(self) -> None:
        """Hand the engine as many as it can seat, and tell those who stay where they stand now."""
        async with self._handing_over:
            while (ready := self._kitchen.ready) is not None and self._seats.has_room(ready.engine):
                order = await self._line.next()
                if order is None:
                    break
                run = self._live(order.run_id)
                if run is None or run.log is None:
                    continue
                if not self._write(run, partial(run.log.open, ready)):
                    continue
                self._seats.take(run.run_id, run.num_samples)
                self._kitchen.send(replace(order.request, waited=run.log.age))
            await self._tell_places()

    async def _tell_places(self, detail: str = "") -> None:
        ready = self._kitchen.ready
        ahead = self._seats.num_ahead(ready.engine) if ready else 0
        live = {run.run_id: run for run in self._store.live()}
        standing = [run_id for run_id in await self._line.standing() if run_id in live]
        self._num_standing = len(standing)
        for place, run_id in enumerate(standing):
            log = live[run_id].log
            if log is not None and not log.is_closed:
                self._write(live[run_id], partial(log.wait, ahead + place, ahead + len(standing), detail))

    async def _depart(self, run_id: str) -> None:
        """It has left, or will not come: its seat, or its place, is somebody else's."""
        await self._line.drop(run_id)
        await self._hand_over()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("orders.fault", kind=type(error).__name__, exc_info=error)

    def expected_wait(self, run: Run) -> Wait | None:
        """How long a run that waits for the engine may wait yet; None where nobody can say."""
        place, ready = run.summary.position, self._kitchen.ready
        if place is None or ready is None or run.summary.status != "queued":
            return None
        return self._seats.expected_wait(place, ready.engine)

    def stop(self, run: Run) -> None:
        """Its creator's wish. The log closes when the engine has let go of it."""
        if run.log is None or run.log.is_closed:
            return
        handed_over = run.log.is_apart or run.run_id in self._seats
        if handed_over and self._kitchen.ready is not None:
            self._kitchen.abort(run.run_id)
        elif run.log.is_open:
            self._close(run, "stopped", "Stopped by the one who asked, before its turn came.")
        else:
            self._close(run, "stopped", "Stopped by the one who asked, before the engine was ready.")

    @property
    def is_closing(self) -> bool:
        """No more runs are taken, for good."""
        return self._closing

    async def drain(self, seconds: float, hurried: Callable[[], bool]) -> None:
        """The site is going down: no more runs from now on, but those that live may finish, cooking or in line, for
        ``seconds`` or until somebody is in a hurry."""
        self._closing = True
        if live := self._store.live():
            logger.info("site.draining", live=len(live), seconds=seconds, hint="a second signal ends them now")
        deadline = time.monotonic() + seconds
        while self._store.live() and time.monotonic() < deadline and not hurried():
            await asyncio.sleep(DRAIN_CHECK_SECONDS)

    async def close(self) -> None:
        """The site is down: those that still live end here with a reason."""
        self._closing = True
        for run in self._store.live():
            self._kitchen.abort(run.run_id)
            waited = run.is_waiting
            self._close(run, "interrupted", _INTERRUPTED_WAITING if waited else _INTERRUPTED_COOKING)
        if self._settling:
            await asyncio.wait(self._settling, timeout=10.0)

    # ---- hearing from the engine

    def engine_ready(self, ready: Ready) -> None:
        """Runs that waited for it go in now. A log that is open says of which engine it tells: one that came back as
        another does not go on with it."""
        for run in self._store.live():
            opened = run.summary.opened
            if run.log is None or run.log.is_apart or run.log.is_closed:
                continue
            if opened is not None and (opened.model, opened.engine) != (ready.model, ready.engine):
                self._close(run, "crashed", _ANOTHER)
                continue
            self._write(run, partial(run.log.open, ready))
        self._spawn(self._hand_over())

    def engine_lost(self, reason: Literal["crashed", "error"], detail: str) -> None:
        """Every run that it had ends, with what happened. Those in the line wait for the next, if one is to come."""
        self._metrics.engine_lost(crashed=reason == "crashed")
        comes_back = self._kitchen.status.state == "restarting"
        for run in self._store.live():
            apart = run.log is not None and run.log.is_apart
            stays = comes_back and not apart and run.run_id not in self._seats
            if not stays:
                self._close(run, reason, detail)
            reply = self._replies.get(run.run_id)
            if reply is not None and not reply.done():
                reply.set_result(None) if stays else reply.set_exception(self._unavailable())
        self._seats.clear()
        self._spawn(self._tell_places(_KEPT))

    def engine_said(self, events: Events, clock_offset: float) -> None:
        """One message into every live log; what a take's own engine says, into the take's alone."""
        self._metrics.count(events)
        for run in self._store.live():
            if run.log is None or run.log.is_closed:
                continue
            if run.run_id not in self._seats if not events.take else run.run_id != events.take:
                continue
            self._write(run, partial(run.log.project, events.events, clock_offset, self._num_standing))

    def take_cooking(self, reply: Cooking, clock_offset: float) -> None:
        """A take has its turn: its log opens, about the engine that it has."""
        run = self._live(reply.request_id)
        if run is not None and run.log is not None and self._kitchen.ready is not None:
            ready = replace(self._kitchen.ready, model=reply.model, engine=reply.engine)
            self._write(run, partial(run.log.open_take, ready, reply.knobs, reply.monotonic + clock_offset))

    def take_ended(self, reply: TakeEnded) -> None:
        """A take is over, with all that it had to do."""
        run = self._live(reply.request_id)
        if run is not None:
            self._close(run, reply.reason, reply.detail)

    def _live(self, run_id: str) -> Run | None:
        return next((run for run in self._store.live() if run.run_id == run_id and run.is_live), None)

    def engine_accepted(self, reply: Accepted) -> None:
        """The request is in the engine's line."""
        future = self._replies.get(reply.request_id)
        if future is not None and not future.done():
            future.set_result(reply)

    def engine_rejected(self, reply: Rejected) -> None:
        """The request cannot be: told to the caller if they still wait for it, else in the log."""
        future = self._replies.get(reply.request_id)
        if future is not None and not future.done():
            future.set_result(reply)
            return
        run = self._live(reply.request_id)
        if run is not None:
            self._close(run, "rejected", reply.detail)

    def _close(self, run: Run, reason: CloseReason, detail: str) -> None:
        if run.log is None or run.log.is_closed:
            self._settle(run)
        else:
            self._write(run, partial(run.log.close, reason, detail))

    def _write(self, run: Run, work: Callable[[], None]) -> bool:
        """Do this to its log. Whatever goes wrong there ends this run, and nobody else's. False where that, or a disk
        that is full, or the end of the story, has closed it."""
        assert run.log is not None
        try:
            work()
        except Exception:
            logger.exception("run.fault")
            run.log.give_up()
        if run.log.is_closed:
            self._settle(run)
        return not run.log.is_closed

    def _settle(self, run: Run) -> None:
        summary = run.summary
        seated = summary.admitted_t
        self._seats.leave(run.run_id, None if seated is None else summary.t - seated)
        self._metrics.finish(summary)
        self._tracing.finish(summary)
        if not summary.ended and summary.closed is not None and summary.closed.reason == "error":
            # The log ended without the engine's doing (a full disk): let the engine stop too.
            self._kitchen.abort(run.run_id)
        logger.info(
            "run.closed",
            reason=summary.closed.reason if summary.closed else None,
            prompt_tokens=summary.totals.prompt_tokens,
            completion_tokens=summary.totals.completion_tokens,
            events=len(run.broadcast.lines),
        )
        self._spawn(self._store.settle(run))
        self._spawn(self._depart(run.run_id))


def _refusal(answer: Rejected) -> Problem:
    first = answer.detail[:1] if answer.field else answer.detail[:1].upper()
    detail = f"{first}{answer.detail[1:].removesuffix('.')}."
    errors = (FieldError(answer.field, detail),) if answer.field else ()
    return Problem(_REJECTED_STATUS[answer.reason], answer.reason, detail, errors)


def public_params(params: SamplingParams, probes: Probes) -> dict[str, Any]:
    """``log.opened.params``: what ``POST /api/runs`` takes, without the prompt."""
    values = asdict(params)
    values.pop("ignore_eos", None)
    return {**values, "stop": list(params.stop), "probes": probes.describe()}
