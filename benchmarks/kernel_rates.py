"""How fast the Triton kernels are on a device, beside the torch code that runs where they do not.

Used by ``openkitchen doctor`` on a GPU. Rates count what must move or be multiplied at least: a context's keys and
values once, four FLOPs a channel for each pair of a query and a key that it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from inference.attention.interface import KVCache, Singles, Span, StepContext, attend_with_torch
from inference.attention.reference import Rule
from inference.attention.triton_paged import attend_with_triton
from inference.kernel_check import RejectionCase, rejection_inputs
from inference.kernel_report import Rate
from inference.roofline import best_seconds
from inference.speculation.rejection import Judgement, judge
from inference.speculation.triton_rejection import judge_batch

SECONDS_EACH = 0.3
BLOCK_SIZE = 16


@dataclass(frozen=True)
class Heads:
    """Of Llama-3-8B, where nothing else is said."""

    query: int = 32
    key: int = 8
    dim: int = 128


@dataclass(frozen=True)
class Batch:
    sequences: int
    tokens: int
    """Of each sequence."""


DECODES = (Batch(1, 4096), Batch(8, 4096), Batch(64, 1024))
PREFILLS = (Batch(1, 2048), Batch(4, 512))
REJECTIONS = (RejectionCase(1, 4, 49_152), RejectionCase(8, 4, 49_152))


@torch.inference_mode()
def rates(
    device: torch.device,
    dtype: torch.dtype,
    *,
    heads: Heads = Heads(),
    decodes: tuple[Batch, ...] = DECODES,
    prefills: tuple[Batch, ...] = PREFILLS,
    rejections: tuple[RejectionCase, ...] = REJECTIONS,
) -> Iterator[Rate]:
    for batch in decodes:
        context = _step(batch, heads, dtype, device, decode=True)
        seconds = _both(context, batch.sequences, heads)
        moved = batch.sequences * batch.tokens * 2 * heads.key * heads.dim * dtype.itemsize
        yield _rate(f"decode, {batch.sequences} x {batch.tokens} tokens of context", seconds, moved / 1e9, "GB/s")
    for batch in prefills:
        context = _step(batch, heads, dtype, device, decode=False)
        seconds = _both(context, batch.sequences * batch.tokens, heads)
        pairs = batch.sequences * batch.tokens * (batch.tokens + 1) // 2
        flops = 4 * pairs * heads.query * heads.dim
        yield _rate(f"prefill, {batch.sequences} x {batch.tokens} tokens", seconds, flops / 1e12, "TFLOP/s")
    for case in rejections:
        inputs = rejection_inputs(case, device)
        ours = best_seconds(partial(judge_batch, *inputs), device, SECONDS_EACH)
        theirs = best_seconds(partial(_judge_each, *inputs), device, SECONDS_EACH)
        what = f"rejection, {case.sequences} x {case.k} drafts of {case.vocab} tokens"
        yield _rate(what, (ours, theirs), case.sequences / 1e3, "thousand sequences/s")


def _step(batch: Batch, heads: Heads, dtype: torch.dtype, device: torch.device, *, decode: bool) -> StepContext:
    """A step of one layer in which every sequence has its last token (or all of its tokens) to attend."""
    each = -(-batch.tokens // BLOCK_SIZE)
    cache = KVCache(1, batch.sequences * each, BLOCK_SIZE, heads.key, heads.dim, dtype, device)
    cache.tensor.normal_()
    tables = torch.randperm(batch.sequences * each).view(batch.sequences, each).to(device)
    singles, spans = [], []
    if decode:
        last = torch.full((batch.sequences,), batch.tokens - 1, device=device)
        singles.append(Singles(0, batch.sequences, last, tables.flatten(), batch.tokens))
    else:
        spans += [Span(i * batch.tokens, (i + 1) * batch.tokens, 0, table) for i, table in enumerate(tables)]
    return StepContext(cache, torch.empty(0, dtype=torch.long, device=device), singles, spans)


def _both(context: StepContext, rows: int, heads: Heads) -> tuple[float, float]:
    cache = context.cache.tensor
    query = torch.randn(1, heads.query, rows, heads.dim, dtype=cache.dtype, device=cache.device)

    def work(attend: Callable[..., torch.Tensor]) -> Callable[[], torch.Tensor]:
        return lambda: attend(0, query, context, Rule(heads.dim**-0.5))

    return (
        best_seconds(work(attend_with_triton), cache.device, SECONDS_EACH),
        best_seconds(work(attend_with_torch), cache.device, SECONDS_EACH),
    )


def _judge_each(*inputs: torch.Tensor) -> list[Judgement]:
    return [judge(*row) for row in zip(*inputs, strict=True)]


def _rate(what: str, seconds: tuple[float, float], amount: float, unit: str) -> Rate:
    return Rate(what=what, seconds=seconds[0], torch_seconds=seconds[1], rate=amount / seconds[0], unit=unit)
