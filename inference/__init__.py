"""A small, readable engine that serves a language model and says in typed events what it does.

Names are exported lazily, so that a process which only needs the vocabulary (``inference.events``) or the wire
(``inference.messages``) never imports torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.block_manager import IntegrityError as IntegrityError
    from inference.engine import Engine as Engine
    from inference.engine_config import EngineConfig as EngineConfig
    from inference.models import Model as Model
    from inference.models import load_model as load_model
    from inference.probes import AttentionProbe as AttentionProbe
    from inference.probes import Probes as Probes
    from inference.probes import TilesProbe as TilesProbe
    from inference.sequence import RequestOutput as RequestOutput
    from inference.sequence import SamplingParams as SamplingParams

# GNU OpenMP's threads spin after every small product, by default for milliseconds. With cores to themselves that is
# well; beside a browser and a web server on two cores the spinning takes the core from the very thread that is waited
# for (measured there: 3.6 s a token against 0.3 s). Some 2,000 turns bridge the gap from one product to the next.
# It must be said before torch is first imported; whoever sets it in the environment has the last word.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

_EXPORTS = {
    "AttentionProbe": "inference.probes",
    "Engine": "inference.engine",
    "EngineConfig": "inference.engine_config",
    "IntegrityError": "inference.block_manager",
    "Model": "inference.models",
    "Probes": "inference.probes",
    "RequestOutput": "inference.sequence",
    "SamplingParams": "inference.sequence",
    "TilesProbe": "inference.probes",
    "load_model": "inference.models",
}

__all__ = [
    "AttentionProbe",
    "Engine",
    "EngineConfig",
    "IntegrityError",
    "Model",
    "Probes",
    "RequestOutput",
    "SamplingParams",
    "TilesProbe",
    "load_model",
]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value
