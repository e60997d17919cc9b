"""Quantised weights multiply as the numbers they stand for, the card tells their bytes, the engine does not mind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from inference import Engine, EngineConfig, Model, SamplingParams, load_model
from inference import quantized_linear as ql
from inference.costs import step_costs
from inference.linear import Share
from inference.quantization import SCHEMES, quantize
from inference.quantized_linear import Int4Linear, Int8Embedding, Int8Linear, QuantizedLinear, round_to_groups
from tests.inference.conftest import wrap

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
}


def make(model: Model, *, kind: str = "llama", tied: bool = True, dtype: torch.dtype = torch.float32) -> Model:
    """Two random layers of shapes that can be quantised, under the real tokenizer."""
    torch.manual_seed(0)
    shape = SHAPE | {"vocab_size": model.card.vocab_size, "tie_word_embeddings": tied}
    module = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**shape)),
        "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**shape | {"head_dim": 16})),
    }[kind]()
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
    return wrap(module.to(dtype), model.tokenizer, model.eos_token_ids)


# ---- one layer -----------------------------------------------------------------------------------------------------


def layer(
    kind: str, rows: int, columns: int, group: int, dtype: torch.dtype, *, biased: bool
) -> tuple[QuantizedLinear, torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(rows + columns)
    weight = torch.randn(rows, columns, generator=generator).to(dtype)
    bias = torch.randn(rows, generator=generator).to(dtype) if biased else None
    return (Int8Linear(weight, bias) if kind == "int8" else Int4Linear(weight, bias, group_size=group)), weight, bias


@pytest.mark.parametrize(
    ("kind", "rows", "columns", "group"),
    [
        ("int8", 5, 16, 0),
        ("int8", 64, 48, 0),
        ("int8", 131, 576, 0),
        ("int4", 64, 64, 32),
        ("int4", 64, 64, 64),
        ("int4", 192, 576, 64),
        ("int4", 320, 512, 128),
        ("int4", 64, 512, 256),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 33])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_those_of_the_dequantised_weights(
    kind: str, rows: int, columns: int, group: int, count: int, dtype: torch.dtype, biased: bool
) -> None:
    quantised, weight, bias = layer(kind, rows, columns, group, dtype, biased=biased)
    input = torch.randn(2, count, columns, generator=torch.Generator().manual_seed(count)).to(dtype)
    # The numbers as the definitions give them, in float64, beside what the kernels know.
    if kind == "int8":
        scales = (weight.double().abs().amax(1) / 127).to(dtype).double()
        exact = (weight.double() / scales[:, None]).round().clamp(-127, 127) * scales[:, None]
    else:
        codes, steps, zeros = round_to_groups(weight, group)
        exact = ((codes.double() - 8) * steps.double()[..., None] + zeros.double()[..., None]).flatten(1)
    reference = input.double() @ exact.t() + (0 if bias is None else bias.double())
    tolerance = 0.02 if dtype is torch.bfloat16 else 1e-5
    error = (quantised(input).double() - reference).abs().max() / reference.abs().max()
    assert error < tolerance
    flat = input.view(-1, columns)
    for product in (quantised.packed_product, quantised.product):
        unbiased = reference.view(-1, rows) - (0 if bias is None else bias.double())
        assert (product(flat).double() - unbiased).abs().max() / unbiased.abs().max() < tolerance
    assert (quantised.dequantized().double() - exact).abs().max() / exact.abs().max() < tolerance / 4


@pytest.mark.parametrize(("kind", "levels"), [("int8", 254), ("int4", 15)])
def test_no_weight_moves_by_more_than_half_a_step(kind: str, levels: int) -> None:
    quantised, weight, _ = layer(kind, 64, 128, 64, torch.float32, biased=False)
    groups = weight.unflatten(1, (-1, 64 if kind == "int4" else 128))
    span = groups.amax(-1) - groups.amin(-1) if kind == "int4" else 2 * groups.abs().amax(-1)
    moved = (quantised.dequantized() - weight).abs().unflatten(1, groups.shape[1:])
    assert (moved <= (span / levels / 2).unsqueeze(-1) * 1.0001 + 1e-6).all()


def test_weights_that_are_all_alike_survive() -> None:
    for value in (0.0, 0.25, -3.0):
        weight = torch.full((64, 64), value)
        for quantised in (Int8Linear(weight), Int4Linear(weight, group_size=64)):
            assert torch.isfinite(quantised(torch.ones(1, 64))).all()
            torch.testing.assert_close(quantised.dequantized(), weight, atol=1e-3, rtol=0.01)


def test_an_order_of_packing_that_is_not_known_falls_back_on_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    quantised, _, _ = layer("int4", 128, 64, 64, torch.float32, biased=False)
    input, expected = torch.randn(90, 64), quantised.dequantized()
    product = quantised(input)
    monkeypatch.setattr(ql, "rows_packed_together", lambda: None)
    torch.testing.assert_close(quantised(input), product, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(quantised.dequantized(), expected)


# ---- a model -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("kind", "tied"), [("llama", True), ("llama", False), ("qwen2", True)])
def test_the_card_tells_the_bytes_that_are_there(model: Model, scheme: str, kind: str, tied: bool) -> None:
    base = make(model, kind=kind, tied=tied, dtype=torch.bfloat16)
    quantised = quantize(base, scheme)
    module = quantised.module
    fused = {share.fused for share in module.modules() if isinstance(share, Share)}
    parts = [module, *(one.linear for one in fused)]
    inverse_frequencies = {name for name, _ in module.named_buffers() if "inv_freq" in name}
    there = {
        tensor.data_ptr(): tensor.nbytes
        for part in parts
        for name, tensor in (*part.named_parameters(), *part.named_buffers())
        if name not in inverse_frequencies
    }
    assert quantised.card.parameter_bytes == sum(there.values())
    assert quantised.card.num_parameters == base.card.num_parameters
    assert quantised.card.quantization == scheme
    assert scheme[:4] in quantised.card.note
    head = module.get_output_embeddings()
    assert quantised.card.head_bytes == head.weight_bytes == 65 * base.card.vocab_size + base.card.vocab_size
    assert isinstance(module.get_input_embeddings(), Int8Embedding) == tied
    # What a step reads: everything once, and of an untied embedding the rows that are looked up.
    costs = step_costs(quantised.card, [(0, 3), (9, 10)], 1, 2)
    unread = 0 if tied else (base.card.vocab_size - 4) * 64 * 2
    assert costs.weight_bytes == quantised.card.parameter_bytes - unread
    embedded = 4 * (66 if tied else 128)
    table = quantised.card.head_bytes + (0 if tied else base.card.vocab_size * 128)
    assert step_costs(quantised.card, [(0, 4)], 0, 2).weight_bytes == quantised.card.parameter_bytes - table + embedded


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_was_started_from_stays_as_it_was_and_is_shared(model: Model, scheme: str) -> None:
    base = make(model)
    tokens = torch.arange(40).unsqueeze(0)
    before = base.module(tokens).logits
    weights = {name: parameter.clone() for name, parameter in base.module.named_parameters()}
    quantised = quantize(base, scheme)
    assert all(torch.equal(parameter, weights[name]) for name, parameter in base.module.named_parameters())
    torch.testing.assert_close(base.module(tokens).logits, before, atol=1e-4, rtol=1e-4)
    own, shared = quantised.module.model, base.module.model
    assert own.norm.weight is shared.norm.weight
    assert own.norm is not shared.norm
    # Two engines over the two, in turns: neither disturbs the other.
    engines = [Engine(each, EngineConfig(num_blocks=32)) for each in (base, quantised)]
    params = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
    first = [engine.generate([[5, 6, 7]], params)[0].token_ids for engine in engines]
    assert first == [engine.generate([[5, 6, 7]], params)[0].token_ids for engine in engines]
    assert first[0] == Engine(make(model), EngineConfig(num_blocks=32)).generate([[5, 6, 7]], params)[0].token_ids


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_quantised_model_is_the_model_of_its_dequantised_weights(model: Model, kind: str) -> None:
    base = make(model, kind=kind)
    reference = copy.deepcopy(base.module)
    quantised = quantize(base, "int4")
    for plain, rounded in zip(reference.model.layers, quantised.module.model.layers, strict=True):
        for parent, names in (("self_attn", ("q_proj", "k_proj", "v_proj")), ("mlp", ("gate_proj", "up_proj"))):
            fused = getattr(getattr(rounded, parent), names[0]).fused
            parts = torch.split(fused.linear.dequantized(), fused.sizes)
            for name, part in zip(names, parts, strict=True):
                getattr(getattr(plain, parent), name).weight.copy_(part)
        plain.self_attn.o_proj.weight.copy_(rounded.self_attn.o_proj.dequantized())
        plain.mlp.down_proj.weight.copy_(rounded.mlp.down_proj.dequantized())
    reference.lm_head.weight.copy_(quantised.module.get_output_embeddings().dequantized())  # tied: the embedding too
    tokens = torch.arange(100, 200).unsqueeze(0)
    for few in (tokens[:, :1], tokens):  # one row through the kernels, a hundred by way of weights
        torch.testing.assert_close(
            quantised.module(few, use_cache=False).logits, reference(few).logits, atol=2e-3, rtol=1e-3
        )


@pytest.mark.parametrize("scheme", ["int8", "int4", "int4-awq"])
@pytest.mark.parametrize("kv_cache_dtype", ["auto", "int8", "fp8"])
def test_batches_chunks_and_cached_prefixes_change_no_token(model: Model, scheme: str, kv_cache_dtype: str) -> None:
    quantised = quantize(make(model), scheme)
    prompts = [list(range(first, first + length)) for first, length in ((9, 1), (200, 12), (200, 37), (500, 120))]
    params = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
    plain = EngineConfig(block_size=4, num_blocks=96, enable_prefix_caching=False, kv_cache_dtype=kv_cache_dtype)
    alone = [Engine(quantised, plain).generate([ids], params)[0].token_ids for ids in prompts]
    other = EngineConfig(block_size=4, num_blocks=48, max_num_batched_tokens=7, kv_cache_dtype=kv_cache_dtype)
    engine = Engine(quantised, other)
    for what in ("together, in chunks", "again, with their prefixes found"):
        outputs = engine.generate(prompts, params)
        assert [output.token_ids for output in outputs] == alone, what
    assert outputs[2].usage.cached_tokens > 0
    engine.check_integrity()


def test_the_loader_quantises_and_says_so(model: Model) -> None:
    loaded = load_model(dtype="bfloat16", device="cpu", quantization="int8")
    assert loaded.path == model.path
    assert loaded.card.quantization == "int8"
    assert loaded.card.parameter_bytes < 0.51 * 2 * loaded.card.num_parameters
    assert "Q4_1" in loaded.card.note
    assert "int8" in loaded.card.note


# ---- activation-aware scaling --------------------------------------------------------------------------------------


def test_scaling_spares_the_channels_that_matter(model: Model) -> None:
    """With a norm that makes four channels loud, as trained models have them, awq's logits are nearer."""
    base = make(model)
    for one in base.module.model.layers:
        one.input_layernorm.weight[:4] *= 20
        one.post_attention_layernorm.weight[:4] *= 20
    tokens = torch.tensor([model.tokenizer.encode("A soup is a matter of patience: the onions first, slowly.")])
    exact = base.module(tokens).logits
    error = {
        scheme: float((quantize(base, scheme).module(tokens, use_cache=False).logits - exact).square().mean())
        for scheme in ("int4", "int4-awq")
    }
    assert error["int4-awq"] < 0.8 * error["int4"]


