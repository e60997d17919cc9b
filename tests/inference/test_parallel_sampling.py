"""Parallel sampling: n samples of one request are n requests of their own, but for one prefill and shared blocks.

Copies are judged by contents: what a sample finds in the cache tensor must stay as it was written, and be what a
request of its own with that sample's seed has there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.attention.interface import KVCache
from inference.attention.quantized_cache import Int8KVCache
from inference.block_manager import BlockManager
from inference.events import (
    BlockCopied,
    BlockReleased,
    BlockShared,
    Event,
    KVWritten,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestTokenized,
    StepStarted,
    TokenSampled,
)
from inference.sequence import MAX_SEED, RequestOutput, Sequence, SequenceId
from tests.inference.replay import Replay, named

PROMPT = list(range(300, 310))  # two blocks of 4 and half of a third
PARAMS = SamplingParams(temperature=1.0, seed=7, max_tokens=12, ignore_eos=True, n=4)
WRONG = r"overwritten|holds something else"
SMALL = EngineConfig(block_size=4, num_blocks=64, max_num_seqs=8)


def alone(params: SamplingParams, sample: int) -> SamplingParams:
    """What a request asks for that is to be the same as this sample."""
    assert params.seed is not None
    return SamplingParams(
        temperature=params.temperature, seed=params.seed + sample, max_tokens=params.max_tokens, ignore_eos=True
    )


def contents(engine: Engine, sequence: Sequence) -> torch.Tensor:
    """Keys and values of all layers that a sequence finds through its block table, as attention reads them: [layers,
    tokens, ...]."""
    cache, blocks = engine._runner.cache, torch.tensor(engine._blocks.tables[sequence.id].block_ids)
    layers = [cache.read(layer, blocks).flatten(0, 1) for layer in range(engine.model.card.num_layers)]
    return torch.stack(layers)[:, : sequence.num_computed_tokens]


def watch(engine: Engine) -> Iterator[dict[SequenceId, torch.Tensor]]:
    """Step ``engine`` until it is done. After each step, what every running sequence has in the cache; nothing that
    stood may have changed (recomputing after a preemption rounds a little differently)."""
    seen: dict[SequenceId, torch.Tensor] = {}
    while engine.has_unfinished_requests():
        engine.step()
        for sequence in engine._scheduler.running:
            now, before = contents(engine, sequence), seen.get(sequence.id)
            if before is not None:
                both = min(now.shape[1], before.shape[1])
                assert torch.allclose(now[:, :both], before[:, :both], atol=1e-4), f"{sequence.id}: overwritten"
            if before is None or now.shape[1] >= before.shape[1]:
                seen[sequence.id] = now
        yield seen


def check_contents(model: Model, config: EngineConfig, prompt: list[int], params: SamplingParams) -> None:
    """Run ``params.n`` samples, and each again alone in an engine without cache: the same keys and values."""
    engine = Engine(model, config)
    request_id = engine.add_request(prompt, params)
    (*_, together) = watch(engine)
    assert {name.sample for name in together} == set(range(params.n))
    # What a batch rounds otherwise may cross the edge of a code, here and there; a token is more than that.
    alike = 1.0 if config.kv_cache_dtype == "auto" else 0.99
    for sample in range(params.n):
        single = Engine(model, EngineConfig(enable_prefix_caching=False, kv_cache_dtype=config.kv_cache_dtype))
        single.add_request(prompt, alone(params, sample), request_id=request_id)
        (*_, apart) = watch(single)
        ours, theirs = together[SequenceId(request_id, sample)], apart[SequenceId(request_id)]
        assert ours.shape[1] >= len(prompt) + params.max_tokens - 2
        both = min(ours.shape[1], theirs.shape[1])
        same = torch.isclose(ours[:, :both], theirs[:, :both], atol=1e-4)
        assert same.float().mean() >= alike, f"sample {sample} holds something else"


def check_tokens(model: Model, config: EngineConfig, prompt: list[int], params: SamplingParams) -> list[RequestOutput]:
    """Each sample's tokens are those of a request of its own with that sample's seed."""
    engine = Engine(model, config)
    outputs = engine.generate([prompt], params)
    engine.check_integrity()
    assert [output.index for output in outputs] == list(range(params.n))
    for output in outputs:
        unshared = EngineConfig(kv_cache_dtype=config.kv_cache_dtype)
        (single,) = Engine(model, unshared).generate([prompt], alone(params, output.index))
        assert output.token_ids == single.token_ids, f"sample {output.index}"
        assert output.text == single.text
        assert output.finish_reason == single.finish_reason
    return outputs


# ---- losslessness --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 4, 9, 10, 12, 17])
@pytest.mark.parametrize("caching", [True, False])
def test_each_sample_is_a_request_of_its_own(tiny: Model, length: int, caching: bool) -> None:
    """Prompts that end with a block and in the middle of one."""
    config = EngineConfig(block_size=4, num_blocks=64, enable_prefix_caching=caching, max_num_batched_tokens=16)
    outputs = check_tokens(tiny, config, list(range(300, 300 + length)), PARAMS)
    assert len({tuple(output.token_ids) for output in outputs}) == PARAMS.n, "four seeds, four answers"


def test_each_sample_is_a_request_of_its_own_in_the_default_model(model: Model) -> None:
    prompt = model.tokenizer.encode("Why is the sky blue?")
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=10, ignore_eos=True, n=3)
    check_tokens(model, EngineConfig(block_size=4, num_blocks=64), prompt, params)
    check_contents(model, EngineConfig(block_size=4, num_blocks=64), prompt, params)


def test_greedy_samples_are_all_the_same(tiny: Model) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
    outputs = Engine(tiny, SMALL).generate(
        [PROMPT], SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True, n=3)
    )
    (single,) = Engine(tiny, SMALL).generate([PROMPT], params)
    assert [output.token_ids for output in outputs] == [single.token_ids] * 3


def test_without_a_seed_samples_differ(tiny: Model) -> None:
    outputs = Engine(tiny, SMALL).generate([PROMPT], SamplingParams(max_tokens=12, ignore_eos=True, n=4))
    assert len({tuple(output.token_ids) for output in outputs}) == 4


def test_the_last_seed_wraps_round() -> None:
    params = SamplingParams(seed=MAX_SEED, n=2)
    first = Sequence(request_id="r", token_ids=[1], params=params, arrival=0, queued_at=0.0)
    assert [first.seed, first.fork(1, 0.0).seed] == [MAX_SEED, 0]


@pytest.mark.parametrize(
    ("what", "config"),
    [
        ("too few slots", EngineConfig(block_size=4, num_blocks=64, max_num_seqs=2)),
        ("one slot", EngineConfig(block_size=4, num_blocks=64, max_num_seqs=1, enable_prefix_caching=False)),
        ("starved pool", EngineConfig(block_size=4, num_blocks=8, max_num_seqs=8)),
        ("starved, no cache", EngineConfig(block_size=4, num_blocks=7, max_num_seqs=4, enable_prefix_caching=False)),
        ("chunks", EngineConfig(block_size=4, num_blocks=64, max_num_batched_tokens=5)),
        ("static", EngineConfig(block_size=4, num_blocks=64, max_num_seqs=3, policy="static")),
        ("slab", EngineConfig(block_size=4, num_blocks=64, max_num_seqs=3, allocator="slab")),
        ("one slab", EngineConfig(block_size=4, num_blocks=6, allocator="slab", policy="static")),
        ("int8 cache", EngineConfig(block_size=4, num_blocks=64, kv_cache_dtype="int8")),
        ("fp8 cache", EngineConfig(block_size=4, num_blocks=64, kv_cache_dtype="fp8")),
    ],
)
def test_samples_are_the_same_however_they_are_served(tiny: Model, what: str, config: EngineConfig) -> None:
    check_tokens(tiny, config, PROMPT, PARAMS)
    check_contents(tiny, config, PROMPT, PARAMS)


# ---- copy-on-write, by contents ------------------------------------------------------------------------------------


def test_no_sample_sees_what_another_writes(tiny: Model) -> None:
    check_contents(tiny, SMALL, PROMPT, PARAMS)


def test_a_planted_missing_copy_is_found(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The books copy, the tensor does not."""
    monkeypatch.setattr(KVCache, "copy_blocks", lambda self, sources, targets: None)
    with pytest.raises(AssertionError, match=WRONG):
        check_contents(tiny, SMALL, PROMPT, PARAMS)


