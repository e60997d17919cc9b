"""Rejection sampling: drafts are kept or replaced so that what comes out has the target's distribution, whatever the
drafter thinks (Leviathan, Kalman and Matias 2023, algorithm 1; Chen et al. 2023).

The uniform draws are given, so that the same draws give the same tokens here, in the kernel beside it
(``triton_rejection.py``), and in a log that is read again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Judgement:
    """How many of the drafts are kept, and the token that follows them: recovered from the residual after a rejection,
    else the bonus."""

    num_accepted: int
    token_id: int


def judge(p: torch.Tensor, q: torch.Tensor, draft_ids: torch.Tensor, uniforms: torch.Tensor) -> Judgement:
    """Judge ``k`` drafts of one sequence (``k`` may be 0: then a token is drawn from ``p``).

    ``p`` [k + 1, vocab]: what the target would draw from at each draft's place and the one after; ``q`` [k, vocab]:
    what the draft was drawn from, zero where the drafter cannot go; ``draft_ids`` [k] int64; ``uniforms`` [k + 1]
    float64 in [0, 1): one a draft, and the last for the token that follows. All after temperature and cuts: where
    these leave one token (greedy), the outcome does not depend on the draws.

    Draft x is kept with probability min(1, p(x) / q(x)). After the first that is not, the token is drawn from
    (p - q)+ over the *whole* vocabulary, normalised: over the drafter's own list the result would be biased.
    """
    accepted = 0
    for place, draft in enumerate(draft_ids.tolist()):
        # Not p / q > u: nothing is divided, and a token that the target never says (p = 0) is never kept.
        if not uniforms[place] * q[place, draft].double() < p[place, draft].double():
            break
        accepted += 1
    weights = p[accepted].double()
    if accepted < len(draft_ids):
        residual = (weights - q[accepted].double()).clamp(min=0.0)
        # All zero only where p and q are equal but for rounding; then p is what is left.
        weights = residual if bool(residual.any()) else weights
    return Judgement(accepted, draw(weights, uniforms[-1]))


def draw(weights: torch.Tensor, uniform: torch.Tensor) -> int:
    """The token at ``uniform`` (in [0, 1)) of the cumulated ``weights`` [vocab], which need not sum to 1."""
    cumulated = weights.cumsum(dim=-1)
    token = int((cumulated <= uniform * cumulated[-1]).sum())
    return min(token, int(weights.nonzero()[-1]))  # rounding may point past the last token that has any weight
