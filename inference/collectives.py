"""What the processes of a sharded model say to each other, recorded where PyTorch dispatches it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from inference.events import CollectiveFinished

_KINDS: dict[str, Literal["all_reduce", "all_gather"]] = {
    "c10d::allreduce_": "all_reduce",
    "c10d::_allgather_base_": "all_gather",
    "_c10d_functional::all_reduce": "all_reduce",
    "_c10d_functional::all_gather_into_tensor": "all_gather",
}
"""What a dense decoder's forward pass says, through PyTorch's older interface and its functional one."""
_NO_EXCHANGE = {"_c10d_functional::wait_tensor", "_c10d_functional::_wrap_tensor_autograd"}
"""Operators beside these that move nothing between ranks."""


class CollectiveRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, tells every collective that this process takes part in, and waits until each is done.

    Raises ``NotImplementedError`` for a kind that it does not know: none passes untold.
    """

    def __init__(self, module: torch.nn.Module, on_event: Callable[[CollectiveFinished], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.step = 0
        self._on_event = on_event
        self._layer = ""
        for name, layer in module.named_modules():
            if isinstance(layer, torch.nn.Linear | torch.nn.Embedding):
                layer.register_forward_pre_hook(lambda layer, args, name=name: self._enter(name))

    def _enter(self, name: str) -> None:
        self._layer = name

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it takes itself apart first, and what it says then comes by here
        name = func._schema.name
        if func.namespace not in ("c10d", "_c10d_functional") or name in _NO_EXCHANGE:
            return func(*args, **(kwargs or {}))
        if name not in _KINDS:
            raise NotImplementedError(f"{name} is a collective that the recorder does not know")
        started = time.monotonic()
        result = func(*args, **(kwargs or {}))
        if func.namespace == "c10d":
            result[1].wait()
        else:
            torch.ops._c10d_functional.wait_tensor(result)
        ended = time.monotonic()
        # What a rank brings: one tensor in a list (changed in place), or the one that is not the output.
        brought = args[0][0] if isinstance(args[0], list) else args[1] if func.namespace == "c10d" else args[0]
        self._on_event(
            CollectiveFinished(
                t=ended,
                step=self.step,
                kind=_KINDS[name],
                module=self._layer,
                rank=dist.get_rank(),
                num_ranks=dist.get_world_size(),
                bytes=brought.numel() * brought.element_size(),
                seconds=ended - started,
            )
        )
        return result
