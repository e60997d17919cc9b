"""Sampled answers of a speculating engine are drawn from the target's distribution: chi-squared over whole answers.

A tiny model says three tokens of a vocabulary of six after a fixed prompt, so that the probability of each of the 216
answers can be worked out: logits by transformers, temperature and cuts by transformers' own processors.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.events import Event, SpeculationJudged
from inference.sampler import Sampler
from inference.speculation import verification
from inference.speculation.draft_model import ModelDrafter
from inference.speculation.drafter import Drafter
from inference.speculation.eagle import EagleHead, config_for
from inference.speculation.eagle_drafter import EagleDrafter
from inference.speculation.ngram import NgramDrafter
from inference.speculation.rejection import Judgement, judge
from inference.speculation.speculator import Speculator
from tests.inference.tiny_chef import tiny_chef

VOCABULARY = 6
PROMPT = [2, 4, 2, 0]
SAMPLINGS = {
    "temperature": SamplingParams(temperature=1.3, max_tokens=3, ignore_eos=True),
    "top-k, top-p": SamplingParams(temperature=0.9, top_k=5, top_p=0.85, max_tokens=3, ignore_eos=True),
    "penalty, min-p": SamplingParams(
        temperature=1.1, min_p=0.05, repetition_penalty=1.4, max_tokens=3, ignore_eos=True
    ),
}


@pytest.fixture(scope="module")
def chef() -> Model:
    return tiny_chef(VOCABULARY)


def drafter(kind: str, chef: Model) -> Drafter:
    if kind == "ngram":
        return NgramDrafter()
    if kind == "eagle":  # which knows three tokens of the six, and nothing else
        torch.manual_seed(3)
        module = chef.module
        head = EagleHead(
            config_for(chef, feature_layers=(0, 1), draft_vocab_size=3, table_rank=0),
            module.get_input_embeddings().weight,
            module.get_output_embeddings().weight,
        )
        for parameter in head.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        head.set_draft_ids(torch.tensor([0, 3, 4]))
        return EagleDrafter("eagle", head.train(False).requires_grad_(False))
    other = chef if kind == "matching" else tiny_chef(VOCABULARY, seed=9)
    return ModelDrafter(other, vocab_size=VOCABULARY, num_blocks=2048, block_size=4)


def expected(params: SamplingParams) -> dict[tuple[int, ...], float]:
    """The probability of every answer, by transformers."""
    module = tiny_chef(VOCABULARY).module
    processors = LogitsProcessorList()
    if params.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    processors.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        processors.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        processors.append(TopPLogitsWarper(params.top_p))
    if params.min_p:
        processors.append(MinPLogitsWarper(params.min_p))
    found = {(): 1.0}
    for _ in range(params.max_tokens):
        answers = list(found)
        ids = torch.tensor([[*PROMPT, *answer] for answer in answers])
        with torch.inference_mode():
            p = processors(ids, module(ids).logits[:, -1]).double().softmax(dim=-1)
        found = {
            (*answer, token): found[answer] * float(row[token])
            for answer, row in zip(answers, p, strict=True)
            for token in range(VOCABULARY)
        }
    return found


def p_value(chef: Model, kind: str, params: SamplingParams, count: int) -> tuple[float, list[SpeculationJudged]]:
    """Of chi-squared over ``count`` answers, cells that expect fewer than five taken together."""
    events: list[Event] = []
    config = EngineConfig(
        block_size=4, num_blocks=2048, max_num_seqs=512, max_num_batched_tokens=4096, enable_prefix_caching=False
    )
    engine = Engine(chef, config, events.append)
    engine._speculator = Speculator({kind: drafter(kind, chef)}, 2, adaptive=False)
    engine._scheduler._num_drafts = engine._speculator.num_drafts
    each = [SamplingParams(**{name: getattr(params, name) for name in params.__struct_fields__} | {"seed": 7 * i})
            for i in range(count)]  # fmt: skip
    outputs = engine.generate([PROMPT] * count, each)
    counts = Counter(tuple(output.token_ids) for output in outputs)
    wanted = {answer: p * count for answer, p in expected(params).items()}
    assert all(wanted.get(answer, 0) > 0 for answer in counts), "an answer that the target never gives"
    rare = [answer for answer, number in wanted.items() if number < 5]
    cells = [(counts[answer], number) for answer, number in wanted.items() if number >= 5]
    cells.append((sum(counts[answer] for answer in rare), sum(wanted[answer] for answer in rare)))
    seen, hoped = zip(*[(a, b) for a, b in cells if b > 0], strict=True)
    scale = sum(seen) / sum(hoped)
    judged = [event for event in events if isinstance(event, SpeculationJudged)]
    return float(chisquare(seen, [number * scale for number in hoped]).pvalue), judged


KINDS = ("matching", "mismatched", "eagle", "ngram")


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_have_the_targets_distribution(chef: Model, kind: str, sampling: str) -> None:
    p, judged = p_value(chef, kind, SAMPLINGS[sampling], 1000)
    assert p > 1e-3
    assert judged
    accepted = sum(each.num_accepted for each in judged) / sum(each.num_drafts for each in judged)
    assert accepted == 1.0 if kind == "matching" else 0.02 < accepted < 0.98


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_answers_have_the_targets_distribution(chef: Model, kind: str) -> None:
    """Over 100,000 tokens."""
    assert p_value(chef, kind, SAMPLINGS["top-k, top-p"], 34_000)[0] > 1e-3


def accept_always(p: torch.Tensor, q: torch.Tensor, ids: torch.Tensor, draws: torch.Tensor) -> Judgement:
    return Judgement(len(ids), judge(p[-1:], q[:0], ids[:0], draws[-1:]).token_id)


def residual_of_known_tokens(p: torch.Tensor, q: torch.Tensor, ids: torch.Tensor, draws: torch.Tensor) -> Judgement:
    """Recovers from the drafter's own list only."""
    judged = judge(p, q, ids, draws)
    if judged.num_accepted == len(ids):
        return judged
    known = p[judged.num_accepted] * (q[judged.num_accepted] > 0)
    known = known if bool(known.any()) else p[judged.num_accepted]
    return Judgement(judged.num_accepted, judge(known[None], q[:0], ids[:0], draws[-1:]).token_id)


@pytest.mark.parametrize("wrong", [accept_always, residual_of_known_tokens])
def test_a_planted_bias_is_caught(chef: Model, wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "judge", wrong)
    assert p_value(chef, "eagle", SAMPLINGS["temperature"], 1500)[0] < 1e-9


def test_a_drafter_that_draws_with_the_judges_numbers_is_caught(chef: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Sampler.__init__
    monkeypatch.setattr(Sampler, "__init__", lambda self, size, device, stream=0: make(self, size, device))
    assert p_value(chef, "mismatched", SAMPLINGS["temperature"], 1500)[0] < 1e-6
