"""Takes: the same prompt cooked another way, by a second engine that never steps while the first has work."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from inference import Engine, EngineConfig, Model, load_model
from inference.events import (
    BlockCopied,
    BlockEvicted,
    BlockShared,
    Event,
    ProbeLogits,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestTokenized,
    SpeculationJudged,
    StepFinished,
    StepStarted,
    TokenSampled,
)
from inference.messages import Cooking, CookTake, Events, Reply, TakeEnded
from inference.probes import AttentionProbe, Probes
from inference.sequence import SamplingParams
from inference.submission import Refused, submit_take
from inference.take_plan import plan, spread_lengths
from inference.take_runner import LINE_SECONDS, PATIENCE_SECONDS, TakeRunner
from inference.takes import (
    KINDS,
    Again,
    Batch,
    Chunked,
    Continuous,
    Fork,
    Int4,
    Int8,
    KnobError,
    KVInt8,
    LookUp,
    Paged,
    Parent,
    Probe,
    RushHour,
    Samples,
    Slab,
    Speculative,
    Standard,
    Starved,
    Static,
    Take,
    Unchunked,
    read_take,
)

FIRST = EngineConfig(block_size=16, num_blocks=64, max_num_seqs=8, max_model_len=900)


class Stove:
    """A first engine, the takes beside it, and a clock that is moved by hand."""

    def __init__(self, model: Model, config: EngineConfig = FIRST) -> None:
        self.model = model
        self.now = 0.0
        self.said: list[Event] = []
        self.replies: list[Reply] = []
        self.first = Engine(model, config, on_event=self.said.append)
        self.takes = TakeRunner(self.first, model, self.replies.append, clock=lambda: self.now)
        self.count = 0

    def parent(self, prompt: str = "Why is the sky blue?", max_tokens: int = 24, **params: Any) -> Parent:
        templated = self.model.tokenizer.encode_chat(prompt)
        drawn = SamplingParams(max_tokens=max_tokens, **({"temperature": 0.0} | params))
        (answer, *_) = Engine(self.model, FIRST).generate([templated.token_ids], drawn)
        return Parent(
            prompt=prompt, token_ids=templated.token_ids, own=templated.own, output_ids=answer.token_ids, params=drawn
        )

    def command(self, take: Take, parent: Parent) -> CookTake:
        self.count += 1
        return CookTake(request_id=f"take-{self.count}", take=take, parent=parent, cache_salt="anna")

    def cook(self, take: Take, parent: Parent) -> Cooked:
        command = self.command(take, parent)
        self.takes.add(command)
        while self.takes.step(first_is_busy=False):
            pass
        return self.cooked(command)

    def serve(self, take: Take, parent: Parent) -> Cooked:
        """On the first engine."""
        command = self.command(take, parent)
        mark = len(self.said)
        submit_take(self.first, self.model, command, self.said.append)
        while self.first.has_unfinished_requests():
            self.first.step()
        self.first.check_integrity()
        return Cooked(command.request_id, self.said[mark:], None, None)

    def cooked(self, command: CookTake) -> Cooked:
        mine = [reply for reply in self.replies if getattr(reply, "request_id", None) == command.request_id]
        events = [
            event
            for reply in self.replies
            if isinstance(reply, Events) and reply.take == command.request_id
            for event in reply.events
        ]
        cooking = next((reply for reply in mine if isinstance(reply, Cooking)), None)
        (ended,) = [reply for reply in mine if isinstance(reply, TakeEnded)]
        return Cooked(command.request_id, events, cooking, ended)


class Cooked:
    """What was said of a take."""

    def __init__(self, name: str, events: list[Event], cooking: Cooking | None, ended: TakeEnded | None) -> None:
        self.name = name
        self.events = events
        self.cooking = cooking
        self.ended = ended

    def of(self, kind: type[Any], *, own: bool = False) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind) and (not own or e.request_id == self.name)]

    def token_ids(self, sample: int = 0) -> list[int]:
        return [e.id for e in self.of(TokenSampled, own=True) if e.sample == sample]

    @property
    def lengths(self) -> Counter[tuple[int, int]]:
        return Counter((e.usage.prompt_tokens, e.usage.completion_tokens) for e in self.of(RequestFinished))

    @property
    def num_idle(self) -> int:
        return sum(e.num_idle_slots for e in self.of(StepStarted))


@pytest.fixture(scope="module")
def stove(tiny: Model) -> Stove:
    return Stove(tiny)


@pytest.fixture(scope="module")
def parent(stove: Stove) -> Parent:
    return stove.parent(temperature=0.7, seed=3, ignore_eos=True)


# ---- every take ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("take", "num_requests"),
    [
        (Standard(), 1),
        (LookUp(), 1),
        (Samples(n=4), 1),
        (KVInt8(), 1),
        (RushHour(neighbours=3), 4),
        (Static(), 8),
        (Static(neighbours=1, max_num_seqs=1, spread=0.0), 2),
        (Continuous(), 8),
        (Batch(max_num_seqs=5), 5),
        (Batch(max_num_seqs=1), 1),
        (Batch(max_num_seqs=32), 32),
        (Slab(), 6),
        (Slab(n=3, block_size=4), 6),
        (Paged(), 6),
        (Paged(n=4, block_size=64, neighbours=8), 9),
        (Starved(), 6),
        (Starved(block_size=4, neighbours=8), 9),
    ],
    ids=lambda value: value.name if isinstance(value, Take) else str(value),
)
def test_every_take_that_is_cooked_apart_ends(stove: Stove, parent: Parent, take: Take, num_requests: int) -> None:
    cooked = stove.cook(take, parent)
    assert cooked.ended is not None
    assert (cooked.ended.reason, cooked.ended.detail) == ("finished", "")
    ends = [e.request_id for e in cooked.of(RequestFinished) if e.num_samples_left == 0]
    assert len(ends) == len(set(ends)) == num_requests
    assert cooked.name in ends
    # What it was cooked on stands before what was cooked; nothing of it was heard by the first engine.
    assert isinstance(stove.replies[stove.replies.index(cooked.cooking) + 1], Events)
    assert {"max_tokens"} <= cooked.cooking.knobs.keys()
    assert not stove.said
    tokenized = cooked.of(RequestTokenized, own=True)[0]
    assert (tokenized.token_ids, tokenized.own) == (parent.token_ids, [tuple(span) for span in parent.own])
    assert not stove.takes.has_work


APART = [
    Standard(),
    LookUp(),
    Samples(),
    KVInt8(),
    RushHour(),
    Static(),
    Continuous(),
    Batch(),
    Slab(),
    Paged(),
    Starved(),
]


@pytest.mark.parametrize(
    ("prompt", "max_tokens"), [("Why?", 1), ("Say it all again. " * 120, 40)], ids=["shortest", "longest"]
)
def test_no_run_is_too_short_or_too_long_for_its_takes(tiny: Model, prompt: str, max_tokens: int) -> None:
    stove = Stove(tiny)
    parent = stove.parent(prompt, max_tokens=max_tokens, ignore_eos=True)
    for take in APART:
        cooked = stove.cook(take, parent)
        assert (cooked.ended.reason, cooked.ended.detail) == ("finished", ""), take.name
        if not isinstance(take, KVInt8):
            assert cooked.token_ids() == parent.output_ids[: len(cooked.token_ids())], take.name


def test_the_readers_tokens_are_the_parents(stove: Stove, parent: Parent) -> None:
    """Same seed, same temperature, float32: whoever sits beside it."""
    for take in (Standard(), Samples(), RushHour(), Static(), Continuous(), Batch(), Slab(), Paged(), Starved()):
        assert stove.cook(take, parent).token_ids() == parent.output_ids, take.name


def test_what_is_cooked_on_the_first_engine_is_one_of_its_requests(stove: Stove, parent: Parent, tiny: Model) -> None:
    kitchen = Stove(tiny)
    before = kitchen.serve(Again(), parent)
    again = kitchen.serve(Again(), parent)
    assert before.token_ids() == again.token_ids() == parent.output_ids
    admitted = [each.of(RequestAdmitted, own=True)[0].cached_tokens for each in (before, again)]
    assert admitted == [0, (len(parent.token_ids) - 1) // 16 * 16]
    assert again.of(RequestTokenized)[0].merges is not None
    kitchen.first.check_integrity()


def test_a_fork_goes_on_from_another_token(stove: Stove, parent: Parent) -> None:
    position = len(parent.token_ids) + 5
    fork = stove.serve(Fork(position=position, token_id=77), parent)
    prompt = fork.of(RequestTokenized)[0]
    assert prompt.token_ids == [*parent.token_ids, *parent.output_ids[:5], 77]
    assert prompt.own == [tuple(span) for span in parent.own]
    assert len(fork.token_ids()) == parent.params.max_tokens - 6
    greedy = msgspec.structs.replace(parent, params=msgspec.structs.replace(parent.params, temperature=0.0))
    same = stove.serve(Fork(position=position, token_id=parent.output_ids[5]), greedy)
    oracle = Engine(stove.model, FIRST).generate(
        [[*parent.token_ids, *parent.output_ids[:6]]], SamplingParams(max_tokens=18, temperature=0.0, ignore_eos=True)
    )
    assert same.token_ids() == oracle[0].token_ids
    stove.said.clear()


def test_a_probe_looks_at_what_was_said(stove: Stove, parent: Parent) -> None:
    whole = len(parent.token_ids) + len(parent.output_ids)
    attention = AttentionProbe(positions=(4, 9, whole - 1), whole=(9,))
    probed = stove.serve(Probe(Probes(logits=(whole - 2,), attention=attention)), parent)
    assert [e.position for e in probed.of(ProbeLogits)] == [whole - 2]
    kinds = Counter((type(e).__name__, e.position) for e in probed.events if type(e).__name__.startswith("ProbeAtt"))
    assert kinds == {
        ("ProbeAttentionSummary", 4): 1,
        ("ProbeAttentionSummary", 9): 1,
        ("ProbeAttention", 9): 1,
        ("ProbeAttentionSummary", whole - 1): 1,
    }
    assert len(probed.token_ids()) == 1
    stove.said.clear()


# ---- what each is for ----------------------------------------------------------------------------------------------


def test_lanes_of_a_race_say_the_same_at_temperature_0(stove: Stove, parent: Parent) -> None:
    standard = stove.cook(Standard(temperature=0.0, max_tokens=60), parent)
    look_up = stove.cook(LookUp(temperature=0.0, max_tokens=60), parent)
    assert standard.token_ids() == look_up.token_ids()
    assert not standard.of(SpeculationJudged)
    assert sum(e.num_drafts for e in look_up.of(SpeculationJudged)) > 0
    assert look_up.cooking.engine.drafter == "ngram"
    assert look_up.cooking.engine.num_speculative_tokens == 4
    assert look_up.cooking.knobs["dtype"] == "float32"


def test_a_trained_drafter_is_lossless_in_float32(model: Model) -> None:
    stove = Stove(model)
    parent = stove.parent("Give me a simple recipe for tomato soup.", max_tokens=4)
    lanes = [stove.cook(kind(temperature=0.0, max_tokens=24), parent) for kind in (Standard, Speculative)]
    assert lanes[0].token_ids() == lanes[1].token_ids()
    judged = lanes[1].of(SpeculationJudged)
    assert sum(e.num_accepted for e in judged) > 0
    assert len(lanes[1].of(StepFinished)) < len(lanes[0].of(StepFinished)) == 24


@pytest.fixture(scope="module")
def on_disk(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small model whose layers can be quantised and whose weights can be read again."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=model.card.vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
    )
    folder = tmp_path_factory.mktemp("small-model")
    LlamaForCausalLM(config).save_pretrained(folder)
    model.tokenizer.hf.save_pretrained(folder)
    return load_model(folder, dtype="float32", device="cpu")


def test_other_weights_are_made_once_and_one_kind_is_kept(on_disk: Model) -> None:
    model, stove = on_disk, Stove(on_disk)
    parent = stove.parent(max_tokens=3)
    int8 = stove.cook(Int8(), parent)
    made = stove.takes._engines._other
    assert int8.cooking.model.quantization == "int8"
    assert int8.cooking.model.parameter_bytes < model.card.parameter_bytes
    assert int8.ended.reason == "finished"
    stove.cook(Standard(), parent)
    stove.cook(Int8(), parent)
    assert stove.takes._engines._other is made
    assert stove.cook(Int4(), parent).cooking.model.quantization == "int4"
    assert stove.takes._engines._other is not made
    assert stove.takes._engines.num_models == 2
    half = stove.cook(Standard(dtype="bfloat16"), parent)
    assert (half.cooking.model.dtype, half.cooking.model.name) == ("bfloat16", model.card.name)
    assert stove.takes._engines.num_models == 2
    stove.now += 301.0
    stove.takes.step(first_is_busy=False)
    assert stove.takes._engines.num_models == 1
    # The first engine's own are as they were.
    assert stove.parent(max_tokens=3).output_ids == parent.output_ids


def test_samples_share_blocks_and_copy_one_on_the_first_write(stove: Stove, parent: Parent) -> None:
    samples = stove.cook(Samples(n=3), parent)
    assert samples.of(BlockShared, own=True)
    assert samples.of(BlockCopied, own=True)
    assert len({tuple(samples.token_ids(sample)) for sample in range(3)}) == 3


def test_one_workload_under_two_policies(stove: Stove, parent: Parent) -> None:
    knobs: dict[str, Any] = {"neighbours": 6, "max_num_seqs": 3}
    static, continuous = stove.cook(Static(**knobs), parent), stove.cook(Continuous(**knobs), parent)
    assert static.lengths == continuous.lengths
    assert len(static.lengths) > 4
    assert (static.cooking.engine.policy, continuous.cooking.engine.policy) == ("static", "continuous")
    assert static.num_idle > continuous.num_idle
    assert len(static.of(StepFinished)) > len(continuous.of(StepFinished))
    even = stove.cook(Static(**knobs, spread=0.0), parent)
    assert {length for _, length in even.lengths} == {24}


def test_a_batch_shrinks_by_one_after_another(stove: Stove, parent: Parent) -> None:
    batch = stove.cook(Batch(max_num_seqs=6, max_tokens=24), parent)
    sizes = [len(e.requests) for e in batch.of(StepStarted) if e.phase == "decode"]
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) == {1, 2, 3, 4, 5, 6}
    assert {count for _, count in batch.lengths} == {4, 8, 12, 16, 20, 24}


def test_one_workload_in_two_kinds_of_memory(stove: Stove, parent: Parent) -> None:
    slab, paged = stove.cook(Slab(), parent), stove.cook(Paged(), parent)
    assert slab.lengths == paged.lengths
    assert slab.cooking.engine.num_blocks == paged.cooking.engine.num_blocks
    assert slab.cooking.engine.num_blocks == slab.cooking.knobs["num_blocks"]
    assert (slab.cooking.engine.allocator, paged.cooking.engine.allocator) == ("slab", "paged")
    together = [max(len(e.requests) for e in each.of(StepStarted)) for each in (slab, paged)]
    assert together == [3, 6]
    # The neighbours come when the prompt is computed, so the public beginning of theirs is found.
    assert {e.request_id for e in paged.of(BlockShared)} == {f"neighbour-{i}" for i in range(1, 6)}


def test_a_starved_pool_preempts_the_reader_and_evicts_what_it_kept(stove: Stove, parent: Parent) -> None:
    starved = stove.cook(Starved(), parent)
    assert starved.of(RequestPreempted, own=True)
    assert len(starved.of(RequestAdmitted, own=True)) > 1
    assert starved.of(BlockEvicted)


def test_at_rush_hour_ones_place_in_the_line_changes(stove: Stove, parent: Parent) -> None:
    rush = stove.cook(RushHour(), parent)
    assert [e.position for e in rush.of(RequestQueued, own=True)][:3] == [6, 4, 3]
    assert rush.of(RequestAdmitted, own=True)[0].queue_seconds > 0


def _prefills_of_others(cooked: Cooked) -> list[tuple[int, list[str]]]:
    """Steps in which a neighbour's prompt is read: its tokens, and who else has a part in the step."""
    found = []
    for step in cooked.of(StepStarted):
        read = [item for item in step.requests if item.phase == "prefill" and item.request_id != cooked.name]
        if read:
            others = [item.request_id for item in step.requests if item not in read]
            found.append((sum(item.stop - item.start for item in read), others))
    return found


