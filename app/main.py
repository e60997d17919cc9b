"""Wiring, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from app.api import downloads, health, oembed, openapi, runs, schema, sharing, sockets, takes
from app.api.site import Site
from app.broadcast import FrameClock
from app.cluster_kitchen import KitchenElsewhere
from app.data_dir import DataDirClaim, using
from app.kitchen import Kitchen
from app.limits import Rates, ReaderLimit
from app.log_setup import on_terminal
from app.metrics import Metrics
from app.orders import Orders
from app.pages import article, calculator, embed, fragments, gallery, preview, styleguide
from app.pages.modules import DIST, bundle_in
from app.pages.static import STATIC, Static
from app.pages.templates import NO_STORE, render_problem
from app.problems import Problem
from app.request_log import HEADER, NoteRoute, RequestLog, request_id_of
from app.run_store import RunStore
from app.security import (
    AllowedHosts,
    OpenReading,
    RootPath,
    SecurityHeaders,
    TrustedProxies,
    Visitors,
    is_framable,
    security_headers,
)
from app.settings import Settings
from app.tracing import Tracing

logger = structlog.get_logger(__name__)

NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own would tell paths, which hold the ids of runs, and what exceptions say. Ours: ``tracing.py``."""
PROGRAMS_AND_PAGES = (
    runs,
    sharing,
    downloads,
    takes,
    sockets,
    schema,
    openapi,
    health,
    oembed,
    article,
    embed,
    gallery,
    preview,
    fragments,
    calculator,
    styleguide,
)


def engine_arguments(settings: Settings) -> list[str]:
    """The engine process's command line. Where converted models lie is not said here: the engine and ``record`` share
    one place (``OPENKITCHEN_CACHE_DIR``, else the user's cache), whatever the data directory."""
    arguments = ["--model", settings.model, "--device", settings.device, "--dtype", settings.dtype]
    if settings.drafter:
        arguments += ["--drafter", settings.drafter]
    return [*arguments, *settings.engine_args]


def create_app(settings: Settings | None = None, *, worker: Sequence[str] | None = None) -> FastAPI:
    """The site. ``worker`` is another command for the engine process (tests). Raises DataDirUnusable."""
    settings = settings or Settings()
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    app.state.site = _build_site(settings, worker)
    # (First, since routes are tried in their order and most of a visit is files.)
    if bundle_in(settings.dist_dir) is not None:
        app.mount(f"/{DIST}", Static(directory=settings.dist_dir), name="dist")
    app.mount("/static", Static(directory=STATIC), name="static")
    for module in PROGRAMS_AND_PAGES:
        app.include_router(module.router)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_hang_up)
    app.add_exception_handler(Exception, _on_fault)
    # The last added is the outermost.
    app.add_middleware(NoteRoute)
    app.add_middleware(
        GZipMiddleware,
        minimum_size=1024,
        compresslevel=6,
        # (A page takes some milliseconds, in which readers of live runs would wait.)
        thread_minimum_size=16 * 1024,
        # Audio, fonts and images are the defaults; a stream of lines is flushed with every frame all the same.
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/x-ndjson"),
    )
    app.add_middleware(OpenReading)
    app.add_middleware(RootPath, root_path=settings.root_path)
    app.add_middleware(AllowedHosts, allowed=settings.allowed_hosts)
    app.add_middleware(SecurityHeaders, root_path=settings.root_path)
    app.add_middleware(TrustedProxies, trusted=settings.trusted_proxies)
    app.add_middleware(
        RequestLog,
        trusted=settings.trusted_proxies,
        metrics=app.state.site.metrics,
        tracing=app.state.site.tracing,
        lines=not on_terminal() if settings.access_log is None else settings.access_log,
    )
    return app


