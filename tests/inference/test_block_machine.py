"""The block manager driven at random: a state machine over its books and over what stands in each slot of the cache,
and planted bugs that it must find."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from inference.block_manager import BlockManager, BlockTable, OutOfBlocks, hash_block
from inference.events import BlockAllocated, BlockCopied, BlockEvicted, BlockReleased, BlockShared, Event
from inference.sequence import SequenceId

SIZE = 4
PROMPTS = st.builds(
    lambda blocks, tail: [token for token in blocks for _ in range(SIZE)] + tail,
    st.lists(st.integers(0, 1), max_size=4),
    st.lists(st.integers(0, 1), max_size=SIZE - 1),
).filter(len)
"""Whole blocks of one token each, and a rest: few enough for prompts to meet in all the ways they can."""


class Books(RuleBasedStateMachine):
    """Drives a manager at random and keeps books of its own, from the events and from plain ownership.

    The model knows nothing of hashes: it holds, for each slot of the cache, the token (with everything before it, and
    whose they are) whose key and value were last written or copied there, and demands after every step that each
    sequence finds in its own blocks exactly what it has computed.
    """

    manager_class: type[BlockManager] = BlockManager

    @initialize(num_blocks=st.integers(1, 12))
    def start(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.manager = self.manager_class(num_blocks, SIZE, emit=self.hear)
        self.tokens: dict[SequenceId, list[int]] = {}
        self.whose: dict[SequenceId, tuple[str, int]] = {}
        self.computed: dict[SequenceId, int] = {}
        self.heard: dict[SequenceId, list[int]] = {}
        self.cached: set[int] = set()
        self.slots: dict[tuple[int, int], object] = {}
        self.count = 0

    def hear(self, event: Event) -> None:
        """Replay block tables from the events alone."""
        if isinstance(event, (BlockAllocated, BlockShared)):
            table = self.heard.setdefault(SequenceId(event.request_id, event.sample), [])
            assert event.start == len(table)
            table.extend(event.block_ids)
            if isinstance(event, BlockAllocated):
                assert not self.cached & set(event.block_ids)
            self.cached -= set(event.block_ids)
        elif isinstance(event, BlockCopied):
            table = self.heard[SequenceId(event.request_id, event.sample)]
            assert table[event.index] == event.source_block_id
            table[event.index] = event.block_id
        elif isinstance(event, BlockReleased):
            assert event.block_ids == self.heard.pop(SequenceId(event.request_id, event.sample))[::-1]
            zipped = zip(event.block_ids, event.ref_counts, event.cached, strict=True)
            self.cached |= {block_id for block_id, count, cached in zipped if cached and count == 0}
        elif isinstance(event, BlockEvicted):
            self.cached.remove(event.block_id)

    def contents(self, name: SequenceId) -> list[int]:
        """What the cache holds of each token, as a chain of hashes: it depends on all before it, and on whose it is."""
        salt, public = self.whose[name]
        chain = [0]
        for position, token in enumerate(self.tokens[name]):
            whose = "" if (position // SIZE + 1) * SIZE <= public else salt
            chain.append(hash((chain[-1], token, whose)))
        return chain[1:]

    def write(self, name: SequenceId, stop: int) -> None:
        """The model's half of a step: the copies that are owed, then what is computed."""
        copies = self.manager.take_copies()
        assert len({target for _, target in copies}) == len(copies)
        before = dict(self.slots)
        for source, target in copies:
            for offset in range(SIZE):
                self.slots[target, offset] = before.get((source, offset))
        table, contents = self.manager.tables[name].block_ids, self.contents(name)
        for position in range(self.computed[name], stop):
            block_id = table[position // SIZE]
            assert sum(block_id in other.block_ids for other in self.manager.tables.values()) == 1, "shared and written"
            self.slots[block_id, position % SIZE] = contents[position]
        self.computed[name] = stop
        self.manager.mark_computed(name, self.tokens[name], stop)

    def held(self) -> set[int]:
        return {i for table in self.manager.tables.values() for i in table.block_ids}

    @rule(
        tokens=PROMPTS,
        salt=st.sampled_from(["", "ann", "bob"]),
        public=st.integers(0, 9),
        part=st.floats(0, 1),
    )
    def admit(self, tokens: list[int], salt: str, public: int, part: float) -> None:
        name = SequenceId(f"r{self.count}")
        self.count += 1
        held = self.held()
        cached = self.manager.admit(name, tokens, salt=salt, num_public_tokens=public)
        if cached is None:
            assert name not in self.manager.tables
            assert len(held) + -(-len(tokens) // SIZE) > self.num_blocks, "it would have fitted without any hit"
            return
        assert cached % SIZE == 0
        assert cached < len(tokens)
        self.tokens[name], self.whose[name], self.computed[name] = tokens, (salt, public), cached
        self.write(name, cached + int(part * (len(tokens) - cached)))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        parent = data.draw(st.sampled_from(sorted(self.tokens)))
        child = SequenceId(parent.request_id, self.count)
        self.count += 1
        assert self.manager.fork(parent, child)
        assert self.manager.tables[child].block_ids == self.manager.tables[parent].block_ids, "all blocks are shared"
        self.tokens[child], self.whose[child] = list(self.tokens[parent]), self.whose[parent]
        self.computed[child] = self.computed[parent]

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), more=st.integers(1, 6))
    def compute_more(self, data: st.DataObject, more: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.tokens)))
        if self.manager.grow(name, len(self.tokens[name])):
            self.write(name, min(self.computed[name] + more, len(self.tokens[name])))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), tokens=st.lists(st.integers(0, 1), min_size=1, max_size=3))
    def decode(self, data: st.DataObject, tokens: list[int]) -> None:
        name = data.draw(st.sampled_from(sorted(self.tokens)))
        held = self.held()
        if self.manager.grow(name, len(self.tokens[name]) + len(tokens)):
            self.tokens[name] += tokens
            self.write(name, len(self.tokens[name]))
        else:
            shared = sum(
                self.manager.pool.ref_counts[block_id] > 1
                for block_id in self.manager.tables[name].block_ids[self.computed[name] // SIZE :]
            )
            fresh = -(-(len(self.tokens[name]) + len(tokens)) // SIZE) - len(self.manager.tables[name].block_ids)
            assert len(held) + fresh + shared > self.num_blocks, "there was a block left"

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.tokens)))
        del self.tokens[name], self.whose[name], self.computed[name]
        self.manager.release(name)

    @invariant()
    def books_balance(self) -> None:
        if not hasattr(self, "manager"):
            return
        self.manager.check_integrity()
        pool = self.manager.pool
        assert {name: table.block_ids for name, table in self.manager.tables.items()} == self.heard
        assert self.manager.tables.keys() == self.tokens.keys()
        assert self.manager.num_held_blocks == len(self.held())
        written: set[tuple[int, int]] = set()
        for block_id in range(self.num_blocks):
            owners = sum(block_id in table for table in self.heard.values())
            assert pool.ref_counts[block_id] == owners
            assert (block_id in pool.cached) == (block_id in self.cached)
            assert (block_id in pool.free) == (owners == 0 and block_id not in self.cached)
        for name, table in self.heard.items():
            for position, content in enumerate(self.contents(name)[: self.computed[name]]):
                slot = table[position // SIZE], position % SIZE
                assert self.slots[slot] == content, "somebody else wrote there"
                written.add(slot)
        assert self.manager.num_unused_slots == len(self.held()) * SIZE - len(written)


def drive(manager_class: type[BlockManager], *, steps: int, examples: int, hunt: bool = False) -> None:
    """Run the machine over ``manager_class``; ``hunt``: stop at the first failure without making it smaller."""
    machine = type("Machine", (Books,), {"manager_class": manager_class})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,) if hunt else (Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            print_blob=False,
        ),
    )


