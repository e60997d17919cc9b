"""``/healthz``, ``/readyz``, ``/metrics``: for whoever keeps the site up."""

from __future__ import annotations

import asyncio
import hmac

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.site import site_of
from app.problems import Problem, closing, retry_later

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
    """Prometheus' text format, for whoever has the token if there is one."""
    site = site_of(request)
    _check_token(request, site.settings.metrics_token)
    await asyncio.to_thread(site.metrics.measure_disk, site.settings.data_dir)
    site.metrics.count_sockets(site.clock.num_frames, site.clock.num_bytes, site.clock.num_dropped)
    live = site.store.live()
    body = site.metrics.render(
        state=site.kitchen.status.state,
        live=len(live),
        waiting=sum(run.is_waiting for run in live),
        readers=site.readers.total,
        tasks=len(asyncio.all_tasks()),
        restarts=site.kitchen.num_restarts,
        ready=site.kitchen.ready,
    )
    return Response(body, media_type=CONTENT_TYPE_LATEST, headers=_NO_STORE)


def _check_token(request: Request, token: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if token and not (scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())):
        detail = "The metrics of this kitchen are for whoever has its token: Authorization: Bearer TOKEN."
        raise Problem(401, "no_token", detail, headers={"WWW-Authenticate": "Bearer"})
