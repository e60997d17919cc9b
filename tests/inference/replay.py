"""The cache as a reader of the events knows it, to be compared with the engine's own."""

from __future__ import annotations

from inference.block_manager import BlockManager
from inference.events import (
    BlockAllocated,
    BlockCopied,
    BlockEvicted,
    BlockReleased,
    BlockShared,
    Event,
    RequestEvent,
)
from inference.sequence import SequenceId


def named(event: RequestEvent) -> SequenceId:
    return SequenceId(event.request_id, event.sample)


class Replay:
    """Block tables, counts and the cache as a reader of the events knows them."""

    def __init__(self, num_blocks: int) -> None:
        self.tables: dict[SequenceId, list[int]] = {}
        self.counts = [0] * num_blocks
        self.cached: list[int] = []

    def apply(self, event: Event) -> None:
        if isinstance(event, BlockAllocated):
            for block_id in event.block_ids:
                assert self.counts[block_id] == 0
                assert block_id not in self.cached
                self.counts[block_id] = 1
            self._extend(event)
        elif isinstance(event, BlockShared):
            for block_id, count in zip(event.block_ids, event.ref_counts, strict=True):
                self.counts[block_id] += 1
                assert self.counts[block_id] == count
                if block_id in self.cached:
                    self.cached.remove(block_id)
            self._extend(event)
        elif isinstance(event, BlockCopied):
            table = self.tables[named(event)]
            assert table[event.index] == event.source_block_id
            assert self.counts[event.source_block_id] > 1
            assert self.counts[event.block_id] == 0
            table[event.index] = event.block_id
            self.counts[event.source_block_id] -= 1
            self.counts[event.block_id] = 1
        elif isinstance(event, BlockReleased):
            assert self.tables.pop(named(event))[::-1] == event.block_ids
            for block_id, count, cached in zip(event.block_ids, event.ref_counts, event.cached, strict=True):
                self.counts[block_id] -= 1
                assert self.counts[block_id] == count
                if count == 0 and cached:
                    self.cached.append(block_id)
        elif isinstance(event, BlockEvicted):
            assert self.cached.pop(0) == event.block_id

    def _extend(self, event: BlockAllocated | BlockShared) -> None:
        table = self.tables.setdefault(named(event), [])
        assert event.start == len(table)
        table.extend(event.block_ids)

    def check(self, blocks: BlockManager) -> None:
        """What the reader knows is what the engine has."""
        assert self.tables == {name: table.block_ids for name, table in blocks.tables.items()}
        assert self.cached == list(blocks.pool.cached)
        assert self.counts == blocks.pool.ref_counts
