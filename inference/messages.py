"""What the app and the engine process say to each other, in MessagePack over one ZeroMQ pair of sockets.

The app connects a DEALER, the worker binds a ROUTER; one message is one frame. Nothing here imports torch, so both
sides can share it. Events themselves are in ``events.py``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from inference.events import AnyEvent, EngineCard, Hardware, ModelCard, Software
from inference.probes import Probes
from inference.sequence import SamplingParams


class Hello(msgspec.Struct, kw_only=True, tag_field="kind", tag="hello"):
    """App to worker, first: say how you are."""


class Generate(msgspec.Struct, kw_only=True, tag_field="kind", tag="generate"):
    """App to worker: run this prompt of a user through the chat template and answer it."""

    request_id: str
    prompt: str
    params: SamplingParams
    probes: Probes = Probes()
    cache_salt: str = ""
    """Mixed into the hashes of all prefix-cache blocks beyond the public prefix (the system prompt)."""


class Abort(msgspec.Struct, kw_only=True, tag_field="kind", tag="abort"):
    """App to worker."""

    request_id: str


class Shutdown(msgspec.Struct, kw_only=True, tag_field="kind", tag="shutdown"):
    """App to worker: finish the step and exit with status 0."""


Command = Hello | Generate | Abort | Shutdown


class Loading(msgspec.Struct, kw_only=True, tag_field="kind", tag="loading"):
    """Worker to app: not ready yet. ``stage`` is for people ("converting the model"), ``fraction`` in [0, 1]."""

    stage: str
    fraction: float | None = None


class Ready(msgspec.Struct, kw_only=True, tag_field="kind", tag="ready"):
    """Worker to app: takes requests."""

    model: ModelCard
    hardware: Hardware
    engine: EngineCard
    software: Software
    monotonic: float
    """The worker's ``time.monotonic()`` as this was sent."""


class Failed(msgspec.Struct, kw_only=True, tag_field="kind", tag="failed"):
    """Worker to app: cannot come up, and trying again would not help (``no_model``) or might (``error``)."""

    reason: Literal["no_model", "error"]
    detail: str


class Accepted(msgspec.Struct, kw_only=True, tag_field="kind", tag="accepted"):
    """Worker to app: the request is in the engine's queue."""

    request_id: str
    num_prompt_tokens: int


class Rejected(msgspec.Struct, kw_only=True, tag_field="kind", tag="rejected"):
    """Worker to app: the request never entered the engine."""

    request_id: str
    reason: Literal["too_long", "invalid"]
    detail: str


class Events(msgspec.Struct, kw_only=True, tag_field="kind", tag="events"):
    """Worker to app: what one step (or one command) said, in order, bare."""

    events: list[AnyEvent]


Reply = Loading | Ready | Failed | Accepted | Rejected | Events
