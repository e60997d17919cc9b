"""Bytes and FLOPs against what PyTorch counts and what the tensors weigh."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from msgspec.structs import replace
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DeepseekV3Config,
    DynamicCache,
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.costs import BATCH_RANGE, CONTEXT_RANGE, PRESETS, calculate, kv_bytes_per_token, step_costs
from inference.events import Event, ModelCard, StepFinished, StepStarted
from inference.models import _card
from tests.inference.conftest import wrap


def counted(module: PreTrainedModel, num_tokens: int, logits_rows: int) -> int:
    module.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ids = torch.zeros(1, num_tokens, dtype=torch.long, device=module.device)
        module(ids, use_cache=False, logits_to_keep=logits_rows)
    return int(counter.get_total_flops())


def masked(card: object, num_tokens: int) -> int:
    """FLOPs of the scores above the diagonal, which eager attention computes and throws away."""
    return 4 * card.num_layers * card.num_heads * card.head_dim * (num_tokens * (num_tokens - 1) // 2)


@pytest.mark.parametrize(("num_tokens", "logits_rows"), [(1, 1), (5, 1), (17, 17)])
def test_flops_are_what_pytorch_counts_on_the_real_model(
    reference_module: PreTrainedModel, num_tokens: int, logits_rows: int
) -> None:
    module = reference_module
    before = module.config._attn_implementation
    card = _card(module, module.config, "", None)
    costs = step_costs(card, [(0, num_tokens)], logits_rows, 4)
    try:
        assert costs.flops == counted(module, num_tokens, logits_rows) - masked(card, num_tokens)
    finally:
        module.set_attn_implementation(before)


TINY = {"vocab_size": 999, "hidden_size": 32, "num_attention_heads": 4}
CONFIGS: list[PreTrainedConfig] = [
    LlamaConfig(**TINY, intermediate_size=88, num_hidden_layers=3, num_key_value_heads=2, tie_word_embeddings=True),
    Qwen2Config(**TINY, intermediate_size=88, num_hidden_layers=3, num_key_value_heads=1, tie_word_embeddings=False),
    GPT2Config(vocab_size=999, n_embd=32, n_head=4, n_layer=3, n_positions=64),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_flops_of_other_families(config: PreTrainedConfig) -> None:
    module = AutoModelForCausalLM.from_config(config).eval()
    card = _card(module, module.config, "", None)
    costs = step_costs(card, [(0, 9)], 1, 4)
    assert costs.flops == counted(module, 9, 1) - masked(card, 9)


FAMILIES: list[PreTrainedConfig] = [
    LlamaConfig(**TINY, intermediate_size=88, num_hidden_layers=3, num_key_value_heads=2, tie_word_embeddings=True),
    Qwen3Config(
        **TINY,
        intermediate_size=88,
        num_hidden_layers=3,
        num_key_value_heads=2,
        head_dim=24,
        tie_word_embeddings=False,
    ),
    Gemma3TextConfig(
        **TINY, intermediate_size=88, num_hidden_layers=4, num_key_value_heads=1, head_dim=16, sliding_window=12,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
    ),
    MistralConfig(**TINY, intermediate_size=88, num_hidden_layers=2, num_key_value_heads=2, sliding_window=9),
    GPT2Config(vocab_size=999, n_embd=32, n_head=4, n_layer=3, n_positions=64),
]  # fmt: skip


class Counted:
    """One request computed by transformers with a cache of its own, under PyTorch's counter."""

    def __init__(self, module: PreTrainedModel) -> None:
        self.module = module
        self.cache = DynamicCache(config=module.config)

    def flops(self, token_ids: list[int], start: int, stop: int, *, samples: bool) -> int:
        """Of the tokens ``start <= position < stop``, less the scores that eager attention computes and masks."""
        module = self.module if samples else self.module.base_model
        head = {"logits_to_keep": 1} if samples else {}
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.tensor([token_ids[start:stop]]), past_key_values=self.cache, use_cache=True, **head)
        return int(counter.get_total_flops()) - self.masked(start, stop)

    def masked(self, start: int, stop: int) -> int:
        config = self.module.config
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        if config.model_type == "mistral":
            kinds = ["sliding_attention"] * config.num_hidden_layers
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        pairs = 0
        for kind in kinds:
            window = config.sliding_window if kind == "sliding_attention" else 10**9
            first_key = max(0, start - window + 1)  # (what the cache of such a layer still holds)
            for query in range(start, stop):
                pairs += sum(1 for key in range(first_key, stop) if key > query or key <= query - window)
        return 4 * config.num_attention_heads * width * pairs


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.model_type)
def test_each_step_of_the_engine_costs_what_pytorch_counts(config: PreTrainedConfig, model: Model) -> None:
    """Chunked prefill, decode, and both in one step; the sliding windows are outgrown."""
    module = AutoModelForCausalLM.from_config(config).eval()
    module.set_attn_implementation("eager")
    reference = copy.deepcopy(module)
    events: list[Event] = []
    engine = Engine(
        wrap(module, model.tokenizer), EngineConfig(block_size=4, max_num_batched_tokens=16), on_event=events.append
    )
    prompts = [[7 + i for i in range(23)], [3 * i for i in range(9)]]
    outputs = engine.generate(prompts, SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True))
    token_ids = [prompt + output.token_ids for prompt, output in zip(prompts, outputs, strict=True)]
    requests = {f"request-{i}": (Counted(reference), ids) for i, ids in enumerate(token_ids)}
    steps = [event for event in events if isinstance(event, StepStarted)]
    costs = [event for event in events if isinstance(event, StepFinished)]
    assert {step.phase for step in steps} == {"prefill", "decode"}
    for step, cost in zip(steps, costs, strict=True):
        expected = 0
        for item in step.requests:
            counted, ids = requests[item.request_id]
            samples = item.stop >= len(ids) - 8
            expected += counted.flops(ids, item.start, item.stop, samples=samples)
        assert cost.flops == expected, step


