"""The Triton kernels against their torch references, on a GPU or under Triton's interpreter.

``CASES`` is the one grid for both: `openkitchen doctor` goes through it on a GPU, tests/kernels goes through it on a
processor with ``TRITON_INTERPRET=1``. Needs Triton.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from inference.attention.reference import attend, causal_mask
from inference.attention.triton_decode import paged_decode
from inference.attention.triton_prefill import paged_prefill
from inference.speculation.rejection import judge
from inference.speculation.triton_rejection import judge_batch

TOLERANCES = {torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Largest absolute difference from the reference in float32 that rounding explains, for values of about 1: some ten
units in the last place of a number between 2 and 4."""


@dataclass(frozen=True)
class AttentionCase:
    """Some sequences in scattered blocks, and what is asked of them."""

    lengths: tuple[int, ...]
    """Tokens of each sequence, those that ask included."""
    queries: tuple[int, ...] = ()
    """How many last tokens of each sequence ask. Empty: one each, of the decode kernel; else of the prefill kernel."""
    block_size: int = 16
    kv_heads: int = 1
    groups: int = 3
    dim: int = 64
    sliding_window: int | None = None
    softcap: float | None = None
    sinks: bool = False
    splits: int | None = None
    """Of the decode kernel's contexts."""

    def __str__(self) -> str:
        said = [f"lengths {'+'.join(map(str, self.lengths))}"]
        said += [f"queries {'+'.join(map(str, self.queries))}"] if self.queries else []
        said += [f"blocks of {self.block_size}", f"heads {self.kv_heads * self.groups}/{self.kv_heads} of {self.dim}"]
        options = {"window": self.sliding_window, "softcap": self.softcap, "splits": self.splits}
        said += [f"{name} {value}" for name, value in options.items() if value is not None]
        return ("prefill: " if self.queries else "decode: ") + ", ".join(said + ["sinks"] * self.sinks)


def _decode_cases() -> list[AttentionCase]:
    edges = AttentionCase(lengths=(1, 15, 16, 17, 65))
    long = AttentionCase(lengths=(130, 7), splits=1)
    return [
        *(replace(edges, groups=groups) for groups in range(1, 9)),
        *(replace(edges, block_size=size) for size in (1, 5, 64)),
        *(replace(edges, dim=dim, kv_heads=2) for dim in (8, 80, 128, 256)),
        *(
            replace(long, sliding_window=window, softcap=softcap, sinks=sinks)
            for window, softcap, sinks in itertools.product((None, 1, 70), (None, 3.0), (False, True))
        ),
        *(replace(long, splits=splits, sliding_window=window) for splits in (2, 8, 32) for window in (None, 70)),
        replace(long, splits=8, sinks=True),
    ]


def _prefill_cases() -> list[AttentionCase]:
    whole = AttentionCase(lengths=(1, 16, 17, 65), queries=(1, 16, 17, 65))
    chunk = AttentionCase(lengths=(130, 75, 21), queries=(67, 1, 5))
    return [
        *(replace(whole, lengths=(1, 33), queries=(1, 33), groups=groups) for groups in range(1, 9)),
        *(replace(chunk, block_size=size) for size in (1, 5, 64)),
        *(replace(chunk, dim=dim, kv_heads=2, groups=1) for dim in (8, 80, 128, 256)),
        whole,
        *(
            replace(chunk, groups=2, sliding_window=window, softcap=softcap, sinks=sinks)
            for window, softcap, sinks in itertools.product((None, 1, 70), (None, 3.0), (False, True))
        ),
    ]


CASES = [*_decode_cases(), *_prefill_cases()]


