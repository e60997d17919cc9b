"""What decoder layers say on the way: their outputs, kept while somebody wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def layer_outputs(module: torch.nn.Module, layers: tuple[int, ...]) -> Iterator[dict[int, torch.Tensor]]:
    """The outputs of decoder ``layers`` (from 0) of ``module`` in its last pass: the residual stream as each leaves it,
    before any final norm, by layer; filled as long as the context is open."""
    found: dict[int, torch.Tensor] = {}

    def keep(index: int) -> Callable[[object, object, object], None]:
        def hook(_module: object, _inputs: object, output: object) -> None:
            found[index] = output if isinstance(output, torch.Tensor) else output[0]  # type: ignore[index]

        return hook

    handles = [module.base_model.layers[index].register_forward_hook(keep(index)) for index in layers]  # type: ignore
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
