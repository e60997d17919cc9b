"""The sampler against transformers' own processors, and its draws against the distribution they should come from."""

from __future__ import annotations

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

from inference import SamplingParams
from inference.sampler import Sampler, best, block_maxima, cut, log_sum_exp, penalize, top
from inference.sequence import Sequence, SequenceId

VOCAB = 1000


def sequence(name: str = "r", tokens: tuple[int, ...] = (1, 2, 3), **params: object) -> Sequence:
    return Sequence(request_id=name, token_ids=list(tokens), params=SamplingParams(**params), arrival=0, queued_at=0.0)


def logits(seed: int = 0, rows: int = 1, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * spread


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 1.0, 0.0), (1, 1.0, 0.0), (40, 1.0, 0.0), (0, 0.1, 0.0), (0, 0.9, 0.0), (0, 0.9999, 0.0), (0, 1.0, 0.05),
     (50, 0.8, 0.1), (5000, 0.5, 0.0)],
)  # fmt: skip
def test_cuts_keep_what_transformers_keeps(temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    row = logits(7)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        warpers.append(TopPLogitsWarper(top_p))
    if min_p:
        warpers.append(MinPLogitsWarper(min_p))
    expected = warpers(None, row.clone())[0].softmax(-1)
    scores, ids = cut(row[0] / temperature, top_k, top_p, min_p)
    got = torch.zeros(VOCAB)
    got[slice(None) if ids is None else ids] = scores.softmax(-1)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


def test_ties_at_the_edge_of_top_k_are_kept_as_in_transformers() -> None:
    row = torch.tensor([3.0, 2.0, 2.0, 2.0, 1.0])
    _, ids = cut(row, 2, 1.0, 0.0)
    assert ids is not None
    assert ids.tolist() == [0, 1, 2, 3]


def test_nucleus_of_a_flat_distribution_is_not_cut_short() -> None:
    """More tokens than the quick look covers."""
    _, ids = cut(torch.zeros(VOCAB), 0, 0.5, 0.0)
    assert ids is not None
    assert len(ids) in {500, 501}


@pytest.mark.parametrize("spread", [1.0, 3.0, 6.0])
def test_equals_in_the_nucleus_come_in_the_vocabularys_order(spread: float) -> None:
    """Logits of a bf16 model are often equal; what is kept of them is what a stable sort of everything keeps."""
    for seed in range(8):
        row = (torch.randn(49152, generator=torch.Generator().manual_seed(seed)) * spread).bfloat16().float()
        scores, order = row.sort(descending=True, stable=True)
        mass = row.double().softmax(-1)[order].cumsum(-1)
        for top_p in (0.001, 0.1, 0.5, 0.9, 0.999):
            got, ids = cut(row, 0, top_p, 0.0)
            assert ids is not None
            last = len(ids) - 1
            assert float(mass[last]) >= top_p - 1e-5  # as far as float32 tells
            assert last == 0 or float(mass[last - 1]) < top_p + 1e-5
            assert ids.tolist() == order[: len(ids)].tolist()
            assert torch.equal(got, scores[: len(ids)])


@pytest.mark.parametrize("penalty", [0.7, 1.1, 2.0])
def test_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    row, seen = logits(3), [5, 5, 17, 999, 0]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([seen]), row.clone())[0]
    torch.testing.assert_close(penalize(row[0], seen, penalty), expected)


@pytest.mark.parametrize("vocab", [5, 128, 1000, 4096, 50257])
@pytest.mark.parametrize("k", [1, 5, 64])
def test_the_search_by_blocks_finds_what_topk_finds(vocab: int, k: int) -> None:
    rows = torch.randn(3, vocab, generator=torch.Generator().manual_seed(vocab))
    scores, places = top(rows, min(k, vocab))
    expected = rows.topk(min(k, vocab))
    assert torch.equal(scores, expected.values)
    assert torch.equal(places, expected.indices)
    assert best(rows).tolist() == rows.argmax(-1).tolist()


def test_of_equals_the_first_is_best_as_in_argmax() -> None:
    row = torch.zeros(1000).index_fill(0, torch.tensor([999, 300, 301]), 2.0)
    assert best(row.unsqueeze(0)).tolist() == [int(row.argmax())] == [300]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (8.0, 20.0), (1.0, -500.0), (1.0, 500.0), (200.0, 0.0)])
def test_the_log_of_the_sum_is_torchs(scale: float, offset: float) -> None:
    rows = torch.randn(3, 49_153, generator=torch.Generator().manual_seed(1)) * scale + offset
    torch.testing.assert_close(log_sum_exp(rows, block_maxima(rows)), rows.logsumexp(dim=-1))


