"""The parts of the site as the handlers find them, typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import structlog
from starlette.requests import HTTPConnection
from starlette.types import Scope

from app.broadcast import FrameClock
from app.data_dir import DataDirClaim
from app.kitchen import Kitchen
from app.limits import Rates, ReaderLimit
from app.metrics import Metrics
from app.orders import Orders
from app.problems import unknown_run
from app.run_store import RunStore
from app.runs import Run
from app.security import Visitors
from app.settings import Settings
from app.tracing import Tracing

if TYPE_CHECKING:
    from app.cluster import Cluster

logger = structlog.get_logger(__name__)


@dataclass(eq=False)
class Site:
    """Everything that ``create_app`` wires together."""

    settings: Settings
    claim: DataDirClaim
    kitchen: Kitchen
    store: RunStore
    orders: Orders
    metrics: Metrics
    tracing: Tracing
    visitors: Visitors
    rates: Rates
    readers: ReaderLimit
    clock: FrameClock
    cluster: Cluster | None = None
    """The other replicas, where there are any."""
    abort_connection: Callable[[Scope], None] = field(default=lambda scope: None)
    """Cuts a connection whose reader takes nothing (set by the server that holds the connections)."""

    async def run(self, run_id: str) -> Run:
        """The run, or 404."""
        run = await self.store.find(run_id)
        if run is None:
            raise unknown_run()
        return run


def site_of(connection: HTTPConnection) -> Site:
    """The site that serves this connection."""
    return cast(Site, connection.app.state.site)
