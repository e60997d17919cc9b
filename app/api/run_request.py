"""The body of ``POST /api/runs``: read, bounded, and checked, with every error in words."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from typing import Annotated, Any, NoReturn
from urllib.parse import parse_qsl

import msgspec
from annotated_types import Ge, Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from starlette.requests import Request

from app.problems import FieldError, Problem
from inference.probes import Probes
from inference.sequence import SamplingParams

MAX_STOPS = 4
MAX_STOP_CHARS = 64
MAX_SAMPLES = 4
"""Half of the slots that an engine has by default: one reader's samples leave room for another's."""
MAX_FIELDS = 100
FORM = "application/x-www-form-urlencoded"


def _as_list(value: Any) -> Any:  # noqa: ANN401
    return [value] if isinstance(value, str) else value


def _no_stop_if_empty(value: object) -> object:
    """A form sends an empty field for no stop string."""
    return [] if value == "" else _as_list(value)


def _read_probes(value: object) -> Probes:
    """A list of names, or an object as in ``inference/probes.py``. Raises ``ValueError``, whose message may repeat the
    caller's own words."""
    if isinstance(value, Probes):
        return value
    try:
        if isinstance(value, list | str):
            return Probes.of(_as_list(value))
        probes = msgspec.convert(value, Probes)
        probes.check_sizes()
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise ValueError(f"probes must be a list of names or an object: {printable(str(error), 160)}.") from None
    except ValueError as error:
        raise ValueError(f"{printable(str(error), 160)}.") from None
    return probes


MAX_CHOSEN_SEED = 2**31
"""A number that every JSON reader keeps whole."""


PROBES: dict[str, Any] = {
    "oneOf": [{"type": "array", "items": {"enum": ["kv"]}}, {"type": "object"}],
    "description": "A list of names, or an object: see inference/probes.py.",
}
"""How a description of the API tells of them."""


class RunRequest(BaseModel):
    """What may be asked of a run, with the page's own defaults."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str
    max_tokens: int = Field(default=200, ge=1)
    temperature: float = Field(default=0.6, ge=0.0, le=2.0)
    top_p: float = Field(default=0.9, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0, le=1_000)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    repetition_penalty: float = Field(default=1.1, ge=0.1, le=2.0)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]], BeforeValidator(_no_stop_if_empty)
    ] = Field(default_factory=list, max_length=MAX_STOPS)
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    n: int = Field(default=1, ge=1, le=MAX_SAMPLES)
    probes: Annotated[Probes, PlainValidator(_read_probes), WithJsonSchema(PROBES)] = Probes(kv=True)
    drafter: str | None = None

    def sampling_params(self) -> SamplingParams:
        """The same for the engine."""
        return SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            stop=tuple(self.stop),
            # A run without a seed is given one: its takes share it, and the page can show the coins that it decides.
            seed=secrets.randbelow(MAX_CHOSEN_SEED) if self.seed is None else self.seed,
            n=self.n,
            drafter=self.drafter,
        )


def describe(field: str, max_tokens: int) -> str:
    """What a field takes, with its range, from the model itself."""
    if field == "stop":
        return f"stop must be at most {MAX_STOPS} texts of 1 to {MAX_STOP_CHARS} characters each."
    if field == "prompt":
        return "prompt must be text."
    if field == "drafter":
        return 'drafter must be the name of a drafter that this engine has loaded, "none", or null (its first).'
    info = RunRequest.model_fields[field]
    kind = "a whole number" if info.annotation in (int, int | None) else "a number"
    low = next((rule.ge for rule in info.metadata if isinstance(rule, Ge)), None)
    high = (
        max_tokens if field == "max_tokens" else next((rule.le for rule in info.metadata if isinstance(rule, Le)), None)
    )
    lowest = f"{low}" if low is not None else "more than 0"
    null = ", or null" if info.annotation == int | None else ""
    if str(low) == str(high):
        return f"{field} must be {low}."
    return f"{field} must be {kind} from {lowest} to {high}{null}."


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The body; 413 as soon as it is known to be longer than ``limit`` bytes, 408 if it takes more than ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            return await _read_bounded(request, limit)
    except TimeoutError:
        detail = f"The request did not arrive whole within {seconds:g} seconds. Please send it again."
        # What is still to come of it must not be taken for another request, nor hold the connection.
        raise Problem(408, "body_timeout", detail, headers={"Connection": "close"}) from None


async def _read_bounded(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdecimal() and len(declared) < 16 else 0
    chunks: list[bytes] = []
    received = 0
    if size <= limit:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                break
            chunks.append(chunk)
    if max(size, received) > limit:
        about = f"has {size:,} bytes" if size > limit else "is longer"
        raise Problem(413, "body_too_large", f"The request {about}; the most that is read is {limit:,} bytes.")
    return b"".join(chunks)


def _whole_number(digits: str) -> int | float:
    """A number too long for Python to read is too large for any field: refused by the field's name, with its range."""
    return int(digits) if len(digits) < 1_000 else float("inf")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises 400 for what is not JSON (RFC 8259, UTF-8), 422 for what is no object."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_whole_number)
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed", f"The body is not UTF-8: {error.reason} at byte {error.start}.") from error
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(400, "malformed", f"The body is not JSON: {detail[:200]}.") from error
    if not isinstance(value, dict):
        raise Problem(422, "invalid", "The body must be a JSON object.")
    return value


