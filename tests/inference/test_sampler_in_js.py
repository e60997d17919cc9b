"""The page's sliders recompute what the engine draws from: the browser's code, run by Node, against the engine's."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.sampler import distribution
from inference.sequence import SamplingParams

ROOT = Path(__file__).resolve().parents[2]
VOCAB = 49152
ENDS: list[dict[str, float]] = [
    {"temperature": 0.0},
    {"temperature": 1e-6, "repetition_penalty": 1.3},
    {"temperature": 2.0, "top_k": 1},
    {"temperature": 1.0, "top_p": 1e-9},
    {"temperature": 1.0, "min_p": 1.0},
    {"temperature": 0.01},
    {"temperature": 2.0, "top_k": 1000, "top_p": 0.9999, "min_p": 0.0001},
    {"temperature": 1.0},
]


def settings(rng: random.Random) -> dict[str, float]:
    return {
        "temperature": rng.choice([rng.uniform(0.02, 2.0), round(rng.uniform(0.0, 2.0), 1)]),
        "top_k": rng.choice([0, 1, 2, rng.randint(1, 100), rng.randint(1, 1000)]),
        "top_p": rng.choice([1.0, rng.uniform(0.001, 1.0), round(rng.uniform(0.05, 1.0), 2)]),
        "min_p": rng.choice([0.0, rng.uniform(0.0, 1.0), 10 ** rng.uniform(-4, 0)]),
        "repetition_penalty": rng.choice([1.0, 1.1, rng.uniform(0.1, 2.0)]),
    }


def engines(logits: torch.Tensor, case: dict[str, Any]) -> torch.Tensor:
    """The engine's probability of every token, in the vocabulary's order."""
    drawn_from = distribution(logits, SamplingParams(**case["settings"]), case["seen"])
    everything = torch.zeros(len(logits), dtype=torch.float64)
    everything[slice(None) if drawn_from.ids is None else drawn_from.ids] = drawn_from.mass
    return everything


def browsers(logits: torch.Tensor, cases: list[dict[str, Any]], folder: Path) -> torch.Tensor:
    """The same by the browser's code: [case, vocabulary]."""
    (folder / "logits").write_bytes(logits.numpy().tobytes())
    (folder / "cases").write_text(json.dumps([{**case, "settings": full(case["settings"])} for case in cases]))
    paths = [str(folder / name) for name in ("logits", "cases", "out")]
    subprocess.run(["node", str(ROOT / "tests/js/reshape.js"), *paths], check=True)
    flat = torch.frombuffer(bytearray((folder / "out").read_bytes()), dtype=torch.float64)
    return flat.view(len(cases), len(logits))


def full(given: dict[str, float]) -> dict[str, float]:
    return {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0} | given


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16, where many are equal"])
def test_the_browsers_distribution_is_the_engines(dtype: torch.dtype, tmp_path: Path) -> None:
    rng = random.Random(4)
    logits = (torch.randn(VOCAB, generator=torch.Generator().manual_seed(1)) * 3).to(dtype).float()
    cases = [{"settings": settings(rng), "seen": rng.choices(range(VOCAB), k=300)} for _ in range(100)]
    cases += [{"settings": end, "seen": [5, 5, 17]} for end in ENDS]
    for case, found in zip(cases, browsers(logits, cases, tmp_path), strict=True):
        largest = float((found - engines(logits, case)).abs().max())
        assert largest <= 1e-5, (case["settings"], largest)


@pytest.mark.parametrize("seed", [0, 2, 2**32 + 7, 2**53 - 1])
def test_the_browsers_coins_are_torchs(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    expected = [float(torch.rand(1, dtype=torch.float64, generator=generator)) for _ in range(700)]
    script = f"""import {{ uniforms }} from "{ROOT / "static/js/state/twister.js"}";
    console.log(JSON.stringify([...uniforms({seed}, 700)]));"""
    command = ["node", "--input-type=module", "--eval", script]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found == expected
