"""Speculative decoding changes nothing but the time: greedy answers in float32 are those of ``transformers.generate``,
whoever drafts, and what is said about it adds up."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.attention.interface import Singles
from inference.events import (
    Event,
    KVWritten,
    RequestAdmitted,
    RequestPreempted,
    SpeculationDrafted,
    SpeculationJudged,
    StepFinished,
    StepStarted,
    TokenSampled,
)
from inference.model_runner import ModelRunner
from inference.scheduler import ScheduledItem
from inference.sequence import RequestOutput
from inference.speculation import verification
from inference.speculation.draft_model import ModelDrafter
from inference.speculation.drafter import Drafter
from inference.speculation.length import DraftLength
from inference.speculation.rejection import Judgement
from inference.speculation.speculator import Speculator
from tests.inference.conftest import Reference, assert_same, greedy
from tests.inference.prompts import NEW_TOKENS, PROMPTS, Prompt
from tests.inference.replay import Replay
from tests.inference.tiny_chef import prompts, tiny_chef, train_heads

NEW = 10
GREEDY = SamplingParams(temperature=0.0, max_tokens=NEW)
SMALL = EngineConfig(block_size=4, num_blocks=64, max_num_seqs=8)


@pytest.fixture(scope="module")
def chef() -> Model:
    return tiny_chef()


@pytest.fixture(scope="module")
def heads(chef: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return train_heads(chef, tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def answers() -> list[Reference]:
    """Of transformers, to prompts of which two begin alike and one fills its blocks."""
    chef = tiny_chef()  # of its own: an engine gives the model that it runs another attention
    asked = [ids for length in (1, 5, 8, 14) for ids in prompts(2, length, chef, seed=length)]
    asked[5] = asked[4][:6] + asked[5][6:]
    return [greedy(chef.module, ids, NEW) for ids in asked]


def speculating(model: Model, drafter: Drafter, k: int, config: EngineConfig = SMALL, *, adaptive: bool = False,
                events: list[Event] | None = None) -> Engine:  # fmt: skip
    """An engine whose drafter is made, not loaded."""
    engine = Engine(model, config, None if events is None else events.append)
    engine._speculator = Speculator({drafter.name: drafter}, k, adaptive=adaptive)
    engine._scheduler._num_drafts = engine._speculator.num_drafts
    return engine


def twin(model: Model, events: list[Event] | None = None, *, k: int = 4, config: EngineConfig = SMALL) -> Engine:
    """An engine whose drafter is the model itself: every greedy draft is accepted."""
    drafter = ModelDrafter(model, vocab_size=model.card.vocab_size, num_blocks=256, block_size=4)
    return speculating(model, drafter, k, config, events=events)


def drive(engine: Engine) -> dict[str, list[RequestOutput]]:
    """Step until all is done, the books checked after every step; each request's outputs."""
    outputs: dict[str, list[RequestOutput]] = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
        engine.check_integrity()
    return outputs


def of(events: list[Event], kind: type) -> list:
    return [event for event in events if isinstance(event, kind)]


# ---- losslessness --------------------------------------------------------------------------------------------------

GRID = [
    pytest.param(batch, budget, caching, starved, id=f"batch {batch}, {chunks}, cache {caching}, {pool}")
    for batch, (budget, chunks), caching, (starved, pool) in itertools.product(
        (1, 8), ((12, "chunked"), (512, "whole")), (True, False), ((False, "ample"), (True, "starved"))
    )
]