def _build_site(settings: Settings, worker: Sequence[str] | None) -> Site:
    # Before anything is read from it or healed in it: the live logs of another kitchen look like orphans.
    claim = DataDirClaim(settings.data_dir)
    kitchen = _build_kitchen(settings, worker)
    with using(settings.data_dir):
        store = RunStore(
            settings.data_dir,
            keep_runs=settings.keep_runs,
            keep_days=settings.keep_days,
            cached_bytes=settings.cached_log_bytes,
            max_bytes=settings.max_log_bytes,
            live_bytes=settings.live_log_bytes,
        )
        visitors = load_visitors(settings)
    metrics, tracing = Metrics(), Tracing.from_settings(settings)
    cluster = None
    if settings.redis_url:
        from app.cluster import Cluster

        cluster = Cluster(settings, kitchen, store, metrics, tracing, visitors)
    readers = ReaderLimit(settings.max_readers_per_run, settings.max_readers)
    return Site(
        settings=settings,
        claim=claim,
        kitchen=kitchen,
        store=store,
        orders=cluster.orders if cluster else Orders(kitchen, store, settings, metrics, tracing),
        metrics=metrics,
        tracing=tracing,
        visitors=visitors,
        rates=Rates(
            secret=lambda: visitors.secret,
            redis_url=settings.redis_url,
            per_minute=settings.posts_per_minute,
            burst=settings.posts_burst,
            per_minute_in_all=settings.posts_per_minute_in_all,
            bytes_per_minute=settings.post_bytes_per_minute,
            bytes_per_minute_in_all=settings.post_bytes_per_minute_in_all,
        ),
        readers=readers,
        clock=FrameClock(settings.frame_seconds, lambda: readers.total),
        cluster=cluster,
    )


def _build_kitchen(settings: Settings, worker: Sequence[str] | None) -> Kitchen:
    if settings.engine == "none":
        return KitchenElsewhere()
    return Kitchen(
        engine_arguments(settings),
        endpoint=settings.engine_endpoint,
        hang_seconds=settings.engine_hang_seconds,
        restart_seconds=settings.engine_restart_seconds,
        spare=settings.spare_engine,
        **({"command": worker} if worker else {}),
    )


def load_visitors(settings: Settings) -> Visitors:
    """By the secret that is set, else by the one of this installation."""
    secret = settings.secret
    return Visitors(hashlib.sha256(secret.encode()).digest()) if secret else Visitors.load(settings.data_dir)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    site: Site = app.state.site
    if site.cluster is not None:
        await site.cluster.disown()
    orphans = await asyncio.to_thread(site.store.close_orphans)
    if orphans:
        logger.info("runs.orphans_closed", count=orphans)
    site.kitchen.start(site.orders)
    if site.cluster is not None:
        await site.cluster.start()
    sweeper = asyncio.create_task(_sweep(site))
    keeping_up = asyncio.create_task(site.store.keep_up())
    try:
        yield
    finally:
        sweeper.cancel()
        keeping_up.cancel()
        await site.orders.close()
        if site.cluster is not None:
            await site.cluster.stop()
        await site.kitchen.stop()
        await site.tracing.close()
        site.claim.release()


async def _sweep(site: Site) -> None:
    while True:
        try:
            if gone := await site.store.sweep():
                logger.info("runs.swept", count=gone)
        except OSError as error:
            logger.warning("runs.unswept", error=str(error))
        await asyncio.sleep(site.settings.sweep_seconds)


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return render_problem(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "There is nothing at this address.", 405: f"{request.method} is not something this address does."}
    detail = words.get(error.status_code, str(error.detail))
    codes = {404: "not_found", 405: "method_not_allowed"}
    headers = dict(error.headers or {})
    if error.status_code == 405 and (allowed := _methods_of(request)):
        headers["Allow"] = ", ".join(sorted(allowed))
    problem = Problem(error.status_code, codes.get(error.status_code, "http_error"), detail, headers=headers)
    return render_problem(request, problem)


def _methods_of(request: Request) -> set[str]:
    """What an address does, of all its routes: the router names those of the first one alone."""
    routes = [route for module in PROGRAMS_AND_PAGES for route in module.router.routes if isinstance(route, Route)]
    found = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return {method for route in found for method in route.methods or ()}


async def _on_hang_up(request: Request, error: Exception) -> Response:
    """The peer went in the middle of its body, or was cut for one that is no HTTP: no mistake of ours. Nobody reads
    this; it is what the log and the counters tell."""
    return Response(status_code=400, headers=NO_STORE)


async def _on_fault(request: Request, error: Exception) -> Response:
    """Our own mistake. It is answered outside all middleware, so the security headers are added here."""
    logger.error("request.fault", method=request.method, kind=type(error).__name__, exc_info=error)
    problem = Problem(500, "fault", "Something broke on our side. Nothing you sent is to blame.")
    response = render_problem(request, problem)
    response.headers.update(
        security_headers(
            request.headers.get("host", ""), framable=is_framable(request.url.path, request.scope.get("root_path", ""))
        )
    )
    response.headers[HEADER] = request_id_of(request)
    return response
