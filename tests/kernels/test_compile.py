"""Every kernel compiles for GPUs that are not here, and uses what the committed table says.

By the command that wrote the table, in a process without the interpreter, which compiles nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "benchmarks" / "kernels.md").read_text()
KERNELS = {"attend_split", "join_splits", "attend_chunk", "judge_drafts"}
MOST_REGISTERS = 255
SHARED_LIMIT = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
"""Bytes of shared memory that one program may have (CUDA C++ Programming Guide, technical specifications)."""


def compiled(tmp_path: Path, *arguments: str) -> list[dict[str, object]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path / "cache")  # empty: what is asked for is compiled
    rows = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.kernels", "--json", str(rows), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        if line.startswith("| ") and "---" not in line:
            assert line in TABLE, f"benchmarks/kernels.md no longer says what the command prints: {line}"
    return json.loads(rows.read_text())


def check(rows: list[dict[str, object]]) -> None:
    assert {row["kernel"] for row in rows} == KERNELS
    for row in rows:
        assert 0 < row["registers"] <= MOST_REGISTERS
        assert row["shared_bytes"] <= SHARED_LIMIT[row["target"]], row


def test_every_kernel_compiles_for_one_gpu(tmp_path: Path) -> None:
    rows = compiled(tmp_path, "--target", "90", "--what", "SmolLM2-135M, bf16", "--what", "k 4")
    assert all(row["stack_bytes"] == 0 for row in rows)
    check(rows)


@pytest.mark.slow
def test_every_kernel_compiles_for_every_gpu(tmp_path: Path) -> None:
    rows = compiled(tmp_path)
    assert {row["target"] for row in rows} == {80, 90, 100}
    check(rows)
