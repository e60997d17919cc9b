"""Several replicas as one kitchen, over Redis: who lives, who ends what a dead one began, and what is news."""

from __future__ import annotations

import asyncio
import gzip
import secrets
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog
from prometheus_client import Gauge

from app.cluster_kitchen import KitchenElsewhere
from app.cluster_line import Refusal
from app.cluster_link import Link, RedisGone
from app.cluster_log import KEPT_SECONDS, Record
from app.cluster_orders import SharedOrders
from app.cluster_scripts import APPEND, BEAT, CLAIM
from app.cluster_shelf import Shelf
from app.kitchen import EngineStatus, Kitchen, State
from app.metrics import Metrics
from app.run_files import About, Ended, close_orphan
from app.run_store import RunStore
from app.runs import Run, read_summary
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
        self.orders.following.on_lost = self._rescue
        store.elsewhere = self
        self._count_in(metrics)
        self._epoch = b""
        self._engine_seen = time.monotonic()
        self._strange: set[str] = set()
        self._burying: set[str] = set()
        self._ending: set[str] = set()
        self._torn = [path.stem for path in store.directory.glob("*.jsonl")]
        """Logs that this replica did not come to end when it last ran."""
        self._tasks: list[asyncio.Task[None]] = []

    async def disown(self) -> None:
        """Before torn logs are healed: another replica ends them, or has, where Redis knows of them. Ours may be longer
        by lines that no reader saw."""
        try:
            await self._disown()
        except RedisGone:
            logger.warning("cluster.apart")

    async def _disown(self) -> None:
        while self._torn:
            run_id = self._torn[-1]
            if await self.link.command("HEXISTS", "kitchen:runs", run_id) or await self.link.command(
                "HEXISTS", "kitchen:shelf", run_id
            ):
                await asyncio.to_thread(self._store.drop, run_id)
            self._torn.pop()

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
            lost, self._epoch = self._epoch != b"", epoch
            await self._share_secret()
            await self._disown()
            self.orders.insist(self._shelf.compare)
            if lost:
                logger.warning("redis.empty")
                self.orders.insist(self._post_again)
        for name in dead:
            self._bury(name.decode())
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
            await self._settle_inherited(run_id)
        self._strange = strange

    # ---- who is dead

    def _bury(self, dead: str) -> None:
        if dead not in self._burying:
            self._burying.add(dead)
            self.orders.insist(lambda: self._claim(dead))

    async def _claim(self, dead: str) -> None:
        claimed = await self.link.script(CLAIM, self.name, dead)
        self._burying.discard(dead)
        if claimed:
            logger.warning("cluster.replica_dead", runs=len(claimed))
        # (Where Redis goes away in the middle of this, ``_look_after_ours`` goes on with it.)
        for run_id in claimed:
            await self._settle_inherited(run_id.decode())

    async def _settle_inherited(self, run_id: str) -> None:
        """A run that is ours now and that nobody cooks: to the line again, or to its end."""
        if run_id in self._ending:
            return
        self._ending.add(run_id)
        try:
            if not await self.orders.line.put_back(run_id):
                await self._end(run_id)
        finally:
            self._ending.discard(run_id)

    async def _end(self, run_id: str) -> None:
        """End a run that is ours now and nobody cooks any more, where its Stream ends."""
        record_text = await self.link.command("HGET", "kitchen:runs", run_id)
        if record_text is None:
            return
        record = msgspec.json.decode(record_text, type=Record)
        lines: list[bytes] = []
        whole = False
        for _, fields in await self._entries(run_id):
            lines += fields[b"lines"].split(b"\n")
            whole = fields[b"last"] == b"1"
        if not whole:
            known = len(lines)
            lines = await asyncio.to_thread(_with_end, run_id, lines)
            ending = lines[known:]
            answer = await self.link.script(
                APPEND, run_id, self.name, record_text, known + 1, len(lines), b"\n".join(ending), 1, KEPT_SECONDS
            )
            if answer != [b"has", len(lines)]:
                return
        about, packed = await asyncio.to_thread(_closed_copy, run_id, record, lines)
        await self._shelf.place(run_id, self.name, about, packed)
        logger.info("run.interrupted_elsewhere", events=len(lines))

    async def _rescue(self, run: Run) -> None:
        """Redis lost it, and so did we who cooked it: what readers here have seen of it becomes its log. Raises
        RedisGone."""
        lines = await asyncio.to_thread(_with_end, run.run_id, run.broadcast.lines[:])
        record = Record(creator=run.creator, address=run.address, asked_at=time.time(), owner=self.name)
        answer = await self.link.script(
            APPEND,
            run.run_id,
            self.name,
            msgspec.json.encode(record),
            1,
            len(lines),
            b"\n".join(lines),
            1,
            KEPT_SECONDS,
        )
        if answer == [b"has", len(lines)]:
            await self._shelf.place(run.run_id, self.name, *_closed_copy(run.run_id, record, lines))

    async def _entries(self, run_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found: list[tuple[bytes, dict[bytes, bytes]]] = await self.link.command(
            "XRANGE", f"kitchen:log:{run_id}", "-", "+"
        )
        return found

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


def _with_end(run_id: str, lines: list[bytes]) -> list[bytes]:
    """The log with its end, as the start of a kitchen would have healed it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"{run_id}.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        close_orphan(run_id, path)
        return path.read_bytes().splitlines()


def _closed_copy(run_id: str, record: Record, lines: list[bytes]) -> tuple[bytes, bytes]:
    """What is kept beside a log that another replica began, and the log, packed."""
    summary = read_summary(run_id, lines)
    opened = summary.opened
    about = About(
        creator=record.creator,
        created_at=record.asked_at,
        parent=opened.parent or "" if opened else "",
        take=opened.take or "" if opened else "",
        ended=Ended.of(summary),
    )
    return msgspec.json.encode(about), gzip.compress(b"\n".join([*lines, b""]), 6, mtime=0)


def examine(url: str) -> tuple[bool, str]:
    """For ``openkitchen doctor``: whether this Redis will do, and what to do if not."""
    return asyncio.run(_examine(url))


async def _examine(url: str) -> tuple[bool, str]:
    link = Link(url)
    try:
        began = time.perf_counter()
        info = await link.command("INFO", "server")
        seconds = time.perf_counter() - began
    except RedisGone:
        return False, "Redis does not answer. Is OPENKITCHEN_REDIS_URL right, and the server up?"
    except Exception as error:
        return False, f"Redis refuses: {error}."
    finally:
        await link.close()
    version = str(info.get("redis_version", "?"))
    if int(version.partition(".")[0] or 0) < 5:
        return False, f"Redis {version} has no Streams: 5.0 or newer is needed (6.2 or newer is tested)."
    return True, f"Redis {version}, {seconds * 1000:.1f} ms away"
