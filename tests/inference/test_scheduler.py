"""The scheduler without a model: vLLM's scenarios retold, over a real block manager and tokens made up on the spot."""

from __future__ import annotations

import itertools
import random

import pytest

from inference import SamplingParams
from inference.block_manager import BlockManager, IntegrityError
from inference.events import Event, RequestAdmitted, RequestPreempted, RequestQueued
from inference.scheduler import ContinuousScheduler, ScheduledItem, Scheduler, StaticScheduler
from inference.sequence import Sequence, SequenceStatus
from inference.slab import SlabManager


class Line:
    """A scheduler whose model answers at once: every item that samples gets a token."""

    def __init__(
        self,
        *,
        num_blocks: int = 64,
        block_size: int = 4,
        slots: int = 4,
        budget: int = 16,
        caching: bool = True,
        policy: type[Scheduler] = ContinuousScheduler,
        slab: bool = False,
    ) -> None:
        self.events: list[Event] = []
        self.blocks = (
            SlabManager(num_blocks, block_size, emit=self.events.append)
            if slab
            else BlockManager(num_blocks, block_size, enable_prefix_caching=caching, emit=self.events.append)
        )
        self.scheduler = policy(
            self.blocks,
            max_num_seqs=slots,
            max_num_batched_tokens=budget,
            clock=lambda: 0.0,
            emit=self.events.append,
        )
        self.arrivals = itertools.count()
        self.all: dict[str, Sequence] = {}
        self.forks: list[Sequence] = []

    def add(
        self, name: str, num_tokens: int, *, first: int | None = None, max_tokens: int = 100, n: int = 1
    ) -> Sequence:
        arrival = next(self.arrivals)
        first = 1000 * arrival if first is None else first
        sequence = Sequence(
            request_id=name,
            token_ids=list(range(first, first + num_tokens)),
            params=SamplingParams(max_tokens=max_tokens, n=n),
            arrival=arrival,
            queued_at=0.0,
        )
        self.all[name] = sequence
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[ScheduledItem]:
        items = self.scheduler.schedule()
        self.blocks.take_copies()
        for item in items:
            item.sequence.num_computed_tokens = item.stop
            self.blocks.mark_computed(item.sequence.id, item.sequence.token_ids, item.stop)
        drawing = [item.sequence for item in items if item.samples]
        for sequence in list(drawing):
            if sequence.num_output_tokens == 0 and sequence.params.n > 1:
                children = self.scheduler.fork(sequence, sequence.params.n)
                self.forks += children
                drawing += children
        for sequence in drawing:
            sequence.token_ids.append((len(sequence.token_ids) + sequence.sample) % 7)
            if sequence.num_output_tokens >= sequence.params.max_tokens:
                self.scheduler.remove(sequence)
        self.check()
        return items

    def check(self) -> None:
        self.blocks.check_integrity()
        self.scheduler.check_integrity()

    def said(self, kind: type[Event]) -> list[str]:
        return [event.request_id for event in self.events if isinstance(event, kind)]


def shares(items: list[ScheduledItem]) -> list[tuple[str, int, int, str]]:
    return [(item.sequence.request_id, item.start, item.stop, item.phase) for item in items]


def test_prompts_are_taken_whole_while_the_budget_lasts() -> None:
    line = Line(budget=16)
    for name, length in (("a", 6), ("b", 6), ("c", 6)):
        line.add(name, length)
    assert shares(line.step()) == [("a", 0, 6, "prefill"), ("b", 0, 6, "prefill"), ("c", 0, 4, "prefill")]
    assert shares(line.step()) == [("a", 6, 7, "decode"), ("b", 6, 7, "decode"), ("c", 4, 6, "prefill")]
    assert shares(line.step()) == [("a", 7, 8, "decode"), ("b", 7, 8, "decode"), ("c", 6, 7, "decode")]


def test_decodes_go_first_and_a_long_prompt_takes_the_rest() -> None:
    line = Line(budget=8)
    line.add("short", 3)
    line.step()
    line.add("long", 30)
    assert shares(line.step()) == [("short", 3, 4, "decode"), ("long", 0, 7, "prefill")]
    assert shares(line.step()) == [("short", 4, 5, "decode"), ("long", 7, 14, "prefill")]


def test_a_partial_prefill_samples_nothing() -> None:
    line = Line(budget=7)
    line.add("a", 20)
    assert [item.samples for _ in range(4) for item in line.step()] == [False, False, True, True]


def test_a_running_prompt_goes_before_the_waiting_line() -> None:
    line = Line(budget=8)
    line.add("a", 12)
    line.add("b", 4)
    line.step()
    assert shares(line.step()) == [("a", 8, 12, "prefill"), ("b", 0, 4, "prefill")]