# ---- bad input -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_quantised_is_refused_by_name(model: Model, tiny: Model) -> None:
    with pytest.raises(ValueError, match=r"quantization must be one of int8, int4, int4-awq, not 'int3'"):
        quantize(make(model), "int3")
    with pytest.raises(ValueError, match=r"group_size must be one of 32, 64, 128, 256, not 48"):
        quantize(make(model), "int4", group_size=48)
    with pytest.raises(
        ValueError,
        match=r"in_features to be a multiple of the group size 128, and "
        r"model.layers.0.self_attn.q_proj\+k_proj\+v_proj has the shape \[128, 64\]",
    ):
        quantize(make(model), "int4", group_size=128)
    with pytest.raises(ValueError, match=r"group size 64, and model.layers.0.self_attn.* has the shape \[32, 16\]"):
        quantize(tiny, "int4")
    odd = wrap(LlamaForCausalLM(LlamaConfig(**SHAPE | {"vocab_size": 50, "intermediate_size": 24})), None)
    with pytest.raises(ValueError, match=r"multiple of 16, and model.layers.0.mlp.down_proj has the shape \[64, 24\]"):
        quantize(odd, "int8")
    with pytest.raises(ValueError, match="quantised already"):
        quantize(quantize(make(model), "int8"), "int4")
    gpt2 = wrap(GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=1, n_head=2, vocab_size=50)), None)
    with pytest.raises(ValueError, match="wants linear layers, and tiny has none"):
        quantize(gpt2, "int8")
    with pytest.raises(ValueError, match=r"kv_cache_dtype must be one of 'auto', 'int8', 'fp8', got 'int2'"):
        Engine(tiny, EngineConfig(kv_cache_dtype="int2"))


def test_awq_refuses_an_architecture_that_it_would_spoil(model: Model) -> None:
    with pytest.raises(ValueError, match=r"cannot fold its factors into Gemma2ForCausalLM, take 'int4'"):
        quantize(make(model, kind="gemma2"), "int4-awq")


def test_gemmas_scaled_embedding_stays_with_its_head(model: Model) -> None:
    base = make(model, kind="gemma2")
    quantised = quantize(base, "int4")
    assert quantised.module.get_output_embeddings().weight is base.module.get_output_embeddings().weight
    assert quantised.card.head_bytes == base.card.head_bytes
    assert "head" not in quantised.card.note
