"""The scheduler without a model: vLLM's scenarios retold, over a real block manager and tokens made up on the spot."""

from __future__ import annotations

import itertools
import random

import pytest

from inference import SamplingParams
from inference.block_manager import BlockManager, IntegrityError
from inference.events import Event, RequestAdmitted, RequestPreempted, RequestQueued
from inference.scheduler import ContinuousScheduler, ScheduledItem
from inference.sequence import Sequence, SequenceStatus


class Line:
    """A scheduler whose model answers at once: every item that samples gets a token."""

    def __init__(
        self, *, num_blocks: int = 64, block_size: int = 4, slots: int = 4, budget: int = 16, caching: bool = True
    ) -> None:
        self.events: list[Event] = []
        self.blocks = BlockManager(num_blocks, block_size, enable_prefix_caching=caching, emit=self.events.append)
        self.scheduler = ContinuousScheduler(
            self.blocks,
            max_num_seqs=slots,
            max_num_batched_tokens=budget,
            clock=lambda: 0.0,
            emit=self.events.append,
        )
        self.arrivals = itertools.count()
        self.all: dict[str, Sequence] = {}

    def add(self, name: str, num_tokens: int, *, first: int | None = None, max_tokens: int = 100) -> Sequence:
        arrival = next(self.arrivals)
        first = 1000 * arrival if first is None else first
        sequence = Sequence(
            request_id=name,
            token_ids=list(range(first, first + num_tokens)),
            params=SamplingParams(max_tokens=max_tokens),
            arrival=arrival,
            queued_at=0.0,
        )
        self.all[name] = sequence
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[ScheduledItem]:
        items = self.scheduler.schedule()
        samples = [item.samples for item in items]
        for item, sampled in zip(items, samples, strict=True):
            sequence = item.sequence
            sequence.num_computed_tokens = item.stop
            self.blocks.mark_computed(sequence.request_id, sequence.token_ids, item.stop)
            if sampled:
                sequence.token_ids.append(len(sequence.token_ids) % 7)
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


@pytest.mark.parametrize("seed", range(12))
def test_everybody_ends_and_nothing_leaks(seed: int) -> None:
    rng = random.Random(seed)
    line = Line(
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
                str(pending), length, first=rng.choice([0, 500]), max_tokens=rng.randint(1, min(12, room - length))
            )
        line.step()
        if not pending and not line.scheduler.running and not line.scheduler.waiting:
            break
    assert all(s.num_output_tokens == s.params.max_tokens for s in line.all.values())
    pool = line.blocks.pool
    assert len(pool.free) + len(pool.cached) == pool.num_blocks


def test_check_integrity_finds_a_lost_slot() -> None:
    line = Line()
    line.add("a", 3)
    line.step()
    line.all["a"].slot = 3
    with pytest.raises(IntegrityError, match="slots"):
        line.scheduler.check_integrity()