def test_flops_and_bytes_by_hand() -> None:
    """SmolLM2-135M, one token with 99 before it, and a prompt of 512."""
    layer = 576 * 576 + 576 * 192 + 576 * 192 + 576 * 576 + 3 * 576 * 1536
    assert layer == 3_538_944
    card = ModelCard(
        name="SmolLM2-135M",
        architecture="LlamaForCausalLM",
        num_layers=30,
        hidden_size=576,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        intermediate_size=1536,
        vocab_size=49_152,
        num_parameters=134_515_008,
        parameter_bytes=269_030_016,
        dtype="bfloat16",
        kv_bytes_per_token=23_040,
        max_model_len=8192,
    )
    decode = step_costs(card, [(99, 100)], 1, 2)
    # 2 x 106,168,320 of the layers, 2 x 28,311,552 of the head, 30 layers x 9 heads x 100 keys x 64 x 2 x 2
    assert decode.flops == 212_336_640 + 56_623_104 + 6_912_000
    assert (decode.weight_bytes, decode.kv_read_bytes) == (269_030_016, 2_304_000)
    assert decode.kv_written_bytes == 23_040
    prefill = step_costs(card, [(0, 512)], 1, 2)
    assert prefill.flops == 512 * 212_336_640 + 56_623_104 + 30 * 4 * 576 * (512 * 513 // 2)
    window = replace(card, sliding_window=10, num_sliding_layers=30)
    assert step_costs(window, [(99, 100)], 1, 2).flops == 212_336_640 + 56_623_104 + 691_200
    assert step_costs(window, [(99, 100)], 1, 2).kv_read_bytes == 230_400
    assert step_costs(window, [(95, 100)], 1, 2).kv_read_bytes == 14 * 23_040


def test_of_an_untied_embedding_only_the_rows_that_are_looked_up_are_read() -> None:
    module = AutoModelForCausalLM.from_config(CONFIGS[1]).eval()
    card = _card(module, module.config, "", None)
    assert card.tied_embeddings is False
    table = module.get_input_embeddings().weight
    for tokens in (1, 5):
        read = step_costs(card, [(10, 10 + tokens)], 1, 4).weight_bytes
        assert read == card.parameter_bytes - table.nbytes + tokens * table.nbytes // table.shape[0]


def test_of_experts_those_that_a_token_is_sent_to_are_read() -> None:
    """The least that a step can read: whom other tokens of it are sent to is not known beforehand."""
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    config = GptOssConfig(
        **TINY, intermediate_size=24, num_hidden_layers=3, num_key_value_heads=2, head_dim=8, sliding_window=6,
        layer_types=kinds, num_local_experts=8, num_experts_per_tok=2, tie_word_embeddings=False,
    )  # fmt: skip
    module = AutoModelForCausalLM.from_config(config).eval()
    card = _card(module, config, "", None)
    experts = [layer.mlp.experts for layer in module.model.layers]
    all_bytes = sum(tensor.nbytes for each in experts for tensor in each.parameters())
    assert (card.num_experts, card.num_experts_per_token, card.expert_bytes) == (8, 2, all_bytes)
    assert (card.sliding_window, card.num_sliding_layers, card.sliding_layers) == (6, 2, [0, 2])
    assert card.attention_sinks
    embedding = module.get_input_embeddings().weight.nbytes
    one = step_costs(card, [(4, 5)], 1, 4)
    assert one.weight_bytes == card.parameter_bytes - embedding + embedding // 999 - all_bytes * 6 // 8
    # Two experts of a token, each a matrix of 32 x 48 and one of 24 x 32, against all eight.
    dense = step_costs(replace(card, num_experts_per_token=8), [(4, 5)], 1, 4)
    products = 3 * 6 * (32 * 48 + 24 * 32)
    assert dense.flops - one.flops == pytest.approx(2 * products, rel=0.06), "biases are counted with them"


def test_a_token_costs_the_same_in_whatever_chunk_it_comes(tiny: Model) -> None:
    whole = step_costs(tiny.card, [(0, 40)], 1, 4)
    parts = [step_costs(tiny.card, [(a, b)], int(b == 40), 4) for a, b in ((0, 7), (7, 8), (8, 40))]
    assert whole.flops == sum(part.flops for part in parts)
    assert whole.kv_written_bytes == sum(part.kv_written_bytes for part in parts)
    assert [part.kv_read_bytes for part in parts] == [n * tiny.card.kv_bytes_per_token for n in (7, 8, 40)]
    together = step_costs(tiny.card, [(0, 7), (7, 8), (8, 40)], 1, 4)
    assert together.flops == whole.flops
    assert together.weight_bytes < sum(part.weight_bytes for part in parts)


def test_bytes_are_those_of_the_real_tensors(model: Model) -> None:
    decode = step_costs(model.card, [(99, 100)], 1, 4)
    assert decode.weight_bytes == model.card.parameter_bytes
    assert decode.weight_bytes == sum(p.nbytes for p in model.module.parameters())
    head = model.module.get_output_embeddings().weight
    without = step_costs(model.card, [(0, 7)], 0, 4)
    assert without.weight_bytes == model.card.parameter_bytes - head.nbytes + 7 * head[0].nbytes
    keys = model.card.num_layers * model.card.num_kv_heads * model.card.head_dim
    assert kv_bytes_per_token(model.card, 4) == model.card.kv_bytes_per_token == 2 * keys * 4
    assert decode.kv_read_bytes == 100 * model.card.kv_bytes_per_token
    assert decode.kv_written_bytes == model.card.kv_bytes_per_token


def test_a_dynamic_cache_weighs_the_same(reference_module: PreTrainedModel) -> None:
    card = _card(reference_module, reference_module.config, "", None)
    with torch.no_grad():
        cache = reference_module(torch.zeros(1, 6, dtype=torch.long), use_cache=True).past_key_values
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) == 6 * kv_bytes_per_token(card, 4)


