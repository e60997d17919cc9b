"""What probes show must be what transformers' own eager attention computes, and must cost nothing where none asks."""

from __future__ import annotations

import base64
import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import eager_attention_forward

from inference import AttentionProbe, Engine, EngineConfig, Model, Probes, SamplingParams, TilesProbe
from inference.attention.interface import QueryWatch
from inference.attention.quantized_cache import make_cache
from inference.events import (
    Array,
    Event,
    ProbeAttention,
    ProbeAttentionSummary,
    ProbeKV,
    ProbeLogits,
    ProbeTiles,
    RequestAdmitted,
    RequestPreempted,
    TokenSampled,
    decode,
    encode,
)
from inference.prober import NEAR_TOKENS, Prober, _pack
from inference.probes import MAX_ATTENTION_WEIGHTS
from inference.scheduler import ScheduledItem
from tests.inference.conftest import wrap
from tests.inference.test_attention import MODELS
from tests.inference.test_engine_events import of

GREEDY = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True)
ARCHITECTURES = ["default", "llama", "mistral", "gemma2", "gpt-oss", "llama, int8", "llama, fp8"]
"""Grouped queries; with a sliding window; with a soft-cap; with sinks; over caches of one byte a number."""


def numbers(array: Array) -> np.ndarray:
    kind = {"float16": "<f2", "float32": "<f4"}[array.dtype]
    return np.frombuffer(base64.b64decode(array.data), dtype=kind).reshape(array.shape).astype(np.float64)


def serve(engine: Engine) -> dict[str, list[int]]:
    """Run to the end; the generated tokens of every request."""
    found = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            found[output.request_id] = output.token_ids
        engine.check_integrity()
    return found


def at(events: Iterable[Event], kind: type[Any], request_id: str) -> dict[int, Any]:
    """By position; each said once."""
    found = of(events, kind, request_id)
    by_position = {event.position: event for event in found}
    assert len(by_position) == len(found), "a position was said twice"
    return by_position