def test_slots_bound_who_runs_and_are_used_again() -> None:
    line = Line(slots=2)
    for name in "abc":
        line.add(name, 3, max_tokens=2)
    line.step()
    assert [s.slot for s in line.all.values()] == [0, 1, None]
    line.step()
    line.step()
    assert line.all["c"].slot == 0


def test_never_more_slots_than_the_budget_has_tokens() -> None:
    line = Line(slots=8, budget=3)
    for i in range(6):
        line.add(str(i), 2, max_tokens=5)
    while any(s.status is not SequenceStatus.FINISHED for s in line.all.values()):
        assert sum(item.stop - item.start for item in line.step()) <= 3


def test_positions_are_told_when_they_change() -> None:
    line = Line(slots=1)
    for name in "abc":
        line.add(name, 3, max_tokens=1)
    told = [(e.request_id, e.position) for e in line.events if isinstance(e, RequestQueued)]
    assert told == [("a", 0), ("b", 1), ("c", 2)]
    line.events.clear()
    line.step()
    assert [(e.request_id, e.position, e.num_waiting) for e in line.events if isinstance(e, RequestQueued)] == [
        ("b", 0, 2),
        ("c", 1, 2),
    ]


def test_the_line_is_not_jumped_by_one_that_would_fit() -> None:
    line = Line(num_blocks=4, block_size=4)
    line.add("a", 8, max_tokens=4)
    line.step()
    line.add("big", 12, max_tokens=1)
    line.add("small", 2, max_tokens=1)
    assert [share[0] for share in shares(line.step())] == ["a"]


def test_the_newest_is_preempted_and_comes_back_first() -> None:
    line = Line(num_blocks=6, block_size=4, caching=False)
    line.add("old", 8)
    line.add("new", 8)
    line.step()
    line.add("third", 4)
    for _ in range(4):
        line.step()  # both need a third block after the first decode, then a fourth
    assert "new" not in line.said(RequestPreempted)
    line.step()
    assert line.said(RequestPreempted) == ["new"]
    assert [s.request_id for s in line.scheduler.waiting] == ["new", "third"]
    new = line.all["new"]
    assert new.num_computed_tokens == 0
    assert new.slot is None
    line.scheduler.remove(line.all["old"])
    items = line.step()
    assert shares(items)[0] == ("new", 0, new.num_tokens - 1, "prefill")
    assert line.said(RequestAdmitted).count("new") == 2


def test_a_preempted_sequence_finds_its_blocks_in_the_cache() -> None:
    """nano-vllm #211, #233: preempting and re-admitting one that had cache hits."""
    line = Line(num_blocks=10, block_size=4, slots=3, budget=64)
    line.add("first", 9, first=0, max_tokens=1)
    line.step()
    line.add("old", 9, first=0)
    line.add("new", 9, first=0)
    line.step()
    assert [e.cached_tokens for e in line.events if isinstance(e, RequestAdmitted)] == [0, 8, 8]
    while not line.said(RequestPreempted):
        line.step()
    assert line.said(RequestPreempted) == ["new"]
    line.scheduler.remove(line.all["old"])
    line.step()
    again = [e for e in line.events if isinstance(e, RequestAdmitted) and e.request_id == "new"][-1]
    assert again.cached_tokens >= 8
    assert line.all["new"].num_cached_tokens == 8, "usage counts the first admission"


def test_nobody_is_admitted_in_a_step_that_preempts() -> None:
    line = Line(num_blocks=6, block_size=4, caching=False)
    line.add("old", 8)
    line.add("new", 8)
    line.step()
    line.add("tiny", 1)
    while not line.said(RequestPreempted):
        items = line.step()
    assert [item.sequence.request_id for item in items] == ["old"]


def test_one_that_preempts_itself_waits() -> None:
    line = Line(num_blocks=5, block_size=4, caching=False)
    line.add("old", 8)
    line.step()
    line.add("new", 4)
    while not line.said(RequestPreempted):
        line.step()
    assert line.said(RequestPreempted) == ["new"]
    assert line.all["new"].status is SequenceStatus.WAITING


def test_a_waiting_one_can_leave_the_line() -> None:
    line = Line(slots=1)
    line.add("a", 3)
    line.add("b", 3)
    line.step()
    line.scheduler.remove(line.all["b"])
    line.check()
    assert not line.scheduler.waiting


def test_the_budget_counts_only_what_must_be_computed() -> None:
    """vLLM's test_schedule_enable_prefix_caching: a hit leaves its share of the budget to others."""
    line = Line(budget=16)
    line.add("a", 13, first=0, max_tokens=1)
    line.step()
    for name in "bc":
        line.add(name, 13, first=0, max_tokens=1)
    assert shares(line.step()) == [("b", 12, 13, "prefill"), ("c", 12, 13, "prefill")]