def test_a_copy_without_its_factors_is_found(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The codes of an int8 cache are copied, what they are multiplied with is not."""

    def without_factors(self: KVCache, sources: torch.Tensor, targets: torch.Tensor) -> None:
        self.tensor[:, targets, ..., :-2] = self.tensor[:, sources, ..., :-2]

    monkeypatch.setattr(Int8KVCache, "copy_blocks", without_factors)
    with pytest.raises(AssertionError, match=WRONG):
        check_contents(tiny, EngineConfig(block_size=4, num_blocks=64, kv_cache_dtype="int8"), PROMPT, PARAMS)


def test_a_planted_missing_copy_in_the_books_is_found(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody copies: siblings write into one block."""
    monkeypatch.setattr(BlockManager, "_copy", lambda self, sequence_id, table, index: None)
    with pytest.raises(AssertionError, match=WRONG):
        check_contents(tiny, SMALL, PROMPT, PARAMS)
    engine = Engine(tiny, SMALL)
    engine.add_request(PROMPT, PARAMS)
    engine.step()
    engine.step()
    engine._blocks.take_copies()
    engine.check_integrity()  # all have written as much as the others: only the contents can tell


def test_a_copy_that_comes_after_the_pass_is_found(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = Engine(tiny, SMALL)._runner.__class__.execute
    copy = Engine(tiny, SMALL)._runner.__class__._copy_blocks

    def late(self, items, look=None, layers=()):
        logits = execute(self, items, look, layers)
        copy(self)
        return logits

    monkeypatch.setattr("inference.model_runner.ModelRunner._copy_blocks", lambda self: None)
    monkeypatch.setattr("inference.model_runner.ModelRunner.execute", late)
    with pytest.raises(AssertionError, match=WRONG):
        check_contents(tiny, SMALL, PROMPT, PARAMS)


# ---- what is said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_blocks", "slots"), [(64, 8), (64, 2), (10, 4)])
def test_the_events_tell_it_all(tiny: Model, num_blocks: int, slots: int) -> None:
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=num_blocks, max_num_seqs=slots), events.append)
    for name in ("a", "b"):
        engine.add_request(PROMPT, PARAMS, request_id=name)
    replay, told, outputs = Replay(num_blocks), 0, []
    while engine.has_unfinished_requests():
        outputs += engine.step()
        engine.check_integrity()
        for event in events[told:]:
            replay.apply(event)
        told = len(events)
        replay.check(engine._blocks)
    # With two slots both are taken when the requests fork: their samples come one by one, by way of the line.
    assert any(isinstance(event, BlockCopied) for event in events) == (slots > 2)
    assert any(isinstance(event, RequestPreempted) for event in events) == (num_blocks == 10)
    last = {(output.request_id, output.index): output for output in outputs if output.finished}
    assert last.keys() == {(name, sample) for name in ("a", "b") for sample in range(4)}
    for name, output in last.items():
        own = [event for event in events if hasattr(event, "sample") and named(event) == name]
        sampled = [event for event in own if isinstance(event, TokenSampled)]
        assert [event.id for event in sampled] == output.token_ids
        assert [event.position for event in sampled] == list(range(10, 22))
        assert "".join(event.text for event in sampled) == output.text
        kinds = [type(event) for event in own]
        assert kinds.count(RequestTokenized) == (name[1] == 0), "one prompt"
        assert kinds.count(RequestAdmitted) == kinds.count(RequestPreempted) + 1
        assert kinds[-2:] == [RequestFinished, BlockReleased]
        written = 0
        for event in own:
            if isinstance(event, RequestAdmitted):
                written = event.cached_tokens
            elif isinstance(event, KVWritten):
                assert event.start == written
                written = event.stop
        assert written == 21, "the last is never computed"
    for request_id in ("a", "b"):
        ends = [e.num_samples_left for e in events if isinstance(e, RequestFinished) and e.request_id == request_id]
        assert ends == [3, 2, 1, 0]


