"""Weight-only quantisation of a loaded model: ``int8``, ``int4`` and ``int4-awq``.

    scheme     layers                                       head and tied embedding
    int8       8 bits, a scale a row                        8 bits, a scale a row
    int4       4 bits, scale and zero for 64 inputs         8 bits, a scale a row
    int4-awq   the same, after salient channels are scaled  8 bits, a scale a row

Decoding reads every weight once a step, so a step takes as long as its bytes (``costs.py``): fewer bits, faster tokens.
The price is paid in quality, and ``perplexity.py`` measures it. The head stays at 8 bits because it decides between
49,152 words directly; in the default model it is the embedding too, and one table serves both.

**What the default model's weights are.** They are a dequantised Q4_1: llama.cpp rounded them to 16 levels for each 32
neighbouring inputs of a row. Rounding them again to 16 levels over the *same* 32 would find those very levels and show
no loss at all, which proves nothing. Our groups are therefore 64 wide: each spans two groups of Q4_1, with two ranges,
and one grid of 16 levels cannot hold both. The 8-bit scales run along a whole row. So what is measured is the loss of a
second, different rounding: real for these weights, though not the loss that the original weights would have suffered.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import msgspec
from torch import nn
from transformers import PreTrainedModel

from inference import awq
from inference.linear import FusedLinear, Share, VectorLinear, prepare
from inference.models import Model
from inference.quantized_linear import (
    GROUP_SIZES,
    INT4_ROWS,
    INT8_MULTIPLE,
    Int4Linear,
    Int8Embedding,
    Int8Linear,
    QuantizedLinear,
)

SCHEMES = ("int8", "int4", "int4-awq")
GROUP_SIZE = 64
"""Inputs that share a scale in 4 bits: not 32, for the reason given above, and 576 is no multiple of 128."""


def quantize(model: Model, scheme: str, *, group_size: int = GROUP_SIZE) -> Model:
    """A model that computes with the weights of ``model`` rounded by ``scheme``, and shares all other tensors with it.

    ``model`` stays as it is and may go on serving. Its ``path`` is handed on: the weights that were started from.
    Rounding to nearest takes a second or two for the default model; ``int4-awq`` first reads a page (``awq.py``).
    Raises ``ValueError`` for a scheme, group size, device or layer that cannot be, before any work.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"quantization must be one of {', '.join(SCHEMES)}, not {scheme!r}")
    if group_size not in GROUP_SIZES:
        raise ValueError(f"group_size must be one of {', '.join(map(str, GROUP_SIZES))}, not {group_size!r}")
    if model.device.type != "cpu":
        raise ValueError(f"quantization {scheme!r} has kernels on cpu only, and the model is on {model.device}")
    if model.card.quantization:
        raise ValueError(f"the model is quantised already ({model.card.quantization}); load it without quantization")
    prepare(model.module, model.device)
    module = _copy_that_shares(model.module)
    places = list(_places(module))
    head = _head(module)
    _check(places, scheme, group_size, model.card.name)
    if scheme == "int4-awq":
        awq.scale_salient_channels(module, model.tokenizer.encode(awq.calibration_text()), group_size)
    saved = 0
    for place in places:
        before = place.linear
        after: QuantizedLinear
        if scheme == "int8":
            after = Int8Linear(before.weight, before.bias)
        else:
            after = Int4Linear(before.weight, before.bias, group_size=group_size)
        place.put(after)
        saved += sum(parameter.nbytes for parameter in before.parameters()) - after.weight_bytes
    head_bytes = model.card.head_bytes
    if head is not None:
        quantised = Int8Linear(head.weight, head.bias)
        if module.get_input_embeddings().weight is head.weight:
            module.set_input_embeddings(Int8Embedding(quantised))
        module.set_output_embeddings(quantised)  # type: ignore[no-untyped-call]
        saved += sum(parameter.nbytes for parameter in head.parameters()) - quantised.weight_bytes
        head_bytes = quantised.weight_bytes
    card = msgspec.structs.replace(
        model.card,
        parameter_bytes=model.card.parameter_bytes - saved,
        head_bytes=head_bytes,
        quantization=scheme,
        note="; ".join(filter(None, (model.card.note, _words(scheme, group_size, head is not None)))),
    )
    return replace(model, module=module, card=card)


def _words(scheme: str, group_size: int, with_head: bool) -> str:
    """What was done, for the model card."""
    if scheme == "int8":
        return "layers" + (" and head" if with_head else "") + " rounded to int8, a scale a row"
    salient = " after activation-aware scaling" if scheme == "int4-awq" else ""
    head = ", head to int8" if with_head else ""
    return f"layers rounded to int4, a scale and a zero for {group_size} inputs{salient}{head}"


@dataclass
class _Place:
    """Where a linear layer stands in the module."""

    name: str
    linear: nn.Linear
    holder: nn.Module
    attribute: str

    def put(self, layer: QuantizedLinear) -> None:
        setattr(self.holder, self.attribute, layer)
        if isinstance(self.holder, FusedLinear):
            for share in self.holder.shares:
                del share.weight


def _places(module: PreTrainedModel) -> Iterator[_Place]:
    """Every linear layer but the head; fused ones once, under all their names."""
    head = module.get_output_embeddings()  # type: ignore[no-untyped-call]
    names: dict[FusedLinear, list[str]] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, Share):
            names.setdefault(layer.fused, []).append(name)
    for fused, shared in names.items():
        parent = shared[0].rpartition(".")[0]
        own = "+".join(name.rpartition(".")[2] for name in shared)
        yield _Place(f"{parent}.{own}", cast(nn.Linear, fused.linear), fused, "linear")
    for name, layer in list(module.named_modules()):
        if type(layer) in (nn.Linear, VectorLinear) and layer is not head:
            parent, _, attribute = name.rpartition(".")
            yield _Place(name, cast(nn.Linear, layer), module.get_submodule(parent), attribute)


def _head(module: PreTrainedModel) -> nn.Linear | None:
    """The vocabulary head, if it can be quantised: a plain layer, whose embedding, where tied, is plain too (some
    models scale theirs)."""
    head = module.get_output_embeddings()  # type: ignore[no-untyped-call]
    embedding = module.get_input_embeddings()
    if type(head) not in (nn.Linear, VectorLinear) or head.in_features % INT8_MULTIPLE:
        return None
    tied = embedding.weight is head.weight
    return None if tied and type(embedding) is not nn.Embedding else cast(nn.Linear, head)


def _check(places: list[_Place], scheme: str, group_size: int, name: str) -> None:
    """Raise ``ValueError`` for the first layer that the kernels cannot multiply."""
    if not places:
        raise ValueError(f"quantization {scheme!r} wants linear layers, and {name} has none")
    for place in places:
        rows, columns = place.linear.weight.shape
        if scheme == "int8" and columns % INT8_MULTIPLE:
            wanted = f"in_features to be a multiple of {INT8_MULTIPLE}"
        elif scheme != "int8" and columns % group_size:
            wanted = f"in_features to be a multiple of the group size {group_size}"
        elif scheme != "int8" and rows % INT4_ROWS:
            wanted = f"out_features to be a multiple of {INT4_ROWS} (group size {group_size})"
        else:
            continue
        raise ValueError(f"quantization {scheme!r} wants {wanted}, and {place.name} has the shape [{rows}, {columns}]")


def _copy_that_shares(module: PreTrainedModel) -> PreTrainedModel:
    """A module of the same structure over the very same tensors."""
    fused = {share.fused for share in module.modules() if isinstance(share, Share)}
    parts = [module, *(layer.linear for layer in fused)]
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
