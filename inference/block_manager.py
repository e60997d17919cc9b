"""The paged cache's book-keeping: which block holds what, for whom. Knows no tensors.

A block is in exactly one of three states::

    free ──allocate──► held ──release──► free      (contents unknown to the cache)
                        ▲  └───release──► cached    (contents published under a hash)
                        └──────share──────┘ │
                        └─────allocate──────┘       (evicted, least recently used first)

Contents are named by a chain of hashes: a block's hash covers its tokens and, through its parent's hash, everything
before them. A block is published only when it is full *and computed*, so nobody can be handed one still in flight.

A published block is never written again, so hits share it freely. A fork shares *all* blocks, also the last one that is
only partly full; whoever writes into that first gets a copy of its own (copy-on-write).
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from inference.events import BlockAllocated, BlockCopied, BlockEvicted, BlockReleased, BlockShared, Event
from inference.sequence import SequenceId

_ROOT = bytes(32)


class IntegrityError(AssertionError):
    """The books do not balance: a bug of the engine."""


class OutOfBlocks(Exception):
    """Every block is held."""


def hash_block(parent: bytes, token_ids: Sequence[int], salt: str) -> bytes:
    """Name of a full block: 32 bytes over its parent's name, its tokens and the visitor's salt.

    The salt's length goes first, so that no choice of salt and tokens can spell another visitor's.
    """
    salted = salt.encode("utf-8", "surrogatepass")
    return blake2b(
        parent + len(salted).to_bytes(8, "little") + salted + array("q", token_ids).tobytes(), digest_size=32
    ).digest()


class BlockPool:
    """All blocks: reference counts, the free line, and the cached ones in eviction order."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.ref_counts = [0] * num_blocks
        self.free: deque[int] = deque(range(num_blocks))
        self.cached: OrderedDict[int, None] = OrderedDict()
        """Held by nobody, kept for their contents; the first is the least recently used."""
        self.hashes: list[bytes | None] = [None] * num_blocks
        self.block_of: dict[bytes, int] = {}
        """Hash to the one block published under it, held or cached."""

    @property
    def num_available(self) -> int:
        return len(self.free) + len(self.cached)

    def allocate(self) -> tuple[int, bool]:
        """A block with reference count 1, and whether a cached one was evicted for it. Raises ``OutOfBlocks``."""
        if self.free:
            block_id, evicted = self.free.popleft(), False
        elif self.cached:
            block_id, evicted = self.cached.popitem(last=False)[0], True
            self._forget(block_id)
        else:
            raise OutOfBlocks
        self.ref_counts[block_id] = 1
        return block_id, evicted

    def allocate_range(self, num_blocks: int) -> list[int] | None:
        """The first ``num_blocks`` neighbours that are free, each with reference count 1. None if there are none."""
        length = 0
        for block_id, ref_count in enumerate(self.ref_counts):
            length = 0 if ref_count else length + 1
            if length == num_blocks:
                chosen = range(block_id + 1 - num_blocks, block_id + 1)
                self.free = deque(free for free in self.free if free not in chosen)
                for taken in chosen:
                    self.ref_counts[taken] = 1
                return list(chosen)
        return None

    def share(self, block_id: int) -> int:
        """One more holder of a held or cached block; its count after."""
        if self.ref_counts[block_id] == 0:
            del self.cached[block_id]
        self.ref_counts[block_id] += 1
        return self.ref_counts[block_id]

    def release(self, block_id: int) -> int:
        """One holder fewer; its count after. At 0 the block is cached if it was published, else free."""
        if self.ref_counts[block_id] <= 0:
            raise IntegrityError(f"block {block_id} released more often than it was taken")
        self.ref_counts[block_id] -= 1
        if self.ref_counts[block_id] == 0:
            if self.hashes[block_id] is None:
                self.free.append(block_id)
            else:
                self.cached[block_id] = None
        return self.ref_counts[block_id]

    def publish(self, block_id: int, block_hash: bytes) -> None:
        """Name a full, computed block. The first block of a name keeps it; a twin stays private to its holder."""
        if self.hashes[block_id] is None and block_hash not in self.block_of:
            self.hashes[block_id] = block_hash
            self.block_of[block_hash] = block_id

    def _forget(self, block_id: int) -> None:
        block_hash = self.hashes[block_id]
        if block_hash is not None:
            del self.block_of[block_hash]
            self.hashes[block_id] = None


