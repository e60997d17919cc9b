"""How good a model's guesses are on a text, and how far they are from another's.

Perplexity is exp of the mean of -ln p(token | what stands before it): how many tokens the model is, on average,
undecided between. The Kullback-Leibler divergence says more of two versions of one model, because it looks at every
possible token and not only at the one that came: sum of p ln(p / q), p the reference's probabilities, in nats a token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib.resources import files

import msgspec
import torch

from inference.attention.interface import NAME, Span, StepContext
from inference.attention.quantized_cache import make_cache
from inference.linear import prepare
from inference.models import Model

ROWS = 16
"""Tokens of one pass. So few go through the packed kernels of a quantised model, which are what decoding uses."""


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a text, beside the reference."""

    num_tokens: int
    """That were guessed: all but the first."""
    perplexity: float
    reference_perplexity: float
    kl: float
    """Mean Kullback-Leibler divergence of the model's distribution from the reference's, nats a token."""
    agreement: float
    """Share of places where both think the same token the likeliest."""


def fixed_text() -> str:
    """The text that quality is measured on: Mrs Beeton on soup (1861; public domain), 8 kB."""
    return files("inference.texts").joinpath("household_management.txt").read_text(encoding="utf-8")


@torch.inference_mode()
def log_probabilities(
    model: Model, token_ids: Sequence[int], *, kv_cache_dtype: str = "auto", rows: int = ROWS
) -> Iterator[torch.Tensor]:
    """Log-probabilities after each token of ``token_ids``, ``rows`` tokens at a time: float32 [rows, vocab].

    Computed as the engine does it: fused projections, over the paged cache (one block that holds everything).
    """
    module, device = model.module, torch.device(model.device)
    prepare(module, device)
    module.set_attn_implementation(NAME)
    cache = make_cache(model, 1, len(token_ids), kv_cache_dtype)
    ids = torch.tensor(list(token_ids), device=device).unsqueeze(0)
    block = torch.zeros(1, dtype=torch.long, device=device)
    for start in range(0, len(token_ids), rows):
        stop = min(start + rows, len(token_ids))
        positions = torch.arange(start, stop, device=device)
        context = StepContext(cache, positions, [], [Span(0, stop - start, start, block)])
        logits: torch.Tensor = module(
            input_ids=ids[:, start:stop], position_ids=positions.unsqueeze(0), use_cache=False, kv=context
        ).logits[0]
        yield logits.float().log_softmax(dim=-1)


@torch.inference_mode()
def compare(
    model: Model,
    reference: Model,
    token_ids: Sequence[int],
    *,
    kv_cache_dtype: str = "auto",
    rows: int = ROWS,
) -> Quality:
    """``model`` (with ``kv_cache_dtype``) beside ``reference`` on the same tokens. Raises ``ValueError`` for a text of
    fewer than two tokens, or two models that do not share a vocabulary."""
    if len(token_ids) < 2:
        raise ValueError(f"token_ids must hold at least 2 tokens, got {len(token_ids)}")
    if model.card.vocab_size != reference.card.vocab_size:
        raise ValueError(f"vocab_size must be the same, got {model.card.vocab_size} and {reference.card.vocab_size}")
    loss = reference_loss = divergence = agreed = 0.0
    ours = log_probabilities(model, token_ids, kv_cache_dtype=kv_cache_dtype, rows=rows)
    theirs = log_probabilities(reference, token_ids, rows=rows)
    place = 1
    for log_q, log_p in zip(ours, theirs, strict=True):
        following = torch.tensor(list(token_ids[place : place + len(log_p)]), device=log_p.device)
        log_q, log_p = log_q[: len(following)], log_p[: len(following)]  # nothing follows the last token
        loss -= float(log_q.gather(1, following.unsqueeze(1)).double().sum())
        reference_loss -= float(log_p.gather(1, following.unsqueeze(1)).double().sum())
        divergence += float((log_p.exp() * (log_p - log_q)).sum(dim=1).double().sum())
        agreed += float((log_p.argmax(dim=1) == log_q.argmax(dim=1)).sum())
        place += len(following)
    count = len(token_ids) - 1
    return Quality(
        num_tokens=count,
        perplexity=math.exp(loss / count),
        reference_perplexity=math.exp(reference_loss / count),
        kl=divergence / count,
        agreement=agreed / count,
    )
