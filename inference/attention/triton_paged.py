"""The attention of a whole step in two kernels: decode for its single tokens, prefill for its spans."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from inference.attention.interface import Singles, Span, StepContext
from inference.attention.reference import Rule
from inference.attention.triton_decode import paged_decode
from inference.attention.triton_prefill import paged_prefill


@dataclass(frozen=True, slots=True)
class PackedSpans:
    """All spans of a step, which follow each other in the pack, for one launch of the prefill kernel."""

    first: int
    last: int
    tables: torch.Tensor
    """[spans, most blocks of any], padded with block 0, which is not read."""
    first_rows: torch.Tensor
    """[spans + 1], counted from ``first``."""
    starts: torch.Tensor
    """[spans]: positions of their first tokens."""
    most_rows: int

    @staticmethod
    def of(spans: list[Span]) -> PackedSpans:
        first, device = spans[0].first, spans[0].blocks.device
        edges = [span.first - first for span in spans] + [spans[-1].last - first]
        return PackedSpans(
            first,
            spans[-1].last,
            pad_sequence([span.blocks for span in spans], batch_first=True),
            torch.tensor(edges, device=device),
            torch.tensor([span.start for span in spans], device=device),
            max(span.last - span.first for span in spans),
        )

    @staticmethod
    def of_group(group: Singles) -> PackedSpans:
        """Sequences with as many tokens each, whose drafts are verified."""
        edges = torch.arange(group.num_sequences + 1, device=group.blocks.device) * group.width
        tables = group.blocks.view(group.num_sequences, -1)
        return PackedSpans(group.first, group.last, tables, edges, group.positions, group.width)


def attend_with_triton(layer: int, query: torch.Tensor, kv: StepContext, rule: Rule) -> torch.Tensor:
    """``query`` [1, heads, T, dim], of ``layer`` -> [1, T, heads, dim]."""
    blocks = kv.cache.blocks[layer]
    rows = query[0].transpose(0, 1)
    rows = rows if rows.stride(-1) == 1 else rows.contiguous()
    output = torch.empty_like(rows, memory_format=torch.contiguous_format)
    for group in kv.singles:
        if group.width > 1:
            _prefill(rows, blocks, PackedSpans.of_group(group), output, rule)
            continue
        output[group.first : group.last] = paged_decode(
            rows[group.first : group.last],
            blocks,
            group.blocks.view(group.last - group.first, -1),
            group.positions,
            group.length,
            **rule._asdict(),
        )
    if kv.spans:
        if kv.packed_spans is None:
            kv.packed_spans = PackedSpans.of(kv.spans)
        _prefill(rows, blocks, kv.packed_spans, output, rule)
    return output.unsqueeze(0)


def _prefill(rows: torch.Tensor, blocks: torch.Tensor, spans: PackedSpans, output: torch.Tensor, rule: Rule) -> None:
    """The rows of ``spans`` of ``output`` [T, heads, dim]."""
    output[spans.first : spans.last] = paged_prefill(
        rows[spans.first : spans.last],
        blocks,
        spans.tables,
        spans.first_rows,
        spans.starts,
        spans.most_rows,
        **rule._asdict(),
    )
