"""Activation-aware weight quantisation: scale what matters before it is rounded.

Lin et al. 2023, "AWQ: Activation-aware Weight Quantization for LLM Compression and Acceleration"
(https://arxiv.org/abs/2306.00978). Some input channels carry much larger activations than others, so the same rounding
error in their weights does more harm. Multiply a channel's weights by s > 1 before rounding and its activations by
1 / s, and the product is the same but for the rounding error, which on that channel is about s times smaller.

    y = W x = (W diag(s)) (diag(s)^-1 x)        s = mean(|x|) ** alpha

alpha is searched on a grid, for each product, by the error of its output on a page of text; alpha = 0 is plain
rounding, so on that page no product gets worse. The factor 1 / s costs nothing at run time: it is folded into what
makes x, which is the norm before, or the rows of the projection before (values before the output projection, up before
down; they are linear in these rows).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from inference.linear import Share
from inference.quantized_linear import round_to_groups

ALPHAS = tuple(step / 10 for step in range(11))
ROWS = 256
"""Activations of each layer that the error is taken over, evenly from the text."""
TOLERANCE = 0.05
"""Relative change of the logits that folding alone may make (the rounding of the folded weights in bfloat16)."""


def calibration_text() -> str:
    """A page of Thoreau's Walden (1854; public domain), which no measurement here uses."""
    return files("inference.texts").joinpath("walden.txt").read_text(encoding="utf-8")


@torch.inference_mode()
def scale_salient_channels(module: PreTrainedModel, token_ids: list[int], group_size: int) -> None:
    """Scale the weights of ``module`` (prepared, not yet quantised), whose function stays the same.

    New tensors are put in the places of those that change; the old are not written to. Raises ``ValueError`` for an
    architecture where the factors cannot be folded.
    """
    module.set_attn_implementation("eager")
    layers = _layers(module)
    inputs = _inputs(module, layers, token_ids)
    ids = torch.tensor([token_ids[:64]])
    before = module(input_ids=ids, use_cache=False).logits.float()
    for layer in layers:
        for fold in _folds(layer):
            fold.apply(_search(fold, inputs[fold.reader], group_size))
    after = module(input_ids=ids, use_cache=False).logits.float()
    change = float((after - before).norm() / before.norm())
    if not change < TOLERANCE:
        raise ValueError(f"{_refusal(module)}: folding alone changed its logits by {change:.0%}")


@dataclass
class _Fold:
    """One product and what makes its input."""

    reader: nn.Module
    """Where the input arrives."""
    linear: nn.Linear
    divide: Callable[[torch.Tensor], None]
    """Divides the input's channels by factors [in_features]."""
    heads: tuple[int, int] | None = None
    """(groups of query heads, heads each) where several channels of the input are made by one row."""

    def alike(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` [in_features], averaged over the channels that must have one factor."""
        if self.heads is None:
            return values
        groups = values.view(*self.heads, -1)
        return groups.mean(dim=1, keepdim=True).expand_as(groups).reshape(-1)

    def apply(self, factors: torch.Tensor) -> None:
        weight = self.linear.weight
        self.linear.weight = _parameter(weight.float() * factors, weight)
        self.divide(factors)


def _layers(module: PreTrainedModel) -> list[Any]:
    layers: list[Any] = [la for la in module.modules() if hasattr(la, "self_attn") and hasattr(la, "mlp")]
    wanted = ("input_layernorm", "post_attention_layernorm", "self_attn.o_proj", "mlp.down_proj")
    try:
        whole = all(layer.get_submodule(name) is not None for layer in layers for name in wanted)
        fused = all(isinstance(part, Share) for la in layers for part in (la.self_attn.v_proj, la.mlp.up_proj))
    except AttributeError as error:
        raise ValueError(f"{_refusal(module)}: {error}") from None
    if not (layers and whole and fused):
        raise ValueError(f"{_refusal(module)}: its layers are not made of fused projections between norms")
    return layers


def _refusal(module: PreTrainedModel) -> str:
    return f"quantization 'int4-awq' cannot fold its factors into {type(module).__name__}, take 'int4'"


def _folds(layer: Any) -> list[_Fold]:  # noqa: ANN401  a decoder layer of transformers
    attention, mlp = layer.self_attn, layer.mlp
    values, up = attention.v_proj.fused, mlp.up_proj.fused
    dim = attention.head_dim
    groups = values.sizes[2] // dim
    each = attention.o_proj.in_features // values.sizes[2]
    first = values.sizes[0] + values.sizes[1]

    def divide_values(factors: torch.Tensor) -> None:
        _divide_rows(values.linear, first, factors.view(groups, each, dim)[:, 0].reshape(-1))

    def divide_up(factors: torch.Tensor) -> None:
        _divide_rows(up.linear, up.sizes[0], factors)

    return [
        _Fold(attention.q_proj, values.linear, partial(_divide_norm, layer.input_layernorm)),
        _Fold(mlp.gate_proj, up.linear, partial(_divide_norm, layer.post_attention_layernorm)),
        _Fold(attention.o_proj, attention.o_proj, divide_values, heads=(groups, each)),
        _Fold(mlp.down_proj, mlp.down_proj, divide_up),
    ]


def _divide_norm(norm: Any, factors: torch.Tensor) -> None:  # noqa: ANN401  a norm of transformers
    for name in ("weight", "bias"):
        if (old := getattr(norm, name, None)) is not None:
            setattr(norm, name, _parameter(old.float() / factors, old))


def _divide_rows(linear: nn.Linear, first: int, factors: torch.Tensor) -> None:
    """Rows ``first:first + len(factors)`` of ``linear``."""
    rows = slice(first, first + len(factors))
    weight = linear.weight.clone()
    weight[rows] = (weight[rows].float() / factors.unsqueeze(1)).to(weight.dtype)
    linear.weight = _parameter(weight, weight)
    if linear.bias is not None:
        bias = linear.bias.clone()
        bias[rows] = (bias[rows].float() / factors).to(bias.dtype)
        linear.bias = _parameter(bias, bias)


def _parameter(value: torch.Tensor, like: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype), requires_grad=False)


def _inputs(module: PreTrainedModel, layers: list[Any], token_ids: list[int]) -> dict[nn.Module, torch.Tensor]:
    """What arrives at each fold's reader over the text: [tokens, in_features]."""
    inputs: dict[nn.Module, torch.Tensor] = {}

    def keep(reader: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        inputs[reader] = arguments[0][0]

    readers = [fold.reader for layer in layers for fold in _folds(layer)]
    hooks = [reader.register_forward_pre_hook(keep) for reader in readers]
    try:
        module(input_ids=torch.tensor([token_ids]), use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    return inputs


def _search(fold: _Fold, inputs: torch.Tensor, group_size: int) -> torch.Tensor:
    """The factors [in_features] under which the rounded product errs least."""
    weight = fold.linear.weight
    magnitude = fold.alike(inputs.float().abs().mean(dim=0)).clamp(min=1e-6)
    rows = inputs[:: -(-inputs.shape[0] // ROWS)].float()
    best, least = torch.ones_like(magnitude), float("inf")
    for alpha in ALPHAS:
        factors = magnitude**alpha
        factors = factors / (factors.max() * factors.min()).sqrt()
        scaled = (weight.float() * factors).to(weight.dtype)
        codes, scales, zeros = round_to_groups(scaled, group_size)
        rounded = ((codes - 8) * scales.float().unsqueeze(-1) + zeros.float().unsqueeze(-1)).flatten(1) / factors
        error = float((rows @ (rounded - weight.float()).t()).square().mean())
        if error < least:
            best, least = factors, error
    return best
