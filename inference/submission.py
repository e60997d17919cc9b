"""One door for a user's prompt: whoever speaks for a user puts it into an engine here."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from inference.events import Event
from inference.messages import CookTake, Generate
from inference.probes import Probes
from inference.sequence import SamplingParams
from inference.takes import KnobError, Parent
from inference.tokenizer import Part, Templated

if TYPE_CHECKING:
    from inference.engine import Engine
    from inference.models import Model


class Refused(ValueError):
    """A request that cannot be served, and why."""

    def __init__(self, reason: Literal["too_long", "invalid"], detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.reason: Literal["too_long", "invalid"] = reason
        self.field = field


@dataclass
class _Prepared:
    """A request as the engine takes it, found servable."""

    command: Generate | CookTake
    token_ids: list[int]
    params: SamplingParams
    probes: Probes
    own: list[tuple[int, int]]
    pieces: list[str]
    parts: Seq[Part]
    num_public_tokens: int
    seconds: float
    """Template and tokenizer."""


def submit(engine: Engine, model: Model, command: Generate, on_event: Callable[[Event], None]) -> int:
    """Put a user's prompt into ``engine``: apply the chat template, tokenize, say what is already there (``snapshot``,
    to ``on_event``, which should be the engine's own), add the request. Returns the number of prompt tokens. Raises
    ``Refused``; what ``on_event`` heard meanwhile is then void.

    ``openkitchen record`` uses the same door as the worker.
    """
    return _add(engine, _prepare(engine, model, command), on_event)


def submit_take(engine: Engine, model: Model, command: CookTake, on_event: Callable[[Event], None]) -> int:
    """Put a take's own request into ``engine``, which is the first one or the take's; else as ``submit``."""
    return _add(engine, _prepare_take(engine, model, command), on_event)


def check(engine: Engine, model: Model, command: Generate | CookTake) -> int:
    """Whether ``engine`` could serve this, which is left as it is. Returns the number of prompt tokens. Raises
    ``Refused``."""
    if isinstance(command, CookTake):
        return len(_prepare_take(engine, model, command).token_ids)
    return len(_prepare(engine, model, command).token_ids)


def _prepare(engine: Engine, model: Model, command: Generate) -> _Prepared:
    if not command.prompt.strip():
        raise Refused("invalid", "prompt must not be empty")
    started = time.monotonic()
    try:
        command.params.validate()
        templated = model.tokenizer.encode_chat(command.prompt)
        pieces = model.tokenizer.pieces(templated.token_ids)
    except ValueError as error:
        raise Refused("invalid", str(error)) from error
    seconds = time.monotonic() - started
    token_ids, max_tokens = templated.token_ids, command.params.max_tokens
    room = _room(engine)
    if len(token_ids) + max_tokens > room:
        raise Refused(
            "too_long",
            f"the prompt is {len(token_ids)} tokens long with its template; with max_tokens {max_tokens} that is over "
            f"max_model_len {room}",
        )
    prepared = _Prepared(
        command=command,
        token_ids=token_ids,
        params=command.params,
        probes=command.probes,
        own=templated.own,
        pieces=pieces,
        parts=templated.parts,
        num_public_tokens=templated.num_public_tokens,
        seconds=seconds,
    )
    return _checked(engine, prepared)


def _prepare_take(engine: Engine, model: Model, command: CookTake) -> _Prepared:
    take, parent = command.take, command.parent
    check_take(command, model)
    started = time.monotonic()
    token_ids, params = take.prompt_ids(parent), take.params(parent)
    templated = _template_of(parent, model)
    pieces = model.tokenizer.pieces(token_ids)
    seconds = time.monotonic() - started
    room = _room(engine)
    if len(token_ids) + params.max_tokens > room:
        raise Refused(
            "too_long",
            f"the take begins with {len(token_ids)} tokens; with max_tokens {params.max_tokens} that is over "
            f"max_model_len {room}",
        )
    prepared = _Prepared(
        command=command,
        token_ids=token_ids,
        params=params,
        probes=take.asked_probes,
        own=[(start, stop) for start, stop in parent.own],
        pieces=pieces,
        parts=templated.parts if token_ids == templated.token_ids else (),
        num_public_tokens=templated.num_public_tokens,
        seconds=seconds,
    )
    return _checked(engine, prepared)


def _room(engine: Engine) -> int:
    """Tokens that one request may have, prompt and answer."""
    return min(engine.max_model_len, engine.config.num_blocks * engine.config.block_size)


def _checked(engine: Engine, prepared: _Prepared) -> _Prepared:
    try:
        engine.check_request(len(prepared.token_ids), prepared.params, prepared.probes)
    except ValueError as error:
        raise _refused(error, prepared) from error
    return prepared


def _add(engine: Engine, prepared: _Prepared, on_event: Callable[[Event], None]) -> int:
    command = prepared.command
    on_event(engine.snapshot(command.request_id))
    try:
        engine.add_request(
            prepared.token_ids,
            prepared.params,
            request_id=command.request_id,
            cache_salt=command.cache_salt,
            num_public_tokens=prepared.num_public_tokens,
            own=prepared.own,
            pieces=prepared.pieces,
            parts=prepared.parts,
            tokenize_seconds=prepared.seconds,
            probes=prepared.probes,
            waited=command.waited,
        )
    except ValueError as error:
        raise _refused(error, prepared) from error
    return len(prepared.token_ids)


def _refused(error: ValueError, prepared: _Prepared) -> Refused:
    """What the engine will not have. A take's knobs are fields of its body; of those only probes are the engine's."""
    of_probes = isinstance(prepared.command, CookTake) and str(error).startswith("probes.")
    return Refused("invalid", str(error), "probes" if of_probes else "")


def check_take(command: CookTake, model: Model) -> None:
    """Raise ``Refused`` for a take that this parent, or this model, cannot have."""
    take, parent = command.take, command.parent
    try:
        take.check(parent)
        take.params(parent).validate()
    except KnobError as error:
        raise Refused("invalid", str(error), error.field) from error
    except ValueError as error:
        raise Refused("invalid", str(error)) from error
    vocabulary = model.card.vocab_size
    if wrong := [token for token in take.prompt_ids(parent) if not 0 <= token < vocabulary]:
        detail = f"token_id must be a whole number from 0 to {vocabulary - 1}, got {wrong[0]}"
        raise Refused("invalid", detail, "token_id")


def _template_of(parent: Parent, model: Model) -> Templated:
    """How the parent's words become its ids, where they still do: for the merges, and for how much of the beginning is
    everybody's. (Words that do not come back from a log as they went in make no public prefix either.)"""
    try:
        templated = model.tokenizer.encode_chat(parent.prompt)
    except ValueError:
        return Templated([], [], 0, [])
    public = templated.num_public_tokens
    if templated.token_ids[:public] != parent.token_ids[:public]:
        return Templated([], [], 0, [])
    return templated
