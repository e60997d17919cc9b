"""Static batching and slabs, the baselines: the same answers at an honest cost, which is counted."""

from __future__ import annotations

import pytest

from inference import Engine, EngineConfig, IntegrityError, Model, SamplingParams
from inference.events import BlockAllocated, BlockReleased, Event, RequestAdmitted, StepFinished, StepStarted
from inference.sequence import SequenceId
from inference.slab import SlabManager

SIZE = 4
PROMPTS = [list(range(300 + 20 * i, 300 + 20 * i + length)) for i, length in enumerate((5, 9, 2, 12, 7, 3))]
PARAMS = [SamplingParams(temperature=0.0, max_tokens=m, ignore_eos=True) for m in (3, 12, 5, 2, 9, 1)]


def answers(model: Model, **config: object) -> tuple[list[list[int]], list[Event]]:
    events: list[Event] = []
    engine = Engine(model, EngineConfig(block_size=SIZE, num_blocks=32, max_num_seqs=2, **config), events.append)
    outputs = engine.generate(PROMPTS, PARAMS)
    engine.check_integrity()
    return [output.token_ids for output in outputs], events


def of(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


# ---- static batching -----------------------------------------------------------------------------------------------


def test_static_batching_answers_the_same_in_more_steps_with_idle_slots(tiny: Model) -> None:
    continuous, static = answers(tiny), answers(tiny, policy="static")
    assert continuous[0] == static[0]
    steps, idle = {}, {}
    for name, (_, events) in (("continuous", continuous), ("static", static)):
        started = of(events, StepStarted)
        steps[name] = len(started)
        idle[name] = sum(step.num_idle_slots for step in started)
        assert all(step.num_idle_slots == 2 - len(step.requests) for step in started)
    # Every request needs as many steps as it draws tokens. Three batches of two: (3, 12), (5, 2), (9, 1).
    assert steps["static"] == 12 + 5 + 9
    assert idle["static"] == (12 - 3) + (5 - 2) + (9 - 1)
    # The same 32 slot-steps of work, in two slots of which one runs out of work at the end.
    assert steps["continuous"] * 2 - idle["continuous"] == steps["static"] * 2 - idle["static"] == 32
    assert idle["continuous"] < idle["static"]


def test_a_batch_is_taken_only_when_the_last_one_is_over(tiny: Model) -> None:
    _, events = answers(tiny, policy="static")
    running: set[str] = set()
    for event in events:
        if isinstance(event, RequestAdmitted):
            running.add(event.request_id)
        elif isinstance(event, BlockReleased):
            running.discard(event.request_id)
        elif isinstance(event, StepStarted):
            assert {item.request_id for item in event.requests} == running
    batches = [int(event.request_id.removeprefix("request-")) // 2 for event in of(events, RequestAdmitted)]
    assert batches == [0, 0, 1, 1, 2, 2]


def test_the_card_says_what_serves(tiny: Model) -> None:
    card = Engine(tiny, EngineConfig(policy="static", allocator="slab")).card
    assert (card.policy, card.allocator, card.enable_prefix_caching) == ("static", "slab", False)
    card = Engine(tiny).card
    assert (card.policy, card.allocator, card.enable_prefix_caching) == ("continuous", "paged", True)


# ---- slabs: the books ----------------------------------------------------------------------------------------------


def slabs(num_blocks: int, **lengths: int) -> SlabManager:
    manager = SlabManager(num_blocks, SIZE)
    for name, length in lengths.items():
        assert manager.admit(SequenceId(name), [1, 2], max_num_tokens=length) == 0
    return manager


def test_first_fit_takes_the_first_gap_that_is_long_enough() -> None:
    manager = slabs(16, a=8, b=12, c=4, d=16)
    assert [table.block_ids for table in manager.tables.values()] == [[0, 1], [2, 3, 4], [5], [6, 7, 8, 9]]
    manager.release(SequenceId("a"))
    manager.release(SequenceId("c"))
    assert manager.admit(SequenceId("e"), [1], max_num_tokens=12) == 0
    assert manager.tables[SequenceId("e")].block_ids == [10, 11, 12], "two blocks at 0 and one at 5 are too short"
    assert manager.admit(SequenceId("f"), [1], max_num_tokens=3) == 0
    assert manager.tables[SequenceId("f")].block_ids == [0]
    manager.check_integrity()


def test_enough_blocks_in_all_are_not_enough() -> None:
    """External fragmentation, the third waste of the PagedAttention paper's section 3.1."""
    manager = slabs(6, a=8, b=8, c=8)
    manager.release(SequenceId("a"))
    manager.release(SequenceId("c"))
    assert len(manager.pool.free) == 4
    assert manager.admit(SequenceId("d"), [1], max_num_tokens=12) is None
    manager.release(SequenceId("b"))
    assert manager.admit(SequenceId("d"), [1], max_num_tokens=12) == 0
    manager.check_integrity()


def test_a_slab_shares_nothing_and_never_grows_beyond_its_reserve() -> None:
    manager = slabs(8, a=8)
    manager.mark_computed(SequenceId("a"), list(range(8)), 8)
    assert manager.admit(SequenceId("b"), list(range(8)), max_num_tokens=8) == 0, "no prefix is found"
    assert not manager.fork(SequenceId("a"), SequenceId("a", 1))
    assert manager.grow(SequenceId("a"), 8)
    with pytest.raises(IntegrityError, match="reserved"):
        manager.grow(SequenceId("a"), 9)
    manager.tables[SequenceId("a")].block_ids.reverse()
    with pytest.raises(IntegrityError, match="contiguous"):
        manager.check_integrity()


# ---- slabs in the engine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["continuous", "static"])
@pytest.mark.parametrize("reserve", ["max_tokens", "max_model_len"])
def test_slabs_answer_the_same(tiny: Model, policy: str, reserve: str) -> None:
    expected, _ = answers(tiny)
    got, events = answers(tiny, policy=policy, allocator="slab", slab_reserve=reserve, max_model_len=64)
    assert got == expected
    sizes = {event.request_id: len(event.block_ids) for event in of(events, BlockAllocated)}
    wanted = [
        64 if reserve == "max_model_len" else len(prompt) + params.max_tokens - 1
        for prompt, params in zip(PROMPTS, PARAMS, strict=True)
    ]
    assert [sizes[f"request-{i}"] for i in range(len(PROMPTS))] == [-(-tokens // SIZE) for tokens in wanted]


def test_what_is_reserved_and_unused_is_counted(tiny: Model) -> None:
    """By hand: a prompt of 5 and 9 tokens to draw reserve 13 places, 4 blocks of 4."""
    slot = tiny.card.kv_bytes_per_token

    def told(**config: object) -> list[tuple[int, int]]:
        events: list[Event] = []
        engine = Engine(tiny, EngineConfig(block_size=SIZE, num_blocks=32, **config), events.append)
        engine.generate([PROMPTS[0]], SamplingParams(temperature=0.0, max_tokens=9, ignore_eos=True))
        return [(step.kv_held_bytes // slot, step.kv_unused_bytes // slot) for step in of(events, StepFinished)]

    assert told(allocator="slab") == [(16, 16 - used) for used in range(5, 14)]
    long = told(allocator="slab", slab_reserve="max_model_len", max_model_len=100)
    assert long == [(100, 100 - used) for used in range(5, 14)]
    assert told() == [(-(-used // SIZE) * SIZE, -used % SIZE) for used in range(5, 14)], "pages: less than one block"


def test_paging_wastes_less_than_a_block_each_where_slabs_waste_most(tiny: Model) -> None:
    """The share of held bytes that hold nothing, over the same work."""

    def waste(**config: object) -> float:
        finished = of(answers(tiny, **config)[1], StepFinished)
        return sum(step.kv_unused_bytes for step in finished) / sum(step.kv_held_bytes for step in finished)

    paged, slab = waste(), waste(allocator="slab")
    worst = waste(allocator="slab", slab_reserve="max_model_len", max_model_len=64)
    assert paged < slab < worst


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "needs 4 blocks and the pool has 3"),
        ({"allocator": "slab"}, "needs 4 blocks and the pool has 3"),
        ({"allocator": "slab", "slab_reserve": "max_model_len"}, "needs 256 blocks and the pool has 3"),
    ],
)
def test_a_request_longer_than_the_pool_is_refused_and_the_others_are_untouched(
    tiny: Model, config: dict[str, str], words: str
) -> None:
    engine = Engine(tiny, EngineConfig(block_size=SIZE, num_blocks=3, **config))
    fits = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
    if "slab_reserve" not in config:
        engine.add_request(PROMPTS[0], fits)
        engine.step()
    for n in (1, 4):
        with pytest.raises(ValueError, match=words):
            engine.add_request(PROMPTS[0], SamplingParams(max_tokens=9, n=n))
    engine.check_integrity()
    last = []
    while engine.has_unfinished_requests():
        last = engine.step()
    (single,) = Engine(tiny).generate([PROMPTS[0]], fits)
    assert [output.token_ids for output in last] in ([], [single.token_ids])
    assert bool(last) == ("slab_reserve" not in config)


def test_samples_in_slabs_compute_the_prompt_again(tiny: Model) -> None:
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=SIZE, num_blocks=32, allocator="slab"), events.append)
    engine.generate([PROMPTS[1]], SamplingParams(seed=1, max_tokens=4, ignore_eos=True, n=3))
    admitted = [(e.sample, e.num_tokens, e.cached_tokens) for e in of(events, RequestAdmitted)]
    assert admitted == [(0, 9, 0), (1, 10, 0), (2, 10, 0)]
