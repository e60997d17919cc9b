"""From a prompt to a run and back: hands requests to the engine, and what it says to the logs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

import structlog
from msgspec.structs import asdict, replace

from app.kitchen import Kitchen
from app.metrics import Metrics
from app.problems import FieldError, Problem, closing, retry_later
from app.run_store import RunStore
from app.runs import Lineage, Run
from app.settings import Settings
from inference.events import CloseReason
from inference.messages import Accepted, Cooking, CookTake, Events, Generate, Ready, Rejected, TakeEnded
from inference.probes import Probes
from inference.sequence import SamplingParams
from inference.takes import Parent, Take

logger = structlog.get_logger(__name__)

WAITING_RETRY_SECONDS = 5.0
DRAIN_CHECK_SECONDS = 0.05
_INTERRUPTED_COOKING = "The kitchen was shut down while this was cooking."
_INTERRUPTED_WAITING = "The kitchen was shut down before this had its turn."
_REJECTED_STATUS = {"too_long": 413, "invalid": 422}


class Orders:
    """All live runs: whether another is taken, and each of the engine's messages into every log."""

    def __init__(self, kitchen: Kitchen, store: RunStore, settings: Settings, metrics: Metrics) -> None:
        self._kitchen = kitchen
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._requests: dict[str, Generate | CookTake] = {}
        """What each live run asks of the engine, until the engine has it (kept for those posted while it warms)."""
        self._replies: dict[str, asyncio.Future[Accepted | Rejected]] = {}
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
        ready = self._kitchen.ready
        if ready is None:
            self._requests[run.run_id] = request
        else:
            await self._submit(run, request, ready)
        self._metrics.runs_started.inc()
        logger.info("run.accepted", prompt_chars=len(prompt), max_tokens=params.max_tokens, warming=ready is None)
        return run

    async def cook_take(
        self, take: Take, parent: Parent, parent_id: str, *, creator: str, cache_salt: str, address: str
    ) -> Run:
        """Make a run of it, whose parent is ``parent_id``; as ``take``, but that the engine must be ready. Those that
        are cooked apart have a line of their own, a shorter one: each has the machine for itself."""
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
        await self._submit(run, command, ready)
        self._metrics.runs_started.inc()
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

    async def _submit(self, run: Run, request: Generate | CookTake, ready: Ready) -> None:
        reply: asyncio.Future[Accepted | Rejected] = asyncio.get_running_loop().create_future()
        self._replies[run.run_id] = reply
        assert run.log is not None
        if not run.log.is_apart:  # (else it opens when its engine is known)
            run.log.open(ready)
        if run.log.is_closed:
            self._replies.pop(run.run_id)
            self._store.discard(run)
            raise self._unwritable()
        self._kitchen.send(request)
        try:
            answer = await asyncio.wait_for(reply, self._settings.accept_timeout)
        except TimeoutError:
            # A busy engine: the run is queued all the same, and a late refusal closes its log.
            return
        except asyncio.CancelledError:
            # The caller hung up before it learned the run's id: nobody will ever read this.
            self._kitchen.abort(run.run_id)
            raise
        finally:
            self._replies.pop(run.run_id, None)
        if isinstance(answer, Rejected):
            self._store.discard(run)
            first = answer.detail[:1] if answer.field else answer.detail[:1].upper()
            detail = f"{first}{answer.detail[1:].removesuffix('.')}."
            errors = (FieldError(answer.field, detail),) if answer.field else ()
            raise Problem(_REJECTED_STATUS[answer.reason], answer.reason, detail, errors)

    def stop(self, run: Run) -> None:
        """Its creator's wish. The log closes when the engine has let go of it."""
        if run.log is None or run.log.is_closed:
            return
        if self._requests.pop(run.run_id, None) is not None or self._kitchen.ready is None:
            self._close(run, "stopped", "Stopped by the one who asked, before the engine was ready.")
        else:
            self._kitchen.abort(run.run_id)

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
        """Runs that were posted while the engine warmed go in now, in the order in which they came."""
        waiting, self._requests = self._requests, {}
        for run in self._store.live():
            request = waiting.get(run.run_id)
            if request is not None and run.log is not None:
                run.log.open(ready)
                if run.log.is_closed:  # the disk is full
                    self._settle(run)
                else:
                    self._kitchen.send(request)

    def engine_lost(self, reason: Literal["crashed", "error"], detail: str) -> None:
        """Every live run ends, with what happened."""
        self._requests.clear()
        if reason == "crashed":
            self._metrics.engine_restarts.inc()
        for run in self._store.live():
            self._close(run, reason, detail)
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(self._unavailable())

    def engine_said(self, events: Events, clock_offset: float) -> None:
        """One message into every live log; what a take's own engine says, into the take's alone."""
        self._metrics.count(events)
        for run in self._store.live():
            if run.log is None or run.log.is_closed:
                continue
            if run.log.is_apart if not events.take else run.run_id != events.take:
                continue
            run.log.project(events.events, clock_offset)
            if run.log.is_closed:
                self._settle(run)

    def take_cooking(self, reply: Cooking, clock_offset: float) -> None:
        """A take has its turn: its log opens, about the engine that it has."""
        run = self._live(reply.request_id)
        if run is not None and run.log is not None and self._kitchen.ready is not None:
            ready = replace(self._kitchen.ready, model=reply.model, engine=reply.engine)
            run.log.open_take(ready, reply.knobs, reply.monotonic + clock_offset)
            if run.log.is_closed:  # the disk is full
                self._settle(run)

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
        if run.log is not None:
            run.log.close(reason, detail)
        self._settle(run)

    def _settle(self, run: Run) -> None:
        summary = run.summary
        self._metrics.finish(summary)
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
        task = asyncio.create_task(self._store.settle(run))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)


def public_params(params: SamplingParams, probes: Probes) -> dict[str, Any]:
    """``log.opened.params``: what ``POST /api/runs`` takes, without the prompt."""
    values = asdict(params)
    values.pop("ignore_eos", None)
    return {**values, "stop": list(params.stop), "probes": probes.describe()}