def test_greedy_takes_the_best_and_the_penalty_may_change_it() -> None:
    row = torch.zeros(1, VOCAB)
    row[0, 4], row[0, 9] = 2.0, 1.9
    sampler = Sampler(VOCAB, torch.device("cpu"))
    assert sampler.sample(row, [sequence(tokens=(4,), temperature=0.0)])[0].id == 4
    assert sampler.sample(row, [sequence(tokens=(4,), temperature=1e-40, top_p=0.9, seed=1)])[0].id == 4
    assert sampler.sample(row, [sequence(tokens=(4,), temperature=0.0, repetition_penalty=1.2)])[0].id == 9


def test_candidates_are_the_models_own_opinion() -> None:
    row = logits(1)
    sampled = Sampler(VOCAB, torch.device("cpu")).sample(row, [sequence(temperature=0.2, top_k=3, seed=1)])[0]
    log_probabilities = row[0].log_softmax(-1)
    assert sampled.logprob == pytest.approx(float(log_probabilities[sampled.id]), abs=1e-5)
    assert [token for token, _, _ in sampled.candidates] == row[0].topk(8).indices.tolist()
    for token, logit, probability in sampled.candidates:
        assert logit == pytest.approx(float(row[0, token]))
        assert probability == pytest.approx(float(log_probabilities[token].exp()), rel=1e-4)
    assert sum(p for _, _, p in sampled.candidates) + sampled.rest == pytest.approx(1.0, abs=1e-5)


def test_a_seed_gives_the_same_draws_whoever_shares_the_step() -> None:
    def draws(company: int) -> list[int]:
        sampler, drawn = Sampler(VOCAB, torch.device("cpu")), []
        ours = sequence("ours", temperature=1.0, seed=42, top_p=0.95)
        others = [sequence(f"other-{i}", temperature=1.0) for i in range(company)]
        for step in range(20):
            rows = torch.cat([logits(1000 + step + i, spread=1.0) for i in range(company)] + [logits(step)])
            drawn.append(sampler.sample(rows, [*others, ours])[-1].id)
        return drawn

    assert draws(0) == draws(0) == draws(5)


def test_without_a_seed_two_requests_differ() -> None:
    def draws(name: str) -> list[int]:
        sampler, one = Sampler(VOCAB, torch.device("cpu")), sequence(name, temperature=1.0)
        return [sampler.sample(torch.zeros(1, VOCAB), [one])[0].id for _ in range(10)]

    assert draws("a") != draws("b")


def test_a_finished_request_leaves_no_generator() -> None:
    sampler = Sampler(VOCAB, torch.device("cpu"))
    first = [sampler.sample(logits(), [sequence(temperature=1.0, seed=3)])[0].id for _ in range(3)]
    sampler.forget(SequenceId("r"))
    assert [sampler.sample(logits(), [sequence(temperature=1.0, seed=3)])[0].id for _ in range(3)] == first


@pytest.mark.parametrize(
    "params",
    [{"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.9}, {"temperature": 1.3, "top_k": 6, "min_p": 0.02}],
)
def test_draws_follow_the_distribution(params: dict[str, float]) -> None:
    row = torch.tensor([[2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -1.5, -2.0, -2.5, -3.0]])
    sampler, one = Sampler(row.shape[1], torch.device("cpu")), sequence(seed=11, **params)
    num_draws = 8000
    counts = torch.zeros(row.shape[1])
    for _ in range(num_draws):
        counts[sampler.sample(row, [one], describe=False)[0].id] += 1
    scores, ids = cut(
        row[0] / params["temperature"], params.get("top_k", 0), params.get("top_p", 1.0), params.get("min_p", 0.0)
    )
    expected = torch.zeros(row.shape[1])
    expected[slice(None) if ids is None else ids] = scores.softmax(-1) * num_draws
    kept = expected > 0
    assert counts[~kept].sum() == 0
    observed, wanted = counts[kept].double(), expected[kept].double()
    assert chisquare(observed.numpy(), (wanted / wanted.sum() * observed.sum()).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0), ("max_tokens", 1.5), ("temperature", -0.1), ("temperature", float("nan")),
        ("temperature", True), ("top_p", 0.0), ("top_p", 1.1), ("top_k", -1), ("min_p", 1.5), ("min_p", float("inf")),
        ("repetition_penalty", 0.0), ("seed", -1), ("seed", 2**64), ("stop", ("",)), ("n", 0), ("n", 17),
        ("n", 1000), ("n", 1.5), ("n", True),
        ("drafter", 5),
    ],
)  # fmt: skip
def test_params_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SamplingParams(**{field: value}).validate()


def test_default_params_are_valid() -> None:
    SamplingParams().validate()
    SamplingParams(temperature=0, top_p=1, seed=0, min_p=1, stop=("\n",)).validate()
