"""From the target's logits to a verdict on one sequence's drafts.

The pass that computed the last certain token and ``k`` drafts left ``k + 1`` rows of logits. Row ``i`` says what may
stand after the first ``i`` drafts. Each becomes the distribution that the sampler would draw from there, its penalties
counting the drafts before it; ``rejection.judge`` does the rest.

``judge`` reads whole vocabularies, but a token that neither target nor drafter can say changes nothing: so it is given
the tokens that somebody can say, which after top-k or top-p are a few of the many thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from inference.sampler import GREEDY_BELOW, Distribution, Sampler, best, certain, distribution, is_plain
from inference.sequence import Sequence
from inference.speculation.drafter import Draft
from inference.speculation.rejection import judge


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a draft."""

    num_accepted: int
    token_ids: list[int]
    """The accepted drafts and the token that follows them: recovered after a rejection, else the bonus."""
    origin: Literal["recovered", "bonus"]
    """Of the last token; the others are drafts."""
    p: list[float]
    """Of each draft up to the first rejected: what the target gave it."""
    q: list[float]
    """And the drafter."""
    draws: list[float] | None
    """The uniform draw that decided; None where greedy."""


@torch.inference_mode()
def verify(rows: torch.Tensor, sequence: Sequence, draft: Draft, sampler: Sampler) -> Verdict:
    """Judge ``draft``, which continues ``sequence``, by ``rows`` [k + 1, vocab] float32 of logits, with draws of the
    sequence's own."""
    greedy = sequence.params.temperature < GREEDY_BELOW
    uniforms = rows.new_zeros(len(rows), dtype=torch.float64) if greedy else sampler.uniforms(sequence, len(rows))
    drafted = torch.tensor(draft.token_ids, device=rows.device)
    if draft.q is None and is_plain(sequence.params):
        ids, mass = all_certain(torch.cat([best(rows), drafted]))
    else:
        q = [certain(token) for token in torch.split(drafted, 1)] if draft.q is None else draft.q
        ids, mass = over_one_support([*_targets(rows, sequence, draft.token_ids), *q], rows.shape[1])
    target, drafter = mass[: len(rows)], mass[len(rows) :]
    places = drafted if ids is None else torch.searchsorted(ids, drafted)
    judgement = judge(target, drafter, places, uniforms)
    num_judged = min(judgement.num_accepted + 1, len(drafted))
    rejected = judgement.num_accepted < len(drafted)
    follows = judgement.token_id if ids is None else int(ids[judgement.token_id])
    judged = torch.arange(num_judged, device=rows.device), places[:num_judged]
    return Verdict(
        judgement.num_accepted,
        [*draft.token_ids[: judgement.num_accepted], follows],
        "recovered" if rejected else "bonus",
        target[judged].tolist(),
        drafter[judged].tolist(),
        None if greedy else uniforms[:num_judged].tolist(),
    )


def _targets(rows: torch.Tensor, sequence: Sequence, drafted: list[int]) -> list[Distribution]:
    """What each of ``rows`` would be drawn from: row ``i`` follows the first ``i`` of ``drafted``."""
    tokens = sequence.token_ids
    return [distribution(row, sequence.params, tokens + drafted[:index]) for index, row in enumerate(rows)]


def all_certain(token_ids: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
    """``over_one_support`` of distributions that have all their mass on one of ``token_ids`` [distributions] each."""
    ids, places = torch.unique(token_ids, return_inverse=True)
    return ids, torch.eye(len(ids), dtype=torch.float64, device=ids.device)[places]


def over_one_support(distributions: list[Distribution], vocab_size: int) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The tokens that any of ``distributions`` gives mass to, in order (None: the whole vocabulary), and the mass that
    each gives them: [n] int64 and [distributions, n] float64."""
    supports = [each.ids for each in distributions if each.ids is not None]
    ids = torch.unique(torch.cat(supports)) if len(supports) == len(distributions) else None
    mass = distributions[0].mass.new_zeros(len(distributions), vocab_size if ids is None else len(ids))
    for row, each in zip(mass, distributions, strict=True):
        if each.ids is None:
            row.copy_(each.mass)
        else:
            row.index_copy_(0, each.ids if ids is None else torch.searchsorted(ids, each.ids), each.mass)
    return ids, mass
