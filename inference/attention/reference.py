"""Attention in plain torch: the oracle that anything faster is tested against, and the path for odd models."""

from __future__ import annotations

import torch


def causal_mask(positions: torch.Tensor, length: int, sliding_window: int | None) -> torch.Tensor:
    """Which of ``length`` keys each query may see, ``[queries, length]`` bool: its own position and before, and of
    those at most the last ``sliding_window``."""
    keys = torch.arange(length, device=positions.device)
    queries = positions.unsqueeze(-1)
    mask = keys <= queries
    if sliding_window is not None:
        mask &= keys > queries - sliding_window
    return mask


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    *,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Softmax attention, gathered and in the open.

    ``query`` [batch, heads, queries, dim]; ``key``, ``value`` [batch, kv_heads, length, dim]; ``mask`` broadcasts to
    [batch, 1, queries, length], true where seen. ``softcap`` squashes scores to (-softcap, softcap) (Gemma 2);
    ``sinks`` [heads] are one extra score a head that takes weight and gives nothing (gpt-oss).
    Scores are softmaxed in float32. Returns [batch, heads, queries, dim] in the query's dtype.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.float()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    if sinks is not None:
        extra = sinks.float().reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        weights = torch.cat([scores, extra], dim=-1).softmax(dim=-1)[..., :-1]
    else:
        weights = scores.softmax(dim=-1)
    return torch.matmul(weights.to(value.dtype), value)