class Probed:
    """A request with every probe, beside two others, in chunks of nine tokens; and transformers over the same ids."""

    def __init__(
        self, model: Model, oracle: PreTrainedModel, prompt: list[int], *, kv_cache_dtype: str = "auto"
    ) -> None:
        card = model.card
        self.layers = (0, card.num_layers - 1)
        self.heads = (0, card.num_heads - 1)
        self.positions = (0, 4, len(prompt) - 1, len(prompt), len(prompt) + 4)
        self.tiles = TilesProbe(layer=1, head=card.num_heads - 1, num_tokens=20, block_q=8, block_k=6)
        self.events: list[Event] = []
        config = EngineConfig(
            block_size=4, num_blocks=60, max_num_seqs=4, max_num_batched_tokens=9, kv_cache_dtype=kv_cache_dtype
        )
        engine = Engine(model, config, self.events.append)
        engine.add_request(prompt[:7], GREEDY, request_id="before")
        probes = Probes(
            kv=True,
            logits=(*self.positions, -1),
            attention=AttentionProbe(positions=self.positions, layers=self.layers, heads=self.heads),
            tiles=self.tiles,
        )
        engine.add_request(prompt, GREEDY, request_id="me", probes=probes)
        engine.add_request(prompt[:11], GREEDY, request_id="after")
        self.token_ids = prompt + serve(engine)["me"]
        with torch.no_grad():
            said = oracle(input_ids=torch.tensor([self.token_ids]), output_attentions=True)
        self.attentions = torch.stack([layer[0] for layer in said.attentions]).double().numpy()
        """[layers, heads, queries, keys]"""
        self.logits = said.logits[0].float().numpy()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def probed(request: pytest.FixtureRequest, model: Model) -> Probed:
    if request.param == "default":
        oracle = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32, attn_implementation="eager")
        text = "The cook tastes the soup. The soup needs more salt, says the cook, and the guests are waiting."
        return Probed(model, oracle.eval(), model.tokenizer.encode(text))
    architecture, _, kv_cache_dtype = request.param.partition(", ")
    torch.manual_seed(5)
    module = MODELS[architecture]().eval()
    if kv_cache_dtype:
        module.double()  # so that no number lands on the other side of a code's edge in the oracle
    oracle = copy.deepcopy(module)
    oracle.set_attn_implementation("eager")
    prompt = torch.randint(1, 97, (23,), generator=torch.Generator().manual_seed(3)).tolist()
    probed = wrap(module, model.tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        if kv_cache_dtype:
            patch.setattr(modeling_llama, "eager_attention_forward", rounding(probed, kv_cache_dtype))
        return Probed(probed, oracle, prompt, kv_cache_dtype=kv_cache_dtype or "auto")


def rounding(model: Model, kv_cache_dtype: str) -> Callable[..., Any]:
    """Eager attention over keys and values that have been in a cache of one byte a number."""

    def eager(
        module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **more: Any
    ) -> Any:
        cache = make_cache(model, 1, key.shape[2], kv_cache_dtype)
        cache.write(0, torch.arange(key.shape[2]), key[0].transpose(0, 1), value[0].transpose(0, 1))
        read = cache.read(0, torch.tensor([0])).permute(2, 0, 3, 1, 4)
        assert not torch.equal(read[0], key)
        return eager_attention_forward(module, query, *read, *rest, **more)

    return eager


def test_attention_is_transformers_eager_attention(probed: Probed) -> None:
    found = at(probed.events, ProbeAttention, "me")
    assert sorted(found) == sorted(probed.positions)
    for position, event in found.items():
        weights = numbers(event.weights)
        assert weights.shape == (2, 2, position + 1)
        expected = probed.attentions[np.ix_(event.layers, event.heads)][:, :, position, : position + 1]
        np.testing.assert_allclose(weights, expected, atol=6e-4)  # half of float16's step below 1, and rounding
        rest = numbers(event.sinks) if event.sinks is not None else 0.0
        np.testing.assert_allclose(weights.sum(axis=-1) + rest, 1.0, atol=1e-3)
    assert (event.layers, event.heads) == (list(probed.layers), list(probed.heads))


def test_the_summary_is_that_of_eager_attention(probed: Probed) -> None:
    found = at(probed.events, ProbeAttentionSummary, "me")
    assert sorted(found) == sorted(probed.positions)
    for position, event in found.items():
        weights = probed.attentions[:, :, position, : position + 1]
        shares = weights / weights.sum(axis=-1, keepdims=True)
        back = position - np.arange(position + 1)
        expected = {
            "first": weights[..., 0],
            "near": weights[..., max(1, position + 1 - NEAR_TOKENS) :].sum(axis=-1),
            "distance": (shares * back).sum(axis=-1),
            "entropy": -(shares * np.log(np.maximum(shares, 1e-30))).sum(axis=-1),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(numbers(getattr(event, name)), value, atol=2e-3, rtol=2e-3, err_msg=name)
        assert event.near_tokens == NEAR_TOKENS


def test_logits_are_transformers_logits_and_those_the_token_was_drawn_from(probed: Probed) -> None:
    found = at(probed.events, ProbeLogits, "me")
    assert sorted(found) == sorted(probed.positions)
    sampled = at(probed.events, TokenSampled, "me")
    compared = 0
    for position, event in found.items():
        assert event.logits.dtype == "float32"
        logits = numbers(event.logits)
        np.testing.assert_allclose(logits, probed.logits[position], atol=2e-3)
        if position + 1 in sampled:
            compared += 1
            for candidate in sampled[position + 1].candidates:
                assert logits[candidate.id] == pytest.approx(candidate.logit, abs=1e-6)
            assert int(logits.argmax()) == sampled[position + 1].id
    assert compared == 3


def test_the_books_of_the_tiles_are_those_of_eager_attention(probed: Probed) -> None:
    """After each tile the running sum, seen from the final maximum, is the weight of the keys so far."""
    (event,) = of(probed.events, ProbeTiles, "me")
    tiles = probed.tiles
    assert (event.num_tokens, event.block_q, event.block_k) == (20, 8, 6)
    assert event.largest_error < 1e-5
    weights = probed.attentions[tiles.layer, tiles.head, :20, :20]
    row_max, row_sum, tile_max, rescale = (
        numbers(array) for array in (event.row_max, event.row_sum, event.tile_max, event.rescale)
    )
    assert row_max.shape == (len(event.tiles), 8)
    assert {query for query, _ in event.tiles} == {0, 1, 2}
    for query_tile in range(3):
        visited = [i for i, (query, _) in enumerate(event.tiles) if query == query_tile]
        assert [event.tiles[i][1] for i in visited] == sorted(event.tiles[i][1] for i in visited)
        assert event.tiles[visited[-1]][1] == min(19, query_tile * 8 + 7) // 6, "up to the diagonal and no further"
        for row in range(min(8, 20 - query_tile * 8)):
            query = query_tile * 8 + row
            last = visited[-1]
            for before, i in zip([None, *visited], visited, strict=False):
                sum_so_far = row_sum[i, row] * math.exp(row_max[i, row] - row_max[last, row]) / row_sum[last, row]
                expected = weights[query, : (event.tiles[i][1] + 1) * 6].sum()
                if expected == 0.0:
                    continue  # nothing seen yet: the row begins in a later tile (a sliding window)
                sinks = 1.0 - weights[query].sum()
                assert sum_so_far == pytest.approx(expected + sinks, abs=1e-5)
                if before is not None and row_max[before, row] > -math.inf:
                    assert row_max[i, row] == max(row_max[before, row], tile_max[i, row])
                    assert rescale[i, row] == pytest.approx(math.exp(row_max[before, row] - row_max[i, row]), rel=1e-5)


def test_others_have_no_probes_and_all_events_survive_the_wire(probed: Probed) -> None:
    kinds = (ProbeAttention, ProbeAttentionSummary, ProbeLogits, ProbeTiles, ProbeKV)
    mine = [event for kind in kinds for event in of(probed.events, kind)]
    assert {type(event) for event in mine} == set(kinds)
    assert {event.request_id for event in mine} == {"me"}
    assert all(decode(encode(event)) == event for event in mine)


# ---- what they cost ------------------------------------------------------------------------------------------------


def everything(num_tokens: int, count: int = 8) -> Probes:
    positions = tuple(range(0, num_tokens, -(-num_tokens // count)))
    return Probes(
        kv=True, logits=positions, attention=AttentionProbe(positions=positions), tiles=TilesProbe(num_tokens=16)
    )


def test_answers_are_the_same_with_probes_and_without(tiny: Model) -> None:
    """Alone and in company, greedy and drawn; each run through chunks, and the second time through the prefix cache."""
    prompts = {f"r{i}": list(range(100 + i, 100 + i + 5 + 6 * i)) for i in range(4)}
    answers = []
    for asks in (lambda name: False, lambda name: name in ("r1", "r3"), lambda name: True):
        engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=80, max_num_batched_tokens=10), lambda event: None)
        found = {}
        for attempt in range(2):
            for i, (name, prompt) in enumerate(prompts.items()):
                params = SamplingParams(temperature=float(i % 2), seed=i, max_tokens=12, ignore_eos=True)
                probes = everything(len(prompt) + 11) if asks(name) else Probes()
                engine.add_request(prompt, params, request_id=f"{name}-{attempt}", probes=probes)
            found |= serve(engine)
        answers.append(found)
    assert answers[0] == answers[1] == answers[2]


def test_of_parallel_samples_the_first_is_looked_at(tiny: Model) -> None:
    prompt, answers = list(range(150, 163)), []
    for probes in (Probes(), everything(len(prompt) + 7)):
        events: list[Event] = []
        engine = Engine(tiny, EngineConfig(block_size=4, max_num_batched_tokens=9), events.append)
        params = SamplingParams(n=3, seed=4, max_tokens=8, ignore_eos=True)
        engine.add_request(prompt, params, request_id="me", probes=probes)
        found = {}
        while engine.has_unfinished_requests():
            found |= {output.index: output.token_ids for output in engine.step()}
            engine.check_integrity()
        answers.append(found)
    assert answers[0] == answers[1]
    assert len(answers[0]) == 3
    said = [event for event in events if type(event).__name__.startswith("Probe")]
    assert {event.sample for event in said} == {0}
    expected = everything(len(prompt) + 7).logits
    assert sorted(at(events, ProbeLogits, "me")) == sorted(at(events, ProbeAttention, "me")) == list(expected)


def test_nothing_is_done_where_nobody_asks(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nobody asked for this")

    monkeypatch.setattr(Prober, "say", never)
    monkeypatch.setattr(QueryWatch, "see", never)
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4), events.append)
    engine.add_request([5, 6, 7, 8, 9], GREEDY, probes=Probes())
    serve(engine)
    assert not [event for event in events if type(event).__name__.startswith("Probe")]
    engine.add_request([5, 6, 7, 8, 9], GREEDY, probes=Probes(logits=(1,)))
    with pytest.raises(AssertionError, match="nobody asked"):
        serve(engine)


def test_an_engine_that_nobody_listens_to_looks_at_nothing(tiny: Model) -> None:
    engine = Engine(tiny, EngineConfig(block_size=4))
    engine.add_request(list(range(20)), GREEDY, request_id="a")
    plain = serve(engine)["a"]
    engine.add_request(list(range(20)), GREEDY, request_id="b", probes=everything(20))
    assert serve(engine)["b"] == plain


def test_logs_stay_of_the_size_that_is_documented(probed: Probed) -> None:
    summary = of(probed.events, ProbeAttentionSummary, "me")[0]
    heads = math.prod(summary.first.shape)
    assert len(encode(summary)) < 11 * heads + 600
    logits = of(probed.events, ProbeLogits, "me")[0]
    assert len(encode(logits)) < 5.4 * logits.logits.shape[0] + 300
    for event in of(probed.events, ProbeAttention, "me"):
        assert len(encode(event)) < 2.7 * math.prod(event.weights.shape) + 600
    (tiles,) = of(probed.events, ProbeTiles, "me")
    assert len(encode(tiles)) < 27 * math.prod(tiles.row_max.shape) + 12 * len(tiles.tiles) + 1200


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4096), st.floats(0.0, 30.0), st.integers(0, 2**31))
def test_rows_sum_to_one_after_packing(length: int, spread: float, seed: int) -> None:
    scores = spread * torch.randn(4, length, generator=torch.Generator().manual_seed(seed))
    packed = numbers(_pack(scores.softmax(dim=-1).half()))
    np.testing.assert_allclose(packed.sum(axis=-1), 1.0, atol=1e-3)