@pytest.mark.parametrize(("batch", "budget", "caching", "starved"), GRID)
@pytest.mark.parametrize(("drafter", "k"), [*itertools.product(("eagle", "ngram", "mismatched"), (1, 3, 7)), (None, 1)])
def test_greedy_is_what_transformers_generates(
    chef: Model,
    heads: dict[str, Path],
    answers: list[Reference],
    drafter: str | None,
    k: int,
    batch: int,
    budget: int,
    caching: bool,
    starved: bool,
) -> None:
    config = EngineConfig(
        block_size=4,
        num_blocks=(24 if batch == 8 else 9) if starved else 96,
        max_num_seqs=batch,
        max_num_batched_tokens=budget,
        enable_prefix_caching=caching,
        drafter=f"{drafter}:{heads[drafter]}" if drafter in heads else drafter,
        num_speculative_tokens=k,
    )
    events: list[Event] = []
    engine = Engine(chef, config, events.append)
    asked = answers if batch == 8 else answers[4:6]
    if caching:  # somebody was there before
        engine.generate([asked[-1].prompt_ids], SamplingParams(temperature=0.0, max_tokens=2))
    outputs = engine.generate([each.prompt_ids for each in asked], GREEDY)
    engine.check_integrity()
    for reference, output in zip(asked, outputs, strict=True):
        assert_same(reference, output.token_ids, f"{drafter}, k = {k}")
    judged = of(events, SpeculationJudged)
    drafted, accepted = (sum(getattr(each, f"num_{what}") for each in judged) for what in ("drafts", "accepted"))
    assert drafted == sum(len(each.ids) for each in of(events, SpeculationDrafted))
    assert (drafted > 0) == (drafter is not None)
    assert max((each.num_drafts for each in judged), default=0) <= k
    if drafter in heads and batch == 1:
        assert max(each.num_drafts for each in judged) == k
    if drafter in ("eagle", "ngram"):
        assert accepted > 0
    assert bool(of(events, RequestPreempted)) == (starved and batch == 8)
    if budget == 12:
        assert any(item.phase == "prefill" and item.stop < 14 for e in of(events, StepStarted) for item in e.requests)
    if caching:
        assert any(event.cached_tokens for event in of(events, RequestAdmitted))


def check_default_model(model: Model, references: list[Reference], config: EngineConfig) -> None:
    events: list[Event] = []
    outputs = Engine(model, config, events.append).generate(
        [each.prompt_ids for each in references], SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS)
    )
    for reference, output in zip(references, outputs, strict=True):
        assert_same(reference, output.token_ids, f"{config.drafter}, k = {config.num_speculative_tokens}")
    judged = of(events, SpeculationJudged)
    assert sum(each.num_drafts for each in judged) > 0
    if config.drafter != "mismatched":
        assert sum(each.num_accepted for each in judged) > 0


@pytest.mark.parametrize(("drafter", "k"), [("eagle", 3), ("ngram", 7), ("mismatched", 1)])
def test_the_default_model_says_the_same(
    model: Model, reference: Callable[[Prompt], Reference], drafter: str, k: int
) -> None:
    config = EngineConfig(num_blocks=60, drafter=drafter, num_speculative_tokens=k)
    check_default_model(model, [reference(prompt) for prompt in PROMPTS[:8]], config)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("drafter", ["eagle", "ngram", "mismatched"])
def test_the_default_model_says_the_same_to_every_prompt(
    model: Model, references: list[Reference], drafter: str, k: int, batch: int
) -> None:
    config = EngineConfig(
        num_blocks=120, max_num_seqs=batch, max_num_batched_tokens=100, drafter=drafter, num_speculative_tokens=k
    )
    check_default_model(model, references, config)


