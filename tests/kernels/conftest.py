"""Triton's kernels on a processor, under its interpreter: a pytest process of their own, because the interpreter is
chosen when Triton is first imported (`./kitchen test` does it; by hand, `pytest tests/kernels`)."""

from __future__ import annotations

import os
import sys

import pytest

if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
    raise pytest.UsageError("Triton was imported before its interpreter was chosen: run `pytest tests/kernels` alone")
os.environ["TRITON_INTERPRET"] = "1"

import torch

pytest.importorskip("triton", reason="Triton has no package for this platform")
torch.set_num_threads(1)
