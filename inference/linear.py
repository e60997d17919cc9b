"""Products with the weights, made cheaper without changing what they mean.

A decode step is a few hundred products of a matrix with one or a few rows, and each costs a wake-up of the threads. So
the projections that read the same input (queries, keys and values; gate and up) become one product, and on a CPU a
single row goes through the matrix-vector routine, which is faster there than the general one (a third in bfloat16).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional

_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class VectorLinear(nn.Linear):
    """A linear layer that knows the matrix-vector product."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return multiply(input, self.weight, self.bias, vector=True)


class FusedLinear(nn.Module):
    """Several linear layers over one input as one product. Its ``shares`` take the places of the layers; the first
    that is called computes for all. ``linear`` is the one layer: quantising puts another in its place."""

    def __init__(self, layers: list[nn.Linear], *, vector: bool) -> None:
        super().__init__()
        biases = tuple(layer.bias for layer in layers)
        weight = torch.cat(tuple(layer.weight for layer in layers))
        self.linear: nn.Module = linear(weight, None if biases[0] is None else torch.cat(biases), vector=vector)
        self.sizes = [layer.out_features for layer in layers]
        """Rows of the one product that are each share's."""
        self._input: torch.Tensor | None = None
        self._outputs: tuple[torch.Tensor, ...] = ()
        weights = torch.split(weight, self.sizes)
        self.shares = [Share(self, index, weight) for index, weight in enumerate(weights)]

    def output(self, input: torch.Tensor, index: int) -> torch.Tensor:
        """Share ``index`` of the product with ``input``."""
        if input is not self._input:
            self._input, self._outputs = input, torch.split(self.linear(input), self.sizes, dim=-1)
        output = self._outputs[index]
        if index == len(self.sizes) - 1:
            self._input, self._outputs = None, ()
        return output


class Share(nn.Module):
    """Stands where one of the fused layers stood. ``weight`` is a view of the fused one (quantising takes it away)."""

    def __init__(self, fused: FusedLinear, index: int, weight: torch.Tensor) -> None:
        super().__init__()
        self._fused = (fused,)  # in a tuple, or the module tree would have a cycle
        self._index = index
        self.weight = nn.Parameter(weight, requires_grad=False)

    @property
    def fused(self) -> FusedLinear:
        """The layer that this is a share of."""
        return self._fused[0]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.fused.output(input, self._index)


def linear(weight: torch.Tensor, bias: torch.Tensor | None, *, vector: bool) -> nn.Linear:
    """A linear layer around tensors that are there."""
    kind = VectorLinear if vector else nn.Linear
    layer = kind(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def multiply(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *, vector: bool) -> torch.Tensor:
    """``input @ weight.T + bias``; where ``vector``, a single row by the matrix-vector routine."""
    if not vector or input.numel() != weight.shape[1]:
        return functional.linear(input, weight, bias)
    row = input.reshape(-1)
    product = torch.mv(weight, row) if bias is None else torch.addmv(bias, weight, row)
    return product.view(*input.shape[:-1], -1)


def prepare(module: nn.Module, device: torch.device) -> None:
    """Fuse what can be fused in ``module``, once; layers of another shape, or wrapped by others, stay as they are."""
    vector = device.type == "cpu"
    for parent in list(module.modules()):
        for names in _TOGETHER:
            layers = [getattr(parent, name, None) for name in names]
            if _fusable(layers):
                fused = FusedLinear(cast(list[nn.Linear], layers), vector=vector)
                for name, share in zip(names, fused.shares, strict=True):
                    setattr(parent, name, share)
    if vector:
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = VectorLinear


def _fusable(layers: list[nn.Module | None]) -> bool:
    """Plain linear layers over the same width, with or without a bias alike, and no weight shared with another."""
    if any(type(layer) not in (nn.Linear, VectorLinear) for layer in layers):
        return False
    linears = cast(list[nn.Linear], layers)
    alike = {(layer.in_features, layer.bias is None, layer.weight.dtype, layer.weight.device) for layer in linears}
    return len(alike) == 1 and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in linears)
