"""Flash attention in slow motion: the algorithm of FlashAttention-2, one tile at a time, with its books open.

The softmax of a row needs the row's maximum and sum, and so, it seems, the whole row of scores. It does not: both can
be kept as running values, if all that was added up under an older maximum is scaled down whenever a larger one turns up
(Milakov and Gimelshein 2018). So attention can go through keys and values in tiles that fit into fast memory, and the
N x N matrix of scores is never written (FlashAttention, Dao et al. 2022). FlashAttention-2 (Dao 2023) turns the loops
around, queries outside and keys inside: the accumulator stays where it is until its rows are done, and it is divided by
the sum once, at the end.

Plain torch in float32, one head, for looking at: on a GPU each turn of the outer loop is one program of the grid, and
all of them run at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inference.attention.reference import Rule, causal_mask, scores


@dataclass(slots=True)
class Tile:
    """What one tile did to its rows: those of query tile ``query_tile``, against the keys of ``key_tile``.
    Each tensor is [rows], float32; -inf is the maximum of a row that has seen no key yet."""

    query_tile: int
    key_tile: int
    tile_max: torch.Tensor
    """Largest score of the row within this tile."""
    row_max: torch.Tensor
    """Running maximum after it."""
    row_sum: torch.Tensor
    """Running sum of ``exp(score - row_max)`` after it."""
    rescale: torch.Tensor
    """What the sum and the accumulator from before were multiplied by: ``exp(old row_max - row_max)``."""
    output_norm: torch.Tensor
    """Euclidean norm of the accumulator after it (not yet divided by ``row_sum``)."""


def flash_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule, *, block_q: int, block_k: int
) -> tuple[torch.Tensor, list[Tile]]:
    """Causal attention of one head over a sequence from its start: ``query``, ``key``, ``value`` [tokens, dim] float32.

    Returns the output [tokens, dim] and every tile in the order in which it was visited. Tiles of which no query may
    see any key (after the diagonal, or before a sliding window) are not visited, which is where causality saves half.
    ``rule.sinks`` holds this head's one sink, if it has any.
    """
    tokens = query.shape[0]
    output = torch.empty_like(query)
    tiles: list[Tile] = []
    for first_query in range(0, tokens, block_q):
        rows = slice(first_query, min(first_query + block_q, tokens))
        q = query[rows]
        positions = torch.arange(rows.start, rows.stop, device=query.device)
        row_max, row_sum = _start(len(q), rule.sinks, query)
        accumulator = torch.zeros_like(q)
        oldest = 0 if rule.sliding_window is None else max(0, first_query - rule.sliding_window + 1)
        for first_key in range(oldest // block_k * block_k, rows.stop, block_k):
            columns = slice(first_key, min(first_key + block_k, tokens))
            seen = causal_mask(positions, columns.stop, rule.sliding_window)[:, columns]
            found = scores(q, key[columns], rule.scaling, rule.softcap).masked_fill(~seen, float("-inf"))
            tile_max = found.amax(dim=-1)
            new_max = torch.maximum(row_max, tile_max)
            finite = new_max.masked_fill(new_max == float("-inf"), 0.0)  # (-inf minus -inf would be no number)
            weights = torch.exp(found - finite[:, None])
            rescale = torch.exp(row_max - finite)
            row_max, row_sum = new_max, rescale * row_sum + weights.sum(dim=-1)
            accumulator = rescale[:, None] * accumulator + weights @ value[columns]
            tiles.append(
                Tile(
                    first_query // block_q,
                    first_key // block_k,
                    tile_max,
                    row_max,
                    row_sum,
                    rescale,
                    torch.linalg.vector_norm(accumulator, dim=-1),
                )
            )
        output[rows] = accumulator / row_sum[:, None]
    return output, tiles


def _start(rows: int, sink: torch.Tensor | None, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Running maximum and sum before the first tile. A sink is a score without a value: it is there from the start."""
    if sink is None:
        return like.new_full((rows,), float("-inf")), like.new_zeros(rows)
    return sink.float().reshape(()).expand(rows).clone(), like.new_ones(rows)