@pytest.mark.parametrize("k", [1, 4, 16])
def test_a_twin_is_always_believed(chef: Model, answers: list[Reference], k: int) -> None:
    """Full runs: every draft is accepted, a bonus follows, and k + 1 tokens a step come out."""
    events: list[Event] = []
    engine = twin(chef, events, k=k)
    outputs = engine.generate([each.prompt_ids for each in answers], GREEDY)
    for reference, output in zip(answers, outputs, strict=True):
        assert_same(reference, output.token_ids, f"twin, k = {k}")
    judged = of(events, SpeculationJudged)
    assert all(each.num_accepted == each.num_drafts and each.origin == "bonus" for each in judged)
    assert engine._num_steps <= 2 + -(-NEW // (k + 1))


@pytest.mark.parametrize(
    "config",
    [
        EngineConfig(block_size=4, num_blocks=64, max_num_seqs=4, policy="static"),
        EngineConfig(block_size=4, num_blocks=64, allocator="slab"),
        EngineConfig(block_size=4, num_blocks=9, allocator="slab", policy="static"),
        EngineConfig(block_size=1, num_blocks=256, max_num_batched_tokens=9),
    ],
)
def test_baselines_speculate_too(chef: Model, answers: list[Reference], config: EngineConfig) -> None:
    events: list[Event] = []
    outputs = twin(chef, events, config=config).generate([each.prompt_ids for each in answers], GREEDY)
    for reference, output in zip(answers, outputs, strict=True):
        assert_same(reference, output.token_ids, str(config))
    assert sum(each.num_accepted for each in of(events, SpeculationJudged)) > 0


def test_adaptive_length_changes_nothing_but_the_length(
    chef: Model, heads: dict[str, Path], answers: list[Reference]
) -> None:
    for name, path in heads.items():
        events: list[Event] = []
        config = EngineConfig(
            block_size=4, num_blocks=96, drafter=f"{name}:{path}", num_speculative_tokens=7, adaptive_speculation=True
        )
        outputs = Engine(chef, config, events.append).generate([each.prompt_ids for each in answers], GREEDY)
        for reference, output in zip(answers, outputs, strict=True):
            assert_same(reference, output.token_ids, f"adaptive {name}")
        assert len({each.num_drafts for each in of(events, SpeculationJudged)}) > 2


def test_a_penalty_counts_the_drafts(chef: Model, heads: dict[str, Path]) -> None:
    """Greedy with a repetition penalty: the second draft is judged knowing the first."""
    params = SamplingParams(temperature=0.0, max_tokens=NEW, repetition_penalty=1.5)
    asked = prompts(4, 7, chef, seed=3)
    plain = Engine(chef, SMALL).generate(asked, params)
    for engine in (
        twin(chef),
        Engine(chef, EngineConfig(block_size=4, num_blocks=64, drafter=f"eagle:{heads['eagle']}")),
        Engine(chef, EngineConfig(block_size=4, num_blocks=64, drafter="ngram")),
    ):
        assert [o.token_ids for o in engine.generate(asked, params)] == [o.token_ids for o in plain]


def mutants() -> dict[str, tuple[str, object]]:
    mask, slots, judge = Singles.mask, ModelRunner.slots, verification.judge

    def blind_drafts(self: Singles, window: int | None) -> torch.Tensor | None:
        seen = mask(self, window)
        return None if seen is None else seen[:, :, :1].expand(-1, -1, self.width, -1)

    def rejected_stay(self: ModelRunner, items: list[ScheduledItem]) -> list[int]:
        """The first token of a pass goes where the last rejected draft stands, which stays."""
        places = slots(self, items)
        return [places[1], places[0], *places[2:]] if len(places) > 1 and items[0].draft else places

    def believer(p: torch.Tensor, q: torch.Tensor, ids: torch.Tensor, draws: torch.Tensor) -> Judgement:
        return Judgement(len(ids), judge(p[-1:], q[:0], ids[:0], draws[-1:]).token_id)

    def late(p: torch.Tensor, q: torch.Tensor, ids: torch.Tensor, draws: torch.Tensor) -> Judgement:
        return judge(torch.cat([p[1:], p[-1:]]), q, ids, draws)

    return {
        "drafts do not see each other": ("inference.attention.interface.Singles.mask", blind_drafts),
        "slots are mixed up": ("inference.model_runner.ModelRunner.slots", rejected_stay),
        "all is believed": ("inference.speculation.verification.judge", believer),
        "rows are off by one": ("inference.speculation.verification.judge", late),
    }


@pytest.mark.parametrize("name", mutants())
def test_planted_bugs_are_found(
    chef: Model, heads: dict[str, Path], answers: list[Reference], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EngineConfig(block_size=4, num_blocks=96, drafter=f"eagle:{heads['eagle']}", num_speculative_tokens=3)
    monkeypatch.setattr(*mutants()[name])
    outputs = Engine(chef, config).generate([each.prompt_ids for each in answers], GREEDY)
    assert [output.token_ids for output in outputs] != [each.token_ids for each in answers]


# ---- ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(9))
def test_an_end_inside_an_accepted_run_ends_it(chef: Model, place: int) -> None:
    """EOS and stop strings at every place of a run: what was accepted behind them is dropped."""
    (asked,) = prompts(1, 9, chef, seed=5)
    (whole,) = Engine(chef, SMALL).generate([asked], GREEDY)
    here, after = whole.token_ids[place : place + 2]
    for eos, stop in (
        (frozenset([here]), ()),
        (frozenset(), (chef.tokenizer.decode([here]),)),
        (frozenset(), (chef.tokenizer.decode([here, after]),)),
    ):
        model = replace(chef, eos_token_ids=eos)
        params = SamplingParams(temperature=0.0, max_tokens=NEW, stop=stop)
        (plain,) = Engine(model, SMALL).generate([asked], params)
        assert plain.finish_reason == "stop"
        events: list[Event] = []
        engine = twin(model, events, k=6)
        engine.add_request(asked, params, request_id="a")
        output = drive(engine)["a"][-1]
        assert (output.token_ids, output.text, output.finish_reason) == (plain.token_ids, plain.text, "stop")
        assert [event.id for event in of(events, TokenSampled)] == output.token_ids
        assert of(events, KVWritten)[-1].stop <= len(asked) + len(output.token_ids)
        engine.check_integrity()


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5])
def test_no_draft_stands_where_nothing_may_follow(chef: Model, max_tokens: int) -> None:
    events: list[Event] = []
    engine = twin(chef, events, k=7)
    (asked,) = prompts(1, 9, chef, seed=5)
    (output,) = engine.generate([asked], SamplingParams(temperature=0.0, max_tokens=max_tokens))
    assert len(output.token_ids) == max_tokens
    drafted = of(events, SpeculationDrafted)
    assert [len(each.ids) for each in drafted] == ([max_tokens - 2] if max_tokens > 2 else [])
    assert max(item.stop for step in of(events, StepStarted) for item in step.requests) <= 9 + max_tokens - 1


