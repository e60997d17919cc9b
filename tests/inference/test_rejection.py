"""Rejection sampling: what comes out has the target's distribution, whatever the drafter thinks."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from scipy.stats import chisquare

from inference.speculation import rejection
from inference.speculation.rejection import Judgement, draw, judge

DRAWS = 26_000
"""Of each kind of drafter: over 100,000 together."""
BIASED_DRAWS = 7_000
"""Enough for each planted bias to show beyond doubt."""
P = torch.tensor([[0.02, 0.3, 0.08, 0.4, 0.15, 0.05], [0.5, 0.02, 0.18, 0.2, 0.04, 0.06]])
"""At the drafts' two places; a token that follows both is drawn from the first again."""
DRAFTERS = {
    "matching": P,
    "mismatched": torch.tensor([[0.5, 0.1, 0.2, 0.05, 0.05, 0.1], [0.1, 0.3, 0.1, 0.1, 0.2, 0.2]]),
    "of three tokens": torch.tensor([[0.2, 0.5, 0.3, 0.0, 0.0, 0.0], [0.6, 0.3, 0.1, 0.0, 0.0, 0.0]]),
    "of other tokens": torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.3, 0.7], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]]),
}


def p_values(module: ModuleType, q: torch.Tensor, num_draws: int) -> list[float]:
    """Chi-squared of the first token against p[0], and, where the first draft was kept, of the second against p[1]."""
    generator = torch.Generator().manual_seed(7)
    drafts = torch.stack([torch.multinomial(row, num_draws, replacement=True, generator=generator) for row in q], dim=1)
    uniforms = torch.rand(num_draws, 3, dtype=torch.float64, generator=generator)
    target = torch.cat([P, P[:1]])
    counts = torch.zeros(2, P.shape[1])
    for ids, draws in zip(drafts, uniforms, strict=True):
        judged = module.judge(target, q, ids, draws)
        tokens = [*ids[: judged.num_accepted].tolist(), judged.token_id]
        for place, token in enumerate(tokens[:2]):
            counts[place, token] += 1
    return [
        float(chisquare(seen.double().numpy(), (row.double() / row.double().sum() * seen.sum()).numpy()).pvalue)
        for seen, row in zip(counts, P, strict=True)
        if seen.sum() > 100
    ]


@pytest.mark.parametrize("name", DRAFTERS)
def test_the_distribution_is_the_targets(name: str) -> None:
    assert min(p_values(rejection, DRAFTERS[name], DRAWS)) > 1e-3


BIASES = {
    "accepting always": ("if not uniforms[place] * q[place, draft].double() < p[place, draft].double():", "if False:"),
    "a residual of known tokens": ("weights - q[accepted].double())", "weights * (q[accepted] > 0) - q[accepted])"),
    "recovering from the target": ("weights = residual if bool(residual.any()) else weights", "pass"),
}  # fmt: skip


@pytest.mark.parametrize("name", BIASES)
def test_a_planted_bias_is_caught(name: str) -> None:
    right, wrong = BIASES[name]
    source = Path(rejection.__file__).read_text()
    assert right in source
    mutant = ModuleType("inference.speculation.mutant")
    mutant.__dict__["__name__"] = rejection.__name__  # where a dataclass looks for its module
    exec(source.replace(right, wrong), mutant.__dict__)
    assert min(p_values(mutant, DRAFTERS["of three tokens"], BIASED_DRAWS)) < 1e-9


def uniforms(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_first_rejection_ends_it() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.2, 0.3, 0.5]])
    q = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    ids = torch.tensor([0, 0])
    assert judge(p, q, ids, uniforms(0.49, 0.0, 0.4)) == Judgement(1, 1)  # p = 0 is never kept, not even at draw 0
    assert judge(p, q, ids, uniforms(0.51, 0.0, 0.4)) == Judgement(0, 1)
    assert judge(p[[0, 0, 2]], q, ids, uniforms(0.49, 0.0, 0.9)) == Judgement(2, 2)  # the bonus, from the last row


def test_greedy_does_not_depend_on_the_draws() -> None:
    p, q = torch.eye(5)[[3, 1, 4]], torch.eye(5)[[3, 2]]
    for draw_at in (0.0, 0.3, 1 - 2**-53):
        assert judge(p, q, torch.tensor([3, 2]), uniforms(draw_at, draw_at, draw_at)) == Judgement(1, 1)


def test_without_drafts_it_samples() -> None:
    none = torch.empty(0, 4)
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    assert judge(p, none, torch.empty(0, dtype=torch.long), uniforms(0.35)) == Judgement(0, 2)


def test_rounding_leaves_no_residual() -> None:
    """p under q at the draft by rounding alone, and over it nowhere."""
    p = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    q = torch.nextafter(p[:1], torch.ones(1, 2))
    assert judge(p, q, torch.tensor([0]), uniforms(1 - 2**-53, 0.5)) == Judgement(0, 1)


def test_a_draw_never_points_at_what_cannot_be() -> None:
    weights = torch.tensor([0.0, 0.1, 0.2, 0.0], dtype=torch.float64)
    assert draw(weights, uniforms(0.0)[0]) == 1
    assert draw(weights, uniforms(1 - 2**-53)[0]) == 2
