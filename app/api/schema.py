"""``/api/schema/events.json``: the vocabulary of the logs."""

from __future__ import annotations

from functools import cache

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from inference.events import json_schema

router = APIRouter()


@cache
def _schema() -> bytes:
    return msgspec.json.format(msgspec.json.encode(json_schema()), indent=1)


@router.api_route("/api/schema/events.json", methods=["GET", "HEAD"])
async def show_schema(request: Request) -> Response:
    """JSON Schema (2020-12)."""
    return Response(_schema(), media_type="application/schema+json", headers={"Cache-Control": "public, max-age=300"})
