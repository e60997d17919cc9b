"""A run's log as a file: as it is, or for another tool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.api.site import Site, site_of
from app.perfetto import chrome_trace
from app.problems import Problem, retry_later
from app.recordings import recorded_lines
from app.runs import Run
from inference.events import decode

router = APIRouter()


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}


async def _closed_run(site: Site, run_id: str) -> Run:
    run = await site.run(run_id)
    if run.is_live:
        raise retry_later(409, "still_running", "This run is still cooking. Its log is a file when it ends.", 1)
    return run


@router.api_route("/api/runs/{run_id}/log", methods=["GET", "HEAD"])
async def download_log(request: Request, run_id: str) -> Response:
    """``ID.jsonl.gz``, in the very form of a recording."""
    site = site_of(request)
    run = await _closed_run(site, run_id)
    data = await site.store.packed_log(run)
    return Response(data, media_type="application/gzip", headers=_attachment(f"{run_id}.jsonl.gz"))


@router.api_route("/api/runs/{run_id}/perfetto", methods=["GET", "HEAD"])
async def trace_run(request: Request, run_id: str) -> Response:
    """Chrome-trace JSON, for ui.perfetto.dev."""
    site = site_of(request)
    run = await _closed_run(site, run_id)
    return _Trace(site, run_id, run.broadcast.lines)


@router.api_route("/api/recordings/{name}/perfetto", methods=["GET", "HEAD"])
async def trace_recording(request: Request, name: str) -> Response:
    """The same of a recording that came with the page."""
    lines = await asyncio.to_thread(recorded_lines, name)
    if lines is None:
        raise Problem(404, "unknown_recording", "There is no recording of that name here.")
    return _Trace(site_of(request), name, lines)


class _Trace(StreamingResponse):
    """Made while it is sent, in threads; a place among the readers is held meanwhile."""

    def __init__(self, site: Site, name: str, lines: Sequence[bytes]) -> None:
        self._site = site
        self._reading = site.readers.reading(name)
        trace = iterate_in_threadpool(chrome_trace(map(decode, lines)))
        super().__init__(trace, media_type="application/json", headers=_attachment(f"{name}.perfetto.json"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await Response(headers=dict(self.headers))(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self._site.settings.send_timeout)
            except TimeoutError:
                # Who takes nothing holds no place, and no part of a trace in our memory.
                self._site.abort_connection(scope)
                raise OSError("the reader takes nothing") from None

        with self._reading:
            await super().__call__(scope, receive, send_in_time)
