"""The block manager: vLLM's prefix-caching scenarios retold, a state machine over its books, and planted bugs."""

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

from inference.block_manager import BlockManager, BlockPool, BlockTable, IntegrityError, OutOfBlocks, hash_block
from inference.events import BlockAllocated, BlockEvicted, BlockReleased, BlockShared, Event

SIZE = 4


def compute(manager: BlockManager, name: str, tokens: list[int], **kwargs: object) -> int | None:
    """Admit and compute a whole prompt; how much of it was cached."""
    cached = manager.admit(name, tokens, **kwargs)
    if cached is not None:
        manager.mark_computed(name, tokens, len(tokens))
    return cached


# ---- scenarios -----------------------------------------------------------------------------------------------------


def test_a_prefix_is_found_again_in_whole_blocks() -> None:
    manager = BlockManager(16, SIZE)
    assert compute(manager, "a", list(range(11))) == 0
    assert compute(manager, "b", [*range(8), 90, 91, 92]) == 8
    assert manager.tables["b"].block_ids[:2] == manager.tables["a"].block_ids[:2]
    assert [manager.pool.ref_counts[i] for i in manager.tables["a"].block_ids] == [2, 2, 1]
    manager.check_integrity()


def test_the_last_token_is_always_computed() -> None:
    """A full-prompt hit must leave a query (nano-vllm #144), also where the prompt is a multiple of the block."""
    manager = BlockManager(16, SIZE)
    tokens = list(range(8))
    compute(manager, "a", tokens)
    assert compute(manager, "b", tokens) == 4
    assert manager.tables["b"].block_ids[1] != manager.tables["a"].block_ids[1]
    manager.check_integrity()


def test_what_is_in_flight_cannot_be_hit() -> None:
    """nano-vllm #208: full blocks that nobody has computed yet are not there."""
    manager = BlockManager(16, SIZE)
    tokens = list(range(12))
    assert manager.admit("a", tokens) == 0
    assert manager.admit("b", tokens) == 0
    manager.mark_computed("a", tokens, 7)  # one block and most of the next
    assert manager.admit("c", tokens) == 4
    manager.check_integrity()


def test_twins_computed_side_by_side_stay_private() -> None:
    manager = BlockManager(16, SIZE)
    tokens = list(range(9))
    manager.admit("a", tokens)
    manager.admit("b", tokens)
    manager.mark_computed("a", tokens, 9)
    manager.mark_computed("b", tokens, 9)
    assert len(manager.pool.block_of) == 2
    twin = manager.tables["b"].block_ids[:2]
    manager.release("b")
    assert not set(twin) & set(manager.pool.cached)
    manager.check_integrity()


def test_free_before_cached_and_tails_before_prefixes() -> None:
    manager = BlockManager(6, SIZE)
    tokens = list(range(13))
    compute(manager, "a", tokens)
    first = list(manager.tables["a"].block_ids)
    manager.release("a")
    assert list(manager.pool.free) == [4, 5, first[3]]
    assert list(manager.pool.cached) == first[2::-1]
    compute(manager, "b", [100 + i for i in range(16)])
    assert manager.tables["b"].block_ids == [4, 5, first[3], first[2]]
    assert list(manager.pool.cached) == [first[1], first[0]]
    assert manager.admit("c", [*tokens[:8], 7]) is None, "two hits, and no block for the ninth token"
    manager.release("b")
    assert manager.admit("d", tokens) == 8
    manager.check_integrity()


def test_eviction_takes_the_least_recently_used() -> None:
    manager = BlockManager(4, SIZE)
    for name, first in (("a", 0), ("b", 100)):
        compute(manager, name, [first + i for i in range(8)])
    blocks = {name: list(manager.tables[name].block_ids) for name in "ab"}
    manager.release("b")
    manager.release("a")
    compute(manager, "b2", [100 + i for i in range(5)])  # uses b's first block again
    assert manager.tables["b2"].block_ids == [blocks["b"][0], blocks["b"][1]], "b's tail was the oldest in the cache"
    manager.release("b2")
    assert list(manager.pool.cached) == [blocks["a"][1], blocks["a"][0], blocks["b"][0]]
    manager.check_integrity()


def test_an_evicted_block_is_no_longer_found() -> None:
    manager = BlockManager(2, SIZE)
    compute(manager, "a", list(range(8)))
    manager.release("a")
    compute(manager, "b", [50 + i for i in range(8)])
    manager.release("b")
    assert manager.admit("c", list(range(8))) == 0
    manager.check_integrity()


def test_nothing_changes_when_it_does_not_fit() -> None:
    events: list[Event] = []
    manager = BlockManager(4, SIZE, emit=events.append)
    compute(manager, "a", list(range(12)))
    before = (list(manager.pool.free), list(manager.pool.ref_counts), len(events))
    assert manager.admit("b", [90 + i for i in range(8)]) is None
    assert manager.admit("c", [*list(range(16)), 1, 2, 3, 4]) is None
    assert (list(manager.pool.free), list(manager.pool.ref_counts), len(events)) == before
    assert manager.grow("a", 16)
    assert not manager.grow("a", 17)
    manager.check_integrity()