def test_the_prompt_is_computed_once(tiny: Model) -> None:
    events: list[Event] = []
    Engine(tiny, SMALL, events.append).generate([PROMPT], PARAMS)
    first, *rest = [event for event in events if isinstance(event, StepStarted)]
    assert [(item.sample, item.start, item.stop) for item in first.requests] == [(0, 0, 10)]
    assert first.num_idle_slots == 7
    for step in rest:
        assert [item.sample for item in step.requests] == [0, 1, 2, 3]
        assert {item.phase for item in step.requests} == {"decode"}
        assert len({item.slot for item in step.requests}) == 4
        assert step.num_idle_slots == 4
    shared = [(e.sample, e.ref_counts, e.start) for e in events if isinstance(e, BlockShared)]
    assert shared == [(1, [2] * 3, 0), (2, [3] * 3, 0), (3, [4] * 3, 0)]
    copied = [(e.sample, e.index) for e in events if isinstance(e, BlockCopied)]
    assert copied == [(0, 2), (1, 2), (2, 2)], "the last to write keeps the block"
    admitted = [(e.sample, e.num_tokens, e.cached_tokens) for e in events if isinstance(e, RequestAdmitted)]
    assert admitted == [(0, 10, 0), (1, 10, 10), (2, 10, 10), (3, 10, 10)]


