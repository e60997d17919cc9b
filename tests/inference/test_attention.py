"""The paged attention: against plain attention over contiguous keys, and whole models against generate."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.attention.interface import KVCache, Singles, Span, StepContext, paged_attention
from inference.attention.reference import attend, causal_mask
from tests.inference.conftest import assert_same, greedy, wrap

HEADS, KV_HEADS, DIM, BLOCK = 6, 2, 8, 4


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sliding_window", [None, 1, 3, 100])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("with_sinks", [False, True])
def test_pages_and_packing_change_nothing(sliding_window: int | None, softcap: float | None, with_sinks: bool) -> None:
    """Two chunks, two sequences' drafts and three single tokens of seven sequences in one step, in scattered blocks."""
    sinks = random(HEADS, seed=9) if with_sinks else None
    lengths, queries = [7, 11, 13, 10, 8, 9, 6], [1, 1, 1, 3, 3, 4, 6]
    cache = KVCache(1, 40, BLOCK, KV_HEADS, DIM, torch.float32, torch.device("cpu"))
    free = torch.randperm(40, generator=torch.Generator().manual_seed(1)).tolist()
    tables, keys, values = [], [], []
    for i, length in enumerate(lengths):
        tables.append([free.pop() for _ in range(-(-length // BLOCK))])
        keys.append(random(length, KV_HEADS, DIM, seed=10 + i))
        values.append(random(length, KV_HEADS, DIM, seed=20 + i))
        for position in range(length - queries[i]):
            slot = tables[i][position // BLOCK] * BLOCK + position % BLOCK
            cache.keys[0][slot], cache.values[0][slot] = keys[i][position], values[i][position]
    cache.tensor[:, free] = float("nan")  # what nobody owns must not be read
    new = [range(length - n, length) for length, n in zip(lengths, queries, strict=True)]
    slots = [tables[i][p // BLOCK] * BLOCK + p % BLOCK for i, span in enumerate(new) for p in span]

    def padded(tables: list[list[int]]) -> torch.Tensor:
        longest = max(len(table) for table in tables)
        return torch.tensor([block for table in tables for block in table + [table[0]] * (longest - len(table))])

    context = StepContext(
        cache,
        torch.tensor(slots),
        [
            Singles(0, 3, torch.tensor([6, 10, 12]), padded(tables[:3]), 13),
            Singles(3, 9, torch.tensor([7, 5]), padded(tables[3:5]), 10, width=3),
        ],
        [Span(9, 13, 5, torch.tensor(tables[5])), Span(13, 19, 0, torch.tensor(tables[6]))],
    )
    query = random(1, HEADS, sum(queries), DIM, seed=30)
    key = torch.cat([keys[i][span.start :] for i, span in enumerate(new)]).transpose(0, 1).unsqueeze(0)
    value = torch.cat([values[i][span.start :] for i, span in enumerate(new)]).transpose(0, 1).unsqueeze(0)
    output, _ = paged_attention(
        SimpleNamespace(layer_idx=0), query, key, value, None,
        kv=context, scaling=0.3, sliding_window=sliding_window, softcap=softcap, s_aux=sinks,
    )  # fmt: skip
    row = 0
    for i, span in enumerate(new):
        expected = attend(
            query[:, :, row : row + len(span)],
            keys[i].transpose(0, 1).unsqueeze(0),
            values[i].transpose(0, 1).unsqueeze(0),
            causal_mask(torch.tensor(list(span)), lengths[i], sliding_window),
            0.3,
            softcap=softcap,
            sinks=sinks,
        )
        torch.testing.assert_close(output[:, row : row + len(span)], expected.transpose(1, 2), atol=1e-5, rtol=1e-5)
        row += len(span)


def test_norms_are_of_what_stands_in_the_cache() -> None:
    cache = KVCache(3, 4, BLOCK, KV_HEADS, DIM, torch.float32, torch.device("cpu"))
    cache.tensor.normal_(generator=torch.Generator().manual_seed(0))
    norms = cache.norms(torch.tensor([5, 2, 14]))
    assert norms.shape == (2, 3, KV_HEADS, 3)
    assert float(norms[0, 1, 1, 2]) == pytest.approx(float(cache.keys[1][14, 1].norm()))
    assert float(norms[1, 2, 0, 0]) == pytest.approx(float(cache.values[2][5, 0].norm()))


# ---- models --------------------------------------------------------------------------------------------------------

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
WINDOWED = ["sliding_attention", "full_attention", "sliding_attention"]


def _gemma2() -> PreTrainedModel:
    return Gemma2ForCausalLM(
        Gemma2Config(**SHAPE, head_dim=8, sliding_window=6, query_pre_attn_scalar=5, attn_logit_softcapping=3.0,
                     final_logit_softcapping=9.0, layer_types=WINDOWED, attn_implementation="eager")
    )  # fmt: skip


def _gemma3() -> PreTrainedModel:
    config = Gemma3TextConfig(**SHAPE, head_dim=16, sliding_window=6, layer_types=WINDOWED)
    return Gemma3ForCausalLM(config)


def _gpt_oss() -> PreTrainedModel:
    model = GptOssForCausalLM(
        GptOssConfig(**SHAPE, head_dim=8, sliding_window=6, layer_types=WINDOWED, num_local_experts=4,
                     num_experts_per_tok=2, attn_implementation="eager")
    )  # fmt: skip
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.self_attn.sinks, std=1.0)
    return model


MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama-mha": lambda: LlamaForCausalLM(LlamaConfig(**{**SHAPE, "num_key_value_heads": 4})),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=6)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16)),
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "gpt-oss": _gpt_oss,
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=97, n_embd=32, n_layer=3, n_head=4, n_positions=256, initializer_range=0.4,
                   scale_attn_by_inverse_layer_idx=True, bos_token_id=None, eos_token_id=None)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_decoder_answers_as_generate_does(name: str, model: Model) -> None:
    torch.manual_seed(5)
    module = MODELS[name]().eval()
    oracle = copy.deepcopy(module)
    engine = Engine(
        wrap(module, model.tokenizer),
        EngineConfig(block_size=4, num_blocks=40, max_num_seqs=4, max_num_batched_tokens=9),
    )
    prompts = [
        torch.randint(1, 97, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (1, 3, 8, 16, 23, 40)
    ]
    for attempt in ("cold", "warm"):
        outputs = engine.generate(prompts, SamplingParams(temperature=0.0, max_tokens=20))
        for prompt, output in zip(prompts, outputs, strict=True):
            assert_same(greedy(oracle, prompt, 20), output.token_ids, f"{name}, {attempt}, {len(prompt)} tokens")
    engine.check_integrity()
