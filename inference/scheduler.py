"""What the next step computes, under one budget of tokens, by one of two policies.

Running sequences that only need their next token go first, then prompts that are partly through. A prompt takes what
the budget leaves it (chunked prefill), so one step mixes both. When the pool is full, the newest running sequence
gives up its slot and blocks and goes back to its place in the line; its tokens are computed again later, as far as the
prefix cache has forgotten them.

**Continuous batching** (Orca, Yu et al. 2022) lets somebody in from the line, first come, first served, whenever there
is a slot and room. **Static batching**, what was done before, lets nobody in until the whole batch has finished.

Speculative decoding is given what is left: where a sequence that decodes could use drafts, they get room when all
that is certain has its share, and never at anybody's expense.

Parallel samples take a slot each. Those for which none is free when their request forks wait in the line, at their
request's place, and are admitted like one that was preempted. Nobody can wait for ever: the oldest sequence is
never preempted for another, and alone it has the whole pool, in which it was checked to fit.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.block_manager import BlockManager, IntegrityError
from inference.events import Event, Phase, RequestAdmitted, RequestPreempted, RequestQueued, StepItem
from inference.sequence import Sequence, SequenceStatus

if TYPE_CHECKING:
    from inference.speculation.drafter import Draft


@dataclass(slots=True)
class ScheduledItem:
    """A sequence's share of a step: tokens ``start <= position < stop``."""

    sequence: Sequence
    start: int
    stop: int
    phase: Phase
    samples: bool
    """Whether its last logits are wanted: only when everything the sequence holds is then computed."""
    room_for_drafts: int = 0
    """Guesses of what follows that there is budget and room in the cache for."""
    draft: Draft | None = None
    """Guesses that are computed along, to be verified; ``stop`` counts them."""
    num_dropped: int = 0
    """Of these, how many did not become the sequence's: rejected, or beyond its end."""

    def take(self, draft: Draft) -> None:
        """Have ``draft`` verified, which continues the sequence."""
        self.draft, self.phase = draft, "verify"
        self.stop += len(draft.token_ids)

    @property
    def token_ids(self) -> list[int]:
        """What is computed."""
        token_ids = self.sequence.token_ids[self.start : self.stop]
        return token_ids if self.draft is None else token_ids + self.draft.token_ids

    @property
    def num_logits(self) -> int:
        """Rows of logits that are wanted of it: its last, or, to verify drafts, one before each and one after all."""
        return 0 if not self.samples else 1 if self.draft is None else 1 + len(self.draft.token_ids)

    def describe(self) -> StepItem:
        slot = self.sequence.slot
        assert slot is not None
        return StepItem(
            request_id=self.sequence.request_id,
            sample=self.sequence.sample,
            slot=slot,
            phase=self.phase,
            start=self.start,
            stop=self.stop,
        )