# ---- company -------------------------------------------------------------------------------------------------------


def test_who_wants_no_drafter_gets_none(chef: Model, heads: dict[str, Path]) -> None:
    """Others may speculate beside it: what it draws is what it would draw without them."""
    events: list[Event] = []
    config = EngineConfig(block_size=4, num_blocks=64, drafter=f"eagle:{heads['eagle']},ngram")
    engine = Engine(chef, config, events.append)
    asked = prompts(4, 9, chef, seed=5)
    picks = [None, "none", "ngram", "eagle"]
    params = [SamplingParams(temperature=0.8, seed=i, max_tokens=NEW, drafter=pick) for i, pick in enumerate(picks)]
    for i, (ids, each) in enumerate(zip(asked, params, strict=True)):
        engine.add_request(ids, each, request_id=str(i))
    outputs = drive(engine)
    assert {(each.request_id, each.drafter) for each in of(events, SpeculationDrafted)} == {
        ("0", "eagle"), ("2", "ngram"), ("3", "eagle")
    }  # fmt: skip
    (alone,) = Engine(chef, SMALL).generate([asked[1]], SamplingParams(temperature=0.8, seed=1, max_tokens=NEW))
    assert outputs["1"][-1].token_ids == alone.token_ids
    phases = {(item.request_id, item.phase) for step in of(events, StepStarted) for item in step.requests}
    assert ("1", "decode") in phases
    assert ("1", "verify") not in phases
    assert ("0", "verify") in phases
    (speculator,) = {engine._speculator}
    assert not any(drafter._states for drafter in speculator._drafters.values() if hasattr(drafter, "_states"))


@pytest.mark.parametrize("drafter", ["eagle", "ngram", "mismatched"])
@pytest.mark.parametrize(("num_blocks", "slots"), [(64, 8), (14, 3)])
def test_parallel_samples_speculate(
    chef: Model, heads: dict[str, Path], drafter: str, num_blocks: int, slots: int
) -> None:
    """Forks, copies on the first write, waiting and preempted samples: greedy, so that all must say the same."""
    events: list[Event] = []
    name = f"{drafter}:{heads[drafter]}" if drafter in heads else drafter
    config = EngineConfig(block_size=4, num_blocks=num_blocks, max_num_seqs=slots, drafter=name)
    engine = Engine(chef, config, events.append)
    (asked,) = prompts(1, 10, chef, seed=5)
    engine.add_request(asked, SamplingParams(temperature=0.0, max_tokens=NEW, n=4), request_id="a")
    engine.add_request(asked[:7], SamplingParams(temperature=0.0, max_tokens=NEW, n=2), request_id="b")
    replay, told = Replay(num_blocks), 0
    last: dict[tuple[str, int], list[int]] = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            last[output.request_id, output.index] = output.token_ids
        engine.check_integrity()
        for event in events[told:]:
            replay.apply(event)
        told = len(events)
        replay.check(engine._blocks)
    for name, ids, count in (("a", asked, 4), ("b", asked[:7], 2)):
        (single,) = Engine(chef, SMALL).generate([ids], GREEDY)
        assert [last[name, sample] for sample in range(count)] == [single.token_ids] * count
    assert {each.sample for each in of(events, SpeculationDrafted)} == {0, 1, 2, 3}


