"""The model that the engine's tests run, and what transformers says about it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from inference import EngineConfig, Model, load_model
from inference.models import _card
from tests.inference.prompts import NEW_TOKENS, PROMPTS, Prompt


@dataclass(frozen=True)
class Reference:
    """Greedy answer of ``transformers.generate``, and how far its two best logits lay apart at each token."""

    prompt_ids: list[int]
    token_ids: list[int]
    gaps: list[float]


def greedy(module: PreTrainedModel, prompt_ids: list[int], new_tokens: int, **kwargs: object) -> Reference:
    """One prompt alone through ``generate``, until the model ends it or ``new_tokens`` are there."""
    result = module.generate(
        torch.tensor([prompt_ids]),
        attention_mask=torch.ones(1, len(prompt_ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        **kwargs,
    )
    best = [scores[0].topk(2).values for scores in result.scores]
    return Reference(
        prompt_ids, result.sequences[0, len(prompt_ids) :].tolist(), [float(two[0] - two[1]) for two in best]
    )


def assert_same(reference: Reference, token_ids: list[int], what: str) -> None:
    """Token for token; only a near-tie of the reference itself (1e-4) excuses a difference, and it is printed."""
    if token_ids == reference.token_ids:
        return
    pairs = zip(reference.token_ids, token_ids, strict=False)
    place = next((i for i, (expected, got) in enumerate(pairs) if expected != got), None)
    assert place is not None, f"{what}: {len(token_ids)} tokens, reference has {len(reference.token_ids)}"
    gap = reference.gaps[place]
    assert gap <= 1e-4, (
        f"{what}: token {place} is {token_ids[place]}, reference has {reference.token_ids[place]} (gap {gap:.3g})"
    )
    print(f"near-tie, {what}: token {place}, the reference's two best logits lie {gap:.2e} apart")  # noqa: T201


# One thread: with two, OpenMP's barriers cost a test run that shares its cores with anything else a factor of ten.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model() -> Model:
    """The default model in float32."""
    return load_model("smollm2-135m", dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def reference_module(model: Model) -> PreTrainedModel:
    """The same weights, loaded by transformers alone."""
    return AutoModelForCausalLM.from_pretrained(model.path, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def reference(model: Model, reference_module: PreTrainedModel) -> Callable[[Prompt], Reference]:
    """What ``generate`` answers to one prompt alone; asked once."""

    @functools.cache
    def answer(prompt: Prompt) -> Reference:
        token_ids = model.tokenizer.encode(prompt.text)
        if prompt.num_tokens is not None:
            assert len(token_ids) >= prompt.num_tokens
            token_ids = token_ids[: prompt.num_tokens]
        return greedy(reference_module, token_ids, NEW_TOKENS)

    return answer


@pytest.fixture(scope="session")
def references(reference: Callable[[Prompt], Reference]) -> list[Reference]:
    """What ``generate`` answers to each of ``PROMPTS``."""
    return [reference(prompt) for prompt in PROMPTS]


def wrap(module: PreTrainedModel, tokenizer: object, eos_token_ids: frozenset[int] = frozenset()) -> Model:
    """A Model around a module that was made, not loaded."""
    module.eval().requires_grad_(False)
    return Model(
        path=SimpleNamespace(),
        module=module,
        tokenizer=tokenizer,
        card=_card(module, module.config.get_text_config(), "tiny", None),
        config=module.config,
        dtype=module.dtype,
        device=torch.device("cpu"),
        eos_token_ids=eos_token_ids,
    )


@pytest.fixture(scope="session")
def tiny(model: Model) -> Model:
    """Two random layers under the real tokenizer: a step takes a millisecond, and the answers are noise."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=model.card.vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,
    )
    return wrap(LlamaForCausalLM(config), model.tokenizer, model.eos_token_ids)


@pytest.fixture
def small() -> EngineConfig:
    """Blocks small enough for a few tokens to fill several."""
    return EngineConfig(block_size=4, num_blocks=64, max_num_seqs=4, max_num_batched_tokens=64)