def test_samples_that_do_not_fit_wait_and_find_the_prompt_again(tiny: Model) -> None:
    events: list[Event] = []
    Engine(tiny, EngineConfig(block_size=4, num_blocks=64, max_num_seqs=2), events.append).generate([PROMPT], PARAMS)
    assert {e.sample for e in events if isinstance(e, RequestQueued)} == {0, 2, 3}
    admitted = {e.sample: (e.num_tokens, e.cached_tokens) for e in events if isinstance(e, RequestAdmitted)}
    assert admitted == {0: (10, 0), 1: (10, 10), 2: (11, 8), 3: (11, 8)}, "whole blocks of the prompt, by hash"


def test_the_snapshot_tells_samples_apart(tiny: Model) -> None:
    engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=64, max_num_seqs=3))
    engine.add_request(PROMPT, PARAMS, request_id="a")
    engine.step()
    snapshot = engine.snapshot("mine")
    assert [(r.sample, r.slot, len(r.block_ids)) for r in snapshot.requests] == [
        (0, 0, 3),
        (1, 1, 3),
        (2, 2, 3),
        (3, None, 0),
    ]
    assert snapshot.num_free_blocks == 61


# ---- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_abort_ends_all_samples(tiny: Model, steps: int) -> None:
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=64, max_num_seqs=3), events.append)
    engine.add_request(PROMPT, PARAMS, request_id="a")
    engine.add_request(PROMPT, alone(PARAMS, 0), request_id="other")
    for _ in range(steps):
        engine.step()
    assert engine.abort("a")
    engine.check_integrity()
    assert not engine.abort("a")
    ends = [(e.sample, e.reason, e.num_samples_left) for e in events if isinstance(e, RequestFinished)]
    samples = 4 if steps else 1
    assert ends == [(sample, "aborted", samples - 1 - sample) for sample in range(samples)]
    outputs = [output for output in engine.step() if output.request_id == "a"]
    assert [(output.index, output.finish_reason) for output in outputs] == [(s, "aborted") for s in range(samples)]
    while engine.has_unfinished_requests():
        last = engine.step()
        engine.check_integrity()
    (single,) = Engine(tiny).generate([PROMPT], alone(PARAMS, 0))
    assert last[0].token_ids == single.token_ids, "the other one is untouched"


