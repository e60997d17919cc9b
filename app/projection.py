"""From everything that the engine says to what one run's log may hold."""

from __future__ import annotations

from msgspec.structs import replace

from app.guests import Guests
from inference.events import (
    AnyEvent,
    BlockAllocated,
    BlockCopied,
    BlockEvicted,
    BlockReleased,
    BlockShared,
    KVWritten,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    Snapshot,
    StepFinished,
    StepItem,
    StepStarted,
)


class Projection:
    """One run's view of the engine.

    The run's own events pass whole, but that their reference counts know only holders that the log shows. Of other
    requests only what makes the kitchen busy passes: slots, lengths and blocks, as ``Guests`` tells them. Their
    prompts, tokens, probes, places in the line, cache hits and reasons never do: what is not allowed here by name is
    dropped. The sums of a step pass as they are, and lengths can be worked out from them (see ``Guests``).
    """

    def __init__(self, request_id: str) -> None:
        self._own = request_id
        self.guests = Guests(request_id)
        self._joined = False

    def project(self, event: AnyEvent) -> AnyEvent | None:
        """The event as it may stand in this log, or None. What happened before the run's own snapshot is in the
        snapshot, so it is dropped."""
        request_id: str | None = getattr(event, "request_id", None)
        if not self._joined:
            if request_id != self._own:
                return None
            self._joined = True
        match event:
            case Snapshot():
                if request_id != self._own:
                    return None
                return replace(event, requests=[self.guests.seated(request) for request in event.requests])
            case StepStarted():
                return replace(event, requests=[self._item(item) for item in event.requests])
            case StepFinished() | BlockEvicted():
                return event
            case BlockAllocated() | BlockShared() | BlockCopied() | BlockReleased():
                return self.guests.blocks(event)
            case _ if request_id == self._own:
                return event
            case RequestAdmitted():
                return self.guests.admitted(event)
            case RequestPreempted():
                return self.guests.preempted(event)
            case RequestFinished():
                return self.guests.finished(event)
            case KVWritten():
                return self.guests.written(event)
            case _:
                return None

    def _item(self, item: StepItem) -> StepItem:
        return item if item.request_id == self._own else self.guests.item(item)


class HouseProjection:
    """A take's view of the second engine, where all others are the house's own: nobody's secrets. So what ``Guests``
    would hide for a stranger's sake stands here as it was, from the first event on: who waits at which place, which
    blocks were found, who holds what. Their texts and tokens are left out because they are nobody's interest."""

    def __init__(self, request_id: str) -> None:
        self._own = request_id
        self._names: dict[str, str] = {}

    def project(self, event: AnyEvent) -> AnyEvent | None:
        """The event as it may stand in this log, or None."""
        request_id: str | None = getattr(event, "request_id", None)
        if request_id == self._own:
            return event
        match event:
            case StepStarted():
                items = [replace(item, request_id=self._name(item.request_id)) for item in event.requests]
                return replace(event, requests=items)
            case StepFinished() | BlockEvicted():
                return event
            case RequestFinished():
                return replace(event, request_id=self._name(event.request_id), text=None, stop=None)
            case (
                BlockAllocated()
                | BlockShared()
                | BlockCopied()
                | BlockReleased()
                | RequestQueued()
                | RequestAdmitted()
                | RequestPreempted()
                | KVWritten()
            ):
                return replace(event, request_id=self._name(event.request_id))
            case _:
                return None

    def _name(self, request_id: str) -> str:
        """``guest-1``, ``guest-2`` in order of appearance, as in every log."""
        if request_id == self._own:
            return request_id
        return self._names.setdefault(request_id, f"guest-{len(self._names) + 1}")
