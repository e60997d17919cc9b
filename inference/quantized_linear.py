"""Linear layers whose weights are kept in 8 or 4 bits and multiplied by activations of the model's own dtype.

    int8   w = code * scale             code in [-127, 127], one scale a row (output channel)
    int4   w = (code - 8) * scale + zero   code in [0, 15], scale and zero for each group of inputs of a row

One row or a few are multiplied by PyTorch's packed kernels, which read the codes and nothing else: a decode step is a
matter of bytes read. Over many rows those kernels are slow (they have no use for the processor's matrix unit), so above
``KERNEL_ROWS`` the codes become weights of the model's dtype for the length of one product. No second copy is kept.
"""

from __future__ import annotations

from functools import cache
from typing import cast

import torch
from torch import nn
from torch.nn import functional

GROUP_SIZES = (32, 64, 128, 256)
"""Inputs that share a scale and a zero, as the 4-bit kernel knows them."""
INT8_MULTIPLE = 16
"""``in_features`` must be a multiple: the 8-bit kernel reads so many at a time, past the end of a row if need be."""
INT4_ROWS = 64
"""``out_features`` must be a multiple: the 4-bit kernel packs so many rows together."""
KERNEL_ROWS = {"int8": 16, "int4": 80}
"""The largest number of rows that go through the packed kernel (benchmarks/README.md has the measurement)."""


class QuantizedLinear(nn.Module):
    """What both widths have in common. ``scheme`` is ``int8`` or ``int4``."""

    scheme: str
    in_features: int
    out_features: int
    bias: torch.Tensor | None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``input`` [..., in_features] -> [..., out_features], in the input's dtype."""
        rows = input.reshape(-1, self.in_features)
        product = self.packed_product(rows) if rows.shape[0] <= KERNEL_ROWS[self.scheme] else self.product(rows)
        if self.bias is not None:
            product = product + self.bias
        return product.view(*input.shape[:-1], self.out_features)

    def packed_product(self, rows: torch.Tensor) -> torch.Tensor:
        """``rows @ weight.T`` by the packed kernel, straight from the codes."""
        raise NotImplementedError

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """``rows @ weight.T`` by way of weights in the rows' dtype."""
        raise NotImplementedError

    def dequantized(self) -> torch.Tensor:
        """The weights that the codes stand for: [out_features, in_features]."""
        raise NotImplementedError

    @property
    def weight_bytes(self) -> int:
        """Bytes of codes, scales and bias."""
        return sum(buffer.nbytes for buffer in self.buffers())


class Int8Linear(QuantizedLinear):
    """Symmetric, one scale for each output channel, rounded to nearest."""

    scheme = "int8"
    codes: torch.Tensor
    """int8 [out_features, in_features]."""
    scales: torch.Tensor
    """[out_features], in the weight's dtype."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        exact = weight.float()
        scales = (exact.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float16).tiny).to(weight.dtype)
        codes = torch.round(exact / scales.float().unsqueeze(1)).clamp(-127, 127)
        self.register_buffer("codes", codes.to(torch.int8))
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if bias is None else bias.detach())

    def packed_product(self, rows: torch.Tensor) -> torch.Tensor:
        return torch._weight_int8pack_mm(rows.contiguous(), self.codes, self.scales)

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        # The scale belongs to a column of the product: it need not be multiplied into every weight.
        return functional.linear(rows, self.codes.to(rows.dtype)) * self.scales

    def dequantized(self) -> torch.Tensor:
        return self.codes.to(self.scales.dtype) * self.scales.unsqueeze(1)


class Int8Embedding(nn.Module):
    """The embedding that shares its table with an 8-bit head: looked up, then scaled."""

    def __init__(self, head: Int8Linear) -> None:
        super().__init__()
        self.register_buffer("codes", head.codes)
        self.register_buffer("scales", head.scales)

    codes: torch.Tensor
    scales: torch.Tensor

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Token ids [...] -> [..., hidden]."""
        return self.codes[input].to(self.scales.dtype) * self.scales[input].unsqueeze(-1)


