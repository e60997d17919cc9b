"""From everything that the engine says to what one run's log may hold."""

from __future__ import annotations

from msgspec.structs import replace

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
    Snapshot,
    StepFinished,
    StepItem,
    StepStarted,
)

_OTHERS_BLOCKS = (BlockAllocated, BlockShared, BlockCopied, BlockReleased, KVWritten)


class Projection:
    """One run's view of the engine.

    The run's own events pass whole. Of other requests only what makes the kitchen busy passes: slots, lengths and
    blocks, under names that mean nothing outside this log (``guest-1``, ``guest-2`` in order of appearance). Their
    prompts, tokens, probes, places in the line and reasons never do: what is not allowed here by name is dropped.
    """

    def __init__(self, request_id: str) -> None:
        self._own = request_id
        self._guests: dict[str, str] = {}
        self._joined = False

    def project(self, event: AnyEvent) -> AnyEvent | None:
        """The event as it may stand in this log, or None. What happened before the run's own snapshot is in the
        snapshot, so it is dropped."""
        request_id: str | None = getattr(event, "request_id", None)
        if not self._joined:
            if request_id != self._own:
                return None
            self._joined = True
        if isinstance(event, Snapshot):
            return self._snapshot(event) if request_id == self._own else None
        if isinstance(event, StepStarted):
            return replace(event, requests=[self._item(item) for item in event.requests])
        if isinstance(event, StepFinished | BlockEvicted):
            return event
        if request_id is None:
            return None
        if request_id == self._own:
            return event
        return self._other(event)

    def _name(self, request_id: str) -> str:
        if request_id == self._own:
            return request_id
        return self._guests.setdefault(request_id, f"guest-{len(self._guests) + 1}")

    def _item(self, item: StepItem) -> StepItem:
        return replace(item, request_id=self._name(item.request_id))

    def _snapshot(self, event: Snapshot) -> Snapshot:
        others = [replace(request, request_id=self._name(request.request_id)) for request in event.requests]
        return replace(event, requests=others)

    def _other(self, event: AnyEvent) -> AnyEvent | None:
        if isinstance(event, RequestAdmitted):
            return replace(event, request_id=self._name(event.request_id), cached_tokens=0, queue_seconds=0.0)
        if isinstance(event, RequestPreempted):
            return replace(event, request_id=self._name(event.request_id))
        if isinstance(event, RequestFinished):
            # A guest leaves its seat; why, and what it said, is between it and the kitchen.
            return RequestFinished(
                t=event.t,
                request_id=self._name(event.request_id),
                sample=event.sample,
                slot=event.slot,
                reason="stop",
                num_samples_left=event.num_samples_left,
            )
        if isinstance(event, _OTHERS_BLOCKS):
            return replace(event, request_id=self._name(event.request_id))
        return None