def test_a_long_prompt_goes_in_whole_or_in_pieces(stove: Stove, parent: Parent) -> None:
    knobs: dict[str, Any] = {"prompt_tokens": 200, "max_tokens": 20}
    whole = stove.cook(Unchunked(**knobs), parent)
    pieces = stove.cook(Chunked(max_num_batched_tokens=32, **knobs), parent)
    assert [cooked.ended.reason for cooked in (whole, pieces) if cooked.ended] == ["finished"] * 2
    assert whole.lengths == pieces.lengths
    assert whole.token_ids() == pieces.token_ids()
    cached = max(e.cached_tokens for e in whole.of(RequestAdmitted))  # what all prompts here begin with
    assert _prefills_of_others(whole) == [(200 - cached, [whole.name])]
    read = _prefills_of_others(pieces)
    assert sum(tokens for tokens, _ in read) == 200 - cached
    assert max(tokens for tokens, _ in read) == 31, "the reader's own token has its place in every step"
    assert all(others == [pieces.name] for _, others in read)
    for cooked in (whole, pieces):
        step = next(e.step for e in cooked.of(StepStarted) if any(i.request_id != cooked.name for i in e.requests))
        before = [e for e in cooked.of(TokenSampled, own=True) if e.step < step]
        assert len(before) == 12, "the neighbour comes while the reader's answer is being written"