def test_one_prompt_twice_in_one_step_is_computed_twice_and_then_found() -> None:
    """Hits in flight (nano-vllm #208): nobody is handed a block that the same step is going to fill."""
    line = Line(budget=64)
    line.add("a", 9, first=0)
    line.add("b", 9, first=0)
    assert shares(line.step()) == [("a", 0, 9, "prefill"), ("b", 0, 9, "prefill")]
    tables = [line.blocks.tables[line.all[name].id].block_ids for name in "ab"]
    assert not set(tables[0]) & set(tables[1])
    line.add("c", 9, first=0)
    assert shares(line.step())[-1] == ("c", 8, 9, "prefill")
    assert line.blocks.tables[line.all["c"].id].block_ids[:2] == tables[0][:2]


def test_a_chunk_that_is_done_can_be_hit_while_the_rest_is_in_flight() -> None:
    line = Line(budget=10)
    line.add("a", 20, first=0)
    line.step()
    line.add("b", 20, first=0)
    assert shares(line.step()) == [("a", 10, 20, "prefill")], "no budget left for b"
    assert shares(line.step()) == [("a", 20, 21, "decode"), ("b", 16, 20, "prefill")]


def test_preempted_blocks_that_others_hold_stay_and_the_rest_is_computed_again() -> None:
    """Preemption with a hit, then the eviction of what was only its own (nano-vllm #233)."""
    line = Line(num_blocks=8, block_size=4, slots=3, budget=64)
    line.add("old", 9, first=0)
    line.step()
    line.add("new", 17, first=0)
    line.step()
    new, old = line.all["new"], line.all["old"]
    shared = line.blocks.tables[old.id].block_ids[:2]
    assert line.blocks.tables[new.id].block_ids[:2] == shared
    while not line.said(RequestPreempted):
        line.step()
    assert all(line.blocks.pool.ref_counts[block_id] == 1 for block_id in shared)
    for _ in range(8):
        line.step()  # the old one goes on into the blocks that the new one left
    line.scheduler.remove(old)
    line.step()
    again = [e for e in line.events if isinstance(e, RequestAdmitted) and e.request_id == "new"][-1]
    assert 8 <= again.cached_tokens < new.num_tokens - 1
    assert line.blocks.tables[new.id].block_ids[:2] == shared


def test_one_that_leaves_in_the_middle_of_its_prompt_leaves_nothing_held() -> None:
    line = Line(budget=6)
    line.add("a", 20)
    line.step()
    line.scheduler.remove(line.all["a"])
    line.check()
    assert line.blocks.num_held_blocks == 0
    assert len(line.blocks.pool.cached) == 1


# ---- parallel samples ----------------------------------------------------------------------------------------------


def test_samples_take_a_slot_each_beside_their_first() -> None:
    line = Line()
    line.add("a", 6, n=3)
    line.add("b", 6)
    assert [(s.request_id, s.sample, s.slot) for item in line.step() for s in [item.sequence]] == [
        ("a", 0, 0),
        ("b", 0, 1),
    ]
    assert [(s.request_id, s.sample, s.slot) for s in line.scheduler.running] == [
        ("a", 0, 0),
        ("a", 1, 2),
        ("a", 2, 3),
        ("b", 0, 1),
    ]
    assert shares(line.step()) == [("a", 6, 7, "decode")] * 3 + [("b", 6, 7, "decode")]


def test_samples_without_a_slot_wait_before_those_who_came_later() -> None:
    line = Line(slots=2)
    line.add("a", 9, n=4, max_tokens=3)
    line.add("b", 6, max_tokens=3)
    line.add("c", 6, max_tokens=3)
    line.step()
    assert [s.id for s in line.scheduler.waiting] == [("a", 1), ("a", 2), ("a", 3), ("c", 0)], "b had taken the slot"
    told = {(e.request_id, e.sample): e.position for e in line.events if isinstance(e, RequestQueued)}
    assert [told[s.id] for s in line.scheduler.waiting] == [0, 1, 2, 3]
    line.step()
    line.step()
    line.step()
    admitted = [e for e in line.events if isinstance(e, RequestAdmitted) and e.sample]
    assert [(e.sample, e.num_tokens, e.cached_tokens) for e in admitted] == [(1, 10, 8), (2, 10, 8)]
    while line.scheduler.running or line.scheduler.waiting:
        line.step()
    assert all(len(s.token_ids) == s.num_prompt_tokens + 3 for s in (*line.all.values(), *line.forks))


