"""Keys and values in one byte a number: half the cache of a bfloat16 model, so twice the conversations.

``int8``: each vector (one token, head, key or value) is divided by its own largest magnitude / 127 and rounded; the
factor, a float16, stands behind the vector's bytes, so that one gather brings both and a copied block is whole.
``fp8``: each number is rounded to e4m3 (four bits of exponent, three of mantissa; Micikevicius et al. 2022,
https://arxiv.org/abs/2209.05433), with no factor at all, as serving engines do by default; beyond +-448 it saturates.

Attention reads what was written, back in the model's dtype. A token's own key and value make the same round trip, so
it makes no difference to the answer in what chunks or beside whom a prompt is computed.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
import torch

from inference.attention.interface import KVCache
from inference.models import Model

KV_CACHE_DTYPES = ("auto", "int8", "fp8")
_FACTOR = torch.float16
_LARGEST = torch.finfo(torch.float8_e4m3fn).max


def make_cache(model: Model, num_blocks: int, block_size: int, kv_cache_dtype: str = "auto") -> KVCache:
    """The cache of ``model`` with ``num_blocks`` blocks; ``auto``: in the model's dtype. Raises ``ValueError``."""
    if kv_cache_dtype not in KV_CACHE_DTYPES:
        raise ValueError(f"kv_cache_dtype must be one of {', '.join(KV_CACHE_DTYPES)}, got {kv_cache_dtype!r}")
    if kv_cache_dtype != "auto" and model.device.type != "cpu":
        raise ValueError(f"kv_cache_dtype {kv_cache_dtype!r} is for cpu only, and the model is on {model.device}")
    card = model.card
    kind = {"auto": KVCache, "int8": Int8KVCache, "fp8": Float8KVCache}[kv_cache_dtype]
    return kind(
        card.num_layers,
        num_blocks,
        block_size,
        card.num_kv_heads,
        card.head_dim,
        model.dtype,
        torch.device(model.device),
    )


def with_cache(model: Model, kv_cache_dtype: str) -> Model:
    """``model``, whose card tells the bytes that a token takes in such a cache."""
    if kv_cache_dtype == "auto":
        return model
    one_token = make_cache(model, num_blocks=1, block_size=1, kv_cache_dtype=kv_cache_dtype)
    card = msgspec.structs.replace(model.card, kv_bytes_per_token=one_token.tensor.nbytes)
    return replace(model, card=card)


class Int8KVCache(KVCache):
    """int8, a float16 factor a vector: ``tensor`` is [layers, blocks, block_size, 2, kv_heads, head_dim + 2]."""

    def _storage(self, head_dim: int, dtype: torch.dtype) -> tuple[int, torch.dtype]:
        return head_dim + _FACTOR.itemsize, torch.int8

    def write(self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        super().write(layer, slots, _rounded(key), _rounded(value))

    def _restored(self, stored: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        codes, factors = stored[..., : -_FACTOR.itemsize], stored[..., -_FACTOR.itemsize :]
        restored: torch.Tensor = codes.to(dtype) * factors.contiguous().view(_FACTOR).to(dtype)
        return restored


def _rounded(vectors: torch.Tensor) -> torch.Tensor:
    """[..., dim] -> int8 [..., dim + 2]: the codes, and the factor's two bytes."""
    exact = vectors.float()
    tiny, largest = torch.finfo(_FACTOR).tiny, torch.finfo(_FACTOR).max
    factors = (exact.abs().amax(dim=-1, keepdim=True) / 127).clamp(tiny, largest).to(_FACTOR)
    codes = torch.round(exact / factors.float()).clamp(-127, 127).to(torch.int8)
    return torch.cat((codes, factors.view(torch.int8)), dim=-1)


class Float8KVCache(KVCache):
    """fp8 (e4m3), without factors; ``tensor`` holds the bytes as uint8, which every indexing kernel knows."""

    def _storage(self, head_dim: int, dtype: torch.dtype) -> tuple[int, torch.dtype]:
        return head_dim, torch.uint8

    def write(self, layer: int, slots: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> None:
        super().write(
            layer,
            slots,
            *(part.clamp(-_LARGEST, _LARGEST).to(torch.float8_e4m3fn).view(torch.uint8) for part in (key, value)),
        )

    def _restored(self, stored: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return stored.view(torch.float8_e4m3fn).to(dtype)