@pytest.mark.parametrize("kind", [Static, Continuous])
def test_neighbours_arrive_some_steps_apart(stove: Stove, parent: Parent, kind: type[Static]) -> None:
    cooked = stove.cook(kind(neighbours=4, max_num_seqs=2, max_tokens=12, arrival_steps=5), parent)
    assert cooked.ended
    assert cooked.ended.reason == "finished"
    assert len(cooked.of(RequestFinished)) == 5
    finished = 0
    arrived = []
    for event in cooked.events:
        finished += isinstance(event, StepFinished)
        if isinstance(event, RequestQueued) and event.request_id != cooked.name:
            arrived.append((event.request_id, finished))
    first = dict(reversed(arrived))  # (who waits is told again where the line moves)
    assert [first[f"neighbour-{n}"] for n in (1, 2, 3, 4)] == [5, 10, 15, 20]


def test_the_system_prompt_is_stored_once_or_for_each(stove: Stove, parent: Parent) -> None:
    knobs: dict[str, Any] = {"neighbours": 3, "max_tokens": 4}
    shared, apart = (stove.cook(Paged(share=share, **knobs), parent) for share in (True, False))
    assert shared.of(BlockShared)
    assert not apart.of(BlockShared)
    assert shared.token_ids() == apart.token_ids()
    with pytest.raises(KnobError, match="share must be true or false, got 'no'"):
        read_take({"take": "paged", "share": "no"})


