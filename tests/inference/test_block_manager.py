"""The block manager: vLLM's prefix-caching scenarios retold, forks and copies, and what its own check finds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inference.block_manager import BlockManager, BlockPool, IntegrityError, OutOfBlocks, hash_block
from inference.events import BlockCopied, BlockEvicted, BlockShared, Event
from inference.sequence import SequenceId

SIZE = 4


def sid(name: str, sample: int = 0) -> SequenceId:
    return SequenceId(name, sample)


def compute(manager: BlockManager, name: SequenceId, tokens: list[int], **kwargs: object) -> int | None:
    """Admit and compute a whole prompt; how much of it was cached."""
    cached = manager.admit(name, tokens, **kwargs)
    if cached is not None:
        manager.mark_computed(name, tokens, len(tokens))
    return cached


# ---- scenarios -----------------------------------------------------------------------------------------------------


def test_a_prefix_is_found_again_in_whole_blocks() -> None:
    manager = BlockManager(16, SIZE)
    assert compute(manager, sid("a"), list(range(11))) == 0
    assert compute(manager, sid("b"), [*range(8), 90, 91, 92]) == 8
    assert manager.tables[sid("b")].block_ids[:2] == manager.tables[sid("a")].block_ids[:2]
    assert [manager.pool.ref_counts[i] for i in manager.tables[sid("a")].block_ids] == [2, 2, 1]
    manager.check_integrity()


def test_the_last_token_is_always_computed() -> None:
    """A full-prompt hit must leave a query (nano-vllm #144), also where the prompt is a multiple of the block."""
    manager = BlockManager(16, SIZE)
    tokens = list(range(8))
    compute(manager, sid("a"), tokens)
    assert compute(manager, sid("b"), tokens) == 4
    assert manager.tables[sid("b")].block_ids[1] != manager.tables[sid("a")].block_ids[1]
    manager.check_integrity()


def test_what_is_in_flight_cannot_be_hit() -> None:
    """nano-vllm #208: full blocks that nobody has computed yet are not there."""
    manager = BlockManager(16, SIZE)
    tokens = list(range(12))
    assert manager.admit(sid("a"), tokens) == 0
    assert manager.admit(sid("b"), tokens) == 0
    manager.mark_computed(sid("a"), tokens, 7)  # one block and most of the next
    assert manager.admit(sid("c"), tokens) == 4
    manager.check_integrity()


def test_twins_computed_side_by_side_stay_private() -> None:
    manager = BlockManager(16, SIZE)
    tokens = list(range(9))
    manager.admit(sid("a"), tokens)
    manager.admit(sid("b"), tokens)
    manager.mark_computed(sid("a"), tokens, 9)
    manager.mark_computed(sid("b"), tokens, 9)
    assert len(manager.pool.block_of) == 2
    twin = manager.tables[sid("b")].block_ids[:2]
    manager.release(sid("b"))
    assert not set(twin) & set(manager.pool.cached)
    manager.check_integrity()


def test_free_before_cached_and_tails_before_prefixes() -> None:
    manager = BlockManager(6, SIZE)
    tokens = list(range(13))
    compute(manager, sid("a"), tokens)
    first = list(manager.tables[sid("a")].block_ids)
    manager.release(sid("a"))
    assert list(manager.pool.free) == [4, 5, first[3]]
    assert list(manager.pool.cached) == first[2::-1]
    compute(manager, sid("b"), [100 + i for i in range(16)])
    assert manager.tables[sid("b")].block_ids == [4, 5, first[3], first[2]]
    assert list(manager.pool.cached) == [first[1], first[0]]
    assert manager.admit(sid("c"), [*tokens[:8], 7]) is None, "two hits, and no block for the ninth token"
    manager.release(sid("b"))
    assert manager.admit(sid("d"), tokens) == 8
    manager.check_integrity()


def test_eviction_takes_the_least_recently_used() -> None:
    manager = BlockManager(4, SIZE)
    for name, first in (("a", 0), ("b", 100)):
        compute(manager, sid(name), [first + i for i in range(8)])
    blocks = {name: list(manager.tables[sid(name)].block_ids) for name in "ab"}
    manager.release(sid("b"))
    manager.release(sid("a"))
    compute(manager, sid("b2"), [100 + i for i in range(5)])  # uses b's first block again
    assert manager.tables[sid("b2")].block_ids == [blocks["b"][0], blocks["b"][1]], (
        "b's tail was the oldest in the cache"
    )
    manager.release(sid("b2"))
    assert list(manager.pool.cached) == [blocks["a"][1], blocks["a"][0], blocks["b"][0]]
    manager.check_integrity()


def test_an_evicted_block_is_no_longer_found() -> None:
    manager = BlockManager(2, SIZE)
    compute(manager, sid("a"), list(range(8)))
    manager.release(sid("a"))
    compute(manager, sid("b"), [50 + i for i in range(8)])
    manager.release(sid("b"))
    assert manager.admit(sid("c"), list(range(8))) == 0
    manager.check_integrity()


def test_nothing_changes_when_it_does_not_fit() -> None:
    events: list[Event] = []
    manager = BlockManager(4, SIZE, emit=events.append)
    compute(manager, sid("a"), list(range(12)))
    before = (list(manager.pool.free), list(manager.pool.ref_counts), len(events))
    assert manager.admit(sid("b"), [90 + i for i in range(8)]) is None
    assert manager.admit(sid("c"), [*list(range(16)), 1, 2, 3, 4]) is None
    assert (list(manager.pool.free), list(manager.pool.ref_counts), len(events)) == before
    assert manager.grow(sid("a"), 16)
    assert not manager.grow(sid("a"), 17)
    manager.check_integrity()


def test_hits_that_lie_in_the_cache_are_not_counted_as_room() -> None:
    manager = BlockManager(3, SIZE)
    compute(manager, sid("a"), list(range(12)))
    manager.release(sid("a"))
    assert manager.admit(sid("b"), [*range(8), 90, 91, 92, 93, 94]) is None
    assert manager.admit(sid("b"), [*range(8), 90]) == 8
    manager.check_integrity()


def test_visitors_share_the_public_prefix_and_nothing_else() -> None:
    manager = BlockManager(32, SIZE)
    tokens = list(range(17))
    compute(manager, sid("a"), tokens, salt="ann", num_public_tokens=9)
    assert compute(manager, sid("b"), tokens, salt="bob", num_public_tokens=9) == 8
    assert compute(manager, sid("a2"), tokens, salt="ann", num_public_tokens=9) == 16
    assert compute(manager, sid("c"), tokens, salt="", num_public_tokens=0) == 8
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
    compute(manager, sid("a"), list(range(8)))
    assert manager.admit(sid("b"), list(range(8))) == 0
    manager.release(sid("a"))
    assert not manager.pool.cached
    manager.check_integrity()


def test_what_is_decoded_is_found_by_the_next_turn() -> None:
    """vLLM's test_decode: blocks that fill while an answer grows are published too, one by one."""
    manager = BlockManager(16, SIZE)
    tokens = list(range(6))
    compute(manager, sid("a"), tokens)
    assert len(manager.pool.block_of) == 1
    for token in (60, 61, 62, 63):
        tokens.append(token)
        assert manager.grow(sid("a"), len(tokens))
        manager.mark_computed(sid("a"), tokens, len(tokens))
    assert len(manager.pool.block_of) == 2
    assert compute(manager, sid("next turn"), [*tokens, 70, 71, 72]) == 8
    assert compute(manager, sid("another answer"), [*tokens[:6], 60, 99, 100]) == 4
    manager.check_integrity()


def test_blocks_go_back_in_an_order_that_keeps_prefixes_longest() -> None:
    """vLLM's test_prefill: what two share outlives what only one had, and a prefix outlives its tail."""
    manager = BlockManager(10, SIZE)
    shared = list(range(12))
    compute(manager, sid("a"), [*shared, *(100 + i for i in range(7))])  # blocks 0-4, the last one partial
    assert compute(manager, sid("b"), [*shared, 200, 201]) == 12
    assert manager.tables[sid("b")].block_ids == [0, 1, 2, 5]
    manager.release(sid("a"))
    assert list(manager.pool.free) == [6, 7, 8, 9, 4]
    assert list(manager.pool.cached) == [3]
    manager.release(sid("b"))
    assert list(manager.pool.free) == [6, 7, 8, 9, 4, 5]
    assert list(manager.pool.cached) == [3, 2, 1, 0]
    compute(manager, sid("c"), [300 + i for i in range(29)])
    assert manager.tables[sid("c")].block_ids == [6, 7, 8, 9, 4, 5, 3, 2]
    assert manager.admit(sid("d"), shared) is None, "two hits, and nothing left for the rest"
    manager.release(sid("c"))
    assert manager.admit(sid("d"), shared) == 8
    manager.check_integrity()


def test_a_hit_is_never_evicted_to_make_room_for_the_same_prompt() -> None:
    """vLLM's test_computed_blocks_not_evicted: the oldest block of the cache is the very one that is hit."""
    manager = BlockManager(3, SIZE)
    compute(manager, sid("a"), list(range(4)))
    compute(manager, sid("b"), list(range(50, 54)))
    (first,) = manager.tables[sid("a")].block_ids
    manager.release(sid("a"))
    manager.release(sid("b"))
    assert next(iter(manager.pool.cached)) == first
    assert manager.admit(sid("c"), list(range(12))) == 4
    assert manager.tables[sid("c")].block_ids[0] == first
    manager.check_integrity()


def test_a_block_used_anew_has_no_name_until_it_is_full_and_computed() -> None:
    """vLLM's test_hash_block_correct_reuse."""
    manager = BlockManager(1, SIZE)
    compute(manager, sid("a"), list(range(4)))
    manager.release(sid("a"))
    assert manager.pool.hashes[0] is not None
    tokens = [50, 51, 52]
    compute(manager, sid("b"), tokens)
    assert manager.pool.hashes == [None]
    tokens.append(53)
    assert manager.grow(sid("b"), 4)
    assert manager.pool.hashes == [None]
    manager.mark_computed(sid("b"), tokens, 4)
    assert list(manager.pool.block_of.values()) == [0]
    manager.check_integrity()


def test_one_that_gave_up_half_way_leaves_what_it_had_computed() -> None:
    """A partial prefill that ends: its full, computed blocks are found, the rest is free."""
    manager = BlockManager(8, SIZE)
    tokens = list(range(20))
    manager.admit(sid("a"), tokens)
    manager.mark_computed(sid("a"), tokens, 10)
    manager.release(sid("a"))
    assert len(manager.pool.cached) == 2
    assert len(manager.pool.free) == 6
    assert manager.admit(sid("b"), tokens) == 8
    manager.check_integrity()


# ---- fork and copy-on-write ----------------------------------------------------------------------------------------


def forked(manager: BlockManager, num_tokens: int, num_samples: int) -> list[list[int]]:
    """A computed prompt and its samples, each with the first token of its own, not yet computed."""
    tokens = [list(range(num_tokens)) for _ in range(num_samples)]
    compute(manager, sid("a"), tokens[0])
    for sample in range(1, num_samples):
        assert manager.fork(sid("a"), sid("a", sample))
    for sample in range(num_samples):
        tokens[sample].append(100 + sample)
    return tokens


def test_a_fork_shares_every_block_and_takes_none() -> None:
    events: list[Event] = []
    manager = BlockManager(8, SIZE, emit=events.append)
    forked(manager, 6, 3)
    assert manager.pool.ref_counts[:2] == [3, 3]
    assert manager.num_held_blocks == 2
    assert manager.num_unused_slots == 2, "a shared block counts once"
    assert [(e.sample, e.block_ids, e.ref_counts) for e in events if isinstance(e, BlockShared)] == [
        (1, [0, 1], [2, 2]),
        (2, [0, 1], [3, 3]),
    ]
    manager.check_integrity()


def test_the_first_write_copies_and_the_last_holder_writes_in_place() -> None:
    events: list[Event] = []
    manager = BlockManager(8, SIZE, emit=events.append)
    tokens = forked(manager, 6, 3)
    for sample, mine in enumerate(tokens):
        assert manager.grow(sid("a", sample), 7)
        manager.mark_computed(sid("a", sample), mine, 7)
        manager.check_integrity()
    assert [manager.tables[sid("a", sample)].block_ids for sample in range(3)] == [[0, 2], [0, 3], [0, 1]]
    assert manager.pool.ref_counts[:4] == [3, 1, 1, 1]
    copied = [(e.sample, e.source_block_id, e.block_id, e.index) for e in events if isinstance(e, BlockCopied)]
    assert copied == [(0, 1, 2, 1), (1, 1, 3, 1)]
    assert manager.take_copies() == [(1, 2), (1, 3)]
    assert manager.take_copies() == []


def test_a_prompt_that_ends_with_its_block_needs_no_copy() -> None:
    events: list[Event] = []
    manager = BlockManager(8, SIZE, emit=events.append)
    tokens = forked(manager, 8, 2)
    for sample, mine in enumerate(tokens):
        assert manager.grow(sid("a", sample), 9)
        manager.mark_computed(sid("a", sample), mine, 9)
    assert [manager.tables[sid("a", sample)].block_ids for sample in range(2)] == [[0, 1, 2], [0, 1, 3]]
    assert not any(isinstance(event, BlockCopied) for event in events)
    manager.check_integrity()


def test_a_copy_needs_a_block_and_nothing_changes_without_one() -> None:
    events: list[Event] = []
    manager = BlockManager(2, SIZE, emit=events.append)
    forked(manager, 6, 2)
    before = len(events)
    assert not manager.grow(sid("a"), 7)
    assert len(events) == before
    assert manager.take_copies() == []
    manager.release(sid("a", 1))
    assert manager.grow(sid("a"), 7), "alone it writes in place"
    assert manager.take_copies() == []
    manager.check_integrity()


def test_a_copy_may_evict() -> None:
    events: list[Event] = []
    manager = BlockManager(3, SIZE, emit=events.append)
    compute(manager, sid("old"), list(range(50, 54)))
    (old,) = manager.tables[sid("old")].block_ids
    manager.release(sid("old"))
    forked(manager, 6, 2)
    assert manager.grow(sid("a"), 7)
    assert [event.block_id for event in events if isinstance(event, BlockEvicted)] == [old]
    assert manager.tables[sid("a")].block_ids[1] == old
    manager.check_integrity()


def test_answers_of_samples_are_found_under_their_own_names() -> None:
    manager = BlockManager(16, SIZE)
    tokens = forked(manager, 6, 2)
    for sample, mine in enumerate(tokens):
        mine.append(200 + sample)
        assert manager.grow(sid("a", sample), 8)
        manager.mark_computed(sid("a", sample), mine, 8)
    for sample, mine in enumerate(tokens):
        assert compute(manager, sid(f"after {sample}"), [*mine, 0]) == 8
        assert manager.tables[sid(f"after {sample}")].block_ids[:2] == manager.tables[sid("a", sample)].block_ids
    manager.check_integrity()


def test_a_target_that_is_given_up_and_taken_again_is_copied_into_once() -> None:
    """Preemption between two copies of one step: the later of the two counts."""
    manager = BlockManager(3, SIZE)
    compute(manager, sid("b"), list(range(50, 52)))
    assert manager.fork(sid("b"), sid("b", 1))
    forked(manager, 2, 2)
    assert manager.grow(sid("a"), 3)
    manager.release(sid("a"))
    assert manager.grow(sid("b"), 3)
    (target,) = manager.tables[sid("b")].block_ids
    assert manager.take_copies() == [(manager.tables[sid("b", 1)].block_ids[0], target)]
    manager.check_integrity()


def test_an_empty_pool_says_so() -> None:
    pool = BlockPool(1)
    pool.allocate()
    with pytest.raises(OutOfBlocks):
        pool.allocate()


# ---- what check_integrity finds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: m.pool.free.pop(), "must part"),
        (lambda m: m.pool.free.append(m.pool.free[0]), "twice in the free line"),
        (lambda m: m.pool.ref_counts.__setitem__(0, 2), "ref_count"),
        (lambda m: m.pool.ref_counts.__setitem__(7, 1), "ref_count"),
        (lambda m: m.pool.free.append(0), "must part"),
        (lambda m: m.tables[sid("a")].block_ids.append(0), "twice"),
        (lambda m: m.tables.pop(sid("a")), "ref_count"),
        (lambda m: m.pool.block_of.clear(), "disagree"),
        (lambda m: m.pool.hashes.__setitem__(0, None), "disagree"),
        (lambda m: m.pool.publish(2, b"x"), "does not hold"),
        (lambda m: m.pool.publish(7, b"x"), "still named"),
        (
            lambda m: (m.release(sid("a")), m.pool.block_of.pop(m.pool.hashes[0]), m.pool.hashes.__setitem__(0, None)),
            "no name",
        ),
        (lambda m: setattr(m.tables[sid("a")], "num_computed_tokens", 99), "more computed"),
    ],
)
def test_check_integrity_names_the_damage(damage: Callable[[BlockManager], object], words: str) -> None:
    manager = BlockManager(8, SIZE)
    manager.admit(sid("a"), list(range(11)))
    manager.mark_computed(sid("a"), list(range(11)), 11)
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


def test_check_integrity_finds_a_write_into_a_shared_block() -> None:
    manager = BlockManager(8, SIZE)
    tokens = forked(manager, 6, 2)
    manager.mark_computed(sid("a"), tokens[0], 7)  # without grow
    with pytest.raises(IntegrityError, match="written while it was shared"):
        manager.check_integrity()
