"""Products with the weights, made cheaper without changing what they mean.

A decode step is a few hundred products of a matrix with one or a few rows, and each costs a wake-up of the threads. So
the projections that read the same input (queries, keys and values; gate and up) become one product, and on a CPU a
single row takes the way that is measured to be the quicker one there: the matrix-vector routine, or the general one
with the row twice, which some processors finish a quarter sooner in bfloat16.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Literal, cast

import torch
from torch import nn
from torch.nn import functional

SingleRow = Literal["vector", "pair"]
PROBE_SHAPE = (16, 2048, 1024)
"""Matrices that a single row is tried on: together more than a cache holds."""
PROBE_ROUNDS = 5
CLEARLY = 0.85
"""Of the time of ``vector``: what ``pair`` must stay under, so that noise chooses nothing."""
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
    """``input @ weight.T + bias``; where ``vector``, a single row by the routine for it."""
    if not vector or input.numel() != weight.shape[1]:
        return functional.linear(input, weight, bias)
    routine = _pair if single_row_routine(weight.dtype) == "pair" else _vector
    return routine(input.reshape(-1), weight, bias).view(*input.shape[:-1], -1)


def _vector(row: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.mv(weight, row) if bias is None else torch.addmv(bias, weight, row)


def _pair(row: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return functional.linear(row.repeat(2, 1), weight, bias)[0]


@cache
def single_row_routine(dtype: torch.dtype) -> SingleRow:
    """Which routine is the quicker for one row on this processor, tried once a process (a fifth of a second)."""
    weights = torch.ones(PROBE_SHAPE, dtype=dtype)
    row = torch.ones(PROBE_SHAPE[-1], dtype=dtype)
    quickest = {_vector: float("inf"), _pair: float("inf")}
    for _ in range(PROBE_ROUNDS):
        for routine in quickest:  # in turns: the machine's pace changes
            started = time.perf_counter()
            for weight in weights:
                routine(row, weight, None)
            quickest[routine] = min(quickest[routine], time.perf_counter() - started)
    return "pair" if quickest[_pair] < CLEARLY * quickest[_vector] else "vector"


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