def test_neighbours_come_even_where_the_answer_is_short(stove: Stove, parent: Parent) -> None:
    cooked = stove.cook(Chunked(prompt_tokens=64, max_tokens=3), parent)
    assert len(cooked.of(RequestFinished)) == 2


@pytest.mark.parametrize("count", [1, 2, 7, 15])
def test_lengths_spread_about_their_mean(count: int) -> None:
    assert spread_lengths(count, 40, 0.0) == [40] * count
    wide = spread_lengths(count, 40, 1.0)
    assert abs(sum(wide) / count - 40) <= 0.5
    assert min(wide) >= 4
    assert max(wide) < 80
    assert spread_lengths(count, 40, 1.0) == wide
    narrow = spread_lengths(count, 40, 0.5)
    assert max(narrow) - min(narrow) <= max(wide) - min(wide)


# ---- two engines, one machine --------------------------------------------------------------------------------------


@pytest.fixture
def busy(tiny: Model, parent: Parent) -> Stove:
    """A take cooks."""
    stove = Stove(tiny)
    stove.takes.add(stove.command(Static(max_tokens=200), parent))
    for _ in range(5):
        assert stove.takes.step(first_is_busy=False)
    return stove


def test_no_take_begins_while_the_first_engine_has_work(tiny: Model, parent: Parent) -> None:
    stove = Stove(tiny)
    first, late = stove.command(Standard(), parent), stove.command(Standard(), parent)
    stove.takes.add(first)
    stove.now += LINE_SECONDS / 2
    stove.takes.add(late)
    assert not stove.takes.step(first_is_busy=True)
    assert not stove.replies
    stove.now += LINE_SECONDS / 2 + 1
    assert not stove.takes.step(first_is_busy=True)
    assert stove.cooked(first).ended.reason == "interrupted"
    assert stove.takes.has_work
    while stove.takes.step(first_is_busy=False):
        pass
    assert stove.cooked(late).ended.reason == "finished"