def test_hits_that_lie_in_the_cache_are_not_counted_as_room() -> None:
    manager = BlockManager(3, SIZE)
    compute(manager, "a", list(range(12)))
    manager.release("a")
    assert manager.admit("b", [*range(8), 90, 91, 92, 93, 94]) is None
    assert manager.admit("b", [*range(8), 90]) == 8
    manager.check_integrity()


def test_visitors_share_the_public_prefix_and_nothing_else() -> None:
    manager = BlockManager(32, SIZE)
    tokens = list(range(17))
    compute(manager, "a", tokens, salt="ann", num_public_tokens=9)
    assert compute(manager, "b", tokens, salt="bob", num_public_tokens=9) == 8
    assert compute(manager, "a2", tokens, salt="ann", num_public_tokens=9) == 16
    assert compute(manager, "c", tokens, salt="", num_public_tokens=0) == 8
    manager.check_integrity()


def test_salts_cannot_spell_one_another() -> None:
    names = {
        hash_block(bytes(32), tokens, salt)
        for tokens in ([1, 2], [1], [2, 1], [])
        for salt in ("", "a", "ab", "\0", "\0\0\0\0\0\0\0\0", "\1\0\0\0\0\0\0\0")
    }
    assert len(names) == 24


def test_caching_off_finds_and_keeps_nothing() -> None:
    manager = BlockManager(8, SIZE, enable_prefix_caching=False)
    compute(manager, "a", list(range(8)))
    assert manager.admit("b", list(range(8))) == 0
    manager.release("a")
    assert not manager.pool.cached
    manager.check_integrity()


def test_an_empty_pool_says_so() -> None:
    pool = BlockPool(1)
    pool.allocate()
    with pytest.raises(OutOfBlocks):
        pool.allocate()


# ---- the state machine ---------------------------------------------------------------------------------------------


class Books(RuleBasedStateMachine):
    """Drives a manager at random and keeps books of its own, from the events and from plain ownership.

    The model knows nothing of hashes: it holds, for each block, the tokens (with everything before them, and whose
    they are) whose keys and values were last written there, and demands that a hit hands out exactly those.
    """

    manager_class: type[BlockManager] = BlockManager

    @initialize(num_blocks=st.integers(1, 12))
    def start(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.manager = self.manager_class(num_blocks, SIZE, emit=self.hear)
        self.tokens: dict[str, list[int]] = {}
        self.whose: dict[str, tuple[str, int]] = {}
        self.computed: dict[str, int] = {}
        self.heard: dict[str, list[int]] = {}
        self.cached: set[int] = set()
        self.written: dict[int, tuple[object, ...]] = {}
        self.count = 0

    def hear(self, event: Event) -> None:
        """Replay block tables from the events alone."""
        if isinstance(event, (BlockAllocated, BlockShared)):
            table = self.heard.setdefault(event.request_id, [])
            assert event.start == len(table)
            table.extend(event.block_ids)
            if isinstance(event, BlockAllocated):
                assert not self.cached & set(event.block_ids)
            self.cached -= set(event.block_ids)
        elif isinstance(event, BlockReleased):
            assert event.block_ids == self.heard.pop(event.request_id)[::-1]
            zipped = zip(event.block_ids, event.ref_counts, event.cached, strict=True)
            self.cached |= {block_id for block_id, count, cached in zipped if cached and count == 0}
        elif isinstance(event, BlockEvicted):
            self.cached.remove(event.block_id)

    def contents(self, name: str, index: int) -> tuple[object, ...]:
        """What full block ``index`` of a sequence holds: everything up to its end, and for whom each block is."""
        salt, public = self.whose[name]
        salts = tuple("" if (i + 1) * SIZE <= public else salt for i in range(index + 1))
        return (*salts, *self.tokens[name][: (index + 1) * SIZE])

    def write(self, name: str, stop: int) -> None:
        """The model's half of ``mark_computed``."""
        table = self.manager.tables[name].block_ids
        for index in range(self.computed[name] // SIZE, -(-stop // SIZE)):
            holders = sum(table[index] in other.block_ids for other in self.manager.tables.values())
            assert holders == 1, "a shared block must never be written"
            full = (index + 1) * SIZE <= stop
            self.written[table[index]] = self.contents(name, index) if full else ("partial", name, index)
        self.computed[name] = stop
        self.manager.mark_computed(name, self.tokens[name], stop)

    @rule(
        tokens=st.lists(st.integers(0, 1), min_size=1, max_size=18),
        salt=st.sampled_from(["", "ann", "bob"]),
        public=st.integers(0, 9),
        part=st.floats(0, 1),
    )
    def admit(self, tokens: list[int], salt: str, public: int, part: float) -> None:
        name = f"r{self.count}"
        self.count += 1
        held = {i for table in self.manager.tables.values() for i in table.block_ids}
        cached = self.manager.admit(name, tokens, salt=salt, num_public_tokens=public)
        if cached is None:
            assert name not in self.manager.tables
            assert len(held) + -(-len(tokens) // SIZE) > self.num_blocks, "it would have fitted without any hit"
            return
        assert cached % SIZE == 0
        assert cached < len(tokens)
        self.tokens[name], self.whose[name], self.computed[name] = tokens, (salt, public), cached
        for index in range(cached // SIZE):
            assert self.written[self.manager.tables[name].block_ids[index]] == self.contents(name, index)
        self.write(name, cached + int(part * (len(tokens) - cached)))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), more=st.integers(1, 6))
    def compute_more(self, data: st.DataObject, more: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.tokens)))
        self.write(name, min(self.computed[name] + more, len(self.tokens[name])))

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), token=st.integers(0, 1))
    def decode(self, data: st.DataObject, token: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.tokens)))
        held = sum(len(table.block_ids) for table in self.manager.tables.values())
        fits = self.manager.grow(name, len(self.tokens[name]) + 1)
        if fits:
            self.tokens[name].append(token)
            self.write(name, len(self.tokens[name]))
        else:
            assert held >= self.num_blocks, "there was a block left"

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
        for block_id in range(self.num_blocks):
            owners = sum(block_id in table for table in self.heard.values())
            assert pool.ref_counts[block_id] == owners
            assert (block_id in pool.cached) == (block_id in self.cached)
            assert (block_id in pool.free) == (owners == 0 and block_id not in self.cached)
            if pool.hashes[block_id] is not None:
                assert self.written[block_id][0] != "partial"


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

    def release(self, request_id: str) -> None:
        table = self.tables[request_id]
        table.block_ids = table.block_ids[:-1] or table.block_ids
        super().release(request_id)