def test_speculation_takes_nothing_from_others(chef: Model) -> None:
    """Drafts get what is left of the budget and of the pool, and preempt nobody."""
    asked = prompts(3, 4, chef, seed=6)
    for config in (
        EngineConfig(block_size=4, num_blocks=12, max_num_seqs=4),
        EngineConfig(block_size=4, num_blocks=64, max_num_seqs=4, max_num_batched_tokens=5),
    ):
        events: list[Event] = []
        engine = twin(chef, events, k=4, config=config)
        engine.generate(asked, GREEDY)
        assert not of(events, RequestPreempted)
        assert all(step.num_tokens <= config.max_num_batched_tokens for step in of(events, StepStarted))
        assert of(events, SpeculationJudged)


# ---- what is said --------------------------------------------------------------------------------------------------


def test_the_events_add_up(chef: Model, heads: dict[str, Path]) -> None:
    events: list[Event] = []
    config = EngineConfig(block_size=4, num_blocks=64, drafter=f"eagle:{heads['eagle']}", num_speculative_tokens=3)
    engine = Engine(chef, config, events.append)
    asked = prompts(3, 9, chef, seed=5)
    params = SamplingParams(temperature=0.7, top_p=0.9, seed=5, max_tokens=30, repetition_penalty=1.1)
    for i, ids in enumerate(asked):
        engine.add_request(ids, params, request_id=str(i))
    outputs = drive(engine)
    rejections = 0
    for i in range(len(asked)):
        own = [event for event in events if getattr(event, "request_id", None) == str(i)]
        sampled = of(own, TokenSampled)
        assert [event.id for event in sampled] == outputs[str(i)][-1].token_ids
        assert [event.position for event in sampled] == list(range(9, 9 + len(sampled)))
        said = {event.position: event for event in sampled}
        written = [(event.start, event.stop) for event in of(own, KVWritten)]
        assert [start for start, _ in written] == [0] + [stop for _, stop in written[:-1]]
        assert written[-1][1] == 9 + 30 - 1
        drafted, judged = of(own, SpeculationDrafted), of(own, SpeculationJudged)
        assert [(each.step, each.position) for each in drafted] == [(each.step, each.position) for each in judged]
        for draft, verdict in zip(drafted, judged, strict=True):
            assert draft.texts == [chef.tokenizer.texts[token] for token in draft.ids]
            assert all(0 < q <= 1 for q in draft.q)
            num_judged = min(verdict.num_accepted + 1, verdict.num_drafts)
            assert verdict.num_drafts == len(draft.ids)
            assert verdict.q == pytest.approx(draft.q[:num_judged])
            assert verdict.draws is not None
            assert len(verdict.p) == len(verdict.draws) == num_judged
            accepted = [u * q < p for p, q, u in zip(verdict.p, verdict.q, verdict.draws, strict=True)]
            assert accepted == [True] * verdict.num_accepted + [False] * (num_judged - verdict.num_accepted)
            assert verdict.origin == ("bonus" if verdict.num_accepted == verdict.num_drafts else "recovered")
            rejections += verdict.origin == "recovered"
            run = [said[verdict.position + place] for place in range(verdict.num_accepted + 1)]
            assert [each.id for each in run] == [*draft.ids[: verdict.num_accepted], verdict.id]
            assert [each.origin for each in run] == ["draft"] * verdict.num_accepted + [verdict.origin]
            assert {each.step for each in run} == {verdict.step}
            assert draft.seconds > 0
            assert verdict.seconds > 0
    assert rejections
    steps = of(events, StepFinished)
    assert all(s.schedule_seconds + s.draft_seconds + s.forward_seconds + s.sample_seconds <= s.seconds for s in steps)
    assert any(step.phase == "verify" for step in of(events, StepStarted))


