"""The pool of blocks, as a log tells of it: how many are held, kept for their contents, and free."""

from __future__ import annotations

from inference.events import AnyEvent, BlockAllocated, BlockCopied, BlockEvicted, BlockReleased, BlockShared, Snapshot


class Pool:
    """The fold; the browser's is ``static/js/state/blocks.js``."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.is_known = False
        """The log has said something about blocks."""
        self._holders: dict[int, int] = {}
        """By block that somebody holds."""
        self._cached: set[int] = set()

    @property
    def num_held(self) -> int:
        return len(self._holders)

    @property
    def num_cached(self) -> int:
        """Held by nobody, kept for their contents."""
        return len(self._cached)

    @property
    def num_free(self) -> int:
        return self.num_blocks - self.num_held - self.num_cached

    def apply(self, event: AnyEvent) -> None:
        """Take in one event of the log; others than those about blocks say nothing here."""
        match event:
            case Snapshot():
                for request in event.requests:
                    self._hold(request.block_ids, [1] * len(request.block_ids))
                self._cached.update(block for block in event.cached_block_ids if block not in self._holders)
            case BlockAllocated():
                self._hold(event.block_ids, [1] * len(event.block_ids))
            case BlockShared():
                self._hold(event.block_ids, event.ref_counts)
            case BlockCopied():
                self._hold([event.block_id], [1])
                left = self._holders.get(event.source_block_id, 1) - 1
                self._holders[event.source_block_id] = max(1, left)  # (it was shared, so somebody holds it still)
            case BlockReleased():
                for block, count, cached in zip(event.block_ids, event.ref_counts, event.cached, strict=True):
                    self._let_go(block, count, cached)
            case BlockEvicted():
                self._cached.discard(event.block_id)
            case _:
                return
        self.is_known = True

    def _hold(self, blocks: list[int], counts: list[int]) -> None:
        for block, count in zip(blocks, counts, strict=True):
            self._holders[block] = max(1, count)
            self._cached.discard(block)

    def _let_go(self, block: int, count: int, cached: bool) -> None:
        if count > 0:
            self._holders[block] = count
            return
        self._holders.pop(block, None)
        if cached:
            self._cached.add(block)