@pytest.mark.parametrize("take", [Standard(dtype="float32"), Int8()], ids=["float32", "int8"])
def test_no_second_weights_beside_a_model_that_fills_the_memory(parent: Parent, tiny: Model, take: Take) -> None:
    card = msgspec.structs.replace(tiny.card, num_parameters=7_000_000_000, dtype="bfloat16")
    large = replace(tiny, card=card, module=copy.deepcopy(tiny.module).to(torch.bfloat16), dtype=torch.bfloat16)
    with pytest.raises(KnobError, match="memory"):
        plan(take, parent, large, EngineConfig())


def test_waiting_for_ones_own_other_takes_is_no_reason_to_give_up(tiny: Model, parent: Parent) -> None:
    stove = Stove(tiny)
    asked = [stove.command(Standard(), parent) for _ in range(2)]
    for command in asked:
        stove.takes.add(command)
    stove.takes.step(first_is_busy=False)
    stove.now += LINE_SECONDS + 1
    while stove.takes.step(first_is_busy=False):
        pass
    assert [stove.cooked(command).ended.reason for command in asked] == ["finished", "finished"]
    stove.takes.add(third := stove.command(Standard(), parent))
    stove.now += LINE_SECONDS + 1
    assert not stove.takes.step(first_is_busy=True)
    assert stove.cooked(third).ended.reason == "interrupted"


