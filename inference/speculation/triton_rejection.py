"""The rejection sampler in Triton: all sequences of a batch in one launch, and no distribution leaves the GPU.

One program judges one sequence's drafts, then walks over the vocabulary twice: to know the residual's mass, and to find
the token at the draw. Sums are float64, as in ``rejection.py``: both must stop at the same token.
"""
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

TILE = 1024
"""Tokens of the vocabulary a step of the loops takes."""


@triton.jit
def load_weights(p, q, has_residual, tokens, VOCAB: tl.constexpr):
    """(p - q)+ where there was a rejection, else p; zero past the vocabulary; float64."""
    inside = tokens < VOCAB
    target = tl.load(p + tokens, mask=inside, other=0.0).to(tl.float64)
    draft = tl.load(q + tokens, mask=inside & has_residual, other=0.0).to(tl.float64)
    return tl.maximum(target - draft, 0.0)


@triton.jit
def judge_drafts(p, q, draft_ids, uniforms, accepted, token_ids, K: tl.constexpr, VOCAB: tl.constexpr,
                 TILE: tl.constexpr):  # fmt: skip
    """``accepted`` and ``token_ids`` [sequences]; the rest as in ``judge_batch``."""
    sequence = tl.program_id(0).to(tl.int64)
    p += sequence * (K + 1) * VOCAB
    q += sequence * K * VOCAB
    uniforms += sequence * (K + 1)
    kept = 0
    rejected = 0
    for place in range(K):
        draft = tl.load(draft_ids + sequence * K + place)
        uniform = tl.load(uniforms + place)
        target_p = tl.load(p + place * VOCAB + draft).to(tl.float64)
        draft_q = tl.load(q + place * VOCAB + draft).to(tl.float64)
        rejected = tl.where(uniform * draft_q < target_p, rejected, 1)
        kept += 1 - rejected

    p += kept * VOCAB
    q += kept * VOCAB
    total = tl.zeros([], tl.float64)
    has_residual = rejected == 1
    for start in range(0, VOCAB, TILE):
        total += tl.sum(load_weights(p, q, has_residual, start + tl.arange(0, TILE), VOCAB), 0)
    if total == 0.0:  # p and q are equal but for rounding: p is what is left
        has_residual = False
        for start in range(0, VOCAB, TILE):
            total += tl.sum(load_weights(p, q, has_residual, start + tl.arange(0, TILE), VOCAB), 0)

    goal = tl.load(uniforms + K) * total
    passed = tl.zeros([], tl.float64)
    token = 0
    last = 0
    for start in range(0, VOCAB, TILE):
        tokens = start + tl.arange(0, TILE)
        weights = load_weights(p, q, has_residual, tokens, VOCAB)
        cumulated = passed + tl.cumsum(weights, 0)
        token += tl.sum(((cumulated <= goal) & (tokens < VOCAB)).to(tl.int32), 0)
        last = tl.maximum(last, tl.max(tl.where(weights > 0, tokens, 0), 0))
        passed += tl.sum(weights, 0)
    tl.store(accepted + sequence, kept)
    tl.store(token_ids + sequence, tl.minimum(token, last))


def judge_batch(
    p: torch.Tensor, q: torch.Tensor, draft_ids: torch.Tensor, uniforms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """``judge`` for several sequences with ``k`` drafts each.

    ``p`` [sequences, k + 1, vocab], ``q`` [sequences, k, vocab], ``draft_ids`` [sequences, k] int64, ``uniforms``
    [sequences, k + 1] float64, all contiguous. Returns how many drafts are accepted and the token that follows them,
    both [sequences] int64.
    """
    sequences, places, vocab = p.shape
    accepted, token_ids = (torch.empty(sequences, dtype=torch.long, device=p.device) for _ in range(2))
    judge_drafts[(sequences,)](p, q, draft_ids, uniforms, accepted, token_ids, **constants(places - 1, vocab))
    return accepted, token_ids


def constants(k: int, vocab: int) -> dict[str, Any]:
    """What ``judge_drafts`` is compiled for."""
    return {"K": k, "VOCAB": vocab, "TILE": TILE}
