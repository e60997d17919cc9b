"""How a Hugging Face model reads and writes our paged cache.

transformers lets a model call any registered function in place of its attention. Ours gets all tokens of a step packed
into one row ``[1, T]`` and, as the keyword ``kv``, the step's context: where each token's key and value go, and which
blocks each sequence reads. Everything that can be computed once a step is computed here once, not once a layer.

Causality, sliding windows, soft-caps and sinks are ours to honour, because no mask function is registered.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional
from transformers import AttentionInterface

from inference.attention.reference import Rule, attend, causal_mask

if TYPE_CHECKING:
    from inference.attention.triton_paged import PackedSpans

NAME = "openkitchen_paged"


class KVCache:
    """Keys and values of all layers and blocks as one tensor,
    ``[layers, blocks, block_size, 2, kv_heads, head_dim]``: a block is contiguous, so one gather brings both."""

    def __init__(
        self,
        num_layers: int,
        num_blocks: int,
        block_size: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.block_size = block_size
        self._dtype = dtype
        room, stored = self._storage(head_dim, dtype)
        self.tensor = torch.zeros(
            num_layers, num_blocks, block_size, 2, num_kv_heads, room, dtype=stored, device=device
        )
        flat = self.tensor.flatten(1, 2)
        self.blocks = list(self.tensor.unbind(0))
        """Per layer: [blocks, block_size, 2, kv_heads, head_dim]."""
        self.keys = [layer[:, 0] for layer in flat.unbind(0)]
        """Per layer: [slots, kv_heads, head_dim]."""
        self.values = [layer[:, 1] for layer in flat.unbind(0)]
        self.attend = attend_for(self.tensor.device, stored)

    def copy_blocks(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        """Copy whole blocks, keys and values of all layers: block ``sources[i]`` to ``targets[i]``. All are read before
        any is written; no target may be named twice."""
        self.tensor.index_copy_(1, targets, self.tensor.index_select(1, sources))

    def write(self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        """Put tokens' ``key`` and ``value`` [tokens, kv_heads, head_dim] into ``slots``."""
        self.keys[layer].index_copy_(0, slots, key)
        self.values[layer].index_copy_(0, slots, value)

    def read(self, layer: int, blocks: torch.Tensor) -> torch.Tensor:
        """What stands in ``blocks``: [blocks, block_size, 2, kv_heads, head_dim], in the model's dtype."""
        return self._restored(self.blocks[layer].index_select(0, blocks), self._dtype)

    def norms(self, slots: torch.Tensor) -> torch.Tensor:
        """Euclidean norms of what stands in ``slots``: [2 (keys, values), layers, kv_heads, slots], float32."""
        gathered = self._restored(self.tensor.flatten(1, 2).index_select(1, slots), torch.float32)
        return cast(torch.Tensor, torch.linalg.vector_norm(gathered, dim=-1)).permute(2, 0, 3, 1)

    # How a vector is stored: caches in other precisions say it otherwise, and round what they ``write``.

    def _storage(self, head_dim: int, dtype: torch.dtype) -> tuple[int, torch.dtype]:
        """Elements that a vector takes, and their dtype."""
        return head_dim, dtype

    def _restored(self, stored: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """[..., elements] as they stand -> [..., head_dim] in ``dtype``."""
        return stored.to(dtype)


@dataclass(slots=True)
class Span:
    """Several consecutive tokens of one sequence: rows ``first:last`` of the pack, ``start`` the first's position."""

    first: int
    last: int
    start: int
    blocks: torch.Tensor
    masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return self.start + self.last - self.first

    def mask(self, sliding_window: int | None) -> torch.Tensor | None:
        """[queries, length], or None where plain top-left causality is right."""
        if sliding_window not in self.masks:
            plain = self.start == 0 and (sliding_window is None or sliding_window >= self.length)
            positions = torch.arange(self.start, self.length, device=self.blocks.device)
            self.masks[sliding_window] = None if plain else causal_mask(positions, self.length, sliding_window)
        return self.masks[sliding_window]


@dataclass(slots=True)
class Singles:
    """One token each of several sequences of like length, or, where drafts are verified, ``width`` consecutive tokens
    each: rows ``first:last``, sequence by sequence; block tables padded to the longest."""

    first: int
    last: int
    positions: torch.Tensor
    """[sequences], of the first token of each."""
    blocks: torch.Tensor
    """[sequences * blocks_each]; what padding points to is masked."""
    length: int
    """Of the longest, its last token included."""
    width: int = 1
    masks: dict[int | None, torch.Tensor | None] = field(default_factory=dict)

    @property
    def num_sequences(self) -> int:
        return (self.last - self.first) // self.width

    def mask(self, sliding_window: int | None) -> torch.Tensor | None:
        """[sequences, 1, width, length], or None where all see everything."""
        if sliding_window not in self.masks:
            alone = self.last - self.first == 1 and (sliding_window is None or sliding_window >= self.length)
            positions = self.positions.unsqueeze(1) + torch.arange(self.width, device=self.positions.device)
            mask = None if alone else causal_mask(positions, self.length, sliding_window).unsqueeze(1)
            self.masks[sliding_window] = mask
        return self.masks[sliding_window]


@dataclass(slots=True)
class QueryWatch:
    """Keeps the queries of some packed rows, for a probe to look at after the step."""

    rows: torch.Tensor
    """[n]"""
    layer: int | None = None
    """None: of all layers."""
    queries: dict[int, torch.Tensor] = field(default_factory=dict)
    """Per layer: [heads, n, head_dim], after RoPE."""
    rules: dict[int, Rule] = field(default_factory=dict)

    def see(self, layer: int, query: torch.Tensor, rule: Rule) -> None:
        """``query`` [1, heads, T, head_dim] of the whole pack."""
        if self.layer is None or self.layer == layer:
            self.queries[layer] = query[0].index_select(1, self.rows)
            self.rules[layer] = rule


@dataclass(slots=True)
class StepContext:
    """What the attention of one step needs to know, the same for every layer."""

    cache: KVCache
    slots: torch.Tensor
    """[T]: where in the cache each packed token's key and value go."""
    singles: list[Singles]
    spans: list[Span]
    packed_spans: PackedSpans | None = None
    """``spans`` as the prefill kernel wants them, once it has asked."""
    watches: Sequence[QueryWatch] = ()


Attend = Callable[[int, torch.Tensor, StepContext, Rule], torch.Tensor]
"""Attention of a step's packed queries with one layer's keys and values, as in ``attend_with_torch``."""


def attend_for(device: torch.device, dtype: torch.dtype) -> Attend:
    """Who reads a cache of ``dtype`` on ``device``: the Triton kernels on a GPU, where Triton is, else torch."""
    if (
        device.type == "cuda"
        and dtype in (torch.float32, torch.float16, torch.bfloat16)
        and importlib.util.find_spec("triton") is not None
    ):
        from inference.attention.triton_paged import attend_with_triton

        return attend_with_triton
    return attend_with_torch


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    kv: StepContext,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Write this layer's keys and values, then attend. ``query`` [1, heads, T, dim] -> [1, T, heads, dim]."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    kv.cache.write(layer, kv.slots, key[0].transpose(0, 1), value[0].transpose(0, 1))
    rule = Rule(query.shape[-1] ** -0.5 if scaling is None else scaling, sliding_window, softcap, s_aux)
    for watch in kv.watches:
        watch.see(layer, query, rule)
    return kv.cache.attend(layer, query, kv, rule), None


def attend_with_torch(layer: int, query: torch.Tensor, kv: StepContext, rule: Rule) -> torch.Tensor:
    """``query`` [1, heads, T, dim], of ``layer`` -> [1, T, heads, dim]."""
    parts: list[Singles | Span] = [*kv.singles, *kv.spans]
    if len(parts) == 1:
        gathered = kv.cache.read(layer, parts[0].blocks)
        return _attend_part(parts[0], query, gathered, rule)
    output = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
    for part in parts:
        rows = query[:, :, part.first : part.last]
        gathered = kv.cache.read(layer, part.blocks)
        output[:, part.first : part.last] = _attend_part(part, rows, gathered, rule)
    return output


def _attend_part(part: Singles | Span, query: torch.Tensor, gathered: torch.Tensor, rule: Rule) -> torch.Tensor:
    """``query`` [1, heads, rows, dim] -> [1, rows, heads, dim]; ``gathered``: what stands in the part's blocks."""
    scaling, sliding_window, softcap, sinks = rule
    _, heads, rows, dim = query.shape
    batch = part.num_sequences if isinstance(part, Singles) else 1
    gathered = gathered.view(batch, -1, 2, *gathered.shape[3:])[:, : part.length]
    key, value = gathered.permute(2, 0, 3, 1, 4).unbind(0)
    mask = part.mask(sliding_window)
    plain = softcap is None and sinks is None
    if isinstance(part, Singles):
        query = query.view(heads, batch, part.width, dim).transpose(0, 1)
        if plain:
            # The heads that share a key head are its queries: nothing needs repeating, and their masks are the same.
            groups = heads // key.shape[1]
            query = query.reshape(batch, key.shape[1], groups * part.width, dim)
            if mask is not None and part.width > 1:
                mask = mask.repeat(1, 1, groups, 1)
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
            attended = attended.view(batch, heads, part.width, dim)
        else:
            attended = attend(query, key, value, mask, scaling, softcap=softcap, sinks=sinks)
        return attended.transpose(1, 2).reshape(1, rows, heads, dim)
    if plain:
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=heads != key.shape[1]
        )
    else:
        if mask is None:
            mask = causal_mask(torch.arange(part.start, part.length, device=key.device), part.length, None)
        attended = attend(query, key, value, mask, scaling, softcap=softcap, sinks=sinks)
    return attended.transpose(1, 2)


AttentionInterface.register(NAME, paged_attention)
