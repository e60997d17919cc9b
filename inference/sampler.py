"""Draws tokens. The order of the cuts is the field's: repetition penalty, temperature, top-k, top-p, min-p.

Every sequence has a random generator of its own, so that what it draws does not depend on who shares its steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from inference.sequence import Sequence, SequenceId

NUM_CANDIDATES = 8
GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: dividing by them would leave float32."""
_BLOCK = 128
"""The vocabulary is searched by the maxima of blocks of this size: several times faster than ``topk`` on a CPU."""
_MODERATE = 60.0
"""exp of it, times any vocabulary, is far from float32's ends (e^-87 and e^88)."""
_NUCLEI = (64, 2048)
"""Most nuclei fit into so many tokens; only the others pay for sorting the whole vocabulary."""


@dataclass(slots=True)
class Sampled:
    """A drawn token, and what the model itself thought (temperature 1, before any cut): its log-probability, the most
    likely ``candidates`` as (id, logit, probability), and the ``rest`` of the mass."""

    id: int
    logprob: float
    candidates: list[tuple[int, float, float]]
    rest: float


class Sampler:
    """Draws the next token of several sequences from their logits."""

    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._num_candidates = min(NUM_CANDIDATES, vocab_size)
        self._device = device
        self._generators: dict[SequenceId, torch.Generator] = {}

    def forget(self, sequence_id: SequenceId) -> None:
        self._generators.pop(sequence_id, None)

    @torch.inference_mode()
    def sample(self, logits: torch.Tensor, sequences: list[Sequence], *, describe: bool = True) -> list[Sampled]:
        """One token for each row of ``logits`` [n, vocab] float32. Without ``describe`` the model's own opinion is
        not worked out (logprob 0, no candidates)."""
        plain = [_is_plain(sequence) for sequence in sequences]
        maxima = block_maxima(logits) if describe or any(plain) else None
        greedy = best(logits, maxima).tolist() if any(plain) else [0] * len(plain)
        ids = [
            token if is_plain else self._draw(row, sequence)
            for token, is_plain, row, sequence in zip(greedy, plain, logits, sequences, strict=True)
        ]
        if not describe:
            return [Sampled(token, 0.0, [], 0.0) for token in ids]
        assert maxima is not None, "worked out above"
        log_sum = log_sum_exp(logits, maxima)
        chosen = logits.gather(1, torch.tensor(ids, device=self._device).unsqueeze(1)).squeeze(1) - log_sum
        top_logits, top_ids = top(logits, self._num_candidates, maxima)
        probabilities = (top_logits - log_sum.unsqueeze(1)).exp()
        rest = (1.0 - probabilities.sum(dim=-1)).clamp(min=0.0)
        rows = zip(
            ids,
            chosen.tolist(),
            top_ids.tolist(),
            top_logits.tolist(),
            probabilities.tolist(),
            rest.tolist(),
            strict=True,
        )
        return [Sampled(i, c, list(zip(ti, tl, p, strict=True)), r) for i, c, ti, tl, p, r in rows]

    def _draw(self, row: torch.Tensor, sequence: Sequence) -> int:
        params = sequence.params
        if params.repetition_penalty != 1.0:
            row = penalize(row, sequence.token_ids, params.repetition_penalty)
        if params.temperature < GREEDY_BELOW:
            return int(best(row.unsqueeze(0)))
        scores, ids = cut(row / params.temperature, params.top_k, params.top_p, params.min_p)
        cumulative = scores.double().softmax(dim=-1).cumsum(dim=-1)
        generator = self._generator(sequence)
        uniform = torch.rand((), dtype=torch.float64, generator=generator).to(self._device) * cumulative[-1]
        index = int(torch.searchsorted(cumulative, uniform, right=True))
        index = min(index, len(cumulative) - 1)
        return index if ids is None else int(ids[index])

    def _generator(self, sequence: Sequence) -> torch.Generator:
        generator = self._generators.get(sequence.id)
        if generator is None:
            generator = torch.Generator()
            if sequence.seed is None:
                generator.seed()
            else:
                generator.manual_seed(sequence.seed)
            self._generators[sequence.id] = generator
        return generator


def _is_plain(sequence: Sequence) -> bool:
    return sequence.params.temperature < GREEDY_BELOW and sequence.params.repetition_penalty == 1.0


