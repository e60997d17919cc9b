"""From a run's log to what a take of it needs, and from a request's body to a take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from app.problems import FieldError, Problem
from app.summary import own_words
from inference.events import AnyEvent, LogOpened, RequestTokenized, TokenSampled
from inference.sequence import SamplingParams
from inference.takes import KnobError, Parent, Take, read_take


def parent_of(events: Iterable[AnyEvent]) -> Parent | None:
    """What a log says of its run, as far as a take wants to know; None where it never came to a prompt."""
    params: dict[str, Any] = {}
    tokenized: RequestTokenized | None = None
    sampled: dict[int, int] = {}
    run_id = ""
    for event in events:
        if isinstance(event, LogOpened):
            params, run_id = event.params, event.run_id
        elif isinstance(event, RequestTokenized) and event.request_id == run_id:
            tokenized = event
        elif isinstance(event, TokenSampled) and event.request_id == run_id and event.sample == 0:
            sampled[event.position] = event.id
    if tokenized is None:
        return None
    known = {field.name for field in msgspec.structs.fields(SamplingParams)}
    return Parent(
        prompt=own_words(tokenized),
        token_ids=tokenized.token_ids,
        own=[(start, stop) for start, stop in tokenized.own],
        output_ids=[sampled[position] for position in sorted(sampled)],
        params=msgspec.convert({name: value for name, value in params.items() if name in known}, SamplingParams),
    )


def take_of(fields: dict[str, Any], parent: Parent) -> Take:
    """The take that a body asks for. Raises 422 that names the field and its range."""
    try:
        take = read_take(fields)
        take.check(parent)
    except KnobError as error:
        words = str(error) if error.field else f"{str(error)[:1].upper()}{str(error)[1:]}"
        detail = f"{words}."
        errors = (FieldError(error.field, detail),) if error.field else ()
        raise Problem(422, "invalid", detail, errors) from None
    return take