# ---- the cache, preemption, and another look -----------------------------------------------------------------------


def ask(engine: Engine, request_id: str, prompt: list[int], probes: Probes, max_tokens: int = 3) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
    engine.add_request(prompt, params, request_id=request_id, probes=probes)
    serve(engine)


@pytest.mark.parametrize(
    ("probes", "cached"),
    [
        (Probes(), 20),
        (Probes(kv=True), 20),
        (Probes(logits=(-1,)), 20),
        (Probes(logits=(23,)), 20),
        (Probes(logits=(17, 23)), 16),
        (Probes(attention=AttentionProbe(positions=(3, 20))), 0),
        (Probes(attention=AttentionProbe(positions=(8,))), 8),
        (Probes(tiles=TilesProbe(num_tokens=5, block_q=4, block_k=4)), 0),
    ],
)
def test_what_is_probed_is_not_taken_from_the_prefix_cache(tiny: Model, probes: Probes, cached: int) -> None:
    """Twenty of 24 tokens stand there. The same is shown as on an empty cache."""
    prompt = list(range(200, 224))
    shown = []
    for warm in (False, True):
        events: list[Event] = []
        engine = Engine(tiny, EngineConfig(block_size=4), events.append)
        if warm:
            ask(engine, "earlier", prompt, Probes())
        ask(engine, "me", prompt, probes)
        assert of(events, RequestAdmitted, "me")[0].cached_tokens == (cached if warm else 0)
        arrays = [
            numbers(getattr(event, name))
            for kind in (ProbeLogits, ProbeAttention, ProbeAttentionSummary, ProbeTiles)
            for event in of(events, kind, "me")
            for name in event.__struct_fields__
            if isinstance(getattr(event, name), Array)
        ]
        shown.append(arrays)
    assert len(shown[0]) == len(shown[1])
    assert len(shown[0]) > 0 or probes in (Probes(), Probes(kv=True))
    for cold, hot in zip(*shown, strict=True):
        np.testing.assert_allclose(cold, hot, atol=2e-3)


