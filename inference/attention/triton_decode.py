"""Decode attention over the paged cache in Triton: one query a sequence, all of its context.

One program attends for the query heads that share a key head (so its keys and values are read once) over one *split* of
one sequence's context; a second kernel joins the splits. Without splits a lone sequence would occupy as many
processors of the GPU as the model has key heads (flash-decoding: Dao, Haziza, Massa and Sizov 2023).
"""
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl

from inference.attention.triton_tile import MIN_DOT, fold, layout, load_tile

MIN_SPLIT = 256
"""Keys of a context that is worth splitting off."""
MAX_SPLITS = 32


@triton.jit
def attend_split(
    query,
    cache,
    tables,
    positions,
    sinks,
    outputs,
    maxima,
    totals,
    scaling,
    query_row_stride,
    query_head_stride,
    table_stride,
    BLOCK_SIZE: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    PADDED_GROUPS: tl.constexpr,
    DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    TILE: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """``outputs`` [sequences, heads, SPLITS, DIM], ``maxima`` and ``totals`` [sequences, heads, SPLITS], float32: the
    running softmax after the keys of this split, not yet normalised."""
    sequence, kv_head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(positions + sequence).to(tl.int32) + 1
    first = 0
    if WINDOW is not None:
        first = tl.maximum(length - WINDOW, 0)
    share = tl.cdiv(tl.cdiv(length - first, SPLITS), TILE) * TILE
    start = first + split * share
    stop = tl.minimum(start + share, length)

    group = tl.arange(0, PADDED_GROUPS)
    heads = kv_head * GROUPS + group
    dims = tl.arange(0, PADDED_DIM)
    real = (group < GROUPS)[:, None] & (dims < DIM)[None, :]
    places = query + sequence * query_row_stride + heads[:, None] * query_head_stride + dims[None, :]
    queries = tl.load(places, mask=real, other=0.0)

    maximum = tl.full([PADDED_GROUPS], float("-inf"), tl.float32)
    total = tl.zeros([PADDED_GROUPS], tl.float32)
    if sinks is not None:  # noqa: SIM102  (the first is decided when it is compiled)
        # A sink is a score that was there before the first key, and has no value.
        if split == 0:
            maximum = tl.load(sinks + heads, mask=group < GROUPS, other=0.0).to(tl.float32)
            total = tl.full([PADDED_GROUPS], 1.0, tl.float32)
    output = tl.zeros([PADDED_GROUPS, PADDED_DIM], tl.float32)
    for tile in range(start, stop, TILE):
        keys = tile + tl.arange(0, TILE)
        key, value = load_tile(
            cache, tables + sequence * table_stride, keys, stop, kv_head, BLOCK_SIZE, KV_HEADS, DIM, PADDED_DIM
        )
        seen = (keys < stop)[None, :]
        maximum, total, output = fold(queries, key, value, seen, maximum, total, output, scaling, SOFTCAP)

    row = (sequence * KV_HEADS * GROUPS + heads) * SPLITS + split
    tl.store(maxima + row, maximum, mask=group < GROUPS)
    tl.store(totals + row, total, mask=group < GROUPS)
    tl.store(outputs + row[:, None] * DIM + dims[None, :], output, mask=real)


@triton.jit
def join_splits(outputs, maxima, totals, result, DIM: tl.constexpr, PADDED_DIM: tl.constexpr, SPLITS: tl.constexpr):
    """``result`` [sequences, heads, DIM]: the splits' outputs, each weighed by how far its maximum is behind."""
    row = tl.program_id(0)
    dims = tl.arange(0, PADDED_DIM)
    splits = tl.arange(0, SPLITS)
    maximum = tl.load(maxima + row * SPLITS + splits)
    rescale = tl.exp(maximum - tl.max(maximum, 0))
    total = tl.sum(tl.load(totals + row * SPLITS + splits) * rescale, 0)
    places = outputs + (row * SPLITS + splits)[:, None] * DIM + dims[None, :]
    output = tl.load(places, mask=(dims < DIM)[None, :], other=0.0)
    output = tl.sum(output * rescale[:, None], 0) / total
    tl.store(result + row * DIM + dims, output.to(result.dtype.element_ty), mask=dims < DIM)


def paged_decode(
    query: torch.Tensor,
    cache: torch.Tensor,
    tables: torch.Tensor,
    positions: torch.Tensor,
    longest: int,
    scaling: float,
    *,
    sliding_window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    splits: int | None = None,
) -> torch.Tensor:
    """Attention of one token of each sequence over its context, its own key included.

    ``query`` [sequences, heads, dim], any strides with contiguous ``dim``; ``cache`` one layer, contiguous
    [blocks, block_size, 2, kv_heads, dim], in float32, float16 or bfloat16 as the query; ``tables`` [sequences, n]
    int64 block ids (what lies past a sequence's end is not read); ``positions`` [sequences] int64 of the queries;
    ``longest`` the largest of them plus one; ``sinks`` [heads]. ``splits`` of the context, a power of two: worked out
    when None.
    Returns [sequences, heads, dim] in the query's dtype. Reference: ``inference.attention.reference.attend``.
    """
    sequences, heads, dim = query.shape
    kv_heads = cache.shape[3]
    splits = splits or num_splits(sequences * kv_heads, longest, processors(query.device))
    outputs = query.new_empty(sequences, heads, splits, dim, dtype=torch.float32)
    maxima, totals = (query.new_empty(sequences, heads, splits, dtype=torch.float32) for _ in range(2))
    result = torch.empty_like(query, memory_format=torch.contiguous_format)
    shape = constants(heads, cache, splits, sliding_window, softcap)
    attend_split[(sequences, kv_heads, splits)](
        query, cache, tables, positions, sinks, outputs, maxima, totals, scaling,
        query.stride(0), query.stride(1), tables.stride(0), **shape,
    )  # fmt: skip
    join_splits[(sequences * heads,)](
        outputs, maxima, totals, result, DIM=dim, PADDED_DIM=shape["PADDED_DIM"], SPLITS=splits
    )
    return result


def constants(
    heads: int, cache: torch.Tensor, splits: int, sliding_window: int | None, softcap: float | None
) -> dict[str, Any]:
    """What ``attend_split`` is compiled for."""
    shape = layout(heads, cache)
    return shape | {
        "PADDED_GROUPS": max(MIN_DOT, triton.next_power_of_2(shape["GROUPS"])),
        "WINDOW": sliding_window,
        "SOFTCAP": softcap,
        "SPLITS": splits,
    }


def num_splits(programs: int, longest: int, processors: int) -> int:
    """A power of two of splits, so that ``programs`` times as many give each of the GPU's ``processors`` two, and no
    split of the ``longest`` context is shorter than ``MIN_SPLIT``."""
    wanted = min(2 * processors // programs, longest // MIN_SPLIT, MAX_SPLITS)
    return 1 << max(0, wanted.bit_length() - 1)


@functools.cache
def processors(device: torch.device) -> int:
    """Streaming multiprocessors of a GPU; 1 where Triton is interpreted."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 1
