"""Perplexity and divergence against transformers' own loss, and how they rank the schemes on the fixed text."""

from __future__ import annotations

import hashlib

import pytest
import torch
from transformers import PreTrainedModel

from inference import Model, load_model
from inference.awq import calibration_text
from inference.perplexity import compare, fixed_text
from inference.quantization import quantize
from tests.inference.test_quantization import make


def test_perplexity_is_that_of_transformers_loss(model: Model, reference_module: PreTrainedModel) -> None:
    ids = model.tokenizer.encode(fixed_text())[:90]
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        expected = float(reference_module(tokens, labels=tokens).loss.double().exp())
    quality = compare(model, model, ids, rows=64)
    assert quality.num_tokens == 89
    assert quality.perplexity == quality.reference_perplexity == pytest.approx(expected, rel=1e-4)
    assert (quality.kl, quality.agreement) == (0.0, 1.0)


@pytest.mark.parametrize("rows", [1, 16, 64])
def test_divergence_is_the_sum_over_the_vocabulary(model: Model, rows: int) -> None:
    base = make(model)
    quantised = quantize(base, "int4")
    ids = list(range(300, 340))
    with torch.inference_mode():
        p, q = (
            each.module.set_attn_implementation("sdpa") or each.module(torch.tensor([ids]), use_cache=False).logits[0]
            for each in (base, quantised)
        )
    divergence = torch.nn.functional.kl_div(
        q[:-1].double().log_softmax(-1), p[:-1].double().log_softmax(-1), log_target=True, reduction="batchmean"
    )
    quality = compare(quantised, base, ids, rows=rows)
    assert quality.kl == pytest.approx(float(divergence), rel=0.01)
    assert quality.agreement == pytest.approx(float((p[:-1].argmax(-1) == q[:-1].argmax(-1)).float().mean()), abs=0.03)


def test_models_that_cannot_be_compared_are_refused(model: Model, tiny: Model) -> None:
    with pytest.raises(ValueError, match="token_ids must hold at least 2 tokens, got 1"):
        compare(tiny, tiny, [1])
    other = make(model)
    other.card = type(other.card)(
        **{**{f: getattr(other.card, f) for f in other.card.__struct_fields__}, "vocab_size": 9}
    )
    with pytest.raises(ValueError, match="vocab_size must be the same, got 9 and 49152"):
        compare(other, tiny, [1, 2])


def test_the_texts_are_the_ones_that_were_measured() -> None:
    digests = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in (fixed_text(), calibration_text())]
    assert digests == DIGESTS
    assert not set(fixed_text().split(". ")) & set(calibration_text().split(". "))


@pytest.mark.slow
def test_salient_channels_spared_is_no_worse_than_rounding_and_eight_bits_better_than_four(model: Model) -> None:
    ids = model.tokenizer.encode(fixed_text())
    base = load_model(dtype="bfloat16", device="cpu")
    kl = {scheme: compare(quantize(base, scheme), model, ids, rows=64).kl for scheme in ("int8", "int4", "int4-awq")}
    assert kl["int8"] < 0.1 * kl["int4"]
    assert kl["int4-awq"] <= kl["int4"]


DIGESTS = ["6dbab058917de208", "c560f295b14e26d3"]