def test_preemption_neither_loses_nor_repeats_a_position(tiny: Model) -> None:
    """A pool that is too small for both: the newer is thrown out, some of it already shown."""
    events: list[Event] = []
    config = EngineConfig(block_size=4, num_blocks=12, max_num_batched_tokens=6)
    engine = Engine(tiny, config, events.append)
    prompts = {"old": list(range(60, 72)), "new": list(range(80, 93))}
    params = SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True)
    for name, prompt in prompts.items():
        positions = tuple(range(0, len(prompt) + 19, 4))
        probes = Probes(
            kv=True,
            logits=positions[:8],
            attention=AttentionProbe(positions=positions),
            tiles=TilesProbe(num_tokens=13),
        )
        engine.add_request(prompt, params, request_id=name, probes=probes)
    serve(engine)
    assert of(events, RequestPreempted, "new")
    alone: list[Event] = []
    for name, prompt in prompts.items():
        positions = tuple(range(0, len(prompt) + 19, 4))
        assert sorted(at(events, ProbeLogits, name)) == list(positions[:8])
        assert len(of(events, ProbeTiles, name)) == 1
        roomy = Engine(tiny, EngineConfig(block_size=4), alone.append)
        probes = Probes(attention=AttentionProbe(positions=positions))
        roomy.add_request(prompt, params, request_id=name, probes=probes)
        serve(roomy)
        found, expected = at(events, ProbeAttention, name), at(alone, ProbeAttention, name)
        assert sorted(found) == sorted(expected) == list(positions)
        for position in positions:
            np.testing.assert_allclose(numbers(found[position].weights), numbers(expected[position].weights), atol=2e-3)


