"""Attention in plain torch: the oracle that anything faster is tested against, and the path for odd models."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Rule(NamedTuple):
    """What a layer's attention is told beside its queries, keys and values."""

    scaling: float
    sliding_window: int | None = None
    """A query sees at most so many keys, its own included."""
    softcap: float | None = None
    sinks: torch.Tensor | None = None
    """[heads]"""


def causal_mask(positions: torch.Tensor, length: int, sliding_window: int | None) -> torch.Tensor:
    """Which of ``length`` keys each query may see, ``[queries, length]`` bool: its own position and before, and of
    those at most the last ``sliding_window``."""
    keys = torch.arange(length, device=positions.device)
    queries = positions.unsqueeze(-1)
    mask = keys <= queries
    if sliding_window is not None:
        mask &= keys > queries - sliding_window
    return mask


def scores(query: torch.Tensor, key: torch.Tensor, scaling: float, softcap: float | None = None) -> torch.Tensor:
    """How well each key answers each query: ``query`` [..., queries, dim], ``key`` [..., length, dim] ->
    [..., queries, length]. ``softcap`` squashes them to (-softcap, softcap) (Gemma 2)."""
    found = torch.matmul(query, key.transpose(-2, -1)) * scaling
    return found if softcap is None else torch.tanh(found / softcap) * softcap


def attention_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    *,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """The softmax of the scores over the keys, arguments as for ``attend``: [batch, heads, queries, length] float32.
    Rows sum to 1, or with ``sinks`` to what these have left."""
    groups = query.shape[1] // key.shape[1]
    found = scores(query, key.repeat_interleave(groups, dim=1), scaling, softcap).float()
    if mask is not None:
        found = found.masked_fill(~mask, float("-inf"))
    if sinks is None:
        return found.softmax(dim=-1)
    extra = sinks.float().reshape(1, -1, 1, 1).expand(*found.shape[:3], 1)
    return torch.cat([found, extra], dim=-1).softmax(dim=-1)[..., :-1]


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
    weights = attention_weights(query, key, mask, scaling, softcap=softcap, sinks=sinks)
    return torch.matmul(weights.to(value.dtype), value.repeat_interleave(query.shape[1] // value.shape[1], dim=1))