# ---- the calculator ------------------------------------------------------------------------------------------------

LLAMA = {"vocab_size": 128_256, "num_key_value_heads": 8}
PUBLISHED: dict[str, PreTrainedConfig] = {
    # The library's own defaults are these models' published configurations.
    "llama-2-7b": LlamaConfig(),
    "falcon-7b": FalconConfig(multi_query=True, parallel_attn=True, bias=False, new_decoder_architecture=False),
    "deepseek-v3-671b": DeepseekV3Config(),
    "llama-3.1-8b": LlamaConfig(**LLAMA, intermediate_size=14_336),
    "llama-3.1-70b": LlamaConfig(
        **LLAMA, hidden_size=8_192, num_hidden_layers=80, num_attention_heads=64, intermediate_size=28_672
    ),
    "llama-3.1-405b": LlamaConfig(
        **LLAMA, hidden_size=16_384, num_hidden_layers=126, num_attention_heads=128, intermediate_size=53_248
    ),
}


@pytest.mark.parametrize("slug", PUBLISHED)
def test_presets_have_the_parameters_of_the_published_shapes(slug: str) -> None:
    config, preset = PUBLISHED[slug], PRESETS[slug]
    with torch.device("meta"):
        module = AutoModelForCausalLM.from_config(config)
    # A router's correction bias is a buffer here and a parameter in the checkpoint: 256 numbers a layer.
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(preset.num_parameters, rel=1e-6)
    assert config.num_hidden_layers == preset.num_layers
    assert config.num_attention_heads == preset.num_heads
    assert config.hidden_size == preset.hidden_size
    if slug == "deepseek-v3-671b":
        assert (config.kv_lora_rank, config.qk_rope_head_dim) == (preset.latent_dim, preset.rope_dim)
        assert config.qk_nope_head_dim + config.qk_rope_head_dim == preset.key_dim
        assert config.v_head_dim == preset.value_dim