def test_a_take_that_is_nearly_done_is_waited_for_and_another_makes_way(busy: Stove) -> None:
    assert busy.takes.step(first_is_busy=True)
    busy.now += PATIENCE_SECONDS - 0.1
    assert busy.takes.step(first_is_busy=True)
    busy.now += 0.2
    assert not busy.takes.step(first_is_busy=True)
    ended = busy.replies[-1]
    assert isinstance(ended, TakeEnded)
    assert ended.reason == "interrupted"
    assert "first" in ended.detail
    assert not busy.takes.has_work
    (finished,) = [e for r in busy.replies if isinstance(r, Events) for e in r.events
                   if isinstance(e, RequestFinished) and e.request_id == "take-1"]  # fmt: skip
    assert finished.reason == "aborted"


def test_patience_begins_anew_with_the_next_request(busy: Stove) -> None:
    assert busy.takes.step(first_is_busy=True)
    busy.now += PATIENCE_SECONDS - 0.1
    assert busy.takes.step(first_is_busy=False)
    busy.now += PATIENCE_SECONDS - 0.1
    assert busy.takes.step(first_is_busy=True)


def test_a_take_is_stopped_in_the_line_and_on_the_stove(busy: Stove, parent: Parent) -> None:
    waits = busy.command(Standard(), parent)
    busy.takes.add(waits)
    assert busy.takes.abort(waits.request_id)
    assert busy.takes.abort("take-1")
    assert not busy.takes.abort("take-1")
    assert [reply.reason for reply in busy.replies if isinstance(reply, TakeEnded)] == ["stopped", "stopped"]
    assert not busy.takes.has_work


