"""Pieces of the page that htmx asks for again: the engine's status, the line, the calculator."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.api.site import site_of
from app.pages.templates import render_fragment, render_run

router = APIRouter()


@router.api_route("/fragments/status", methods=["GET", "HEAD"])
async def engine_status(request: Request) -> Response:
    """How the engine is; asks again sooner while that is about to change."""
    return render_fragment(request, "status.html", {})


@router.api_route("/fragments/runs/{run_id}/queue", methods=["GET", "HEAD"])
async def run_queue(request: Request, run_id: str) -> Response:
    """Where a run stands: in the line, cooking, done; stops asking when it is done."""
    run = await site_of(request).run(run_id)
    return render_run(request, "queue.html", run)


@router.api_route("/favicon.ico", methods=["GET", "HEAD"])
async def favicon(request: Request) -> Response:
    """Browsers ask for it whatever the page says."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/static/favicon.svg", status_code=308)
