"""The kernels where the engine calls them: whole answers, with prompts in chunks and sequences in batches."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from inference import Engine, EngineConfig, SamplingParams
from inference.attention import interface
from inference.attention.reference import Rule
from inference.attention.triton_paged import attend_with_triton
from inference.tokenizer import Tokenizer
from tests.inference.conftest import wrap
from tests.inference.test_attention import SHAPE


def _llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, "num_hidden_layers": 2}))


def _gemma2() -> PreTrainedModel:
    return Gemma2ForCausalLM(
        Gemma2Config(**{**SHAPE, "num_hidden_layers": 2}, head_dim=8, sliding_window=6, query_pre_attn_scalar=5,
                     attn_logit_softcapping=3.0, layer_types=["sliding_attention", "full_attention"])
    )  # fmt: skip


def letters() -> Tokenizer:
    """A byte a token: the answers are noise, and only their ids are looked at."""
    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = BackendTokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))


@pytest.mark.parametrize("make", [_llama, _gemma2])
def test_the_same_answers_as_with_torch(make: type, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    module = make()
    prompts = [torch.randint(1, 97, (n,), generator=torch.Generator().manual_seed(n)).tolist() for n in (1, 9, 20)]
    answers = {}
    for attend in (interface.attend_with_torch, attend_with_triton):
        monkeypatch.setattr(interface, "attend_for", lambda device, dtype, attend=attend: attend)
        config = EngineConfig(block_size=4, num_blocks=40, max_num_seqs=4, max_num_batched_tokens=9)
        engine = Engine(wrap(module, letters()), config)
        outputs = engine.generate(prompts, SamplingParams(temperature=0.0, max_tokens=5))
        answers[attend.__name__] = [output.token_ids for output in outputs]
        engine.check_integrity()
    assert answers["attend_with_triton"] == answers["attend_with_torch"]
    assert all(len(ids) == 5 for ids in answers["attend_with_triton"])


def test_drafts_of_several_sequences_are_attended_to_as_with_torch() -> None:
    """Two sequences of three tokens each, verified in one pass beside a single token."""
    generator = torch.Generator().manual_seed(3)
    cache = interface.KVCache(1, 8, 4, 2, 16, torch.float32, torch.device("cpu"))
    cache.tensor.normal_(generator=generator)
    tables = torch.tensor([3, 0, 6, 5, 1, 5])  # the second is shorter: its last is padding
    groups = [
        interface.Singles(0, 1, torch.tensor([2]), torch.tensor([7]), 3),
        interface.Singles(1, 7, torch.tensor([7, 4]), tables, 10, width=3),
    ]
    context = interface.StepContext(cache, torch.empty(0), groups, [])
    query = torch.randn(1, 7, 4, 16, generator=generator).transpose(1, 2)
    answers = [attend(0, query, context, Rule(0.3)) for attend in (interface.attend_with_torch, attend_with_triton)]
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-5)


def test_a_processor_keeps_torch() -> None:
    assert interface.attend_for(torch.device("cpu"), torch.float32) is interface.attend_with_torch


def test_a_gpu_gets_the_kernels_for_what_they_can_read() -> None:
    gpu = torch.device("cuda")
    assert interface.attend_for(gpu, torch.bfloat16) is attend_with_triton
    assert interface.attend_for(gpu, torch.float64) is interface.attend_with_torch
    assert interface.attend_for(gpu, torch.int8) is interface.attend_with_torch
