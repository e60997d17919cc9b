"""``/api/runs/{id}/takes``: the same prompt once more, another way."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.run_request import media_type_of, parse_json, read_body
from app.api.runs import links
from app.api.site import Site, site_of
from app.problems import Problem, retry_later
from app.runs import Run
from app.security import caller_address, refuse_cross_site
from app.takes import parent_of, take_of
from inference.events import decode
from inference.takes import Parent

router = APIRouter()


@router.post("/api/runs/{run_id}/takes", status_code=201)
async def create_take(request: Request, run_id: str) -> Response:
    """A take of a run that has ended: ``{"take": NAME, ...knobs}``. The run id is the key to read a run, and whoever
    has it may ask for takes of it, under the limits on runs; a take belongs to who asked for it."""
    site = site_of(request)
    refuse_cross_site(request, site.settings.public_origins)
    await site.rates.post(caller_address(request))
    if media_type_of(request) != "application/json":
        detail = "Send the take as application/json."
        raise Problem(415, "media_type", detail, headers={"Accept-Post": "application/json"})
    body = await read_body(request, site.settings.max_body_bytes, site.settings.body_timeout)
    await site.rates.body(caller_address(request), len(body))
    fields = parse_json(body)
    run = await site.run(run_id)
    parent = await _parent_of(site, run)
    take = take_of(fields, parent)
    visitor = site.visitors.of(request) or site.visitors.new()
    made = await site.orders.cook_take(
        take,
        parent,
        run.run_id,
        creator=site.visitors.digest(visitor, "creator"),
        cache_salt=site.visitors.digest(visitor, "cache"),
        address=caller_address(request),
    )
    place = {**links(request, made.run_id), "parent": run.run_id, "take": take.name}
    root = request.scope.get("root_path", "")
    response = JSONResponse(place, status_code=201, headers={"Location": f"{root}/api/runs/{made.run_id}"})
    site.visitors.remember(response, visitor, request)
    return response


async def _parent_of(site: Site, run: Run) -> Parent:
    """What the log says of the run. Raises 409 for one that has no takes (yet)."""
    if run.is_live:
        raise retry_later(
            409, "still_running", "This run is still cooking. Its takes can be asked for when it ends.", 1
        )
    # (A long log takes a while to read.)
    parent = await asyncio.to_thread(lambda: parent_of(map(decode, run.broadcast.lines)))
    if parent is None or not parent.output_ids:
        raise Problem(409, "no_answer", "This run has no answer, so there is nothing to cook another way.")
    ready, model = site.kitchen.ready, run.summary.opened.model if run.summary.opened else None
    if ready is not None and model is not None and model.name != ready.model.name:
        detail = f"This run was cooked with {model.name}, and this kitchen cooks with {ready.model.name} now."
        raise Problem(409, "other_model", detail)
    return parent