def penalize(row: torch.Tensor, token_ids: list[int], penalty: float) -> torch.Tensor:
    """Make every token that occurs in ``token_ids`` less likely: logits divided by ``penalty`` if positive, else
    multiplied (CTRL, Keskar et al. 2019; as in transformers, the prompt counts too)."""
    seen = torch.tensor(sorted(set(token_ids)), device=row.device)
    scores = row[seen]
    return row.index_copy(0, seen, torch.where(scores < 0, scores * penalty, scores / penalty))


def cut(row: torch.Tensor, top_k: int, top_p: float, min_p: float) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What may be drawn from one row of scores: the scores that survive the cuts, most likely first, and their ids
    (None: all of them, in the vocabulary's order)."""
    ids: torch.Tensor | None = None
    if 0 < top_k < len(row):
        kth = top(row.unsqueeze(0), top_k)[0][0, -1]
        ids = (row >= kth).nonzero().squeeze(1)
        row = row[ids]
    if top_p < 1.0:
        row, order = _nucleus(row, top_p)
        ids = order if ids is None else ids[order]
    if min_p > 0.0:
        keep = (row - row.max()).exp() >= min_p
        ids = keep.nonzero().squeeze(1) if ids is None else ids[keep]
        row = row[keep]
    return row, ids


def _nucleus(row: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The fewest most likely scores that together hold at least ``top_p`` of the mass, and their places."""
    log_sum = row.logsumexp(dim=-1)
    for size in (*_NUCLEI, len(row)):
        if size >= len(row):
            scores, order = row.sort(descending=True, stable=True)
        else:
            scores, order = (part[0] for part in top(row.unsqueeze(0), size))
        mass = (scores - log_sum).exp().double().cumsum(dim=-1)
        if size >= len(row) or mass[-1] >= top_p:
            break
    keep = int((mass < top_p).sum()) + 1
    return scores[:keep], order[:keep]


def best(rows: torch.Tensor, maxima: torch.Tensor | None = None) -> torch.Tensor:
    """Place of the largest score of each row, the first of equals: ``rows.argmax(dim=-1)``."""
    block = (block_maxima(rows) if maxima is None else maxima).argmax(dim=-1)
    inside = _blocks(rows)[torch.arange(len(rows), device=rows.device), block]
    return block * _BLOCK + inside.argmax(dim=-1)


def block_maxima(rows: torch.Tensor) -> torch.Tensor:
    """[n, blocks]: the one pass over whole rows that ``best`` and ``top`` can share."""
    return _blocks(rows).amax(dim=-1)


def log_sum_exp(rows: torch.Tensor, maxima: torch.Tensor) -> torch.Tensor:
    """``rows.logsumexp(dim=-1)`` in half its passes: the maxima are known, and where they are moderate, as a language
    model's are, float32 holds the sum without subtracting them first."""
    highest = maxima.amax(dim=-1)
    if bool((highest.abs() < _MODERATE).all()):
        return rows.exp().sum(dim=-1).log()
    shift = highest.unsqueeze(1)
    return highest + (rows - shift).exp_().sum(dim=-1).log()


def top(rows: torch.Tensor, k: int, maxima: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``k`` largest scores of each row and their places, largest first: ``rows.topk(k)``.

    They lie in the ``k`` blocks whose maxima are largest, so only those are looked into.
    """
    if k * _BLOCK >= rows.shape[1]:
        scores, places = rows.topk(k, dim=-1)
        return scores, places
    blocks = _blocks(rows)
    chosen = (block_maxima(rows) if maxima is None else maxima).topk(k, dim=-1).indices
    inside = blocks.gather(1, chosen.unsqueeze(-1).expand(-1, -1, _BLOCK)).flatten(1)
    scores, places = inside.topk(k, dim=-1)
    return scores, chosen.gather(1, places // _BLOCK) * _BLOCK + places % _BLOCK


def _blocks(rows: torch.Tensor) -> torch.Tensor:
    """``rows`` [n, vocab] as [n, blocks, _BLOCK]; a last block that is short is filled with -inf."""
    missing = -rows.shape[1] % _BLOCK
    if missing:
        rows = functional.pad(rows, (0, missing), value=float("-inf"))
    return rows.view(rows.shape[0], -1, _BLOCK)