class FreesTwice(BlockManager):
    def release(self, request_id: str) -> None:
        block_id = self.tables[request_id].block_ids[0]
        super().release(request_id)
        if self.pool.ref_counts[block_id] == 0:
            self.pool.free.append(block_id)


class CountsSharesOnce(BlockManager):
    """Hands out a cached block without counting the holder."""

    def admit(self, request_id: str, token_ids: list[int], **kwargs: object) -> int | None:
        cached = super().admit(request_id, token_ids, **kwargs)
        if cached:
            self.pool.ref_counts[self.tables[request_id].block_ids[0]] -= 1
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

    def admit(self, request_id: str, token_ids: list[int], **kwargs: object) -> int | None:
        cached = super().admit(request_id, token_ids, **kwargs)
        if cached is not None:
            table = self.tables[request_id]
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
    ],
)
def test_planted_bugs_are_found(bug: type[BlockManager]) -> None:
    with pytest.raises((AssertionError, KeyError, OutOfBlocks)):
        drive(bug, steps=60, examples=150, hunt=True)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: m.pool.free.pop(), "must part"),
        (lambda m: m.pool.free.append(m.pool.free[0]), "twice in the free line"),
        (lambda m: m.pool.ref_counts.__setitem__(0, 2), "ref_count"),
        (lambda m: m.pool.ref_counts.__setitem__(7, 1), "ref_count"),
        (lambda m: m.pool.free.append(0), "must part"),
        (lambda m: m.tables["a"].block_ids.append(0), "twice"),
        (lambda m: m.tables.pop("a"), "ref_count"),
        (lambda m: m.pool.block_of.clear(), "disagree"),
        (lambda m: m.pool.hashes.__setitem__(0, None), "disagree"),
        (lambda m: m.pool.publish(2, b"x"), "does not hold"),
        (lambda m: m.pool.publish(7, b"x"), "still named"),
        (
            lambda m: (m.release("a"), m.pool.block_of.pop(m.pool.hashes[0]), m.pool.hashes.__setitem__(0, None)),
            "no name",
        ),
        (lambda m: setattr(m.tables["a"], "num_computed_tokens", 99), "more computed"),
    ],
)
def test_check_integrity_names_the_damage(damage: Callable[[BlockManager], object], words: str) -> None:
    manager = BlockManager(8, SIZE)
    manager.admit("a", list(range(11)))
    manager.mark_computed("a", list(range(11)), 11)
    manager.check_integrity()
    damage(manager)
    with pytest.raises(IntegrityError, match=words):
        manager.check_integrity()


def test_releasing_more_often_than_taking_is_refused() -> None:
    pool = BlockPool(2)
    block_id, _ = pool.allocate()
    pool.release(block_id)
    with pytest.raises(IntegrityError):
        pool.release(block_id)