def test_an_engine_that_raises_takes_its_own_take_along_and_nothing_else(
    busy: Stove, parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = busy.command(Standard(), parent)
    busy.takes.add(after)

    def broken() -> None:
        raise RuntimeError("out of gas")

    monkeypatch.setattr(busy.takes._current.engine, "step", broken)
    assert busy.takes.step(first_is_busy=False)
    ended = busy.replies[-1]
    assert isinstance(ended, TakeEnded)
    assert (ended.reason, "out of gas" in ended.detail) == ("error", True)
    while busy.takes.step(first_is_busy=False):
        pass
    assert busy.cooked(after).ended.reason == "finished"


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({}, "take", "take must be one of again, fork"),
        ({"take": "flambé"}, "take", "got 'flambé'"),
        ({"take": 3}, "take", "got 3"),
        ({"take": "static", "neighbours": 0}, "neighbours", "a whole number from 1 to 15, got 0"),
        ({"take": "static", "neighbours": 16}, "neighbours", "from 1 to 15, got 16"),
        ({"take": "static", "neighbours": 2.5}, "neighbours", "a whole number"),
        ({"take": "static", "neighbours": True}, "neighbours", "got True"),
        ({"take": "static", "spread": 1.1}, "spread", "a number from 0.0 to 1.0, got 1.1"),
        ({"take": "static", "spread": float("nan")}, "spread", "got nan"),
        ({"take": "static", "spread": "wide"}, "spread", "got 'wide'"),
        (
            {"take": "static", "salt": 1},
            "",
            "has the knobs max_tokens, neighbours, spread, max_num_seqs, arrival_steps, and no 'salt'",
        ),
        ({"take": "again", "n": 2}, "", "has no knobs"),
        ({"take": "batch", "max_num_seqs": 33}, "max_num_seqs", "from 1 to 32, got 33"),
        ({"take": "paged", "block_size": 7}, "block_size", "one of 4, 8, 16, 32, 64, got 7"),
        ({"take": "paged", "num_blocks": 1}, "num_blocks", "from 2 to 4096, or null, got 1"),
        ({"take": "samples", "n": 9}, "n", "from 2 to 8, got 9"),
        ({"take": "fork", "position": 3}, "token_id", "token_id is missing: it must be a whole number from 0"),
        ({"take": "speculative", "num_speculative_tokens": 9}, "num_speculative_tokens", "from 1 to 8, got 9"),
        ({"take": "speculative", "drafter": "oracle"}, "drafter", "one of eagle, mismatched, ngram, got 'oracle'"),
        ({"take": "standard", "temperature": -1}, "temperature", "from 0.0 to 2.0, or null, got -1"),
        ({"take": "standard", "dtype": "int3"}, "dtype", "float32, got 'int3'"),
        ({"take": "probe"}, "probes", "probes is missing"),
        ({"take": "probe", "probes": ["smell"]}, "probes", "['smell']"),
        ({"take": "probe", "probes": {"logits": "all"}}, "probes", "probes must be a list of names or an object"),
        ({"take": "rush-hour", "neighbours": 10**40}, "neighbours", "from 1 to 8"),
        ({"take": "standard", "max_tokens": "\ud800"}, "max_tokens", "from 1 to 512"),
    ],
)
def test_a_knob_that_is_no_good_is_named_with_its_range(asked: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(KnobError) as error:
        read_take(asked)
    assert error.value.field == field
    assert words in str(error.value)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("take", "reason", "words"),
    [
        (Fork(position=2, token_id=1), "invalid", "position must be a whole number from"),
        (Probe(Probes()), "invalid", "probes must ask for something"),
        (Probe(Probes(attention=AttentionProbe(positions=(0,), layers=(99,)))), "invalid", "the model has 2 layers"),
        (Probe(Probes(attention=AttentionProbe(positions=(0,), whole=(1,)))), "invalid", "must be among"),
        (Probe(Probes(logits=(4000,))), "invalid", "probes.logits must be a whole number"),
        (Speculative(), "invalid", "has been trained for"),
        (Paged(num_blocks=2), "invalid", "num_blocks must be from"),
        (Slab(num_blocks=9, block_size=4), "invalid", "num_blocks must be from"),
        (Starved(num_blocks=2, block_size=4), "invalid", "num_blocks must be from"),
        (Paged(num_blocks=4000, block_size=64), "invalid", "to 256 for this prompt"),
        (Static(max_tokens=500), "invalid", "max_tokens must be smaller"),
    ],
    ids=lambda value: value.name if isinstance(value, Take) else None,
)
def test_what_cannot_be_cooked_is_refused_before_any_work(
    tiny: Model, parent: Parent, take: Take, reason: str, words: str
) -> None:
    stove = Stove(tiny)
    stove.first.add_request("another reader's", SamplingParams(max_tokens=9, temperature=0.0, ignore_eos=True))
    stove.first.step()
    mark = len(stove.said)
    command = stove.command(take, parent)
    with pytest.raises(Refused, match=words.replace("(", r"\(")) as refused:
        stove.takes.add(command) if take.apart else submit_take(stove.first, tiny, command, lambda event: None)
    assert refused.value.reason == reason
    assert len(stove.said) == mark
    assert not stove.takes.has_work
    (answer,) = [output for _ in range(8) for output in stove.first.step() if output.finished]
    assert answer.usage.completion_tokens == 9
    stove.first.check_integrity()