def parse_form(body: bytes) -> dict[str, Any]:
    """A form's fields. ``stop`` and ``probes`` may come more than once; an empty field (but the prompt) was left out.
    A browser sends line ends as CR LF; the reader typed LF. Raises 400, and 422 for another field that comes twice."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except (UnicodeDecodeError, ValueError) as error:
        raise Problem(400, "malformed", "The form is not URL-encoded UTF-8.") from error
    names = [name for name, _ in pairs if name not in ("stop", "probes")]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        detail = f"{printable(twice)} may be given only once."
        raise Problem(422, "invalid", detail, (FieldError(printable(twice), detail),))
    return _collect(pairs)


def legible_fields(body: bytes) -> dict[str, Any]:
    """What can be made out of a form that is refused, to show it again: raises nothing."""
    try:
        text = body.decode("ascii", "replace")
        return _collect(parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS))
    except ValueError:
        return {}


def _collect(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in ("stop", "probes"):
            if value:
                fields.setdefault(name, []).append(value)
        elif name == "prompt":
            fields[name] = value.replace("\r\n", "\n")
        elif value.strip():
            fields[name] = value.strip()
    return fields


def media_type_of(request: Request) -> str:
    """What the body says it is."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_body(body: bytes, media_type: str) -> dict[str, Any]:
    """The fields of the request. Raises 400, 415, 422."""
    if media_type == "application/json":
        return parse_json(body)
    if media_type == FORM:
        return parse_form(body)
    raise Problem(
        415,
        "media_type",
        f"Send the run as application/json or {FORM}.",
        headers={"Accept-Post": f"application/json, {FORM}"},
    )


def check_prompt(prompt: str, max_chars: int) -> None:
    """Raises 422 for a prompt that cannot be read, 413 for one that is too long to be looked at."""
    if len(prompt) > max_chars:
        detail = f"The prompt has {len(prompt):,} characters; this kitchen takes at most {max_chars:,}."
        raise Problem(413, "prompt_too_long", detail, (FieldError("prompt", detail),))
    detail = ""
    if not prompt.strip():
        detail = "The prompt is empty. Type something to cook."
    elif "\0" in prompt:
        detail = f"The prompt contains a NUL character (at position {prompt.index(chr(0)) + 1}). Remove it."
    else:
        surrogate = next((index for index, char in enumerate(prompt) if "\ud800" <= char <= "\udfff"), None)
        if surrogate is not None:
            detail = (
                f"The prompt contains half of a character (a lone surrogate at position {surrogate + 1}). Remove it."
            )
    if detail:
        raise Problem(422, "invalid", detail, (FieldError("prompt", detail),))


def parse_run_request(fields: dict[str, Any], *, is_form: bool, max_chars: int, max_tokens: int) -> RunRequest:
    """The checked request. Raises 413 or 422; JSON must have the right types, a form has only text."""
    if isinstance(prompt := fields.get("prompt"), str):
        check_prompt(prompt, max_chars)
    if is_form:
        check_whole_numbers(fields, max_tokens)
    try:
        request = RunRequest.model_validate(fields, strict=not is_form)
    except ValidationError as error:
        raise _problem_of(error, max_tokens) from None
    if request.max_tokens > max_tokens:
        detail = describe("max_tokens", max_tokens)
        raise Problem(422, "invalid", detail, (FieldError("max_tokens", detail),))
    return request


def check_whole_numbers(fields: dict[str, Any], max_tokens: int) -> None:
    """Raises 422 where a form's text is no plain whole number: Python would also take ``1_0``, ``+3`` and ``5.0``."""
    errors = tuple(
        FieldError(name, describe(name, max_tokens))
        for name in ("max_tokens", "top_k", "seed", "n")
        if name in fields and not re.fullmatch(r"[0-9]+", fields[name])
    )
    if errors:
        raise Problem(422, "invalid", " ".join(error.detail for error in errors), errors)


def _problem_of(error: ValidationError, max_tokens: int) -> Problem:
    found: dict[str, str] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        name = printable(str(item["loc"][0])) if item["loc"] else ""
        if name in found:
            continue
        if item["type"] == "missing":
            found[name] = f"{name} is missing."
        elif item["type"] == "extra_forbidden":
            found[name] = f"{name} is not something a run takes."
        elif name not in RunRequest.model_fields:
            # A name that is no Unicode text is refused before it is looked at, and so without saying which it was.
            found[name] = "The body holds a name that is not something a run takes."
        elif name == "probes":
            found[name] = item["msg"].removeprefix("Value error, ")
        else:
            found[name] = describe(name, max_tokens)
    errors = tuple(FieldError(name, detail) for name, detail in found.items())[:20]
    return Problem(422, "invalid", " ".join(error.detail for error in errors), errors)


def printable(text: str, most: int = 64) -> str:
    """A caller's own word, short and safe to repeat."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short.encode("utf-8", "replace").decode()
