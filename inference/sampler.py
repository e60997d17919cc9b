"""Draws tokens. The order of the cuts is the field's: repetition penalty, temperature, top-k, top-p, min-p.

Every sequence has a random generator of its own, so that what it draws does not depend on who shares its steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from inference.sequence import MAX_SEED, SamplingParams, Sequence, SequenceId
from inference.speculation.rejection import draw

NUM_CANDIDATES = 8
GREEDY_BELOW = 1e-5
"""Temperatures under this are greedy: dividing by them would leave float32."""
_BLOCK = 128
"""The vocabulary is searched by the maxima of blocks of this size: several times faster than ``topk`` on a CPU."""
_MODERATE = 60.0
"""exp of it, times any vocabulary, is far from float32's ends (e^-87 and e^88)."""
_NUCLEI = (64, 2048)
"""Most nuclei fit into so many tokens; only the others pay for sorting the whole vocabulary."""
_STREAM = 0x9E3779B97F4A7C15
"""Keeps the seeds of streams apart, which within a stream are neighbours (the golden ratio's bits)."""


@dataclass(slots=True)
class Sampled:
    """A drawn token, and what the model itself thought (temperature 1, before any cut): its log-probability, the most
    likely ``candidates`` as (id, logit, probability), and the ``rest`` of the mass."""

    id: int
    logprob: float
    candidates: list[tuple[int, float, float]]
    rest: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a token is drawn from, after every cut."""

    mass: torch.Tensor
    """[n] float64, in all 1."""
    ids: torch.Tensor | None
    """[n] int64: the tokens that have it, each once. None: the whole vocabulary, in its order."""

    def probability(self, token_id: int) -> float:
        """Of one token."""
        return float(self.mass[token_id] if self.ids is None else self.mass[self.ids == token_id].sum())


class Sampler:
    """Draws the next token of several sequences from their logits.

    ``stream`` tells apart samplers whose draws must not depend on each other though their sequences have one seed: a
    drafter that drew with the very numbers by which it is judged would be believed too often.
    """

    def __init__(self, vocab_size: int, device: torch.device, *, stream: int = 0) -> None:
        self._num_candidates = min(NUM_CANDIDATES, vocab_size)
        self._device = device
        self._stream = stream
        self._generators: dict[SequenceId, torch.Generator] = {}

    def forget(self, sequence_id: SequenceId) -> None:
        self._generators.pop(sequence_id, None)

    @torch.inference_mode()
    def sample(self, logits: torch.Tensor, sequences: list[Sequence], *, describe: bool = True) -> list[Sampled]:
        """One token for each row of ``logits`` [n, vocab] float32. Without ``describe`` the model's own opinion is
        not worked out (logprob 0, no candidates)."""
        plain = [is_plain(sequence.params) for sequence in sequences]
        maxima = block_maxima(logits) if describe or any(plain) else None
        greedy = best(logits, maxima).tolist() if any(plain) else [0] * len(plain)
        ids = [
            token if greedily else self._draw(row, sequence)
            for token, greedily, row, sequence in zip(greedy, plain, logits, sequences, strict=True)
        ]
        return self.describe(logits, ids, maxima) if describe else undescribed(ids)

    @torch.inference_mode()
    def describe(self, logits: torch.Tensor, ids: list[int], maxima: torch.Tensor | None = None) -> list[Sampled]:
        """What the model itself thought of ``ids``, which were drawn from the rows of ``logits``."""
        maxima = block_maxima(logits) if maxima is None else maxima
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
        return self.draw_from(distribution(row, sequence.params, sequence.token_ids), sequence)

    def draw_from(self, drawn_from: Distribution, sequence: Sequence) -> int:
        """One token, with the sequence's next draw (greedy takes none)."""
        index = (
            0 if sequence.params.temperature < GREEDY_BELOW else draw(drawn_from.mass, self.uniforms(sequence, 1)[0])
        )
        return index if drawn_from.ids is None else int(drawn_from.ids[index])

    def uniforms(self, sequence: Sequence, count: int) -> torch.Tensor:
        """The next ``count`` draws of the sequence's own generator: float64 in [0, 1)."""
        return torch.rand(count, dtype=torch.float64, generator=self._generator(sequence)).to(self._device)

    def _generator(self, sequence: Sequence) -> torch.Generator:
        generator = self._generators.get(sequence.id)
        if generator is None:
            generator = torch.Generator()
            if sequence.seed is None:
                generator.seed()
            else:
                generator.manual_seed((sequence.seed + self._stream * _STREAM) & MAX_SEED)
            self._generators[sequence.id] = generator
        return generator


def is_plain(params: SamplingParams) -> bool:
    """Whether what is drawn is simply the likeliest token."""
    return params.temperature < GREEDY_BELOW and params.repetition_penalty == 1.0


def undescribed(ids: list[int]) -> list[Sampled]:
    """Drawn tokens of which nobody wants to know more."""
    return [Sampled(token, 0.0, [], 0.0) for token in ids]


def distribution(row: torch.Tensor, params: SamplingParams, token_ids: list[int]) -> Distribution:
    """What is drawn from where ``row`` [vocab] are the logits after ``token_ids``; greedy: all on the likeliest."""
    if params.repetition_penalty != 1.0:
        row = penalize(row, token_ids, params.repetition_penalty)
    if params.temperature < GREEDY_BELOW:
        return certain(best(row.unsqueeze(0)))
    scores, ids = cut(row / params.temperature, params.top_k, params.top_p, params.min_p)
    return Distribution(scores.double().softmax(dim=-1), ids)


def certain(token_id: torch.Tensor) -> Distribution:
    """All mass on one token, [1] int64."""
    return Distribution(torch.ones(1, dtype=torch.float64, device=token_id.device), token_id)


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
    """The fewest most likely scores that together hold at least ``top_p`` of the mass, and their places. Of equals the
    first in the vocabulary comes first: bf16 logits are often equal, and which of them are kept, and where a draw falls
    among them, must follow from the scores alone."""
    log_sum = row.logsumexp(dim=-1)
    for size in (*_NUCLEI, len(row)):
        whole = size >= len(row)
        scores = row.sort(descending=True).values if whole else top(row.unsqueeze(0), size)[0][0]
        mass = (scores - log_sum).exp().double().cumsum(dim=-1)
        if whole or mass[-1] >= top_p:
            break
    keep = min(int((mass < top_p).sum()) + 1, len(scores))
    places = (row >= scores[keep - 1]).nonzero().squeeze(1)
    scores, order = row[places].sort(descending=True, stable=True)
    return scores[:keep], places[order[:keep]]


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