def test_what_the_model_thought_is_the_same(chef: Model) -> None:
    """Log-probabilities and candidates of tokens that came in runs are those of tokens that came one by one."""
    asked = prompts(2, 9, chef, seed=5)
    one: list[Event] = []
    Engine(chef, SMALL, one.append).generate(asked, GREEDY)
    many: list[Event] = []
    twin(chef, many).generate(asked, GREEDY)
    key = lambda event: (event.request_id, event.position)  # noqa: E731
    for a, b in zip(sorted(of(one, TokenSampled), key=key), sorted(of(many, TokenSampled), key=key), strict=True):
        assert (a.id, a.position, a.text) == (b.id, b.position, b.text)
        assert a.logprob == pytest.approx(b.logprob, abs=1e-4)
        assert a.rest == pytest.approx(b.rest, abs=1e-4)
        assert [c.logit for c in a.candidates] == pytest.approx([c.logit for c in b.candidates], abs=1e-3)


def test_nobody_listening_changes_nothing(chef: Model, heads: dict[str, Path]) -> None:
    config = EngineConfig(block_size=4, num_blocks=64, drafter=f"eagle:{heads['eagle']}")
    params = SamplingParams(temperature=0.7, seed=5, max_tokens=30)
    asked = prompts(3, 9, chef, seed=5)
    silent, told = Engine(chef, config), Engine(chef, config, lambda event: None)
    assert [o.token_ids for o in silent.generate(asked, params)] == [o.token_ids for o in told.generate(asked, params)]


def test_a_log_says_what_each_drafter_occupies(chef: Model, heads: dict[str, Path]) -> None:
    engine = Engine(chef, EngineConfig(block_size=4, num_blocks=64, drafter=f"eagle:{heads['eagle']},ngram"))
    assert engine._speculator is not None
    targets = {tensor.data_ptr() for tensor in [*chef.module.parameters(), *chef.module.buffers()]}
    held: dict[int, torch.Tensor] = {}
    seen: set[int] = set()
    left: list[object] = [engine._speculator._drafters["eagle"]._head]  # type: ignore[attr-defined]
    while left:  # whatever can be reached from the head and is not the target's
        thing = left.pop()
        if id(thing) in seen or isinstance(thing, type):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            held[thing.data_ptr()] = thing
        elif isinstance(thing, (dict, list, tuple)):
            left += thing.values() if isinstance(thing, dict) else thing
        else:
            left += vars(thing).values() if hasattr(thing, "__dict__") else []
    own = sum(tensor.nbytes for place, tensor in held.items() if place not in targets)
    assert engine.card.drafter_bytes == {"eagle": own, "ngram": 0}
    assert own > 0
    assert twin(chef)._speculator.num_bytes == {"model": chef.card.parameter_bytes}  # type: ignore[union-attr]
    assert Engine(chef, SMALL).card.drafter_bytes == {}


# ---- length --------------------------------------------------------------------------------------------------------


def test_the_length_follows_the_acceptance() -> None:
    length = DraftLength(7)
    begun = length.next()
    assert 1 < begun < 7
    for _ in range(20):
        length.judged(7, 7)
    assert length.next() == 7
    for _ in range(40):
        length.judged(0, 3)
    asked = [length.next() for _ in range(64)]
    assert 0 < sum(asked) <= 6, "now and then it tries"
    for _ in range(40):
        length.judged(1, 2)
    assert 1 <= length.next() <= 3


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, -1, 17, 100, 2.5, True])
def test_a_bad_number_of_drafts_is_refused(chef: Model, k: object) -> None:
    with pytest.raises(ValueError, match="num_speculative_tokens must be"):
        Engine(chef, EngineConfig(drafter="ngram", num_speculative_tokens=k))


