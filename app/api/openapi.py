"""``/api/schema/openapi.json``: what programs can ask for, in OpenAPI 3.1. One table, and the shapes of bodies from the
code that reads them; tests hold it to the routes and to what they answer."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple, get_args

import msgspec
from fastapi import APIRouter
from pydantic.json_schema import GenerateJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from app.api.run_request import FORM, RunRequest
from app.api.sharing import MAX_PAGE, Change
from app.version import VERSION
from inference.takes import AnyTake

router = APIRouter()

JSON, PROBLEM, TEXT = "application/json", "application/problem+json", "text/plain"
Schema = dict[str, Any]


class Operation(NamedTuple):
    """A row of the table."""

    method: str
    path: str
    says: str
    status: int
    answer: dict[str, str]
    """Media type to the name of a schema."""
    problems: tuple[int, ...] = ()
    body: str = ""
    """Name of a schema, of JSON."""
    query: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    """Other answers than problems, without a body."""
    takes_form: bool = False


_READ, _WRITE = (404,), (403, 404, 429)
_BODY = (400, 408, 413, 415, 422)
_RUN = "/api/runs/{run_id}"
OPERATIONS = (
    Operation(
        "post",
        "/api/runs",
        "Ask for a run of a prompt.",
        201,
        {JSON: "Created"},
        (403, 429, 503, *_BODY),
        "RunRequest",
        takes_form=True,
    ),
    Operation(
        "get",
        "/api/runs",
        "The caller's own runs, the newest first; none for who has no cookie.",
        200,
        {JSON: "Page"},
        (422,),
        query=("limit", "before"),
    ),
    Operation("get", _RUN, "What a run has come to so far.", 200, {JSON: "Summary"}, _READ),
    Operation("delete", _RUN, "Stop it, as its creator.", 202, {JSON: "Summary"}, _WRITE, also=(200,)),
    Operation(
        "patch",
        _RUN,
        "Keep it, list it, name it, as its creator, when it has ended.",
        200,
        {JSON: "Entry"},
        (409, 503, *_WRITE, *_BODY),
        "Change",
    ),
    Operation(
        "get",
        f"{_RUN}/events",
        "The log from ``after`` on, and on until it closes: a line an event, or server-sent events.",
        200,
        {"application/x-ndjson": "Lines", "text/event-stream": "Lines"},
        (422, 429, *_READ),
        query=("after",),
        also=(204,),
    ),
    Operation(
        "get", f"{_RUN}/log", "The log of an ended run as a file.", 200, {"application/gzip": "Bytes"}, (409, 404)
    ),
    Operation(
        "delete",
        f"{_RUN}/log",
        "Delete an ended run and its takes for good, as its creator.",
        204,
        {},
        (409, 503, *_WRITE),
    ),
    Operation(
        "get",
        f"{_RUN}/perfetto",
        "The log of an ended run as a Chrome trace.",
        200,
        {JSON: "Trace"},
        (409, 404, 429, 503),
    ),
    Operation(
        "post",
        f"{_RUN}/takes",
        "Cook the same prompt once more, another way.",
        201,
        {JSON: "CreatedTake"},
        (409, 503, *_WRITE, *_BODY),
        "Take",
    ),
    Operation(
        "get",
        "/api/recordings/{name}/perfetto",
        "A recording as a Chrome trace.",
        200,
        {JSON: "Trace"},
        (404, 429, 503),
    ),
    Operation("get", "/api/schema/events.json", "The events: JSON Schema.", 200, {"application/schema+json": "Any"}),
    Operation("get", "/api/schema/openapi.json", "This.", 200, {"application/vnd.oai.openapi+json": "Any"}),
    Operation(
        "get",
        "/oembed",
        "A link to a room as the room itself (oembed.com).",
        200,
        {JSON: "Any", "text/xml": "Lines"},
        (404, 422, 501),
        query=("url", "format", "maxwidth", "maxheight"),
    ),
    Operation("get", "/healthz", "The site answers.", 200, {JSON: "Any"}),
    Operation("get", "/readyz", "The engine takes prompts, or why not.", 200, {JSON: "Any"}, (503,)),
    Operation("get", "/metrics", "Prometheus' text format.", 200, {TEXT: "Lines"}, (401,)),
)

_TEXT: Schema = {"type": "string"}
_ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"}
_QUERY: dict[str, Schema] = {
    "after": {"type": "string", "pattern": "^[0-9]{1,15}$"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
    "before": _ID,
    "url": _TEXT,
    "format": {"enum": ["json", "xml"]},
    "maxwidth": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "maxheight": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}
_PATH: dict[str, Schema] = {"run_id": _ID, "name": {"type": "string", "pattern": "^[a-z0-9.-]+$"}}


def _object(required: dict[str, Schema], **others: Schema) -> Schema:
    return {"type": "object", "required": [*required], "properties": {**required, **others}}


def _or_null(kind: str) -> Schema:
    return {"type": [kind, "null"]}


_CREATED = {"run_id": _ID, "url": _TEXT, "events_url": _TEXT, "socket_url": _TEXT}
_TOTALS = ("prompt_tokens", "cached_tokens", "completion_tokens", "num_steps", "num_preemptions")
_SHAPES: dict[str, Schema] = {
    "Any": {},
    "Lines": _TEXT,
    "Bytes": {"type": "string", "format": "binary"},
    "Created": _object(_CREATED),
    "CreatedTake": _object({**_CREATED, "parent": _ID, "take": _TEXT}),
    "Summary": _object(
        {
            "run_id": _ID,
            "status": {"enum": ["warming", "queued", "running", "closed"]},
            "closed": {"type": "boolean"},
            "reason": _or_null("string"),
            "model": _or_null("string"),
            "text": _TEXT,
            "totals": _object({name: {"type": "integer"} for name in _TOTALS}, seconds={"type": "number"}),
        }
    ),
    "Entry": _object(
        {
            "run_id": _ID,
            "created_at": {"type": "number"},
            "kept": {"type": "boolean"},
            "listed": {"type": "boolean"},
            "title": _TEXT,
        }
    ),
    "Page": _object(
        {"runs": {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}}, "next": _or_null("string")}
    ),
    "Trace": _object({"traceEvents": {"type": "array", "items": {"type": "object"}}}),
    "Problem": _object(
        {
            "type": {"const": "about:blank"},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "code": _TEXT,
        },
        request_id=_TEXT,
        errors={"type": "array", "items": _object({"field": _TEXT, "detail": _TEXT})},
    ),
}


class _Bodies(GenerateJsonSchema):
    """(The probes that a run has by default are no JSON.)"""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (as the library has it)


@cache
def document() -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for row in OPERATIONS:
        paths.setdefault(row.path, {})[row.method] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Open Kitchen",
            "version": VERSION,
            "summary": "Runs of a language model, and the log of each.",
            "description": "By WebSocket a log comes from `/api/runs/{run_id}/socket?after=SEQ`: `trace.v1`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Schema]:
    made = dict(_SHAPES)
    at = "#/components/schemas/{model}"
    for name, model in (("RunRequest", RunRequest), ("Change", Change)):
        schema = model.model_json_schema(ref_template=at, schema_generator=_Bodies)
        made |= schema.pop("$defs", {})
        made[name] = schema
    takes, components = msgspec.json.schema_components(get_args(AnyTake), ref_template="#/components/schemas/{name}")
    made |= components
    made["Take"] = {"oneOf": list(takes)}
    return made


def _operation(row: Operation) -> dict[str, Any]:
    names = [part[1:-1] for part in row.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _PATH[name]} for name in names]
    parameters += [{"name": name, "in": "query", "schema": _QUERY[name]} for name in row.query]
    answer: dict[str, Any] = {"description": row.says}
    if row.answer:
        answer |= {"content": {media: _content(name) for media, name in row.answer.items()}}
    responses: dict[str, Any] = {str(row.status): answer}
    for status in row.also:
        responses[str(status)] = answer if row.method == "delete" else {"description": "Nothing more."}
    for status in sorted(row.problems):
        responses[str(status)] = {"description": "Why not.", "content": {PROBLEM: _content("Problem")}}
    made: dict[str, Any] = {"summary": row.says, "parameters": parameters, "responses": responses}
    if row.body:
        content = {JSON: _content(row.body)}
        made["requestBody"] = {"required": True, "content": content}
        if row.takes_form:
            made["description"] = f"Takes {FORM} too, and answers that with the page."
    return made


def _content(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


@router.api_route("/api/schema/openapi.json", methods=["GET", "HEAD"])
async def show_openapi(request: Request) -> Response:
    """With the prefix under which the site is served."""
    described = document() | {"servers": [{"url": request.scope.get("root_path", "") or "/"}]}
    body = msgspec.json.format(msgspec.json.encode(described), indent=1)
    headers = {"Cache-Control": "public, max-age=300"}
    return Response(body, media_type="application/vnd.oai.openapi+json", headers=headers)
