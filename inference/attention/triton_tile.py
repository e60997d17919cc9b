"""One tile of keys and values: read through a block table, and folded into a softmax that has not seen the rest.

Both attention kernels are a loop over these two steps (online softmax: Milakov and Gimelshein 2018; FlashAttention:
Dao et al. 2022). The score matrix of the reference is never whole anywhere: what stays of the tiles behind is a running
maximum, a running sum and an unnormalised output a row, all float32.
"""
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# ruff: noqa: ANN001, ANN201
# (Triton's language looks like Python and is not: what these functions take are its own pointers and tensors.)

from __future__ import annotations

import torch
import triton
import triton.language as tl

MIN_DOT = 16
"""Tensor cores multiply nothing smaller; smaller sides are padded."""


def layout(heads: int, cache: torch.Tensor) -> dict[str, int]:
    """What both kernels are compiled for: the shape of one layer's ``cache`` [blocks, block_size, 2, kv_heads, dim],
    query heads a key head, and how many keys make a tile: fewer of wide heads, or registers and shared memory would not
    hold it (benchmarks/kernels.md)."""
    _, block_size, _, kv_heads, dim = cache.shape
    padded_dim = max(MIN_DOT, triton.next_power_of_2(dim))
    key_bytes = padded_dim * cache.element_size()
    return {
        "BLOCK_SIZE": block_size,
        "KV_HEADS": kv_heads,
        "GROUPS": heads // kv_heads,
        "DIM": dim,
        "PADDED_DIM": padded_dim,
        "TILE": 64 if key_bytes <= 128 else 32 if key_bytes <= 512 else MIN_DOT,
    }


@triton.jit
def load_tile(
    cache,
    table,
    positions,
    length,
    kv_head,
    BLOCK_SIZE: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
):
    """Keys and values of one head at ``positions`` [tile]: two [tile, PADDED_DIM], zero from ``length`` on.

    ``cache`` is one layer, [blocks, BLOCK_SIZE, 2, KV_HEADS, DIM], ``table`` one sequence's block ids.
    """
    inside = positions < length
    block = tl.load(table + positions // BLOCK_SIZE, mask=inside, other=0)
    slot = block * BLOCK_SIZE + positions % BLOCK_SIZE
    dims = tl.arange(0, PADDED_DIM)
    places = cache + (slot[:, None] * 2 * KV_HEADS + kv_head) * DIM + dims[None, :]
    wanted = inside[:, None] & (dims < DIM)[None, :]
    return tl.load(places, mask=wanted, other=0.0), tl.load(places + KV_HEADS * DIM, mask=wanted, other=0.0)


@triton.jit
def fold(query, key, value, seen, maximum, total, output, scaling, SOFTCAP: tl.constexpr):
    """Take one tile into the running softmax; returns the new maximum, total and output.

    ``query`` [rows, dim]; ``key``, ``value`` [tile, dim]; ``seen`` [rows, tile], true where a row may look;
    ``maximum``, ``total`` [rows], -inf and 0 before the first tile; ``output`` [rows, dim].
    """
    # "ieee": without it float32 would be multiplied as TF32, with 10 bits of mantissa.
    scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scaling
    if SOFTCAP is not None:
        scores = SOFTCAP * (1 - 2 / (tl.exp(2 / SOFTCAP * scores) + 1))  # tanh, which the language lacks
    scores = tl.where(seen, scores, float("-inf"))
    new_maximum = tl.maximum(maximum, tl.max(scores, 1))
    # A row that has seen nothing yet has no maximum, and -inf - -inf is not a number.
    shift = tl.where(new_maximum == float("-inf"), 0.0, new_maximum)
    weights = tl.exp(scores - shift[:, None])
    rescale = tl.exp(maximum - shift)  # what was weighed against the old maximum is worth less against the new
    total = total * rescale + tl.sum(weights, 1)
    output = output * rescale[:, None]
    output = tl.dot(weights.to(value.dtype), value, output, input_precision="ieee")
    return new_maximum, total, output