def test_a_prompt_thrown_out_half_way_through_its_tiles_begins_again(tiny: Model) -> None:
    """Its queries are kept from chunk to chunk; those of before the preemption must not be counted twice."""
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=16, max_num_batched_tokens=8), events.append)
    prompt = list(range(300, 330))
    tiles = Probes(tiles=TilesProbe(num_tokens=30))
    engine.add_request(prompt, GREEDY, request_id="me", probes=tiles)
    engine.step()
    engine.step()
    (sequence,) = engine._scheduler.running
    assert sequence.num_probed_tokens == 16
    engine._scheduler._preempt(sequence)
    serve(engine)
    (event,) = of(events, ProbeTiles, "me")
    ask(other := Engine(tiny, EngineConfig(), events.append), "plain", prompt, tiles)
    other.check_integrity()
    (expected,) = of(events, ProbeTiles, "plain")
    for name in ("tile_max", "row_max", "row_sum", "rescale", "output_norm"):
        np.testing.assert_allclose(numbers(getattr(event, name)), numbers(getattr(expected, name)), rtol=1e-4)
    assert engine._prober is not None
    assert not engine._prober._tile_queries, "nothing is kept of who has been shown"


def test_aborting_forgets_what_was_kept_for_the_tiles(tiny: Model) -> None:
    engine = Engine(tiny, EngineConfig(block_size=4, max_num_batched_tokens=8), lambda event: None)
    engine.add_request(list(range(30)), GREEDY, request_id="me", probes=Probes(tiles=TilesProbe()))
    engine.step()
    assert engine._prober is not None
    assert engine._prober._tile_queries
    engine.abort("me")
    assert not engine._prober._tile_queries