class Scheduler(ABC):
    """Who runs, who waits, and what the next step computes. What both policies need; they differ in ``schedule``."""

    def __init__(
        self,
        blocks: BlockManager,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        clock: Callable[[], float],
        emit: Callable[[Event], None] | None = None,
        num_drafts: Callable[[Sequence], int] | None = None,
    ) -> None:
        """``num_drafts``: how many drafts a sequence could use (None: nobody speculates)."""
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        """In order of arrival, as the line is."""
        self._blocks = blocks
        self._max_num_batched_tokens = max_num_batched_tokens
        # Every running sequence gets a token a step: more slots than the budget has tokens would starve somebody.
        self.num_slots = min(max_num_seqs, max_num_batched_tokens)
        self._free_slots = list(range(self.num_slots))
        self._clock = clock
        self._emit = emit
        self._num_drafts = num_drafts

    # ---- the line --------------------------------------------------------------------------------------------------

    def add(self, sequence: Sequence) -> None:
        """Into the line, at its place by arrival."""
        insort(self.waiting, sequence, key=_order)
        self.tell_positions()

    def fork(self, parent: Sequence, num_samples: int) -> list[Sequence]:
        """``parent``, whose prompt has just been computed, becomes ``num_samples`` sequences; the new ones. They run at
        once on the parent's blocks, those without a slot or (slabs) a way to share wait."""
        children = [parent.fork(sample, self._clock()) for sample in range(1, num_samples)]
        for child in children:
            if self._free_slots and self._blocks.fork(parent.id, child.id):
                self._seat(child, parent.num_computed_tokens)
            else:
                self.add(child)
        return children

    def remove(self, sequence: Sequence) -> None:
        """It ended: free its slot and blocks, or its place in the line."""
        if sequence.status is SequenceStatus.RUNNING:
            self._vacate(sequence)
        else:
            self.waiting.remove(sequence)
        sequence.status = SequenceStatus.FINISHED

    def tell_positions(self) -> None:
        """Say ``request.queued`` for everyone whose place in the line changed."""
        if self._emit is None:
            return
        for position, sequence in enumerate(self.waiting):
            if sequence.position != position:
                sequence.position = position
                self._emit(
                    RequestQueued(
                        request_id=sequence.request_id,
                        sample=sequence.sample,
                        position=position,
                        num_waiting=len(self.waiting),
                    )
                )

    # ---- one step --------------------------------------------------------------------------------------------------

    def schedule(self) -> list[ScheduledItem]:
        """The next step's items, decodes first. Admits and preempts on the way."""
        items = self._schedule()
        if self._num_drafts is not None:
            self._room_for_drafts(items, self._num_drafts)
        self.tell_positions()
        return items

    @abstractmethod
    def _schedule(self) -> list[ScheduledItem]:
        """What is certain to be computed."""

    def _schedule_running(self, items: list[ScheduledItem]) -> int:
        """Add running sequences, preempting where blocks run out; what is left of the budget."""
        decodes = [s for s in self.running if s.num_tokens - s.num_computed_tokens == 1]
        prefills = [s for s in self.running if s.num_tokens - s.num_computed_tokens > 1]
        for sequence in decodes + prefills:
            if sequence.status is not SequenceStatus.RUNNING or not self._make_room(sequence, items):
                continue
            budget = self._max_num_batched_tokens - sum(item.stop - item.start for item in items)
            if budget == 0:
                break
            items.append(self._item(sequence, budget))
        return self._max_num_batched_tokens - sum(item.stop - item.start for item in items)

    def _make_room(self, sequence: Sequence, items: list[ScheduledItem]) -> bool:
        """Blocks for every token the sequence holds, at the expense of the newest. False if that is itself."""
        while not self._blocks.grow(sequence.id, sequence.num_tokens):
            victim = self.running[-1]
            items[:] = [item for item in items if item.sequence is not victim]
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _room_for_drafts(self, items: list[ScheduledItem], num_drafts: Callable[[Sequence], int]) -> None:
        """Give what the budget and the pool have left, the oldest first. The last token that a sequence may draw is
        never computed, so the last draft may stand before it."""
        budget = self._max_num_batched_tokens - sum(item.stop - item.start for item in items)
        for item in items:
            sequence = item.sequence
            if item.phase == "decode":
                count = min(num_drafts(sequence), sequence.max_num_computed_tokens - item.stop, budget)
                while count > 0 and not self._blocks.grow(sequence.id, item.stop + count):
                    count -= 1
                item.room_for_drafts = max(0, count)
                budget -= item.room_for_drafts

    def _admit_next(self) -> Sequence | None:
        """Give the first in the line a slot and blocks. None if there is nobody, or not both."""
        if not self.waiting or not self._free_slots:
            return None
        sequence = self.waiting[0]
        num_cached = self._blocks.admit(
            sequence.id,
            sequence.token_ids,
            max_num_tokens=sequence.max_num_computed_tokens,
            salt=sequence.cache_salt,
            num_public_tokens=sequence.num_public_tokens,
            max_cached_tokens=sequence.max_cached_tokens,
        )
        if num_cached is None:
            return None
        self.waiting.popleft()
        self._seat(sequence, num_cached)
        return sequence

    def _item(self, sequence: Sequence, budget: int) -> ScheduledItem:
        start = sequence.num_computed_tokens
        stop = min(sequence.num_tokens, start + budget)
        decodes = start >= sequence.num_prompt_tokens and start == sequence.num_tokens - 1
        return ScheduledItem(sequence, start, stop, "decode" if decodes else "prefill", stop == sequence.num_tokens)

    # ---- slots -----------------------------------------------------------------------------------------------------

    def _seat(self, sequence: Sequence, num_cached: int) -> None:
        """Into the lowest free slot; its block table stands, with ``num_cached`` tokens computed."""
        sequence.slot = heapq.heappop(self._free_slots)
        sequence.status = SequenceStatus.RUNNING
        sequence.position = None
        sequence.num_computed_tokens = num_cached
        if not sequence.admitted:
            sequence.admitted = True
            sequence.num_cached_tokens = num_cached
        insort(self.running, sequence, key=_order)
        if self._emit:
            self._emit(
                RequestAdmitted(
                    request_id=sequence.request_id,
                    sample=sequence.sample,
                    slot=sequence.slot,
                    num_tokens=sequence.num_tokens,
                    cached_tokens=num_cached,
                    queue_seconds=self._clock() - sequence.queued_at,
                )
            )

    def _preempt(self, sequence: Sequence) -> None:
        slot, num_computed_tokens = sequence.slot, sequence.num_computed_tokens
        assert slot is not None
        if self._emit:
            self._emit(
                RequestPreempted(
                    request_id=sequence.request_id,
                    sample=sequence.sample,
                    slot=slot,
                    num_computed_tokens=num_computed_tokens,
                )
            )
        self._vacate(sequence)
        sequence.status = SequenceStatus.WAITING
        sequence.num_computed_tokens = 0
        sequence.num_preemptions += 1
        sequence.queued_at = self._clock()
        insort(self.waiting, sequence, key=_order)

    def _vacate(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self.running.remove(sequence)
        self._blocks.release(sequence.id)
        heapq.heappush(self._free_slots, sequence.slot)
        sequence.slot = None

    def check_integrity(self) -> None:
        """Raise ``IntegrityError`` unless slots and block tables are those of the running sequences."""
        slots = [sequence.slot for sequence in self.running]
        if sorted([*self._free_slots, *(slot for slot in slots if slot is not None)]) != list(range(self.num_slots)):
            raise IntegrityError(f"slots {slots} held and {self._free_slots} free must part {self.num_slots}")
        if {sequence.id for sequence in self.running} != self._blocks.tables.keys():
            raise IntegrityError("block tables must be those of the running sequences")
        for group in (self.running, self.waiting):
            if [s.order for s in group] != sorted(s.order for s in group):
                raise IntegrityError("running and waiting sequences must stand in order of arrival")


class ContinuousScheduler(Scheduler):
    """Lets the line in whenever there is a slot, room, and budget left."""

    def _schedule(self) -> list[ScheduledItem]:
        items: list[ScheduledItem] = []
        num_waiting = len(self.waiting)
        budget = self._schedule_running(items)
        # After a preemption nobody new may take the blocks it made room with.
        while len(self.waiting) <= num_waiting and budget > 0 and (sequence := self._admit_next()):
            items.append(self._item(sequence, budget))
            budget -= items[-1].stop - items[-1].start
        return items


class StaticScheduler(Scheduler):
    """Takes as many as there are slots and room for, and then nobody until the last of them has finished: slots of
    those that finish sooner stand idle (``step.started.num_idle_slots``), however long the line is."""

    def _schedule(self) -> list[ScheduledItem]:
        if not self.running:
            while self._admit_next():
                pass
        items: list[ScheduledItem] = []
        self._schedule_running(items)
        return items


def _order(sequence: Sequence) -> tuple[int, int]:
    return sequence.order
