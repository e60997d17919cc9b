"""What serving did before paging: one contiguous piece of the cache for each sequence, reserved for its worst case.

The PagedAttention paper (Kwon et al. 2023, section 3.1) names what that wastes: places reserved for tokens that are
yet to come, places that are never used because the answer ends early, and gaps between the pieces into which nobody
fits. Here all three are real, with the same model runner over the same tensor; the first two are counted
(``step.finished.kv_unused_bytes``), the gaps can be seen in the block tables.

::

    blocks:   [ a a a a a a | . . | b b b b b b b b | . . . ]      first fit: c needs 5, so it waits
    contents:   a a                 b b b
"""

from __future__ import annotations

from collections.abc import Callable

from inference.block_manager import BlockManager, BlockTable, IntegrityError
from inference.events import BlockAllocated, Event
from inference.sequence import SequenceId


class SlabManager(BlockManager):
    """Block tables that are contiguous ranges, taken whole at admission. Nothing is shared, no prefix and no fork.

    ``reserve`` None: room for what the sequence itself may come to, its prompt and ``max_tokens``, the least that can
    be promised without knowing the answer. A number: room for so many tokens whatever is asked. The literature means
    the latter, with the model's longest sequence (section 3.1 of the paper; its "Orca (Max)" in section 6.1).
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        *,
        reserve: int | None = None,
        emit: Callable[[Event], None] | None = None,
    ) -> None:
        super().__init__(num_blocks, block_size, enable_prefix_caching=False, emit=emit)
        self._reserve = reserve

    def num_blocks_to_serve(self, max_num_tokens: int) -> int:
        return self.num_blocks_for(max_num_tokens if self._reserve is None else self._reserve)

    def admit(
        self,
        sequence_id: SequenceId,
        token_ids: list[int],
        *,
        max_num_tokens: int = 0,
        salt: str = "",
        num_public_tokens: int = 0,
        max_cached_tokens: int | None = None,
    ) -> int | None:
        """Reserve the first gap that holds all the sequence may come to. Returns 0, as nothing is ever found computed,
        or None, having changed nothing, if there is no such gap, however many blocks are free in all."""
        num_tokens = max(max_num_tokens, len(token_ids))
        block_ids = self.pool.allocate_range(self.num_blocks_to_serve(num_tokens))
        if block_ids is None:
            return None
        self.tables[sequence_id] = BlockTable(salt, num_public_tokens, block_ids=block_ids)
        if self._emit:
            self._emit(BlockAllocated(**sequence_id._asdict(), block_ids=list(block_ids), start=0))
        return 0

    def fork(self, parent_id: SequenceId, child_id: SequenceId) -> bool:
        """False: pieces that are contiguous cannot overlap. The child has to reserve one of its own and compute the
        prompt again."""
        return False

    def grow(self, sequence_id: SequenceId, num_tokens: int) -> bool:
        """There is always room: it was reserved."""
        if self.num_blocks_for(num_tokens) > len(self.tables[sequence_id].block_ids):
            raise IntegrityError(f"{sequence_id} comes to {num_tokens} tokens, more than was reserved for it")
        return True

    def check_integrity(self) -> None:
        """As for pages, and every table is one range."""
        super().check_integrity()
        for sequence_id, table in self.tables.items():
            first = table.block_ids[0]
            if table.block_ids != list(range(first, first + len(table.block_ids))):
                raise IntegrityError(f"{sequence_id} holds blocks that are not contiguous: {table.block_ids}")
