"""A run's log as a file: as it is, or for another tool."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.site import Site, site_of
from app.problems import retry_later
from app.runs import Run

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
