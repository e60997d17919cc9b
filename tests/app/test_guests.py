"""How much of a stranger's prompt was found in the cache cannot be told from my log; what it tells of them adds up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.projection import Projection
from inference.block_manager import BlockManager
from inference.events import (
    AnyEvent,
    BlockAllocated,
    BlockCopied,
    BlockReleased,
    BlockShared,
    Event,
    KVWritten,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    Snapshot,
    SnapshotRequest,
    StepItem,
    StepStarted,
)
from inference.sequence import SequenceId
from tests.inference.replay import Replay

OWN, OTHER, THIRD = "own-run", "other-run", "third-run"
BLOCK = 16


def projection(requests: list[SnapshotRequest] | None = None) -> tuple[Projection, Snapshot]:
    made = Projection(OWN)
    made.guests.block_size = BLOCK
    snapshot = made.project(
        Snapshot(request_id=OWN, requests=requests or [], num_blocks=64, num_free_blocks=64, cached_block_ids=[])
    )
    assert isinstance(snapshot, Snapshot)
    return made, snapshot


def step(number: int, start: int, stop: int) -> list[AnyEvent]:
    phase = "prefill" if number == 1 else "decode"
    item = StepItem(request_id=OTHER, sample=0, slot=1, phase=phase, start=start, stop=stop)
    started = StepStarted(step=number, phase=phase, num_tokens=stop - start, num_waiting=0, requests=[item])
    return [started, KVWritten(request_id=OTHER, start=start, stop=stop)]


def life(num_found: int, computed: int) -> list[AnyEvent]:
    """Another's request whose first ``num_found`` blocks stand in the cache, and ``computed`` tokens do not."""
    found = list(range(40, 40 + num_found))
    first, length = BLOCK * num_found, BLOCK * num_found + computed
    ids = [*found, 5, 6]
    shared = [BlockShared(request_id=OTHER, block_ids=found, ref_counts=[1] * num_found, start=0)] if found else []
    return [
        *shared,
        BlockAllocated(request_id=OTHER, block_ids=[5, 6], start=num_found),
        RequestAdmitted(request_id=OTHER, slot=1, num_tokens=length, cached_tokens=first, queue_seconds=0.5),
        *step(1, first, length),
        *step(2, length, length + 1),
        RequestPreempted(request_id=OTHER, slot=1, num_computed_tokens=length + 1),
        BlockReleased(
            request_id=OTHER, block_ids=ids[::-1], ref_counts=[0] * len(ids), cached=[False, *[True] * (num_found + 1)]
        ),
        RequestFinished(request_id=OTHER, slot=None, reason="length"),
    ]


@pytest.mark.parametrize("num_found", [1, 3, 20])
def test_a_log_is_the_same_however_much_a_guest_found(num_found: int) -> None:
    cold, warm = projection()[0], projection()[0]
    nothing = [cold.project(event) for event in life(0, 20)]
    something = [found for event in life(num_found, 20) if (found := warm.project(event)) is not None]
    assert something == nothing
    assert len(something) == len(life(0, 20))


def test_a_guest_who_was_there_before_shows_no_block_that_another_shows() -> None:
    first = SnapshotRequest(
        request_id=OTHER, sample=0, slot=0, num_tokens=41, num_computed_tokens=40, block_ids=[7, 8, 9]
    )
    second = SnapshotRequest(
        request_id=THIRD, sample=0, slot=1, num_tokens=35, num_computed_tokens=34, block_ids=[7, 8, 10]
    )
    _, snapshot = projection([first, second])
    shown = [(request.block_ids, request.num_tokens, request.num_computed_tokens) for request in snapshot.requests]
    assert shown == [([7, 8, 9], 41, 40), ([10], 3, 2)]


def test_samples_of_a_guest_share_what_is_shown() -> None:
    made, _ = projection()
    script: list[AnyEvent] = [
        BlockShared(request_id=OTHER, block_ids=[40], ref_counts=[1], start=0),
        BlockAllocated(request_id=OTHER, block_ids=[5], start=1),
        BlockShared(request_id=OTHER, sample=1, block_ids=[40, 5], ref_counts=[2, 2], start=0),
        RequestAdmitted(request_id=OTHER, sample=1, slot=2, num_tokens=20, cached_tokens=20, queue_seconds=0.0),
        BlockCopied(request_id=OTHER, sample=1, source_block_id=5, block_id=6, index=1),
    ]
    told = [found for event in script if (found := made.project(event)) is not None]
    assert told == [
        BlockAllocated(request_id="guest-1", block_ids=[5], start=0),
        BlockShared(request_id="guest-1", sample=1, block_ids=[5], ref_counts=[2], start=0),
        RequestAdmitted(request_id="guest-1", sample=1, slot=2, num_tokens=4, cached_tokens=0, queue_seconds=0.0),
        BlockCopied(request_id="guest-1", sample=1, source_block_id=5, block_id=6, index=0),
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([OWN, OTHER, THIRD]), st.integers(1, 5)), min_size=3, max_size=25))
def test_blocks_shared_by_their_contents_add_up_in_my_log(script: list[tuple[str, int]]) -> None:
    """The block manager's own story of prompts with one beginning: a strict reader of my log meets no contradiction,
    and never hears of a guest that something was found."""
    made, _ = projection()
    reader, told = Replay(64), []

    def tell(event: Event) -> None:
        shown = made.project(event)
        if shown is not None:
            told.append(shown)
            reader.apply(shown)

    blocks = BlockManager(64, BLOCK, emit=tell)
    for who, num_blocks in script:
        name = SequenceId(who, 0)
        if name in blocks.tables:
            blocks.release(name)
            continue
        tokens = list(range(BLOCK * num_blocks + 1))
        assert blocks.admit(name, tokens) is not None
        blocks.mark_computed(name, tokens, len(tokens))
    assert not any(isinstance(event, BlockShared) and event.request_id != OWN for event in told)
    mine = blocks.tables.get(SequenceId(OWN, 0))
    assert reader.tables.get(SequenceId(OWN, 0)) == (mine.block_ids if mine else None)