def test_weights_without_their_summaries(tiny: Model) -> None:
    """The same weights, and nothing said of the heads that nobody named."""
    prompt = list(range(500, 513))
    said: dict[bool, list[Event]] = {}
    for summary in (True, False):
        probes = Probes(attention=AttentionProbe(positions=(3, 9, 12), layers=(1,), heads=(0, 2), summary=summary))
        engine = Engine(tiny, EngineConfig(block_size=4), said.setdefault(summary, []).append)
        ask(engine, "me", prompt, probes)
    assert sorted(at(said[True], ProbeAttentionSummary, "me")) == [3, 9, 12]
    assert not of(said[False], ProbeAttentionSummary, "me")
    full, bare = (at(said[summary], ProbeAttention, "me") for summary in (True, False))
    assert sorted(full) == sorted(bare) == [3, 9, 12]
    for position, event in bare.items():
        assert (event.layers, event.heads) == ([1], [0, 2])
        np.testing.assert_array_equal(numbers(event.weights), numbers(full[position].weights))


def test_a_finished_run_can_be_looked_at_again(tiny: Model) -> None:
    """Its ids as a prompt with one token more: all positions can be probed, and say what the run itself would have."""
    prompt = list(range(400, 411))
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4), events.append)
    positions = (9, 10, 11, 12, 15)
    probes = Probes(logits=positions, attention=AttentionProbe(positions=positions))
    engine.add_request(prompt, GREEDY, request_id="run", probes=probes)
    token_ids = prompt + serve(engine)["run"]
    everywhere = tuple(range(len(token_ids)))
    for name, logits in (("take", positions), ("rest", everywhere[-8:])):
        again = Probes(logits=logits, attention=AttentionProbe(positions=everywhere))
        ask(engine, name, token_ids, again, max_tokens=1)
        assert sorted(at(events, ProbeAttention, name)) == list(everywhere)
    for kind, field in ((ProbeLogits, "logits"), (ProbeAttention, "weights")):
        run, take = at(events, kind, "run"), at(events, kind, "take")
        for position in positions:
            ours, theirs = numbers(getattr(take[position], field)), numbers(getattr(run[position], field))
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
    for position, event in at(events, ProbeLogits, "rest").items():
        if len(prompt) - 1 <= position < len(token_ids) - 1:
            assert int(numbers(event.logits).argmax()) == token_ids[position + 1]


def test_what_was_only_tried_is_not_said(tiny: Model) -> None:
    """A verifying step computes more than is kept: positions past what counts as computed stay owed."""
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4), events.append)
    engine.add_request(
        list(range(12)), GREEDY, request_id="me",
        probes=Probes(logits=(9, 11), attention=AttentionProbe(positions=(9, 11))),
    )  # fmt: skip
    items: list[ScheduledItem] = engine._scheduler.schedule()
    prober = engine._prober
    assert prober is not None
    look = prober.look(items)
    engine._runner.execute(items, look)
    assert look is not None
    items[0].sequence.num_computed_tokens = 10
    prober.say(look)
    for kind in (ProbeLogits, ProbeAttention, ProbeAttentionSummary):
        assert sorted(at(events, kind, "me")) == [9]
    again = prober.look([ScheduledItem(items[0].sequence, 10, 12, "prefill", True)])
    assert again is not None
    assert again.looks[0].logits == again.looks[0].attention == [11]


# ---- bad input -----------------------------------------------------------------------------------------------------


def attention(positions: Iterable[Any] = (0,), **knobs: Any) -> Probes:
    return Probes(attention=AttentionProbe(positions=tuple(positions), **knobs))