def test_too_long_is_said_so(tiny: Model, parent: Parent) -> None:
    stove = Stove(tiny, msgspec.structs.replace(FIRST, max_model_len=64))
    for take in (Standard(max_tokens=60), Again()):
        command = stove.command(take, msgspec.structs.replace(parent, params=SamplingParams(max_tokens=60)))
        add: Callable[[], int] = (
            (lambda command=command: stove.takes.add(command))
            if take.apart
            else (lambda command=command: submit_take(stove.first, tiny, command, stove.said.append))
        )
        with pytest.raises(Refused, match="max_model_len") as refused:
            add()
        assert refused.value.reason == "too_long"


def test_ids_of_another_vocabulary_are_refused(stove: Stove, parent: Parent) -> None:
    other = msgspec.structs.replace(parent, output_ids=[10**6])
    with pytest.raises(Refused, match="token_id"):
        submit_take(stove.first, stove.model, stove.command(Probe(Probes(kv=True)), other), lambda event: None)
    forked = Fork(position=len(parent.token_ids), token_id=stove.model.card.vocab_size)
    with pytest.raises(Refused, match="token_id must be"):
        submit_take(stove.first, stove.model, stove.command(forked, parent), lambda event: None)


def test_a_name_is_in_the_line_once(tiny: Model, parent: Parent) -> None:
    stove = Stove(tiny)
    command = stove.command(Standard(), parent)
    stove.takes.add(command)
    with pytest.raises(Refused, match="already"):
        stove.takes.add(command)


def test_every_kind_travels_as_it_is(parent: Parent) -> None:
    takes: list[Take] = [
        kind(position=1, token_id=2) if kind is Fork else kind(Probes(kv=True)) if kind is Probe else kind()  # type: ignore[call-arg]
        for kind in KINDS.values()
    ]
    for take in takes:
        command = CookTake(request_id="t", take=take, parent=parent)  # type: ignore[arg-type]
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(command), type=CookTake) == command
        assert read_take({"take": take.name, **take.knobs}) == take


def test_a_model_that_is_quantised_already_is_not_quantised_again(stove: Stove, parent: Parent, tiny: Model) -> None:
    import dataclasses

    card = msgspec.structs.replace(tiny.card, quantization="int8")
    with pytest.raises(KnobError, match="starts from whole weights"):
        plan(Int4(), parent, dataclasses.replace(tiny, card=card), FIRST)


def test_the_app_can_read_takes_without_torch() -> None:
    code = "import inference.takes, inference.messages, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
