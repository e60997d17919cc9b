"""Several replicas as one kitchen, over Redis: who lives, who ends what a dead one began, and what is news."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog
from prometheus_client import Gauge

from app.cluster_inheritance import Inheritance
from app.cluster_kitchen import KitchenElsewhere
from app.cluster_line import Refusal
from app.cluster_link import Link, RedisGone
from app.cluster_log import Record
from app.cluster_orders import SharedOrders
from app.cluster_scripts import BEAT
from app.cluster_shelf import Shelf
from app.kitchen import EngineStatus, Kitchen, State
from app.metrics import Metrics
from app.run_store import RunStore
from app.runs import Run
from app.seats import Wait
from app.security import Visitors
from app.settings import Settings
from app.tracing import Tracing
from inference.messages import Ready

logger = structlog.get_logger(__name__)

BEATS_PER_LEASE = 3
PROBE_SECONDS = 0.25
"""Redis is asked this often whether it is back."""
PLACES_SECONDS = 1.0
NO_ENGINE_SECONDS = 60.0
"""With no engine anywhere for so long, what waits is not kept waiting."""
OUT_OF_REACH = "The other kitchens cannot be reached just now."


class EngineCard(msgspec.Struct, kw_only=True):
    """How a replica's engine is, as it tells the others. No state: it has none."""

    state: State | None
    detail: str = ""
    ready: Ready | None = None
    measured: Wait | None = None


