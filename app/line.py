"""The kitchen's line: runs that wait for a seat in the engine, next by turns of their visitors.

Whoever has thirty runs waiting holds up nobody else's first: visitors take turns, and each of them is served first
come, first served. ::

    A: a1 a2 a3        turns: A B C        next: a1 b1 c1 a2 c2 a3
    B: b1
    C: c1 c2

The methods are coroutines so that a line which several replicas share can stand in this one's place. None of these
here ever waits: what happens between two of the caller's own ``await`` of something else happens at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

import msgspec

from inference.messages import CookTake, Generate


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the line, and what the engine is to be told when its turn comes."""

    run_id: str
    visitor: str
    """Digest of the cookie of who asked for it: turns are theirs."""
    request: Generate | CookTake


class Line:
    """In the memory of one process. How many may stand in it is its caller's to say."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, deque[Order]] = OrderedDict()
        """Visitors who have somebody here, whose turn is next first."""
        self._visitors: dict[str, str] = {}
        """Of each run that stands here."""

    def __len__(self) -> int:
        return len(self._visitors)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._visitors

    async def push(self, order: Order) -> None:
        """To the end of its visitor's own; a visitor who has nobody here takes the last turn. Raises ValueError for a
        run that stands here already."""
        if order.run_id in self._visitors:
            raise ValueError(f"run {order.run_id!r} is in the line already")
        self._visitors[order.run_id] = order.visitor
        self._turns.setdefault(order.visitor, deque()).append(order)

    async def next(self) -> Order | None:
        """Take out who is next; None if nobody is here."""
        if not self._turns:
            return None
        visitor, orders = self._turns.popitem(last=False)
        order = orders.popleft()
        if orders:
            self._turns[visitor] = orders
        del self._visitors[order.run_id]
        return order

    async def place(self, run_id: str) -> int | None:
        """How many will be taken before this run, as things stand; None for one that is not here. (A visitor who comes
        later may take a turn before another's second.)"""
        visitor = self._visitors.get(run_id)
        if visitor is None:
            return None
        own = next(i for i, order in enumerate(self._turns[visitor]) if order.run_id == run_id)
        before, rounds = 0, own + 1
        for other, orders in self._turns.items():
            if other == visitor:
                before, rounds = before + own, own
            else:
                before += min(len(orders), rounds)
        return before

    async def standing(self) -> list[str]:
        """Every run that waits, who is next first: the one at index ``i`` has place ``i``."""
        return [order.run_id for order in self._in_order()]

    async def drop(self, run_id: str) -> bool:
        """Take out a run whose turn will not come. False if it is not here."""
        visitor = self._visitors.pop(run_id, None)
        if visitor is None:
            return False
        left = deque(order for order in self._turns[visitor] if order.run_id != run_id)
        if left:
            self._turns[visitor] = left
        else:
            del self._turns[visitor]
        return True

    def _in_order(self) -> Iterator[Order]:
        rounds = max(map(len, self._turns.values()), default=0)
        for turn in range(rounds):
            for orders in self._turns.values():
                if turn < len(orders):
                    yield orders[turn]