def test_the_small_preset_is_the_model_that_runs(model: Model) -> None:
    preset, card = PRESETS["smollm2-135m"], model.card
    assert preset.num_parameters == card.num_parameters
    assert calculate("smollm2-135m", precision="fp32").chosen.bytes_per_token == card.kv_bytes_per_token
    config = AutoConfig.from_pretrained(model.path)
    assert preset.max_context == config.max_position_embeddings


def test_well_known_numbers() -> None:
    assert calculate("llama-2-7b").chosen.bytes_per_token == 524_288  # half a mebibyte, 2 GiB at 4,096
    assert calculate("llama-2-7b", 4_096).chosen.bytes_per_conversation == 2 * 2**30
    assert calculate("llama-3.1-8b", 131_072).chosen.bytes_per_conversation == 16 * 2**30
    assert calculate("deepseek-v3-671b").chosen.bytes_per_token == 70_272  # 61 layers of 576 numbers
    assert calculate("falcon-7b").chosen.bytes_per_token == 8_192
    assert calculate("llama-3.1-70b", weight_precision="bf16").weights_fit is False  # 141 GB
    assert calculate("llama-3.1-70b", weight_precision="int4").weights_fit is True  # 35 GB


def test_kinds_are_ordered_and_the_models_own_is_marked() -> None:
    for slug, preset in PRESETS.items():
        calculation = calculate(slug, 1_000, 3)
        costs = {cost.kind: cost for cost in calculation.kinds}
        assert costs["MHA"].bytes_per_token >= costs["GQA"].bytes_per_token >= costs["MQA"].bytes_per_token
        assert [cost.kind for cost in calculation.kinds if cost.own] == [preset.attention]
        assert calculation.chosen is costs[preset.attention]
        assert calculation.chosen.total_bytes == 3 * calculation.chosen.bytes_per_conversation
        for cost in calculation.kinds:
            room = calculation.card_bytes - calculation.weight_bytes
            assert cost.conversations == max(0, room // cost.bytes_per_conversation)


def test_half_the_bits_are_half_the_bytes() -> None:
    sizes = [calculate("llama-3.1-8b", precision=p).chosen.total_bytes for p in ("fp32", "bf16", "fp8", "int4")]
    assert [sizes[0] // size for size in sizes] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"model": "gpt-5"}, "model"),
        ({"model": "llama-2-7b", "context": 0}, "context"),
        ({"model": "llama-2-7b", "context": CONTEXT_RANGE[1] + 1}, "context"),
        ({"model": "llama-2-7b", "context": 1.5}, "context"),
        ({"model": "llama-2-7b", "context": True}, "context"),
        ({"model": "llama-2-7b", "batch": BATCH_RANGE[1] + 1}, "batch"),
        ({"model": "llama-2-7b", "precision": "fp64"}, "precision"),
        ({"model": "llama-2-7b", "weight_precision": ""}, "weight_precision"),
        ({"model": "llama-2-7b", "kind": "XYZ"}, "kind"),
    ],
)
def test_what_is_out_of_range_is_named(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be"):
        calculate(**arguments)


def test_costs_import_no_torch() -> None:
    code = "import sys, inference.costs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
