"""Other people's requests, as a log that is not theirs may tell of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from msgspec.structs import replace

from inference.events import (
    BlockAllocated,
    BlockCopied,
    BlockReleased,
    BlockShared,
    KVWritten,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    SnapshotRequest,
    StepItem,
)

BlockEvent = BlockAllocated | BlockShared | BlockCopied | BlockReleased


@dataclass(eq=False)
class _Sequence:
    """One sample of a request: its block table, with None for a block that the log does not show, and how many tokens
    at its beginning stand in such blocks."""

    blocks: list[int | None] = field(default_factory=list)
    num_hidden: int = 0

    def place(self, index: int) -> int:
        """Where block ``index`` of the table stands among those that are shown."""
        return sum(block_id is not None for block_id in self.blocks[:index])


class Guests:
    """Names, positions and blocks under which one log knows the requests of others.

    How much of a stranger's prompt was found in the cache says what has been asked before, so a guest is told as if it
    began with the first token that was computed for it: blocks that it found are not in its table, and its positions
    count without them. (What samples of one request share is their own and is told.) A block that only guests hold
    unseen looks kept for its contents.

    Left are the sums of a step, seconds, FLOPs and bytes. They are the machine's: without the guests' share the
    reader's own rates would be false. So this hides what a guest found from a look, not from arithmetic: in a step with
    one guest, ``kv_read_bytes`` less the reader's share is the guest's true length.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._names: dict[str, str] = {}
        self._sequences: dict[tuple[str, int], _Sequence] = {}
        self._holders: Counter[int] = Counter()
        """Sequences that hold a block, as far as the log shows."""
        self.block_size = 1
        """Tokens a block, known once the log is opened."""

    def name(self, request_id: str) -> str:
        """``guest-1``, ``guest-2`` in order of appearance; means nothing outside this log."""
        if request_id == self._own:
            return request_id
        return self._names.setdefault(request_id, f"guest-{len(self._names) + 1}")

    def _of(self, request_id: str, sample: int) -> _Sequence:
        return self._sequences.setdefault((request_id, sample), _Sequence())

    def seated(self, request: SnapshotRequest) -> SnapshotRequest:
        """One that was there before the log. A block that several hold is shown with the first of them."""
        sequence = self._of(request.request_id, request.sample)
        self._enter(request.request_id, sequence, 0, request.block_ids, found=True, free=True)
        self._hide(sequence, request.num_computed_tokens)
        return replace(
            request,
            request_id=self.name(request.request_id),
            num_tokens=request.num_tokens - sequence.num_hidden,
            num_computed_tokens=request.num_computed_tokens - sequence.num_hidden,
            block_ids=[block_id for block_id in sequence.blocks if block_id is not None],
        )

    def item(self, item: StepItem) -> StepItem:
        """A share of a step."""
        hidden = self._of(item.request_id, item.sample).num_hidden
        return replace(item, request_id=self.name(item.request_id), start=item.start - hidden, stop=item.stop - hidden)

    def admitted(self, event: RequestAdmitted) -> RequestAdmitted:
        """Given a slot: how long it waited and what it found stay unsaid."""
        sequence = self._of(event.request_id, event.sample)
        self._hide(sequence, event.cached_tokens)
        return replace(
            event,
            request_id=self.name(event.request_id),
            num_tokens=event.num_tokens - sequence.num_hidden,
            cached_tokens=0,
            queue_seconds=0.0,
        )

    def preempted(self, event: RequestPreempted) -> RequestPreempted:
        """Lost its slot."""
        computed = event.num_computed_tokens - self._of(event.request_id, event.sample).num_hidden
        return replace(event, request_id=self.name(event.request_id), num_computed_tokens=max(0, computed))

    def finished(self, event: RequestFinished) -> RequestFinished:
        """A guest leaves its seat; why, and what it said, is between it and the kitchen."""
        return RequestFinished(
            t=event.t,
            request_id=self.name(event.request_id),
            sample=event.sample,
            slot=event.slot,
            reason="stop",
            num_samples_left=event.num_samples_left,
        )

    def written(self, event: KVWritten) -> KVWritten:
        """Keys and values stand."""
        hidden = self._of(event.request_id, event.sample).num_hidden
        return replace(
            event, request_id=self.name(event.request_id), start=event.start - hidden, stop=event.stop - hidden
        )

    # ---- blocks ----------------------------------------------------------------------------------------------------

    def blocks(self, event: BlockEvent) -> BlockEvent | None:
        """A change of a block table: of a guest's what may be shown, ours whole. Holders are counted as far as they
        are shown, in ours too."""
        name = self.name(event.request_id)
        sequence = self._of(event.request_id, event.sample)
        if isinstance(event, BlockReleased):
            return self._release(event, name)
        if isinstance(event, BlockCopied):
            return self._copy(event, name, sequence)
        place = sequence.place(event.start)
        shared = isinstance(event, BlockShared)
        ids = self._enter(event.request_id, sequence, event.start, event.block_ids, found=shared)
        if isinstance(event, BlockAllocated):
            return replace(event, request_id=name, start=place)
        if not ids:
            return None
        counts = [self._holders[block_id] for block_id in ids]
        return replace(event, request_id=name, block_ids=ids, ref_counts=counts, start=place)

    def _enter(
        self, request_id: str, sequence: _Sequence, start: int, ids: list[int], *, found: bool, free: bool = False
    ) -> list[int]:
        """Blocks go into a table. Those that a guest ``found`` are shown where a sample of the same request is shown to
        hold them, or (``free``) where nobody is. Returns what is shown."""
        if found and request_id != self._own:
            samples = [other for (owner, _), other in self._sequences.items() if owner == request_id]
            held = {block_id for other in samples for block_id in other.blocks}
            seen = [block_id in held or (free and not self._holders[block_id]) for block_id in ids]
        else:
            seen = [True] * len(ids)
        entered = [block_id if is_seen else None for block_id, is_seen in zip(ids, seen, strict=True)]
        sequence.blocks[start:] = entered
        shown = [block_id for block_id in entered if block_id is not None]
        self._holders.update(shown)
        return shown

    def _hide(self, sequence: _Sequence, num_found: int) -> None:
        """Tokens that stand in blocks which are not shown: what was found, and no more than these blocks hold."""
        blocks = sequence.blocks
        num_unseen = next((i for i, block_id in enumerate(blocks) if block_id is not None), len(blocks))
        sequence.num_hidden = min(num_found, self.block_size * num_unseen)

    def _copy(self, event: BlockCopied, name: str, sequence: _Sequence) -> BlockEvent:
        place = sequence.place(event.index)
        unseen = sequence.blocks[event.index] is None
        sequence.blocks[event.index] = event.block_id
        self._holders[event.block_id] += 1
        if unseen:
            return BlockAllocated(
                t=event.t, request_id=name, sample=event.sample, block_ids=[event.block_id], start=place
            )
        self._holders[event.source_block_id] -= 1
        return replace(event, request_id=name, index=place)

    def _release(self, event: BlockReleased, name: str) -> BlockEvent | None:
        table = self._sequences.pop((event.request_id, event.sample), _Sequence()).blocks
        ids, counts, cached = [], [], []
        for block_id, count, kept in zip(event.block_ids, event.ref_counts, event.cached, strict=True):
            if block_id not in table and event.request_id != self._own:
                continue
            self._holders[block_id] = max(0, self._holders[block_id] - 1)
            ids.append(block_id)
            counts.append(self._holders[block_id])
            # Another guest may hold it unseen.
            cached.append(kept or count > 0)
        return replace(event, request_id=name, block_ids=ids, ref_counts=counts, cached=cached) if ids else None