class Int4Linear(QuantizedLinear):
    """Asymmetric (each group from its least to its greatest weight), rounded to nearest."""

    scheme = "int4"
    packed: torch.Tensor
    """uint8 [out_features, in_features / 2], in an order that is the kernel's own business."""
    scales_and_zeros: torch.Tensor
    """[in_features / group_size, out_features, 2], in the weight's dtype."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, group_size: int) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.group_size = group_size
        codes, scales, zeros = round_to_groups(weight, group_size)
        self.register_buffer("packed", torch._convert_weight_to_int4pack_for_cpu(codes.flatten(1).int(), 1))
        self.register_buffer("scales_and_zeros", torch.stack((scales, zeros), dim=-1).transpose(0, 1).contiguous())
        self.register_buffer("bias", None if bias is None else bias.detach())

    def packed_product(self, rows: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows.contiguous(), self.packed, self.group_size, self.scales_and_zeros
        )
        return product

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        if rows_packed_together() is None:
            return self.packed_product(rows)
        return torch.matmul(rows, self._transposed())

    def dequantized(self) -> torch.Tensor:
        if rows_packed_together() is None:
            identity = torch.eye(self.in_features, dtype=self.scales_and_zeros.dtype)
            return self.packed_product(identity).t()
        return self._transposed().t()

    def _transposed(self) -> torch.Tensor:
        """The weights, [in_features, out_features]: the order in which they are packed."""
        size = cast(int, rows_packed_together())
        groups = self.in_features // self.group_size
        packed = self.packed.view(-1, groups, self.group_size, size // 2)
        codes = torch.cat((packed & 15, packed >> 4), dim=-1).view(torch.int8) - 8
        # Side by side they are read six times as fast as in turns, which is how the kernel wants them.
        scales, zeros = self.scales_and_zeros.view(groups, -1, 1, size, 2).permute(4, 1, 0, 2, 3).contiguous().unbind()
        weights = torch.addcmul(zeros, codes.to(scales.dtype), scales)
        return weights.permute(1, 2, 0, 3).reshape(self.in_features, self.out_features)


def round_to_groups(weight: torch.Tensor, group_size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes [out, groups, group_size] in 0..15 as float32, scales and zeros [out, groups] in the weight's dtype.

    Each group's sixteen levels reach from its least to its greatest weight; level 8 is the zero. The codes are those
    of the scale and zero as they are kept, so what these lose in being rounded is not lost twice.
    """
    groups = weight.float().view(weight.shape[0], -1, group_size)
    least, greatest = groups.amin(dim=-1), groups.amax(dim=-1)
    scales = ((greatest - least) / 15).clamp(min=torch.finfo(torch.float16).tiny).to(weight.dtype)
    zeros = (least + 8 * scales.float()).to(weight.dtype)
    codes = torch.round((groups - zeros.float().unsqueeze(-1)) / scales.float().unsqueeze(-1)) + 8
    return codes.clamp(0, 15), scales, zeros


@cache
def rows_packed_together() -> int | None:
    """How many rows the kernel of this processor packs together: 64 (AVX-512) or 32 (AVX2), the first half of them in
    the low four bits and the second in the high; None for any other order.

    PyTorch promises none of it, so it is found out: a matrix whose codes tell its rows apart is packed and looked at.
    """
    rows = torch.arange(INT4_ROWS, dtype=torch.int32).unsqueeze(1).expand(-1, 32)
    parts = [torch._convert_weight_to_int4pack_for_cpu(part.contiguous(), 1) for part in (rows % 16, rows // 16)]
    for size in (64, 32):
        low, high = (part.view(-1, 32, size // 2).int() for part in parts)
        found = torch.cat((low & 15, low >> 4), dim=-1) + 16 * torch.cat((high & 15, high >> 4), dim=-1)
        if torch.equal(found.transpose(1, 2).reshape(INT4_ROWS, 32), rows):
            return size
    return None
