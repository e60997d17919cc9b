"""A small, readable engine that serves a language model and says in typed events what it does.

Names are exported lazily, so that a process which only needs the vocabulary (``inference.events``) or the wire
(``inference.messages``) never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.block_manager import IntegrityError as IntegrityError
    from inference.engine import Engine as Engine
    from inference.engine import EngineConfig as EngineConfig
    from inference.models import Model as Model
    from inference.models import load_model as load_model
    from inference.sequence import RequestOutput as RequestOutput
    from inference.sequence import SamplingParams as SamplingParams

_EXPORTS = {
    "Engine": "inference.engine",
    "EngineConfig": "inference.engine",
    "IntegrityError": "inference.block_manager",
    "Model": "inference.models",
    "RequestOutput": "inference.sequence",
    "SamplingParams": "inference.sequence",
    "load_model": "inference.models",
}

__all__ = ["Engine", "EngineConfig", "IntegrityError", "Model", "RequestOutput", "SamplingParams", "load_model"]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