@dataclass(slots=True)
class BlockTable:
    """One sequence's blocks, in order, and the hash chain of its full ones as far as it is known."""

    salt: str = ""
    num_public_tokens: int = 0
    block_ids: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    num_computed_tokens: int = 0


class BlockManager:
    """Block tables of all running sequences over one pool."""

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        *,
        enable_prefix_caching: bool = True,
        emit: Callable[[Event], None] | None = None,
    ) -> None:
        self.block_size = block_size
        self.enable_prefix_caching = enable_prefix_caching
        self.pool = BlockPool(num_blocks)
        self.tables: dict[SequenceId, BlockTable] = {}
        self._emit = emit
        self._copies: dict[int, int] = {}
        """Target to source: copies that the books have made and the tensors have not."""

    def num_blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def num_blocks_to_serve(self, max_num_tokens: int) -> int:
        """Blocks without which a sequence that may come to ``max_num_tokens`` cannot be served even alone."""
        return self.num_blocks_for(max_num_tokens)

    # ---- taking ----------------------------------------------------------------------------------------------------

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
        """Open a table that has room for all of ``token_ids``. (``max_num_tokens``, what the sequence may come to, is
        for allocators that reserve; paging takes blocks when they are needed.)

        Returns how many of them are already computed in blocks found by hash: always whole blocks, and never the last
        token, whose logits somebody wants, nor any beyond ``max_cached_tokens``. Returns None, having changed nothing,
        if the pool cannot hold them.
        """
        table = BlockTable(salt, num_public_tokens)
        hits = self._find(table, token_ids if max_cached_tokens is None else token_ids[: max_cached_tokens + 1])
        num_fresh = self.num_blocks_for(len(token_ids)) - len(hits)
        num_hits_cached = sum(self.pool.ref_counts[block_id] == 0 for block_id in hits)
        if num_fresh > self.pool.num_available - num_hits_cached:
            return None
        del table.hashes[len(hits) :]
        self.tables[sequence_id] = table
        if hits:
            self._share(sequence_id, table, hits)
        self._take(sequence_id, table, num_fresh)
        table.num_computed_tokens = len(hits) * self.block_size
        return table.num_computed_tokens

    def fork(self, parent_id: SequenceId, child_id: SequenceId) -> bool:
        """Open a table for a sequence that so far is the parent's double: it shares all of its blocks. Takes no block,
        so it cannot fail here (an allocator that cannot share says False).

        This is parallel sampling as in the PagedAttention paper (Kwon et al. 2023, section 4.4). vLLM today goes
        another way: it fans ``n`` out into requests of their own that share full blocks through the prefix cache.
        """
        parent = self.tables[parent_id]
        table = replace(parent, block_ids=[], hashes=list(parent.hashes))
        self.tables[child_id] = table
        self._share(child_id, table, list(parent.block_ids))
        return True

    def grow(self, sequence_id: SequenceId, num_tokens: int) -> bool:
        """Make room for ``num_tokens`` in all, those not yet computed in blocks that nobody else holds: what is shared
        and about to be written is copied. False, having changed nothing, if the pool cannot."""
        table = self.tables[sequence_id]
        num_fresh = max(0, self.num_blocks_for(num_tokens) - len(table.block_ids))
        first = table.num_computed_tokens // self.block_size
        shared = [i for i in range(first, len(table.block_ids)) if self.pool.ref_counts[table.block_ids[i]] > 1]
        if num_fresh + len(shared) > self.pool.num_available:
            return False
        for index in shared:
            self._copy(sequence_id, table, index)
        self._take(sequence_id, table, num_fresh)
        return True

    def take_copies(self) -> list[tuple[int, int]]:
        """What the tensors owe to copy-on-write: (source, target) blocks, to be copied all at once before anything is
        written. No target occurs twice."""
        copies, self._copies = self._copies, {}
        return [(source, target) for target, source in copies.items()]

    def _share(self, sequence_id: SequenceId, table: BlockTable, block_ids: list[int]) -> None:
        """Begin an empty ``table`` with blocks that stand."""
        ref_counts = [self.pool.share(block_id) for block_id in block_ids]
        table.block_ids += block_ids
        if self._emit:
            self._emit(BlockShared(**_name(sequence_id), block_ids=block_ids, ref_counts=ref_counts, start=0))

    def _copy(self, sequence_id: SequenceId, table: BlockTable, index: int) -> None:
        """Put a copy of its own in the place of shared block ``index``."""
        source, target = table.block_ids[index], self._allocate()
        self.pool.release(source)
        table.block_ids[index] = target
        # If the target was itself freed in this step, the copy it was for is void; if it is taken again for something
        # fresh, copying into it first does no harm.
        self._copies[target] = source
        if self._emit:
            self._emit(BlockCopied(**_name(sequence_id), source_block_id=source, block_id=target, index=index))

    def _take(self, sequence_id: SequenceId, table: BlockTable, num_fresh: int) -> None:
        if num_fresh <= 0:
            return
        start = len(table.block_ids)
        table.block_ids += [self._allocate() for _ in range(num_fresh)]
        if self._emit:
            self._emit(BlockAllocated(**_name(sequence_id), block_ids=table.block_ids[start:], start=start))

    def _allocate(self) -> int:
        block_id, evicted = self.pool.allocate()
        if evicted and self._emit:
            self._emit(BlockEvicted(block_id=block_id))
        return block_id

    def _find(self, table: BlockTable, token_ids: list[int]) -> list[int]:
        """The longest run of published blocks that begins ``token_ids`` and leaves at least one token."""
        hits: list[int] = []
        if not self.enable_prefix_caching:
            return hits
        for index in range((len(token_ids) - 1) // self.block_size):
            block_id = self.pool.block_of.get(self._hash(table, token_ids, index))
            if block_id is None:
                break
            hits.append(block_id)
        return hits

    def _hash(self, table: BlockTable, token_ids: list[int], index: int) -> bytes:
        """Hash of full block ``index``, remembered in the table."""
        if index < len(table.hashes):
            return table.hashes[index]
        start, stop = index * self.block_size, (index + 1) * self.block_size
        parent = table.hashes[index - 1] if index else _ROOT
        salt = "" if stop <= table.num_public_tokens else table.salt
        table.hashes.append(hash_block(parent, token_ids[start:stop], salt))
        return table.hashes[index]

    # ---- publishing and letting go ---------------------------------------------------------------------------------

    def mark_computed(self, sequence_id: SequenceId, token_ids: list[int], num_computed_tokens: int) -> None:
        """Keys and values of the first ``num_computed_tokens`` stand in the cache now: publish the blocks they fill."""
        table = self.tables[sequence_id]
        first = table.num_computed_tokens // self.block_size
        table.num_computed_tokens = num_computed_tokens
        if self.enable_prefix_caching:
            for index in range(first, num_computed_tokens // self.block_size):
                self.pool.publish(table.block_ids[index], self._hash(table, token_ids, index))

    def release(self, sequence_id: SequenceId) -> None:
        """Close a table. The tail goes first, so that it is also evicted before the prefix it hangs on."""
        block_ids = self.tables.pop(sequence_id).block_ids[::-1]
        ref_counts = [self.pool.release(block_id) for block_id in block_ids]
        if self._emit and block_ids:
            cached = [self.pool.hashes[block_id] is not None for block_id in block_ids]
            self._emit(BlockReleased(**_name(sequence_id), block_ids=block_ids, ref_counts=ref_counts, cached=cached))

    # ---- the books -------------------------------------------------------------------------------------------------

    @property
    def num_held_blocks(self) -> int:
        return self.pool.num_blocks - self.pool.num_available

    @property
    def num_unused_slots(self) -> int:
        """Places for tokens in held blocks where nothing computed stands: the rest of last blocks, and what is
        reserved. A block that several hold counts once."""
        partial: dict[int, int] = {}
        empty: set[int] = set()
        for table in self.tables.values():
            full, rest = divmod(table.num_computed_tokens, self.block_size)
            if rest:
                partial[table.block_ids[full]] = self.block_size - rest
            empty.update(table.block_ids[full + bool(rest) :])
        return len(empty) * self.block_size + sum(partial.values())

    def check_integrity(self) -> None:
        """Raise ``IntegrityError`` unless every block is accounted for exactly once."""
        pool = self.pool
        holders = [0] * pool.num_blocks
        for sequence_id, table in self.tables.items():
            if len(set(table.block_ids)) != len(table.block_ids):
                raise IntegrityError(f"{sequence_id} holds a block twice: {table.block_ids}")
            if table.num_computed_tokens > len(table.block_ids) * self.block_size:
                raise IntegrityError(f"{sequence_id} has more computed tokens than room for them")
            for block_id in table.block_ids:
                holders[block_id] += 1
        if holders != pool.ref_counts:
            wrong = [i for i in range(pool.num_blocks) if holders[i] != pool.ref_counts[i]]
            raise IntegrityError(
                f"ref_count differs from the number of block tables that hold the block: blocks {wrong}"
            )
        free, held = set(pool.free), {i for i, count in enumerate(pool.ref_counts) if count}
        cached = set(pool.cached)
        if len(pool.free) != len(free):
            raise IntegrityError("a block is twice in the free line")
        if len(free) + len(held) + len(cached) != pool.num_blocks or free & held or free & cached or held & cached:
            raise IntegrityError(
                f"free {len(free)} + held {len(held)} + cached {len(cached)} must part {pool.num_blocks} blocks"
            )
        self._check_hashes(free, cached)
        self._check_shared()

    def _check_shared(self) -> None:
        """Those that share a block must agree on where it stands and how much of it: else one wrote without a copy."""
        stands: dict[int, tuple[int, int]] = {}
        for sequence_id, table in self.tables.items():
            for index, block_id in enumerate(table.block_ids):
                num_written = min(self.block_size, max(0, table.num_computed_tokens - index * self.block_size))
                if stands.setdefault(block_id, (index, num_written)) != (index, num_written):
                    raise IntegrityError(f"{sequence_id}: block {block_id} was written while it was shared")

    def _check_hashes(self, free: set[int], cached: set[int]) -> None:
        pool = self.pool
        named = {block_id: block_hash for block_id, block_hash in enumerate(pool.hashes) if block_hash is not None}
        if {block_hash: block_id for block_id, block_hash in named.items()} != pool.block_of or len(named) != len(
            pool.block_of
        ):
            raise IntegrityError("hashes of blocks and the map from hash to block disagree")
        if free & named.keys():
            raise IntegrityError(f"free blocks are still named: {sorted(free & named.keys())}")
        if cached - named.keys():
            raise IntegrityError(f"cached blocks have no name: {sorted(cached - named.keys())}")
        for sequence_id, table in self.tables.items():
            for index, block_id in enumerate(table.block_ids):
                computed = (index + 1) * self.block_size <= table.num_computed_tokens
                if block_id in named and (not computed or table.hashes[index] != named[block_id]):
                    raise IntegrityError(f"{sequence_id}: block {block_id} is named for what it does not hold")


def _name(sequence_id: SequenceId) -> dict[str, Any]:
    """The fields by which an event names its sequence."""
    return sequence_id._asdict()
