"""What the app and the engine process say to each other, in MessagePack over one ZeroMQ pair of sockets.

The app connects a DEALER, the worker binds a ROUTER; one message is one frame. Nothing here imports torch, so both
sides can share it. Events themselves are in ``events.py``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from inference.events import AnyEvent, CloseReason, EngineCard, Hardware, ModelCard, Software
from inference.probes import Probes
from inference.sequence import SamplingParams
from inference.takes import AnyTake, Parent


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
    waited: float = 0.0
    """Seconds that it has waited in the app's line: a part of its ``queue_seconds``."""


class CookTake(msgspec.Struct, kw_only=True, tag_field="kind", tag="cook_take"):
    """App to worker: cook what ``parent`` was once more, another way. One that is cooked apart is accepted into a line
    of its own; ``Cooking`` and ``TakeEnded`` say when its turn comes and when it is over."""

    request_id: str
    take: AnyTake
    parent: Parent
    cache_salt: str = ""
    waited: float = 0.0


class Check(msgspec.Struct, kw_only=True, tag_field="kind", tag="check"):
    """App to worker: say whether this request could be served, and do no more. Answered with ``Accepted`` or
    ``Rejected``, as the request itself would be: so that what has to wait in the app's line is refused at once."""

    request: Generate | CookTake


class Abort(msgspec.Struct, kw_only=True, tag_field="kind", tag="abort"):
    """App to worker."""

    request_id: str


class Shutdown(msgspec.Struct, kw_only=True, tag_field="kind", tag="shutdown"):
    """App to worker: finish the step and exit with status 0."""


Command = Hello | Generate | CookTake | Check | Abort | Shutdown


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
    """Worker to app: the request is in the engine's queue; or, of a ``Check``, could be."""

    request_id: str
    num_prompt_tokens: int


class Rejected(msgspec.Struct, kw_only=True, tag_field="kind", tag="rejected"):
    """Worker to app: the request never entered the engine, or never could."""

    request_id: str
    reason: Literal["too_long", "invalid"]
    detail: str
    field: str = ""
    """What of the request is wrong, where it is one field; ``detail`` then begins with its name."""


class Cooking(msgspec.Struct, kw_only=True, tag_field="kind", tag="cooking"):
    """Worker to app: a take that is cooked apart has its turn, on this engine."""

    request_id: str
    model: ModelCard
    engine: EngineCard
    knobs: dict[str, Any]
    """The take's, with the values that were chosen where none was asked for."""
    monotonic: float
    """The worker's ``time.monotonic()`` as the take began: its log opens then, whenever this arrives."""


class TakeEnded(msgspec.Struct, kw_only=True, tag_field="kind", tag="take_ended"):
    """Worker to app: a take that was cooked apart is over, its neighbours too; or it never had its turn."""

    request_id: str
    reason: CloseReason
    detail: str = ""


class Events(msgspec.Struct, kw_only=True, tag_field="kind", tag="events"):
    """Worker to app: what one step (or one command) said, in order, bare."""

    events: list[AnyEvent]
    take: str = ""
    """Request id of the take in whose second engine it happened; empty: in the first engine."""


Reply = Loading | Ready | Failed | Accepted | Rejected | Cooking | TakeEnded | Events
