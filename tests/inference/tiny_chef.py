"""A tiny model under a tokenizer of letters, and draft heads that are really trained for it: made in seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer as BackendTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.speculation.answers import Text
from inference.speculation.eagle import config_for, save_head
from inference.speculation.features import compute_features
from inference.speculation.training import Recipe, draft_vocabulary, new_head, train
from inference.tokenizer import Tokenizer
from tests.inference.conftest import wrap

LAYERS = (0, 1)


def letters() -> Tokenizer:
    """A byte a token: the answers are noise, and only their ids are looked at."""
    alphabet = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = BackendTokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))


def tiny_chef(vocab_size: int = 97, *, seed: int = 0, layers: int = 2) -> Model:
    """Random layers of 16 numbers. Its greedy answers fall into loops slowly enough to be worth checking."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    return wrap(LlamaForCausalLM(config), letters())


def prompts(count: int, length: int, model: Model, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.card.vocab_size, (count, length), generator=generator).tolist()


def train_heads(model: Model, folder: Path) -> dict[str, Path]:
    """``eagle``, which learned from the model's own answers, and ``mismatched``, which learned from texts that the
    model would never write."""
    asked = prompts(48, 6, model, seed=11)
    config = EngineConfig(block_size=4, num_blocks=1024, max_num_seqs=64)
    outputs = Engine(model, config).generate(asked, SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True))
    own = [Text(ids + output.token_ids, 6) for ids, output in zip(asked, outputs, strict=True)]
    wrong = [Text(ids, 6) for ids in prompts(16, 30, model, seed=12)]
    paths = {}
    for name, texts, epochs in (("eagle", own, 12), ("mismatched", wrong, 4)):
        store = compute_features(model, texts, folder / f"{name}.features", LAYERS, progress=lambda *_: None)
        size = min(64, model.card.vocab_size)
        head = new_head(model, config_for(model, feature_layers=LAYERS, draft_vocab_size=size, table_rank=0), store, 0)
        head.set_draft_ids(draft_vocabulary(model, store, size))
        recipe = Recipe(epochs=epochs, tokens_per_batch=512, learning_rate=5e-3)
        train(head, model.module.base_model.norm, store, recipe, say=lambda *_: None)
        paths[name] = folder / f"{name}.safetensors"
        save_head(head, paths[name])
    return paths