class Cluster:
    """This replica among the others."""

    def __init__(
        self,
        settings: Settings,
        kitchen: Kitchen,
        store: RunStore,
        metrics: Metrics,
        tracing: Tracing,
        visitors: Visitors,
    ) -> None:
        self.name = secrets.token_hex(8)
        self.link = Link(settings.redis_url)
        self.num_replicas = 0
        self.num_engines = 0
        self.num_live = self.num_waiting = 0
        self._lease = settings.lease_seconds
        self._kitchen = kitchen
        self._store = store
        self._visitors = visitors
        self._has_secret_of_its_own = bool(settings.secret)
        self._shelf = Shelf(self.link, store, settings.keep_days * 86_400)
        self.orders = SharedOrders(
            kitchen,
            store,
            settings,
            metrics,
            tracing,
            link=self.link,
            shelf=self._shelf,
            name=self.name,
            digest=lambda address: visitors.digest(address, "address"),
        )
        self._inheritance = Inheritance(self.link, self.name, self.orders.line, self._shelf, self.orders.insist)
        self.orders.following.on_lost = self._inheritance.rescue
        store.elsewhere = self
        self._count_in(metrics)
        self._epoch = b""
        self._engine_seen = time.monotonic()
        self._strange: set[str] = set()
        self._has_disowned = False
        self._tasks: list[asyncio.Task[None]] = []

    async def disown(self) -> None:
        """Before torn logs are healed, and before anybody reads here: what others ended while we were dead is theirs.
        Our own copy may be longer by lines that no reader saw."""
        try:
            await self._disown()
        except RedisGone:
            logger.warning("cluster.apart")

    async def _disown(self) -> None:
        if self._has_disowned:
            return
        live = await self.link.command("HGETALL", "kitchen:runs")
        owners = {run_id.decode(): msgspec.json.decode(text, type=Record).owner for run_id, text in live.items()}
        theirs = {run_id for run_id, owner in owners.items() if owner != self.name}
        theirs |= await self._shelf.others(self.orders.held)
        for run_id in theirs:
            if self._store.index.get(run_id) is not None or self._store.files.log(run_id).exists():
                await asyncio.to_thread(self._store.drop, run_id)
        self._has_disowned = True

    async def start(self) -> None:
        """Join the others; in the background where Redis is away."""
        try:
            await self._beat()
        except RedisGone:
            pass
        work: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
            self._keep_beating,
            self._hear_news,
            self._tell_places,
            self.orders.serve_line,
        )
        self._tasks = [asyncio.create_task(self._forever(each), name=each.__name__) for each in work]

    async def stop(self) -> None:
        """Leave: our own runs have been closed, and the others need not wait for our lease to end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            for run_id in self.orders.held:
                await self.orders.line.put_back(run_id)
            await self.link.command("HDEL", "kitchen:replicas", self.name)
        except RedisGone:
            pass
        await self.link.close()

    async def _forever(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
            except RedisGone:
                await self.link.wait_up()
            except Exception:
                # Whatever it was, this replica must not fall silent for it.
                logger.exception("cluster.fault")
                await asyncio.sleep(1.0)

    # ---- runs on other disks than this one

    async def find(self, run_id: str) -> Run | None:
        """A run that is not on this disk. Raises 503 where nobody can say."""
        return await self.orders.following.find(run_id)

    def changed(self, run_id: str) -> None:
        """What stands about a closed run is another now."""
        self._shelf.changing.add(run_id)
        self.orders.insist(lambda: self._shelf.change(run_id))

    def deleted(self, run_id: str) -> None:
        """This is gone for good, with its takes."""
        self.orders.insist(lambda: self._shelf.discard(run_id))

    # ---- who lives

    async def _keep_beating(self) -> None:
        while True:
            try:
                await self._beat()
            except RedisGone:
                if isinstance(self._kitchen, KitchenElsewhere):
                    self._kitchen.hear(
                        EngineStatus("restarting", "The other kitchens cannot be reached just now."), None
                    )
            await asyncio.sleep(self._lease / BEATS_PER_LEASE if self.link.up else PROBE_SECONDS)

    async def _beat(self) -> None:
        answer = await self.link.script(
            BEAT,
            self.name,
            int(self._lease * 1000),
            msgspec.json.encode(self._card()),
            secrets.token_hex(8),
            probing=True,
        )
        epoch, _, alive, dead = answer
        self._look_around([msgspec.json.decode(card, type=EngineCard) for card in alive])
        if epoch != self._epoch:
            await self._share_secret()
            await self._disown()
            # (From here on it is done: each of these may find Redis away, and is tried again with the next beat.)
            lost, self._epoch = self._epoch != b"", epoch
            self.orders.insist(self._shelf.compare)
            if lost:
                logger.warning("redis.empty")
                self.orders.insist(self._post_again)
        for name in dead:
            self._inheritance.bury(name.decode())
        await self._look_after_ours()
        if self.orders.engine_elsewhere:
            self._engine_seen = time.monotonic()
        elif time.monotonic() - self._engine_seen > NO_ENGINE_SECONDS:
            await self.orders.turn_away()

    def _card(self) -> EngineCard:
        if isinstance(self._kitchen, KitchenElsewhere):
            return EngineCard(state=None)
        status = self._kitchen.status
        return EngineCard(
            state=status.state,
            detail=status.detail,
            ready=self._kitchen.ready,
            measured=self.orders.measured,
        )

    def _look_around(self, cards: list[EngineCard]) -> None:
        engines = [card for card in cards if card.state is not None]
        self.num_replicas = len(cards)
        self.orders.seats_elsewhere = [card.measured for card in engines if card.measured is not None]
        self.num_engines = sum(card.ready is not None for card in engines)
        order = ("ready", "loading", "starting", "restarting", "failed", "no_model", "stopped")
        best = min(engines, key=lambda card: order.index(card.state or "stopped"), default=None)
        status = EngineStatus(best.state, best.detail) if best is not None and best.state is not None else None
        self.orders.engine_elsewhere = status is not None and status.takes_orders
        if isinstance(self._kitchen, KitchenElsewhere):
            self._kitchen.hear(status, best.ready if best is not None else None)

    async def _post_again(self) -> None:
        """Redis came back empty. What was begun is claimed first, by who cooks it; then what waits goes in again."""
        await asyncio.sleep(self._lease)
        await self.orders.post_again()

    async def _share_secret(self) -> None:
        if self._has_secret_of_its_own:
            return
        await self.link.command("SET", "kitchen:secret", self._visitors.secret.hex(), "NX")
        secret = bytes.fromhex((await self.link.command("GET", "kitchen:secret")).decode())
        if secret != self._visitors.secret:
            self._visitors.adopt(secret)

    async def _look_after_ours(self) -> None:
        """A record that says a run is ours, of which we know nothing (the answer that gave it to us was lost)."""
        found = await self.link.command("HGETALL", "kitchen:runs")
        owners = {run_id.decode(): msgspec.json.decode(text, type=Record).owner for run_id, text in found.items()}
        self.num_live, self.num_waiting = len(owners), sum(owner is None for owner in owners.values())
        strange = {run_id for run_id, owner in owners.items() if owner == self.name} - self.orders.held
        for run_id in strange & self._strange:
            await self._inheritance.settle(run_id)
        self._strange = strange

    # ---- news

    async def _hear_news(self) -> None:
        newest = await self.link.command("XREVRANGE", "kitchen:news", "+", "-", "COUNT", 1)
        after = newest[0][0].decode() if newest else "0-0"
        self.orders.insist(self._shelf.compare)
        while True:
            for entry, fields in await self.link.read("kitchen:news", after):
                after = entry
                await self._hear(fields[b"word"].decode(), fields[b"id"].decode(), fields[b"more"])

    async def _hear(self, word: str, run_id: str, more: bytes) -> None:
        if word == "order":
            self.orders.wake()
        elif word == "stop":
            self.orders.stop_here(run_id)
        elif word == "refused":
            await self.orders.refused(run_id, msgspec.json.decode(more, type=Refusal))
        elif word == "shelved":
            if run_id not in self.orders.held and self._store.index.get(run_id) is None:
                await self._shelf.take(run_id)
            self.orders.following.forget_settled()
        elif word == "changed":
            await self._shelf.take_change(run_id)
        elif word == "deleted":
            for take in await self._store.delete_here(run_id):
                self.orders.stop(take)

    async def _tell_places(self) -> None:
        while True:
            await asyncio.sleep(PLACES_SECONDS)
            if self.link.up:
                await self.orders.following.tell_places()

    # ---- what is said of it

    def _count_in(self, metrics: Metrics) -> None:
        registry = metrics.registry
        for name, help_text, value in (
            ("redis_up", "1 while Redis answers.", lambda: float(self.link.up)),
            ("redis_losses", "Times that Redis went away.", lambda: float(self.link.num_losses)),
            ("cluster_replicas", "Replicas with a lease.", lambda: float(self.num_replicas)),
            ("cluster_engines", "Of those, with an engine that is ready.", lambda: float(self.num_engines)),
            ("cluster_live_runs", "Runs of all replicas that live.", lambda: float(self.num_live)),
            ("cluster_waiting_runs", "Of those, in the line.", lambda: float(self.num_waiting)),
            ("cluster_unsent_lines", "Log lines not in Redis yet.", lambda: float(self.orders.num_unsent_lines)),
        ):
            Gauge(f"openkitchen_{name}", help_text, registry=registry).set_function(value)

    def status(self) -> dict[str, Any]:
        """For ``/readyz``."""
        return {
            "redis": "up" if self.link.up else "away",
            "replicas": self.num_replicas,
            "engines": self.num_engines,
        }