@pytest.mark.parametrize(
    ("drafter", "said"),
    [
        ("falcon", "drafter must be one of eagle, ngram, mismatched, model:MODEL"),
        ("", "drafter must be one of"),
        ("ngram,ngram", "drafter must be one of"),
        ("model", "drafter must be one of"),
        ("ngram:x", "drafter must be one of"),
        (7, "drafter must be None or"),
        ("eagle", "has been trained for .* and not for tiny"),
        ("eagle:/nowhere", "is not a draft head"),
        ("model:/nowhere", "cannot be had"),
    ],
)
def test_a_bad_drafter_is_refused(chef: Model, drafter: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Engine(chef, EngineConfig(drafter=drafter))


def test_a_drafter_of_another_vocabulary_is_refused(chef: Model, heads: dict[str, Path]) -> None:
    other = tiny_chef(vocab_size=90)
    with pytest.raises(ValueError, match=r"was trained for tiny, vocab_size 97; tiny has 90"):
        Engine(other, EngineConfig(drafter=f"eagle:{heads['eagle']}"))
    with pytest.raises(ValueError, match="has a vocabulary of 90 and the model one of 97"):
        ModelDrafter(other, vocab_size=97, num_blocks=8, block_size=4)


@pytest.mark.parametrize("loaded", [None, "ngram"])
@pytest.mark.parametrize("asked", ["eagle", "", 3])
def test_a_drafter_that_is_not_loaded_is_refused(chef: Model, loaded: str | None, asked: object) -> None:
    """And the other requests go on as if nothing had been."""
    engine = Engine(chef, EngineConfig(block_size=4, num_blocks=64, drafter=loaded))
    (ids,) = prompts(1, 9, chef, seed=5)
    engine.add_request(ids, GREEDY, request_id="a")
    engine.step()
    with pytest.raises(ValueError, match="drafter must be null"):
        engine.add_request(ids, SamplingParams(drafter=asked))
    (alone,) = Engine(chef, SMALL).generate([ids], GREEDY)
    assert drive(engine)["a"][-1].token_ids == alone.token_ids


# ---- whatever comes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_all_end_and_nothing_leaks(chef: Model, heads: dict[str, Path], seed: int) -> None:
    """Random requests, drafters, pools, policies and aborts; the books are checked after every step."""
    rng = random.Random(seed)
    config = EngineConfig(
        block_size=rng.choice([1, 4]),
        num_blocks=rng.randint(24, 40),
        max_num_seqs=rng.randint(1, 6),
        max_num_batched_tokens=rng.choice([6, 16]),
        policy=rng.choice(["continuous", "static"]),
        allocator=rng.choice(["paged", "paged", "slab"]),
        enable_prefix_caching=rng.random() < 0.7,
        drafter=f"eagle:{heads['eagle']},ngram,mismatched:{heads['mismatched']}",
        num_speculative_tokens=rng.choice([1, 3, 7]),
        adaptive_speculation=rng.random() < 0.5,
    )
    engine = Engine(chef, config)
    pending, finished, expected = 8, {}, {}
    while pending or engine.has_unfinished_requests():
        if pending and rng.random() < 0.4:
            pending -= 1
            ids = list(range(30, 30 + rng.randint(1, 12)))
            params = SamplingParams(
                temperature=0.0,
                max_tokens=rng.randint(1, 10),
                n=rng.choice([1, 2, 4]),
                drafter=rng.choice([None, "none", "ngram", "mismatched"]),
            )
            expected[engine.add_request(ids, params)] = (ids, params)
        if rng.random() < 0.03 and engine._requests:
            gone = rng.choice(sorted(engine._requests))
            engine.abort(gone)
            expected.pop(gone)
        for output in engine.step():
            if output.finished:
                finished[output.request_id, output.index] = output.token_ids
        engine.check_integrity()
    pool = engine._blocks.pool
    assert len(pool.free) + len(pool.cached) == pool.num_blocks
    for request_id, (ids, params) in expected.items():
        (single,) = Engine(chef).generate([ids], SamplingParams(temperature=0.0, max_tokens=params.max_tokens))
        assert [finished[request_id, sample] for sample in range(params.n)] == [single.token_ids] * params.n
    assert engine._speculator is not None
    assert not engine._speculator._lengths
