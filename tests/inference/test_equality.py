"""Losslessness: whatever the engine does with pages, chunks, caches and slots, greedy output in float32 is what
``transformers.generate`` gives for the prompt alone."""

from __future__ import annotations

from transformers import PreTrainedModel

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.events import Event, RequestAdmitted, RequestPreempted, StepStarted
from tests.inference.conftest import Reference, assert_same, greedy
from tests.inference.prompts import NEW_TOKENS

GREEDY = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS)


def run(engine: Engine, references: list[Reference], what: str) -> None:
    outputs = engine.generate([reference.prompt_ids for reference in references], GREEDY)
    for reference, output in zip(references, outputs, strict=True):
        assert_same(reference, output.token_ids, f"{what}, prompt of {len(reference.prompt_ids)} tokens")
    engine.check_integrity()


def test_enough_prompts_of_every_kind(references: list[Reference]) -> None:
    assert len(references) >= 24
    lengths = [len(reference.prompt_ids) for reference in references]
    assert min(lengths) == 1
    assert max(lengths) >= 600
    assert sum(length % 16 == 0 for length in lengths) >= 3


def test_alone(model: Model, references: list[Reference]) -> None:
    engine = Engine(model, EngineConfig(enable_prefix_caching=False))
    for reference in references:
        run(engine, [reference], "alone")


def test_in_batches_of_eight(model: Model, references: list[Reference]) -> None:
    events: list[Event] = []
    run(Engine(model, EngineConfig(enable_prefix_caching=False), events.append), references, "batch of 8")
    assert max(len(event.requests) for event in events if isinstance(event, StepStarted)) == 8


def test_in_chunks_of_seven(model: Model, references: list[Reference]) -> None:
    events: list[Event] = []
    engine = Engine(model, EngineConfig(max_num_batched_tokens=7), events.append)
    run(engine, references, "chunks of 7")
    steps = [event for event in events if isinstance(event, StepStarted)]
    assert max(step.num_tokens for step in steps) == 7
    assert any({item.phase for item in step.requests} == {"prefill", "decode"} for step in steps)


def test_with_prefix_hits(model: Model, references: list[Reference]) -> None:
    events: list[Event] = []
    engine = Engine(model, EngineConfig(), events.append)
    engine.generate([reference.prompt_ids for reference in references], SamplingParams(temperature=0.0, max_tokens=1))
    events.clear()
    run(engine, references, "warm cache")
    cached = {event.num_tokens: event.cached_tokens for event in events if isinstance(event, RequestAdmitted)}
    for length, hit in cached.items():
        assert hit == (length - 1) // 16 * 16
    assert cached[16] == 0
    assert cached[160] == 144
    assert cached[608] == 592


def test_with_preemption(model: Model, references: list[Reference]) -> None:
    """A pool that holds the longest prompt and little else: what it throws out must come back whole."""
    events: list[Event] = []
    some = [reference for reference in references if len(reference.prompt_ids) < 200]
    engine = Engine(model, EngineConfig(block_size=4, num_blocks=32, max_num_batched_tokens=64), events.append)
    some = [reference for reference in some if len(reference.prompt_ids) + NEW_TOKENS <= 4 * 32]
    run(engine, some, "preempted")
    preempted = [event.request_id for event in events if isinstance(event, RequestPreempted)]
    assert preempted
    again = [
        event
        for place, event in enumerate(events)
        if isinstance(event, RequestAdmitted)
        and any(isinstance(e, RequestPreempted) and e.request_id == event.request_id for e in events[:place])
    ]
    assert len(again) == len(preempted)
    assert any(event.cached_tokens > 0 for event in again), "some found their blocks again in the cache"


def test_long_prompts_that_are_thrown_out(model: Model, references: list[Reference]) -> None:
    """A pool that holds two long prompts and not their answers: the one that came last is thrown out, in either order,
    and comes back with what nobody wrote over."""
    pair = sorted((r for r in references if len(r.prompt_ids) >= 200), key=lambda r: len(r.prompt_ids))[:2]
    num_blocks = sum(-(-len(reference.prompt_ids) // 4) for reference in pair) + 8
    events: list[Event] = []
    config = EngineConfig(block_size=4, num_blocks=num_blocks, max_num_batched_tokens=256)
    engine = Engine(model, config, events.append)
    for ordered in (pair, pair[::-1]):
        events.clear()
        run(engine, ordered, "long, preempted")
        admitted = [event for event in events if isinstance(event, RequestAdmitted)]
        last = admitted[1]
        assert last.num_tokens == len(ordered[1].prompt_ids)
        assert {e.request_id for e in events if isinstance(e, RequestPreempted)} == {last.request_id}
        again = [event for event in admitted[2:] if event.request_id == last.request_id]
        assert again
        assert all(0 < event.cached_tokens < event.num_tokens - 1 for event in again)


def test_repetition_penalty(model: Model, reference_module: PreTrainedModel, references: list[Reference]) -> None:
    chosen = [reference for reference in references if len(reference.prompt_ids) < 100][::5]
    engine = Engine(model)
    params = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS, repetition_penalty=1.1)
    outputs = engine.generate([reference.prompt_ids for reference in chosen], params)
    for reference, output in zip(chosen, outputs, strict=True):
        expected = greedy(reference_module, reference.prompt_ids, NEW_TOKENS, repetition_penalty=1.1)
        assert_same(expected, output.token_ids, "repetition penalty 1.1")