def test_a_preempted_sample_comes_back_alone() -> None:
    line = Line(num_blocks=7, block_size=4, slots=3, caching=False)
    line.add("a", 6, n=3, max_tokens=14)
    while not line.said(RequestPreempted):
        line.step()
    (event,) = [e for e in line.events if isinstance(e, RequestPreempted)]
    assert event.sample == 2, "the newest"
    while line.scheduler.running or line.scheduler.waiting:
        line.step()
    again = [e for e in line.events if isinstance(e, RequestAdmitted) and e.sample == 2][-1]
    assert again.cached_tokens == 0
    assert again.num_tokens == 6 + 1 + event.num_computed_tokens - 6, "with all it had drawn"
    assert all(s.num_output_tokens == 14 for s in (line.all["a"], *line.forks))


# ---- static batching -----------------------------------------------------------------------------------------------


def test_a_static_batch_lets_nobody_in_until_its_last_has_finished() -> None:
    line = Line(slots=2, policy=StaticScheduler)
    for name, max_tokens in (("a", 2), ("b", 6), ("c", 1)):
        line.add(name, 3, max_tokens=max_tokens)
    seated = []
    while line.scheduler.running or line.scheduler.waiting:
        seated.append([item.sequence.request_id for item in line.step()])
    assert seated == [["a", "b"], ["a", "b"], ["b"], ["b"], ["b"], ["b"], ["c"]]
    continuous = Line(slots=2)
    for name, max_tokens in (("a", 2), ("b", 6), ("c", 1)):
        continuous.add(name, 3, max_tokens=max_tokens)
    seated = []
    while continuous.scheduler.running or continuous.scheduler.waiting:
        seated.append([item.sequence.request_id for item in continuous.step()])
    assert seated == [["a", "b"], ["a", "b"], ["b", "c"], ["b"], ["b"], ["b"]]


def test_a_static_batch_is_bound_by_slots_and_room_and_not_by_the_budget() -> None:
    line = Line(slots=3, budget=8, policy=StaticScheduler)
    for name in "abcd":
        line.add(name, 7, max_tokens=2)
    assert shares(line.step()) == [("a", 0, 7, "prefill"), ("b", 0, 1, "prefill")]
    assert [s.request_id for s in line.scheduler.running] == ["a", "b", "c"]
    line = Line(num_blocks=5, policy=StaticScheduler)
    for name in "abcd":
        line.add(name, 7, max_tokens=2)
    line.step()
    assert [s.request_id for s in line.scheduler.running] == ["a", "b"]


def test_one_preempted_from_a_static_batch_waits_for_the_next() -> None:
    line = Line(num_blocks=5, block_size=4, caching=False, policy=StaticScheduler)
    line.add("a", 8, max_tokens=9)
    line.add("b", 8, max_tokens=9)
    while not line.said(RequestPreempted):
        line.step()
    assert line.said(RequestPreempted) == ["b"]
    while line.all["a"].status is SequenceStatus.RUNNING:
        assert [item.sequence.request_id for item in line.step()] == ["a"]
    assert [item.sequence.request_id for item in line.step()] == ["b"]


@pytest.mark.parametrize(
    ("policy", "slab"), [(ContinuousScheduler, False), (StaticScheduler, False), (ContinuousScheduler, True),
                         (StaticScheduler, True)],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(12))
def test_everybody_ends_and_nothing_leaks(seed: int, policy: type[Scheduler], slab: bool) -> None:
    rng = random.Random(seed)
    line = Line(
        policy=policy,
        slab=slab,
        num_blocks=rng.randint(10, 16),
        block_size=rng.choice([1, 2, 4]),
        slots=rng.randint(1, 5),
        budget=rng.randint(1, 9),
    )
    room = line.blocks.pool.num_blocks * line.blocks.block_size
    pending = 20
    for _ in range(4000):
        if pending and rng.random() < 0.3:
            pending -= 1
            length = rng.randint(1, room - 2)
            line.add(
                str(pending),
                length,
                first=rng.choice([0, 500]),
                max_tokens=rng.randint(1, min(12, room - length)),
                n=rng.choice([1, 1, 2, 5]),
            )
        line.step()
        if not pending and not line.scheduler.running and not line.scheduler.waiting:
            break
    assert len(line.forks) == sum(s.params.n - 1 for s in line.all.values())
    assert all(s.num_output_tokens == s.params.max_tokens for s in (*line.all.values(), *line.forks))
    pool = line.blocks.pool
    assert len(pool.free) + len(pool.cached) == pool.num_blocks


def test_check_integrity_finds_a_lost_slot() -> None:
    line = Line()
    line.add("a", 3)
    line.step()
    line.all["a"].slot = 3
    with pytest.raises(IntegrityError, match="slots"):
        line.scheduler.check_integrity()