def test_ten_thousand_random_steps_keep_the_books() -> None:
    steps = 0

    class Counting(BlockManager):
        def check_integrity(self) -> None:
            nonlocal steps
            steps += 1
            super().check_integrity()

    drive(Counting, steps=100, examples=150)
    assert steps >= 10_000


# ---- planted bugs: the machine and the check must find each --------------------------------------------------------


class Leaks(BlockManager):
    """Forgets to give the last block back."""

    def release(self, sequence_id: SequenceId) -> None:
        table = self.tables[sequence_id]
        table.block_ids = table.block_ids[:-1] or table.block_ids
        super().release(sequence_id)


class FreesTwice(BlockManager):
    def release(self, sequence_id: SequenceId) -> None:
        block_id = self.tables[sequence_id].block_ids[0]
        super().release(sequence_id)
        if self.pool.ref_counts[block_id] == 0:
            self.pool.free.append(block_id)


class CountsSharesOnce(BlockManager):
    """Hands out a cached block without counting the holder."""

    def admit(self, sequence_id: SequenceId, token_ids: list[int], **kwargs: object) -> int | None:
        cached = super().admit(sequence_id, token_ids, **kwargs)
        if cached:
            self.pool.ref_counts[self.tables[sequence_id].block_ids[0]] -= 1
        return cached