def attention_error(
    case: AttentionCase,
    dtype: torch.dtype,
    device: torch.device,
    *,
    decode: Callable[..., torch.Tensor] = paged_decode,
    prefill: Callable[..., torch.Tensor] = paged_prefill,
) -> float:
    """Largest absolute difference between kernel and reference; inf where the kernel gives what is not a number.

    Blocks that no sequence owns are full of NaN, and so is the rest of each sequence's last block.
    """
    generator = torch.Generator().manual_seed(hash(case.lengths) % 2**31)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    each = [-(-length // case.block_size) for length in case.lengths]
    num_blocks = sum(each) + 3
    owned = torch.split(torch.randperm(num_blocks, generator=generator), [*each, 3])[:-1]
    cache = torch.full((num_blocks, case.block_size, 2, case.kv_heads, case.dim), float("nan")).to(device, dtype)
    tables = torch.full((len(each), max(each)), num_blocks - 1)
    contents = []
    for row, (blocks, length) in enumerate(zip(owned, case.lengths, strict=True)):
        tables[row, : len(blocks)] = blocks
        contents.append(random(length, 2, case.kv_heads, case.dim))
        padded = torch.full((len(blocks) * case.block_size, *contents[-1].shape[1:]), float("nan")).to(device, dtype)
        padded[:length] = contents[-1]
        cache[blocks.to(device)] = padded.view(len(blocks), case.block_size, *padded.shape[1:])
    asking = case.queries or (1,) * len(each)
    heads, scaling = case.kv_heads * case.groups, case.dim**-0.5
    # As transformers hands it over: rows and heads swapped. Tripled, so that the softmax has peaks and maxima move.
    query = (3 * random(heads, sum(asking), case.dim)).transpose(0, 1)
    sinks = random(heads) if case.sinks else None
    starts = torch.tensor([length - rows for length, rows in zip(case.lengths, asking, strict=True)])
    options = {"sliding_window": case.sliding_window, "softcap": case.softcap, "sinks": sinks}
    if case.queries:
        first_rows = torch.tensor([0, *itertools.accumulate(asking)]).to(device)
        result = prefill(
            query, cache, tables.to(device), first_rows, starts.to(device), max(asking), scaling, **options
        )
    else:
        longest, more = max(case.lengths), {"splits": case.splits}
        result = decode(query, cache, tables.to(device), starts.to(device), longest, scaling, **options, **more)
    expected = []
    for rows, content, start in zip(torch.split(query, list(asking)), contents, starts.tolist(), strict=True):
        key, value = content.float().permute(1, 2, 0, 3).unsqueeze(1)
        mask = causal_mask(torch.arange(start, len(content), device=device), len(content), case.sliding_window)
        asked = rows.float().transpose(0, 1).unsqueeze(0)
        attended = attend(asked, key, value, mask, scaling, softcap=case.softcap, sinks=sinks)
        expected.append(attended[0].transpose(0, 1))
    error = float((result.float() - torch.cat(expected)).abs().max())
    return error if error == error else float("inf")


@dataclass(frozen=True)
class RejectionCase:
    """Drafts of several sequences, drawn from distributions that resemble the target's more or less."""

    sequences: int
    k: int
    vocab: int
    kind: str = "near"
    """near; far; zero (q is zero on half the vocabulary); equal; greedy (one-hot p and q)."""

    def __str__(self) -> str:
        return f"rejection: {self.sequences} sequences, k {self.k}, vocabulary {self.vocab}, {self.kind}"


REJECTION_CASES = [
    *(RejectionCase(5, k, 1500) for k in (0, 1, 3, 7)),
    *(RejectionCase(5, 4, vocab) for vocab in (2, 1023, 1024, 1025)),
    *(RejectionCase(6, 4, 300, kind) for kind in ("far", "zero", "equal", "greedy")),
]


def rejection_inputs(case: RejectionCase, device: torch.device) -> tuple[torch.Tensor, ...]:
    """``p``, ``q``, ``draft_ids`` and ``uniforms`` of ``judge_batch``."""
    generator = torch.Generator().manual_seed(case.k)
    wanted = 2 * torch.randn(case.sequences, case.k + 1, case.vocab, generator=generator)
    distance = {"far": 5.0, "equal": 0.0}.get(case.kind, 0.7)
    guessed = wanted[:, : case.k] + distance * torch.randn(case.sequences, case.k, case.vocab, generator=generator)
    if case.kind == "zero":
        guessed[..., case.vocab // 2 :] = float("-inf")
    sharpness = 1e9 if case.kind == "greedy" else 1.0
    p, q = (wanted * sharpness).softmax(-1), (guessed * sharpness).softmax(-1)
    drawn = torch.multinomial(q.reshape(-1, case.vocab), 1, generator=generator) if case.k else torch.empty(0)
    draft_ids = drawn.view(case.sequences, case.k).long()
    uniforms = torch.rand(case.sequences, case.k + 1, dtype=torch.float64, generator=generator)
    return tuple(tensor.contiguous().to(device) for tensor in (p, q, draft_ids, uniforms))


def rejection_differences(
    case: RejectionCase,
    device: torch.device,
    *,
    kernel: Callable[..., tuple[torch.Tensor, torch.Tensor]] = judge_batch,
) -> int:
    """How many sequences the kernel judges otherwise than the reference, given the same draws."""
    p, q, draft_ids, uniforms = rejection_inputs(case, device)
    accepted, token_ids = kernel(p, q, draft_ids, uniforms)
    said = list(zip(accepted.tolist(), token_ids.tolist(), strict=True))
    judged = [judge(*row) for row in zip(p, q, draft_ids, uniforms, strict=True)]
    return sum(got != (right.num_accepted, right.token_id) for got, right in zip(said, judged, strict=True))
