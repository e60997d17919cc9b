"""Orders that any replica takes and any replica with an engine cooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import structlog

from app.broadcast import Broadcast
from app.cluster_following import Following
from app.cluster_kitchen import KitchenElsewhere
from app.cluster_line import LINES, Refusal, SharedLine
from app.cluster_link import Link, RedisGone
from app.cluster_log import Inbound, Outbound, Record, TakenOver
from app.cluster_shelf import Shelf
from app.kitchen import Kitchen
from app.metrics import Metrics
from app.orders import WAITING_RETRY_SECONDS, Orders
from app.problems import Problem, retry_later
from app.run_store import RunStore, new_run_id
from app.runs import Lineage, Run
from app.seats import Wait
from app.settings import Settings
from app.summary import Summary
from app.tracing import Tracing
from inference.events import CloseReason
from inference.messages import CookTake, Generate, Ready
from inference.probes import Probes
from inference.sequence import SamplingParams
from inference.takes import Parent, Take

logger = structlog.get_logger(__name__)

LOST_LEASES = 3
"""A run that Redis has forgotten and nobody puts back for so long is known to its readers alone."""
SEATED_SECONDS = 0.25
"""An order that nobody has taken from the line by then waits for a seat: its caller need not."""
LOOK_SECONDS = 1.0
T = TypeVar("T")
_ORDER = msgspec.msgpack.Decoder(Generate | CookTake)


class SharedOrders(Orders):
    """The line is in Redis. Here are the runs that this replica cooks (as in ``Orders``), and those elsewhere that
    somebody here reads. While Redis is away, a replica with an engine cooks what it is given by itself."""

    def __init__(
        self,
        kitchen: Kitchen,
        store: RunStore,
        settings: Settings,
        metrics: Metrics,
        tracing: Tracing,
        *,
        link: Link,
        shelf: Shelf,
        name: str,
        digest: Callable[[str], str],
    ) -> None:
        super().__init__(kitchen, store, settings, metrics, tracing)
        self._link = link
        self._shelf = shelf
        self._name = name
        self._digest = digest
        self._cooks = not isinstance(kitchen, KitchenElsewhere)
        self.engine_elsewhere = False
        """Another replica has an engine that takes orders."""
        self.seats_elsewhere: list[Wait] = []
        """What every replica with an engine has measured, this one included."""
        self.line = SharedLine(link, name, settings)
        self.following = Following(link, self.line, shelf, store, self._begun, LOST_LEASES * settings.lease_seconds)
        self._posted: dict[str, tuple[Record, bytes]] = {}
        """What was put in line here, until somebody has begun it: should Redis lose it, it goes in again."""
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._outbound: dict[str, Outbound] = {}
        self.held: set[str] = set()
        """Runs whose record says that they are ours."""
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- taking orders

    async def take(
        self, prompt: str, params: SamplingParams, probes: Probes, *, creator: str, cache_salt: str, address: str
    ) -> Run:
        """Put it in the line of all. With an engine that is free, waits for its word on the length. Raises Problem."""
        run_id = new_run_id()
        request = Generate(request_id=run_id, prompt=prompt, params=params, probes=probes, cache_salt=cache_salt)
        try:
            run = await self._post(request, creator, address)
        except RedisGone:
            self._check_alone()
            run = await super().take(prompt, params, probes, creator=creator, cache_salt=cache_salt, address=address)
            self._send_out(run, self._record_alone(creator, address))
            return run
        logger.info("run.accepted", prompt_chars=len(prompt), max_tokens=params.max_tokens, shared=True)
        return run

    async def cook_take(
        self, take: Take, parent: Parent, parent_id: str, *, creator: str, cache_salt: str, address: str
    ) -> Run:
        """The same for a take."""
        command = CookTake(request_id=new_run_id(), take=take, parent=parent, cache_salt=cache_salt)  # type: ignore[arg-type]
        try:
            run = await self._post(command, creator, address, parent_id)
        except RedisGone:
            self._check_alone()
            run = await super().cook_take(
                take, parent, parent_id, creator=creator, cache_salt=cache_salt, address=address
            )
            self._send_out(run, self._record_alone(creator, address))
            return run
        logger.info("take.accepted", take=take.name, shared=True)
        return run

    def _check_alone(self) -> None:
        """Raises 503 where nobody can cook while Redis is away."""
        if not self._cooks or self._kitchen.ready is None:
            detail = "The kitchens cannot reach each other just now. Please try again in a moment."
            raise retry_later(503, "cluster_apart", detail, WAITING_RETRY_SECONDS)

    def _record_alone(self, creator: str, address: str) -> Record:
        return Record(creator=creator, address=self._digest(address), asked_at=time.time(), poster=self._name)

    async def _post(self, request: Generate | CookTake, creator: str, address: str, parent: str = "") -> Run:
        if not self._link.up:
            raise RedisGone
        if self._closing or not (self.engine_elsewhere or self._kitchen.status.takes_orders):
            raise self._unavailable()
        run_id = request.request_id
        apart = isinstance(request, CookTake) and request.take.apart
        seconds, micros = await self._link.command("TIME")
        record = Record(
            creator=creator,
            address=self._digest(address),
            asked_at=int(seconds) + int(micros) / 1e6,
            poster=self._name,
            apart=apart,
            parent=parent,
        )
        order = msgspec.msgpack.encode(request)
        run = self.following.follow(run_id, record)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[run_id] = answer
        self._posted[run_id] = (record, order)
        try:
            await self.line.push(run_id, record, order)
            await self._hear_of(run_id, answer)
        except asyncio.CancelledError:
            # The caller hung up before it learned the run's id: nobody will ever read this.
            self.stop(run)
            raise
        except (Problem, RedisGone) as error:
            self.following.leave(run_id)
            self._posted.pop(run_id, None)
            if isinstance(error, RedisGone):
                self.insist(lambda: self.line.withdraw(run_id))
            raise
        finally:
            self._answers.pop(run_id, None)
        self._metrics.runs_started.inc()
        return self._store_live(run_id) or run

    async def _hear_of(self, run_id: str, answer: asyncio.Future[None]) -> None:
        """Wait for an engine's word on the length, unless no engine has a seat now. Raises Problem for a refusal."""
        done, _ = await asyncio.wait((answer,), timeout=SEATED_SECONDS)
        try:
            record = None if done else await self.line.record(run_id)
        except RedisGone:
            return
        if record is not None and record.owner is not None:
            done, _ = await asyncio.wait((answer,), timeout=self._settings.accept_timeout)
        if done:
            answer.result()

    async def post_again(self) -> None:
        """Redis came back empty: what was put in line here and not begun goes in again. Raises RedisGone."""
        for run_id, (record, order) in list(self._posted.items()):
            await self.line.push(run_id, record, order, bounded=False)

    def _begun(self, run_id: str) -> None:
        """The log of a run has its first line: the engine has taken it."""
        self._posted.pop(run_id, None)
        answer = self._answers.get(run_id)
        if answer is not None and not answer.done():
            answer.set_result(None)

    # ---- cooking

    @property
    def num_free_seats(self) -> int:
        """Orders that the engine here could begin at once."""
        ready = self._kitchen.ready
        if not self._cooks or ready is None or self._closing:
            return 0
        here = sum(run.log is not None and not run.log.is_apart for run in self._store.live())
        return max(0, self._seats.of(ready.engine) - here)

    def wake(self) -> None:
        """Somebody waits, or a seat is free."""
        self._wake.set()

    async def serve_line(self) -> None:
        """Take from the line of all as long as there are seats here."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_SECONDS)
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                while self.num_free_seats > 0 and await self._take_next("line"):
                    pass
                while self._is_stove_free() and await self._take_next("takes"):
                    pass
            except RedisGone:
                await self._link.wait_up()

    def _is_stove_free(self) -> bool:
        """For a take that is cooked apart: each has the machine for itself."""
        ready = self._cooks and self._kitchen.ready is not None and not self._closing
        return ready and not any(run.log is not None and run.log.is_apart for run in self._store.live())

    async def _take_next(self, line: str) -> bool:
        taken = await self.line.next(line)
        if taken is None:
            return False
        self.held.add(taken.run_id)
        begun = asyncio.Event()
        self._start(self._begin(*taken, begun))
        # (From then on it counts among the live ones.)
        await begun.wait()
        return True

    async def _begin(self, run_id: str, record: Record, order: bytes | None, begun: asyncio.Event) -> None:
        """Cook it here: an ordinary run of this replica's from now on."""
        run: Run | None = None
        try:
            request = _ORDER.decode(order or b"")
            waited = await self._seconds_since(record.asked_at)
            if self._kitchen.ready is None:
                raise self._unavailable()
            run = self._create_shared(run_id, record, request)
            assert run.log is not None
            run.log.backdate(waited)
            begun.set()
            await self._enter(run, request)
        except msgspec.MsgspecError:
            await self._close_here(run_id, record, "error", "Its order was lost while it waited.")
        except Problem as problem:
            begun.set()
            await self._not_begun(run_id, record, run, problem)
        else:
            self._send_out(run, record)
        finally:
            begun.set()

    async def _not_begun(self, run_id: str, record: Record, run: Run | None, problem: Problem) -> None:
        if run is not None and problem.status != 503:
            refusal = Refusal.of(problem)
            await self._until(lambda: self.line.hand_over(run_id, record.poster, refusal))
            self.held.discard(run_id)
        elif run is not None and run.log is not None and run.log.is_closed and run.log.broadcast.lines:
            self._send_out(run, record)  # The engine fell over with it: its log says so.
        elif await self._until(lambda: self.line.put_back(run_id)):
            self.held.discard(run_id)
        else:
            await self._close_here(run_id, record, "error", problem.detail)

    def _create_shared(self, run_id: str, record: Record, request: Generate | CookTake) -> Run:
        if isinstance(request, CookTake):
            lineage, params, probes = (
                Lineage(record.parent, request.take),
                request.take.params(request.parent),
                request.take.asked_probes,
            )
        else:
            lineage, params, probes = None, request.params, request.probes
        run = self._create(record.creator, record.address, params, probes, lineage, run_id)
        assert run.log is not None
        lines = run.log.broadcast.lines.alike()
        seen = self.following.leave(run_id)
        if seen is None:
            run.broadcast = Broadcast(lines)
        else:
            # Its readers are here already.
            run.broadcast, seen.summary, seen.log = seen.broadcast, run.summary, run.log
            run.broadcast.lines = lines
        return run

    def _send_out(self, run: Run, record: Record) -> None:
        """Carry its log to Redis, and through it to everybody."""
        self._begun(run.run_id)
        self.held.add(run.run_id)
        assert run.log is not None
        if run.broadcast is run.log.broadcast:
            run.broadcast = Broadcast(run.log.broadcast.lines.alike())
        record = msgspec.structs.replace(record, owner=self._name)
        outbound = Outbound(self._link, self._name, run, run.log.broadcast, record)
        self._outbound[run.run_id] = outbound
        self._start(self._carry(run, outbound))

    async def _carry(self, run: Run, outbound: Outbound) -> None:
        try:
            await outbound.carry()
            await self._until_settled(run)
            await self._until(lambda: self._shelf.put(run, self._name))
        except TakenOver:
            await self._give_up(run)
        finally:
            self._outbound.pop(run.run_id, None)
            self.held.discard(run.run_id)

    async def _until_settled(self, run: Run) -> None:
        """Its file is packed."""
        while any(run.run_id == live.run_id for live in self._store.live()):
            await asyncio.sleep(0.01)
        if pending := set(self._settling):
            await asyncio.wait(pending)

    async def _give_up(self, run: Run) -> None:
        """We were away for so long that another replica has ended this run: theirs is the log that counts."""
        logger.warning("run.taken_over")
        self._kitchen.abort(run.run_id)
        if run.log is not None and not run.log.is_closed:
            self._close(run, "interrupted", "Another replica ended this run while this one was out of reach.")
        await self._until_settled(run)
        self._store.drop(run.run_id)
        follower = Inbound(self._link, run.run_id, run.broadcast, Summary(run.run_id))
        while not run.broadcast.closed:
            try:
                if await self._shelf.take(run.run_id) and (found := await self._store.find_here(run.run_id)):
                    follower.take(1, found.broadcast.lines[:], last=True)
                else:
                    await asyncio.sleep(LOOK_SECONDS)
            except RedisGone:
                await self._link.wait_up()

    # ---- ending what nobody cooks

    def stop(self, run: Run) -> None:
        """Its creator's wish, wherever it cooks."""
        if run.log is not None:
            super().stop(run)
        elif not run.broadcast.closed:
            self._start(self._stop_elsewhere(run))

    async def _stop_elsewhere(self, run: Run) -> None:
        if await self._until(lambda: self.line.take_out(run.run_id)):
            self.held.add(run.run_id)
            record = Record(creator=run.creator, address=run.address, asked_at=time.time())
            await self._close_here(run.run_id, record, "stopped", "Stopped by the one who asked, before its turn came.")

    def stop_here(self, run_id: str) -> None:
        """Another replica was asked to stop a run that this one cooks."""
        run = self._store_live(run_id)
        if run is not None:
            super().stop(run)

    async def refused(self, run_id: str, refusal: Refusal) -> None:
        """The engine would not have what was put in line here."""
        posted = self._posted.pop(run_id, None)
        if posted is None:
            return
        self.held.add(run_id)
        answer = self._answers.get(run_id)
        if answer is not None and not answer.done():
            answer.set_exception(refusal.problem())
            await self._until(lambda: self.line.forget(run_id))
            self.held.discard(run_id)
        else:
            await self._close_here(run_id, posted[0], "rejected", refusal.detail)

    async def turn_away(self) -> None:
        """No replica has had an engine for long, so nobody will cook what waits: its logs say so. Raises RedisGone."""
        for line in LINES:
            while taken := await self.line.next(line):
                self.held.add(taken.run_id)
                await self._close_here(taken.run_id, taken.record, "error", "No engine came back to cook it.")

    async def _close_here(self, run_id: str, record: Record, reason: CloseReason, detail: str) -> None:
        """A run that never began, and is ours to end: its log says why."""
        posted = self._posted.get(run_id)
        request: Generate | CookTake
        if posted is not None:
            request = _ORDER.decode(posted[1])
        else:
            request = Generate(request_id=run_id, prompt="", params=SamplingParams())
        try:
            run = self._create_shared(run_id, record, request)
        except Problem:  # the disk
            return
        self._close(run, reason, detail)
        self._send_out(run, record)

    # ---- small things

    def _store_live(self, run_id: str) -> Run | None:
        return next((run for run in self._store.live() if run.run_id == run_id), None)

    async def _seconds_since(self, moment: float) -> float:
        try:
            seconds, micros = await self._link.command("TIME")
        except RedisGone:
            return 0.0
        return max(0.0, int(seconds) + int(micros) / 1e6 - moment)

    def insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have it done, as soon as Redis is there."""
        self._start(self._until(work))

    async def _until(self, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except RedisGone:
                await self._link.wait_up()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("cluster.fault", exc_info=error)

    def expected_wait(self, run: Run) -> Wait | None:
        """By what all engines have measured lately."""
        place, measured = run.summary.position, self.seats_elsewhere
        if run.log is not None or place is None or not measured:
            return super().expected_wait(run)
        num_runs = sum(seats.num_runs for seats in measured)
        mean = sum(seats.seat_seconds * seats.num_runs for seats in measured) / num_runs
        num_seats = sum(seats.num_seats for seats in measured)
        return Wait((place + 1) * mean / num_seats, num_seats, num_runs, mean)

    @property
    def measured(self) -> Wait | None:
        """How long a seat is held here."""
        ready = self._kitchen.ready
        return self._seats.expected_wait(0, ready.engine) if self._cooks and ready is not None else None

    @property
    def num_unsent_lines(self) -> int:
        """Lines on this disk that other replicas cannot have yet: they wait in the logs themselves."""
        return sum(outbound.num_unsent for outbound in self._outbound.values())

    def _settle(self, run: Run) -> None:
        super()._settle(run)
        self.wake()

    def engine_ready(self, ready: Ready) -> None:
        """Orders wait."""
        super().engine_ready(ready)
        self.wake()

    async def close(self) -> None:
        """Our own runs end here, and reach the others; what waits is left to them."""
        await super().close()
        pending = [task for task in self._tasks if not task.done()]
        if pending:
            await asyncio.wait(pending, timeout=3.0)
        self.following.close()