class RemembersTheEvicted(BlockManager):
    """Keeps the hash of a block whose contents are gone."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.pool._forget = lambda block_id: None


class ForgetsHalf(BlockManager):
    """Evicts from one of the two maps only."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.pool._forget = lambda block_id: self.pool.hashes.__setitem__(block_id, None)


class PublishesTooSoon(BlockManager):
    """Names blocks as soon as they are allocated (nano-vllm #208)."""

    def admit(self, sequence_id: SequenceId, token_ids: list[int], **kwargs: object) -> int | None:
        cached = super().admit(sequence_id, token_ids, **kwargs)
        if cached is not None:
            table = self.tables[sequence_id]
            for index in range(len(token_ids) // self.block_size):
                self.pool.publish(table.block_ids[index], self._hash(table, token_ids, index))
        return cached


class HitsTheWholePrompt(BlockManager):
    """Lets a hit cover the last token (nano-vllm #144)."""

    def _find(self, table: BlockTable, token_ids: list[int]) -> list[int]:
        return super()._find(table, [*token_ids, 0])


class IgnoresTheSalt(BlockManager):
    def _hash(self, table: BlockTable, token_ids: list[int], index: int) -> bytes:
        table.salt = ""
        return super()._hash(table, token_ids, index)


class ForgetsTheParent(BlockManager):
    """Names a block by its own tokens alone."""

    def _hash(self, table: BlockTable, token_ids: list[int], index: int) -> bytes:
        start = index * self.block_size
        salt = "" if start + self.block_size <= table.num_public_tokens else table.salt
        table.hashes[index:] = [hash_block(bytes(32), token_ids[start : start + self.block_size], salt)]
        return table.hashes[index]


class TellsNobodyOfEvictions(BlockManager):
    def __init__(self, *args: object, emit: Callable[[Event], None], **kwargs: object) -> None:
        super().__init__(*args, emit=lambda event: None if isinstance(event, BlockEvicted) else emit(event), **kwargs)


class WritesWhatIsShared(BlockManager):
    """Takes fresh blocks and copies none."""

    def grow(self, sequence_id: SequenceId, num_tokens: int) -> bool:
        self.pool.ref_counts, counts = [min(count, 1) for count in self.pool.ref_counts], self.pool.ref_counts
        fits = super().grow(sequence_id, num_tokens)
        self.pool.ref_counts = [old if old else new for old, new in zip(counts, self.pool.ref_counts, strict=True)]
        return fits


class CopiesInTheBooksOnly(BlockManager):
    """Never tells the tensors to copy."""

    def take_copies(self) -> list[tuple[int, int]]:
        super().take_copies()
        return []


class CopiesBackwards(BlockManager):
    def take_copies(self) -> list[tuple[int, int]]:
        return [(target, source) for source, target in super().take_copies()]


class KeepsTheSourceOfACopy(BlockManager):
    """Forgets that a copy leaves one holder fewer."""

    def _copy(self, sequence_id: SequenceId, table: BlockTable, index: int) -> None:
        self.pool.ref_counts[table.block_ids[index]] += 1
        super()._copy(sequence_id, table, index)


class ForksWithoutCounting(BlockManager):
    def fork(self, parent_id: SequenceId, child_id: SequenceId) -> bool:
        forked = super().fork(parent_id, child_id)
        self.pool.ref_counts[self.tables[child_id].block_ids[-1]] -= 1
        return forked


class ForksOneTableForTwo(BlockManager):
    """Parent and child write into the same list."""

    def fork(self, parent_id: SequenceId, child_id: SequenceId) -> bool:
        forked = super().fork(parent_id, child_id)
        self.tables[child_id].block_ids = self.tables[parent_id].block_ids
        return forked


@pytest.mark.parametrize(
    "bug",
    [
        Leaks,
        FreesTwice,
        CountsSharesOnce,
        RemembersTheEvicted,
        ForgetsHalf,
        PublishesTooSoon,
        HitsTheWholePrompt,
        IgnoresTheSalt,
        ForgetsTheParent,
        TellsNobodyOfEvictions,
        WritesWhatIsShared,
        CopiesInTheBooksOnly,
        CopiesBackwards,
        KeepsTheSourceOfACopy,
        ForksWithoutCounting,
        ForksOneTableForTwo,
    ],
)
def test_planted_bugs_are_found(bug: type[BlockManager]) -> None:
    with pytest.raises((AssertionError, KeyError, OutOfBlocks)):
        drive(bug, steps=60, examples=150, hunt=True)
