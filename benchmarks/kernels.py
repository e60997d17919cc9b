"""Every Triton kernel compiled ahead of time for GPUs that need not be here: ``python -m benchmarks.kernels``.

Prints, as a Markdown table, what the compiler and NVIDIA's assembler made of each: registers a thread, bytes a thread
that did not fit into registers (stack), and shared memory a program. ``benchmarks/kernels.md`` keeps what it printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from inference.attention import triton_decode, triton_prefill
from inference.speculation import triton_rejection

TARGETS = (80, 90, 100)
SPLITS = 8
TRITON_DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Attention:
    """The attention of a model that is served."""

    model: str
    heads: int
    kv_heads: int
    dim: int
    dtype: torch.dtype = torch.bfloat16
    sliding_window: int | None = None
    softcap: float | None = None
    sinks: bool = False


ATTENTIONS = (
    Attention("SmolLM2-135M", 9, 3, 64),
    Attention("SmolLM2-135M", 9, 3, 64, torch.float32),
    Attention("Llama-3-8B", 32, 8, 128),
    Attention("Llama-3-8B", 32, 8, 128, torch.float32),
    Attention("gpt-oss-20b, windowed layers", 64, 8, 64, sliding_window=128, sinks=True),
    Attention("Gemma-2-9B, windowed layers", 16, 8, 256, sliding_window=4096, softcap=50.0),
)


@dataclass(frozen=True)
class Source:
    """A kernel and what it is compiled for, as its caller in ``inference/`` would."""

    kernel: Any
    what: str
    types: dict[str, str]
    constants: dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    kernel: str
    what: str
    target: int
    registers: int
    """32-bit registers a thread; 255 is the most."""
    stack_bytes: int
    """Of each thread, in slow memory: above 0 where registers did not suffice."""
    shared_bytes: int
    warps: int


def sources() -> Iterator[Source]:
    for attention in ATTENTIONS:
        dtype = TRITON_DTYPES[attention.dtype]
        what = f"{attention.model}, {dtype}"
        cache = torch.empty(1, 16, 2, attention.kv_heads, attention.dim, dtype=attention.dtype, device="meta")
        options = (attention.sliding_window, attention.softcap)
        types = dict.fromkeys(("query", "cache", "result", "sinks"), f"*{dtype}")
        types |= dict.fromkeys(("outputs", "maxima", "totals"), "*fp32")
        types |= dict.fromkeys(("tables", "positions", "first_rows", "starts"), "*i64")
        types |= dict.fromkeys(("query_row_stride", "query_head_stride", "table_stride"), "i32")
        types["scaling"] = "fp32"
        no_sinks = {} if attention.sinks else {"sinks": None}
        decode = triton_decode.constants(attention.heads, cache, SPLITS, *options)
        prefill = triton_prefill.constants(attention.heads, cache, 512, *options)
        yield Source(triton_decode.attend_split, what, types, decode | no_sinks)
        join = {name: decode[name] for name in ("DIM", "PADDED_DIM", "SPLITS")}
        yield Source(triton_decode.join_splits, what, types, join)
        yield Source(triton_prefill.attend_chunk, what, types, prefill | no_sinks)
    yield Source(
        triton_rejection.judge_drafts,
        "k 4, vocabulary 49152",
        {"p": "*fp32", "q": "*fp32", "draft_ids": "*i64", "uniforms": "*fp64", "accepted": "*i64", "token_ids": "*i64"},
        triton_rejection.constants(4, 49152),
    )


def compile_for(source: Source, target: int) -> Compiled:
    """Compile for compute capability ``target`` / 10. Raises what Triton or the assembler raise."""
    names = source.kernel.arg_names
    signature = {name: "constexpr" if name in source.constants else source.types[name] for name in names}
    # torch aligns tensors to 16 bytes and these strides are multiples of the head's size: a launch says the same.
    aligned = {i for i, name in enumerate(names) if signature[name][0] == "*" or name.startswith("query_")}
    attributes = {(i,): [["tt.divisibility", 16]] for i in aligned}
    ast = ASTSource(source.kernel, signature, source.constants, attributes)
    compiled = triton.compile(ast, target=GPUTarget("cuda", target, 32))
    used = _resources(compiled.asm["cubin"], compiled.metadata.name)
    metadata = compiled.metadata
    return Compiled(metadata.name, source.what, target, used["REG"], used["STACK"], metadata.shared, metadata.num_warps)


def _resources(cubin: bytes, kernel: str) -> dict[str, int]:
    """What the assembler noted in the binary itself (``REG:40 STACK:0 ...``), read by NVIDIA's own tool."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    after = lines[next(i for i, line in enumerate(lines) if f"Function {kernel}" in line) + 1]
    pairs = (pair.rsplit(":", 1) for pair in after.split())
    return {name: int(value) for name, value in pairs}


def table(rows: list[Compiled]) -> str:
    lines = ["| kernel | compiled for | GPU | registers | stack, bytes | shared memory, bytes | warps |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        cells = (row.kernel, row.what, f"sm_{row.target}", row.registers, row.stack_bytes, row.shared_bytes, row.warps)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument(
        "--target", type=int, choices=TARGETS, action="append", help="80, 90 or 100; all when not given"
    )
    parser.add_argument("--what", action="append", help="only what is compiled for a name that starts so")
    parser.add_argument("--json", type=Path, help="write the table there too")
    arguments = parser.parse_args()
    rows = []
    for source in sources():
        if source.what.startswith(tuple(arguments.what or [""])):
            rows += [compile_for(source, target) for target in arguments.target or TARGETS]
    print(f"Triton {triton.__version__}\n\n{table(rows)}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
