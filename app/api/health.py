"""``/healthz``, ``/readyz``, ``/metrics``: for whoever keeps the site up."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.site import site_of
from app.problems import closing, retry_later

router = APIRouter()
_NO_STORE = {"Cache-Control": "no-store"}


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def alive(request: Request) -> Response:
    """The site answers."""
    return JSONResponse({"status": "alive"}, headers=_NO_STORE)


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def ready(request: Request) -> Response:
    """The engine takes prompts, or 503 and why not."""
    site = site_of(request)
    if site.orders.is_closing:
        raise closing()
    kitchen = site.kitchen
    status = kitchen.status
    if kitchen.ready is None:
        detail = f"{status.detail} {status.stage}".strip()
        raise retry_later(503, status.state, detail, max(status.retry_seconds, 1.0))
    about = {"cluster": site.cluster.status()} if site.cluster else {}
    return JSONResponse({"status": "ready", "model": kitchen.ready.model.name, **about}, headers=_NO_STORE)


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    site = site_of(request)
    live = site.store.live()
    body = site.metrics.render(
        state=site.kitchen.status.state,
        live=len(live),
        waiting=sum(run.is_waiting for run in live),
        readers=site.readers.total,
        tasks=len(asyncio.all_tasks()),
    )
    return Response(body, media_type=CONTENT_TYPE_LATEST, headers=_NO_STORE)