def test_one_token_each_needs_no_second_step(tiny: Model) -> None:
    engine = Engine(tiny, EngineConfig(max_num_seqs=2))
    outputs = engine.generate([PROMPT], SamplingParams(seed=1, max_tokens=1, n=4))
    assert [(output.index, len(output.token_ids)) for output in outputs] == [(i, 1) for i in range(4)]
    assert engine._num_steps == 1
    engine.check_integrity()


def test_generate_gives_samples_prompt_by_prompt(tiny: Model) -> None:
    params = [SamplingParams(seed=i, max_tokens=3 + i, ignore_eos=True, n=n) for i, n in enumerate((2, 1, 3))]
    outputs = Engine(tiny, SMALL).generate([[1, 2], [3], [4, 5, 6]], params)
    assert [(output.index, len(output.token_ids)) for output in outputs] == [
        (0, 3), (1, 3), (0, 4), (0, 5), (1, 5), (2, 5)
    ]  # fmt: skip


@pytest.mark.parametrize("n", [0, -1, 17, 1_000, 2.0, True])
def test_a_bad_n_is_refused_and_leaves_the_others_untouched(tiny: Model, n: object) -> None:
    engine = Engine(tiny, SMALL)
    engine.add_request(PROMPT, alone(PARAMS, 0))
    engine.step()
    with pytest.raises(ValueError, match="n must be"):
        engine.add_request(PROMPT, SamplingParams(n=n))
    engine.check_integrity()
    while engine.has_unfinished_requests():
        last = engine.step()
    (single,) = Engine(tiny).generate([PROMPT], alone(PARAMS, 0))
    assert [output.token_ids for output in last] == [single.token_ids]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_all_end_and_nothing_leaks(tiny: Model, seed: int) -> None:
    """Random requests, samples, pools, policies and aborts; the books are checked after every step."""
    rng = random.Random(seed)
    config = EngineConfig(
        block_size=rng.choice([1, 4]),
        num_blocks=rng.randint(24, 40),
        max_num_seqs=rng.randint(1, 6),
        max_num_batched_tokens=rng.choice([3, 16]),
        policy=rng.choice(["continuous", "static"]),
        allocator=rng.choice(["paged", "paged", "slab"]),
        enable_prefix_caching=rng.random() < 0.7,
    )
    engine = Engine(tiny, config)
    pending, finished, expected = 10, {}, {}
    while pending or engine.has_unfinished_requests():
        if pending and rng.random() < 0.4:
            pending -= 1
            prompt = list(range(300, 300 + rng.randint(1, 12)))
            n, max_tokens = rng.choice([1, 2, 4]), rng.randint(1, 10)
            params = SamplingParams(temperature=1.0, seed=pending, max_tokens=max_tokens, ignore_eos=True, n=n)
            expected[engine.add_request(prompt, params)] = (prompt, params)
        if rng.random() < 0.03 and engine._requests:
            gone = rng.choice(sorted(engine._requests))
            engine.abort(gone)
            expected.pop(gone)
        for output in engine.step():
            if output.finished:
                finished[output.request_id, output.index] = output
        engine.check_integrity()
    pool = engine._blocks.pool
    assert len(pool.free) + len(pool.cached) == pool.num_blocks
    for request_id, (prompt, params) in expected.items():
        for sample in range(params.n):
            (single,) = Engine(tiny).generate([prompt], alone(params, sample))
            assert finished[request_id, sample].token_ids == single.token_ids
