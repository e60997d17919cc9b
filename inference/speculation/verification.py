"""From the target's logits to a verdict on one sequence's drafts.

The pass that computed the last certain token and ``k`` drafts left ``k + 1`` rows of logits. Row ``i`` says what may
stand after the first ``i`` drafts. Each becomes the distribution that the sampler would draw from there, its penalties
counting the drafts before it; ``rejection.judge`` does the rest.

``judge`` reads whole vocabularies, but a token that neither target nor drafter can say changes nothing: so it is given
the tokens that somebody can say, which after top-k or top-p are a few of the many thousands.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inference.sampler import Distribution, best, certain, distribution, is_plain
from inference.sequence import Sequence
from inference.speculation.drafter import Draft
from inference.speculation.rejection import judge


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a draft."""

    num_accepted: int
    token_id: int
    """What follows the accepted drafts: recovered after a rejection, else the bonus."""
    p: list[float]
    """Of each draft up to the first rejected: what the target gave it."""
    q: list[float]
    """And the drafter."""


def verify(rows: torch.Tensor, sequence: Sequence, draft: Draft, uniforms: torch.Tensor) -> Verdict:
    """Judge ``draft``, which continues ``sequence``, by ``rows`` [k + 1, vocab] float32 of logits and ``uniforms``
    [k + 1] float64 in [0, 1) (see ``judge``)."""
    drafted = torch.tensor(draft.token_ids, device=rows.device)
    q = [certain(token) for token in drafted.split(1)] if draft.q is None else draft.q
    ids, weights = over_one_support([*targets(rows, sequence, draft.token_ids), *q], rows.shape[1])
    places = drafted if ids is None else torch.searchsorted(ids, drafted)
    target, drafter = weights[: len(rows)], weights[len(rows) :]
    judgement = judge(target, drafter, places, uniforms)
    judged = torch.arange(min(judgement.num_accepted + 1, len(drafted)), device=rows.device)
    return Verdict(
        judgement.num_accepted,
        judgement.token_id if ids is None else int(ids[judgement.token_id]),
        target[judged, places[judged]].tolist(),
        drafter[judged, places[judged]].tolist(),
    )


def targets(rows: torch.Tensor, sequence: Sequence, drafted: list[int]) -> list[Distribution]:
    """What each of ``rows`` would be drawn from: row ``i`` follows the first ``i`` of ``drafted``."""
    if is_plain(sequence.params):
        return [certain(token) for token in best(rows).split(1)]
    return [
        distribution(row, sequence.params, sequence.token_ids + drafted[:index]) for index, row in enumerate(rows)
    ]


def over_one_support(distributions: list[Distribution], vocab_size: int) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The tokens that any of ``distributions`` gives mass to, in order (None: the whole vocabulary), and the mass of
    each: [n] int64 and [distributions, n] float64."""
    supports = [each.ids for each in distributions if each.ids is not None]
    ids = torch.cat(supports).unique() if len(supports) == len(distributions) else None
    size = vocab_size if ids is None else len(ids)
    weights = distributions[0].mass.new_zeros(len(distributions), size)
    for row, each in zip(weights, distributions, strict=True):
        if each.ids is None:
            row.copy_(each.mass)
        else:
            row.index_copy_(0, each.ids if ids is None else torch.searchsorted(ids, each.ids), each.mass)
    return ids, weights