@pytest.mark.parametrize(
    ("probes", "words"),
    [
        (lambda: attention(layers=(99,)), r"probes.attention.layers must be .* from 0 to 1 .*2 layers.*got 99"),
        (lambda: attention(layers=(-1,)), r"probes.attention.layers must be .* from 0 to 1 .*got -1"),
        (lambda: attention(heads=(0, 4)), r"probes.attention.heads must be .* from 0 to 3 .*4 heads.*got 4"),
        (lambda: attention(heads=(True,)), r"probes.attention.heads must be a whole number .*got True"),
        (lambda: attention(heads=(0.5,)), r"probes.attention.heads must be a whole number .*got 0.5"),
        (lambda: attention(()), r"probes.attention.positions must name at least one"),
        (lambda: attention(layers=(), summary=False), r"probes.attention asks for nothing: summary is false"),
        (lambda: attention([3] * 65), r"probes.attention.positions may name at most 64 positions, got 65"),
        (lambda: attention(layers=(1,) * 257), r"probes.attention.layers may name at most 256 layers, got 257"),
        (lambda: attention((10**30,)), r"probes.attention.positions must be .* from -10 to 14 .*got 10{30}$"),
        (lambda: attention((15,)), r"probes.attention.positions must be .* from -10 to 14 \(10 prompt .*got 15"),
        (lambda: attention((-11,)), r"probes.attention.positions must be .* from -10 to 14 .*got -11"),
        (lambda: Probes(logits=(15,)), r"probes.logits must be .* from -10 to 14 .*max_tokens 6\), got 15"),
        (lambda: Probes(logits=tuple(range(9))), r"probes.logits may name at most 8 positions, got 9"),
        (lambda: Probes(tiles=TilesProbe(layer=2)), r"probes.tiles.layer must be .* from 0 to 1 .*got 2"),
        (lambda: Probes(tiles=TilesProbe(head=4)), r"probes.tiles.head must be .* from 0 to 3 .*got 4"),
        (lambda: Probes(tiles=TilesProbe(block_q=0)), r"probes.tiles.block_q must be .* from 1 to 256, got 0"),
        (lambda: Probes(tiles=TilesProbe(block_k=10**9)), r"probes.tiles.block_k must be .*, got 1000000000"),
        (lambda: Probes(tiles=TilesProbe(num_tokens=257)), r"probes.tiles.num_tokens must be .*got 257"),
        (
            lambda: Probes(tiles=TilesProbe(num_tokens=256, block_q=4, block_k=4)),
            r"probes.tiles must be at most 1024 tiles, got 2080",
        ),
        (lambda: ["x-ray"], r"probes, as a list of names, must be among \['kv'\], got \['x-ray'\]"),
        (lambda: ["attention"], r"probes, as a list"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_any_work(tiny: Model, probes: Callable[[], Any], words: str) -> None:
    """And who is being served does not notice."""
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4), events.append)
    engine.add_request(list(range(10)), GREEDY, request_id="other")
    engine.step()
    told = len(events)
    with pytest.raises(ValueError, match=words):
        engine.add_request(list(range(10)), GREEDY, request_id="me", probes=probes())
    assert len(events) == told
    answers = serve(engine)
    assert list(answers) == ["other"]
    assert len(answers["other"]) == 6


def test_too_many_weights_are_refused(model: Model) -> None:
    """All layers and heads of the default model: 270 rows a position."""
    probes = Probes(attention=AttentionProbe(positions=tuple(range(900, 964))))
    with pytest.raises(
        ValueError, match=rf"at most {MAX_ATTENTION_WEIGHTS} weights, got 16113600 \(30 layers, 9 heads"
    ):
        probes.resolve(model.card, 1000, 1)
    few = Probes(attention=AttentionProbe(positions=tuple(range(900, 964)), layers=(3,), heads=range(8)))
    assert few.resolve(model.card, 1000, 1) is not None


def test_probes_are_described_as_they_are_asked_for() -> None:
    assert Probes().describe() == []
    assert Probes(kv=True).describe() == ["kv"]
    described = Probes(kv=True, logits=(3, -1)).describe()
    assert described == {"kv": True, "logits": (3, -1), "attention": None, "tiles": None}
