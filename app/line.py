"""The kitchen's line: runs that wait for a seat in the engine, next by turns of addresses and of their visitors.

Whoever has thirty runs waiting holds up nobody else's first: addresses take turns, the visitors of one address (a class
behind one router) take turns in its turn, and each of them is served first come, first served. Cookies are free, so
whoever asks with a new one each time has the turns of one address and not of thirty visitors. ::

    1: A: a1 a2 a3        turns: 1 2        next: a1 c1 b1 c2 a2 a3
       B: b1
    2: C: c1 c2

The methods are coroutines so that a line which several replicas share can stand in this one's place. None of these
here ever waits: what happens between two of the caller's own ``await`` of something else happens at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from inference.messages import CookTake, Generate

T = TypeVar("T")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the line, and what the engine is to be told when its turn comes."""

    run_id: str
    visitor: str
    """Digest of the cookie of who asked for it."""
    address: str = ""
    """Where they asked from."""
    request: Generate | CookTake


class Line:
    """In the memory of one process. How many may stand in it is its caller's to say."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, OrderedDict[str, deque[Order]]] = OrderedDict()
        """Addresses from which somebody is here, and of each its visitors; whose turn is next first."""
        self._standing: dict[str, Order] = {}

    def __len__(self) -> int:
        return len(self._standing)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._standing

    async def push(self, order: Order) -> None:
        """To the end of its visitor's own; a visitor who has nobody here takes the last turn of their address, and an
        address that has nobody here the last of all. Raises ValueError for a run that stands here already."""
        if order.run_id in self._standing:
            raise ValueError(f"run {order.run_id!r} is in the line already")
        self._standing[order.run_id] = order
        self._lanes.setdefault(order.address, OrderedDict()).setdefault(order.visitor, deque()).append(order)

    async def next(self) -> Order | None:
        """Take out who is next; None if nobody is here."""
        if not self._lanes:
            return None
        address, lane = self._lanes.popitem(last=False)
        visitor, orders = lane.popitem(last=False)
        order = orders.popleft()
        if orders:
            lane[visitor] = orders
        if lane:
            self._lanes[address] = lane
        del self._standing[order.run_id]
        return order

    async def place(self, run_id: str) -> int | None:
        """How many will be taken before this run, as things stand; None for one that is not here. (Who comes later may
        take a turn before another's second.)"""
        return next((place for place, order in enumerate(self._in_order()) if order.run_id == run_id), None)

    async def standing(self) -> list[str]:
        """Every run that waits, who is next first: the one at index ``i`` has place ``i``."""
        return [order.run_id for order in self._in_order()]

    async def drop(self, run_id: str) -> bool:
        """Take out a run whose turn will not come. False if it is not here."""
        order = self._standing.pop(run_id, None)
        if order is None:
            return False
        lane = self._lanes[order.address]
        lane[order.visitor].remove(order)
        if not lane[order.visitor]:
            del lane[order.visitor]
        if not lane:
            del self._lanes[order.address]
        return True

    def _in_order(self) -> Iterator[Order]:
        return _by_turns([list(_by_turns(list(lane.values()))) for lane in self._lanes.values()])


def _by_turns(queues: Sequence[Sequence[T]]) -> Iterator[T]:
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue):
                yield queue[turn]
