"""A cache of one byte a number gives back nearly what it took, weighs what the card says, and keeps its factors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.attention.interface import KVCache
from inference.attention.quantized_cache import make_cache, with_cache
from inference.events import StepFinished

LARGEST_ERROR = {"int8": 0.5 / 127 + 1e-3, "fp8": 2**-4 + 1e-6}
"""Of the vector's largest magnitude: half a step (and the factor's own rounding); half the last bit of three."""


def filled(model: Model, kv_cache_dtype: str, seed: int, scale: float) -> tuple[KVCache, torch.Tensor, torch.Tensor]:
    """A cache of 5 blocks of 4 slots with seven tokens in odd places of layer 1, and these."""
    card = model.card
    generator = torch.Generator().manual_seed(seed)
    key, value = scale * torch.randn(2, 7, card.num_kv_heads, card.head_dim, generator=generator)
    cache = make_cache(model, 5, 4, kv_cache_dtype)
    cache.write(1, torch.tensor([3, 19, 4, 7, 0, 11, 12]), key, value)
    return cache, key, value


@pytest.mark.parametrize("kv_cache_dtype", ["auto", "int8", "fp8"])
@given(seed=st.integers(0, 2**31), exponent=st.integers(-8, 6))
@settings(max_examples=25, deadline=None)
def test_what_is_read_is_nearly_what_was_written(tiny: Model, kv_cache_dtype: str, seed: int, exponent: int) -> None:
    cache, key, value = filled(tiny, kv_cache_dtype, seed, 2.0**exponent)
    slots = cache.read(1, torch.tensor([0, 1, 2, 3, 4])).flatten(0, 1)
    assert slots.dtype == tiny.dtype
    for kind, exact in enumerate((key, value)):
        read = slots[[3, 19, 4, 7, 0, 11, 12], kind]
        if kv_cache_dtype == "auto":
            assert torch.equal(read, exact)
            continue
        largest = exact.abs().amax(-1, keepdim=True)
        if kv_cache_dtype == "fp8":
            exact = exact.clamp(-448, 448)
        assert ((read - exact).abs() <= LARGEST_ERROR[kv_cache_dtype] * largest + 2**-10).all()
    norms = cache.norms(torch.tensor([3, 4]))
    torch.testing.assert_close(norms[:, 1, :, 0], slots[3].norm(dim=-1))
    assert not slots[[1, 2, 5, 6, 8]].any()
    assert not cache.read(0, torch.tensor([0, 4])).any()


def test_the_factors_are_those_of_each_vector(tiny: Model) -> None:
    """One loud vector must not cost its neighbours their precision: a factor for the whole tensor would."""
    cache, key, value = filled(tiny, "int8", 0, 1.0)
    cache.write(1, torch.tensor([5]), 1000 * key[:1], value[:1])
    read = cache.read(1, torch.tensor([0, 1]))[1, 0, 0]
    assert (read - key[2]).abs().max() < 0.03


def test_a_copied_block_is_whole(tiny: Model) -> None:
    for kv_cache_dtype in ("int8", "fp8"):
        cache, _, _ = filled(tiny, kv_cache_dtype, 0, 3.0)
        cache.copy_blocks(torch.tensor([1]), torch.tensor([2]))
        assert torch.equal(*cache.read(1, torch.tensor([2, 1])))


def test_values_beyond_fp8_saturate(tiny: Model) -> None:
    cache = make_cache(tiny, 1, 1, "fp8")
    huge = torch.full((1, tiny.card.num_kv_heads, tiny.card.head_dim), 1e5)
    cache.write(0, torch.tensor([0]), huge, -huge)
    assert cache.read(0, torch.tensor([0])).unique().tolist() == [-448.0, 448.0]


@pytest.mark.parametrize(("kv_cache_dtype", "of_a_vector"), [("auto", 16), ("int8", 6), ("fp8", 4)])
def test_bytes_are_told_as_they_are(tiny: Model, kv_cache_dtype: str, of_a_vector: int) -> None:
    """tiny: 2 layers, 2 KV heads, head_dim 4 in float32."""
    events: list[object] = []
    engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=8, kv_cache_dtype=kv_cache_dtype), events.append)
    engine.generate([[1, 2, 3]], SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True))
    per_token = 2 * 2 * 2 * of_a_vector
    assert engine.model.card.kv_bytes_per_token == per_token == with_cache(tiny, kv_cache_dtype).card.kv_bytes_per_token
    assert make_cache(tiny, 3, 5, kv_cache_dtype).tensor.nbytes == 15 * per_token
    first, second = [event for event in events if isinstance(event, StepFinished)]
    assert (first.kv_written_bytes, second.kv_read_bytes) == (3 * per_token, 4 * per_token)
    assert engine.card.kv_cache_dtype == kv_cache_dtype
