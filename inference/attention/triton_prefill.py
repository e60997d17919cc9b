"""Prefill attention over the paged cache in Triton: several sequences' chunks in one launch, each over its own context.

One program attends for one tile of one sequence's queries with one head, and walks over the keys that its queries may
see: none after its last query, none before the window of its first (FlashAttention-2: Dao 2023).
"""
# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from inference.attention.triton_tile import MIN_DOT, fold, layout, load_tile


@triton.jit
def attend_chunk(
    query,
    cache,
    tables,
    first_rows,
    starts,
    sinks,
    result,
    scaling,
    query_row_stride,
    query_head_stride,
    table_stride,
    BLOCK_SIZE: tl.constexpr,
    KV_HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    DIM: tl.constexpr,
    PADDED_DIM: tl.constexpr,
    WINDOW: tl.constexpr,
    SOFTCAP: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
):
    """``result`` [rows, heads, DIM], contiguous."""
    chunk, head, sequence = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first_row = tl.load(first_rows + sequence).to(tl.int32)
    num_rows = tl.load(first_rows + sequence + 1).to(tl.int32) - first_row
    first = chunk * ROWS
    if first >= num_rows:
        return
    start = tl.load(starts + sequence).to(tl.int32)
    local = first + tl.arange(0, ROWS)
    rows, positions = first_row + local, start + local
    length = start + tl.minimum(first + ROWS, num_rows)

    dims = tl.arange(0, PADDED_DIM)
    real = (local < num_rows)[:, None] & (dims < DIM)[None, :]
    places = query + rows[:, None] * query_row_stride + head * query_head_stride + dims[None, :]
    queries = tl.load(places, mask=real, other=0.0)

    maximum = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    if sinks is not None:  # a score that was there before the first key, and has no value
        maximum = tl.zeros([ROWS], tl.float32) + tl.load(sinks + head).to(tl.float32)
        total = tl.full([ROWS], 1.0, tl.float32)
    output = tl.zeros([ROWS, PADDED_DIM], tl.float32)
    earliest = 0
    if WINDOW is not None:
        earliest = tl.maximum(start + first - WINDOW + 1, 0)
    for tile in range(earliest, length, TILE):
        keys = tile + tl.arange(0, TILE)
        key, value = load_tile(
            cache, tables + sequence * table_stride, keys, length, head // GROUPS, BLOCK_SIZE, KV_HEADS, DIM, PADDED_DIM
        )
        seen = keys[None, :] <= positions[:, None]
        if WINDOW is not None:
            seen &= keys[None, :] > positions[:, None] - WINDOW
        maximum, total, output = fold(queries, key, value, seen, maximum, total, output, scaling, SOFTCAP)

    output = output / total[:, None]
    places = result + (rows[:, None] * KV_HEADS * GROUPS + head) * DIM + dims[None, :]
    tl.store(places, output.to(result.dtype.element_ty), mask=real)


def paged_prefill(
    query: torch.Tensor,
    cache: torch.Tensor,
    tables: torch.Tensor,
    first_rows: torch.Tensor,
    starts: torch.Tensor,
    most_rows: int,
    scaling: float,
    *,
    sliding_window: int | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal attention of consecutive tokens of several sequences, packed one after the other.

    ``query`` [rows, heads, dim], any strides with contiguous ``dim``; ``cache`` one layer, contiguous
    [blocks, block_size, 2, kv_heads, dim], in float32, float16 or bfloat16 as the query, the rows' own keys in it;
    ``tables`` [sequences, n] int64 block ids (what lies past a sequence's end is not read); ``first_rows``
    [sequences + 1] int64, where each sequence's rows begin and the last ends; ``starts`` [sequences] int64, the
    positions of their first tokens; ``most_rows`` of any sequence; ``sinks`` [heads].
    Returns [rows, heads, dim] in the query's dtype. Reference: ``inference.attention.reference.attend``.
    """
    heads = query.shape[1]
    result = torch.empty_like(query, memory_format=torch.contiguous_format)
    shape = constants(heads, cache, most_rows, sliding_window, softcap)
    attend_chunk[(triton.cdiv(most_rows, shape["ROWS"]), heads, len(starts))](
        query, cache, tables, first_rows, starts, sinks, result, scaling,
        query.stride(0), query.stride(1), tables.stride(0), **shape,
    )  # fmt: skip
    return result


def constants(
    heads: int, cache: torch.Tensor, most_rows: int, sliding_window: int | None, softcap: float | None
) -> dict[str, Any]:
    """What ``attend_chunk`` is compiled for. A program takes as many queries as a tile has keys, or fewer where no
    sequence has so many."""
    shape = layout(heads, cache)
    rows = min(shape["TILE"], max(MIN_DOT, triton.next_power_of_2(most_rows)))
    return shape | {"WINDOW": sliding_window, "SOFTCAP": softcap, "ROWS": rows}
