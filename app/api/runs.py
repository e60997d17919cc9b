"""``/api/runs``: ask for a run, look at it, follow it, stop it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.api.following import EventStream, Lines, parse_after
from app.api.run_request import (
    FORM,
    RunRequest,
    describe,
    legible_fields,
    media_type_of,
    parse_body,
    parse_run_request,
    read_body,
)
from app.api.sharing import standing
from app.api.site import Site, site_of
from app.pages.article import render_article
from app.pages.templates import render_run, wants_fragment
from app.problems import FieldError, Problem
from app.runs import Run
from app.security import caller_address, refuse_cross_site

router = APIRouter()


@router.post("/api/runs", status_code=201)
async def create_run(request: Request) -> Response:
    """A run of a prompt: JSON for programs, a fragment for htmx, the article for a plain form."""
    site = site_of(request)
    bounds = (site.settings.max_body_bytes, site.settings.body_timeout)
    media_type = media_type_of(request)
    is_form = media_type == FORM
    fields: dict[str, Any] = {}
    try:
        body = b""
        if is_form:
            # Read before anything is refused: the reader's words must stand in the page that says why.
            body = await read_body(request, *bounds)
            fields = legible_fields(body)
        refuse_cross_site(request, site.settings.public_origins)
        await site.rates.post(caller_address(request))
        body = body if is_form else await read_body(request, *bounds)
        await site.rates.body(caller_address(request), len(body))
        fields = parse_body(body, media_type)
        visitor = site.visitors.of(request) or site.visitors.new()
        run = await _take(site, request, fields, is_form, visitor)
    except Problem as problem:
        if not is_form or wants_fragment(request):
            raise
        site.metrics.refused.labels(problem.code).inc()
        return await render_article(request, None, problem=problem, prompt=fields.get("prompt", ""))
    response = _created(request, run)
    site.visitors.remember(response, visitor, request)
    return response


async def _take(site: Site, request: Request, fields: dict[str, Any], is_form: bool, visitor: str) -> Run:
    settings = site.settings
    wanted: RunRequest = parse_run_request(
        fields, is_form=is_form, max_chars=settings.max_prompt_chars, max_tokens=settings.max_tokens
    )
    loaded = site.kitchen.ready.engine.drafter if site.kitchen.ready else settings.drafter
    names = [name.partition(":")[0].strip() for name in loaded.split(",")] if loaded else []
    if wanted.drafter not in (None, "none", *names):
        detail = describe("drafter", settings.max_tokens)
        raise Problem(422, "invalid", detail, (FieldError("drafter", detail),))
    return await site.orders.take(
        wanted.prompt,
        wanted.sampling_params(),
        wanted.probes,
        creator=site.visitors.digest(visitor, "creator"),
        cache_salt=site.visitors.digest(visitor, "cache"),
        address=caller_address(request),
    )


def links(request: Request, run_id: str) -> dict[str, str]:
    """Where a run is to be found."""
    root = request.scope.get("root_path", "")
    return {
        "run_id": run_id,
        "url": f"{root}/?run={run_id}",
        "events_url": f"{root}/api/runs/{run_id}/events",
        "socket_url": f"{root}/api/runs/{run_id}/socket",
    }


def _created(request: Request, run: Run) -> Response:
    root = request.scope.get("root_path", "")
    run_id = run.run_id
    if wants_fragment(request):
        # The page resolves these against its own address, so they hold under any prefix.
        place = {"run_id": run_id, "socket_url": f"api/runs/{run_id}/socket", "events_url": f"api/runs/{run_id}/events"}
        response = render_run(request, "run.html", run, status=201)
        response.headers["HX-Trigger"] = json.dumps({"kitchen:run": place})
        return response
    if media_type_of(request) == "application/json":
        return JSONResponse(links(request, run_id), status_code=201, headers={"Location": f"{root}/api/runs/{run_id}"})
    return RedirectResponse(f"{root}/?run={run_id}", status_code=303)


@router.api_route("/api/runs/{run_id}", methods=["GET", "HEAD"])
async def show_run(request: Request, run_id: str) -> Response:
    """What it has come to so far; while it waits, about how long it may wait yet."""
    site = site_of(request)
    run = await site.run(run_id)
    wait = site.orders.expected_wait(run)
    shown = {**run.summary.to_dict(), **standing(site, run), "expected_wait": wait.to_dict() if wait else None}
    return JSONResponse(shown, headers={"Cache-Control": "no-store"})


@router.api_route("/api/runs/{run_id}/events", methods=["GET", "HEAD"])
async def follow_run(request: Request, run_id: str) -> Response:
    """The log from ``after`` on, and on until it closes: one event a line, or server-sent events."""
    site = site_of(request)
    run = await site.run(run_id)
    after = parse_after(request.query_params.get("after"))
    if "text/event-stream" in request.headers.get("accept", ""):
        if (last := request.headers.get("last-event-id")) is not None:
            after = parse_after(last)
        if run.broadcast.closed and after >= len(run.broadcast.lines):
            # A reader that comes back for more after the end is told to stop coming back (HTML, 9.2.3).
            return Response(status_code=204)
        return EventStream(site, run, after)
    return Lines(site, run, after)


@router.delete("/api/runs/{run_id}")
async def stop_run(request: Request, run_id: str) -> Response:
    """Stop it: its creator's right alone. Stopping what has ended changes nothing."""
    site = site_of(request)
    refuse_cross_site(request, site.settings.public_origins)
    run = await site.run(run_id)
    if not site.visitors.created(request, run.creator):
        raise Problem(403, "not_yours", "Only the one who asked for this run can stop it.")
    was_live = run.is_live
    site.orders.stop(run)
    if wants_fragment(request):
        return render_run(request, "run.html", run)
    return JSONResponse(run.summary.to_dict(), status_code=202 if was_live else 200)
