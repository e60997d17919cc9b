"""Fused projections and the matrix-vector routine mean the same as the layers they replace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from inference.linear import Share, VectorLinear, multiply, prepare, single_row_routine

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("length", [1, 5])
def test_a_prepared_model_gives_the_same_logits(kind: str, length: int) -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)) if kind == "llama" else Qwen2ForCausalLM(Qwen2Config(**SHAPE))
    model.eval().requires_grad_(False)
    plain = copy.deepcopy(model)
    prepare(model, torch.device("cpu"))
    attention, mlp = model.model.layers[0].self_attn, model.model.layers[0].mlp
    assert isinstance(attention.k_proj, Share)
    assert isinstance(mlp.up_proj, Share)
    assert isinstance(model.lm_head, VectorLinear)
    tokens = torch.arange(length).unsqueeze(0)
    torch.testing.assert_close(model(tokens).logits, plain(tokens).logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(attention.v_proj.weight, plain.model.layers[0].self_attn.v_proj.weight)


def test_weights_are_not_held_twice_and_preparing_twice_is_harmless() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    prepare(model, torch.device("cpu"))
    shares = [model.model.layers[0].self_attn.get_submodule(name) for name in ("q_proj", "k_proj", "v_proj")]
    assert len({share.weight.untyped_storage().data_ptr() for share in shares}) == 1
    prepare(model, torch.device("cpu"))
    assert [model.model.layers[0].self_attn.get_submodule(n) for n in ("q_proj", "k_proj", "v_proj")] == shares


def test_shares_are_never_those_of_another_input() -> None:
    parent = nn.Module()
    parent.gate_proj, parent.up_proj = nn.Linear(4, 3, bias=False), nn.Linear(4, 6, bias=False)
    plain = copy.deepcopy(parent)
    prepare(parent, torch.device("cpu"))
    first, second = torch.randn(2, 4), torch.randn(2, 4)
    for name, input in (("gate_proj", first), ("up_proj", second), ("up_proj", first), ("gate_proj", second)):
        torch.testing.assert_close(parent.get_submodule(name)(input), plain.get_submodule(name)(input))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("routine", ["vector", "pair"])
def test_either_routine_for_one_row_is_as_exact_as_the_general_one(
    dtype: torch.dtype, with_bias: bool, routine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.linear.single_row_routine", lambda dtype: routine)
    generator = torch.Generator().manual_seed(0)
    weight, row = (
        torch.randn(96, 512, generator=generator).to(dtype),
        torch.randn(1, 1, 512, generator=generator).to(dtype),
    )
    bias = torch.randn(96, generator=generator).to(dtype) if with_bias else None
    exact = nn.functional.linear(row.double(), weight.double(), None if bias is None else bias.double())
    error = [
        float((multiply(row, weight, bias, vector=vector).double() - exact).abs().max()) for vector in (True, False)
    ]
    assert error[0] <= 2 * error[1]


def test_the_routine_for_one_row_is_chosen_once() -> None:
    chosen = single_row_routine(torch.float32)
    assert chosen in ("vector", "pair")
    assert single_row_routine(torch.float32) == chosen
    assert single_row_routine.cache_info().hits >= 1


def test_layers_of_different_kinds_stay_apart() -> None:
    parent = nn.Module()
    parent.gate_proj, parent.up_proj = nn.Linear(4, 3), nn.Linear(4, 6, bias=False)
    prepare(parent, torch.device("cpu"))
    assert type(parent.gate_proj) is VectorLinear
