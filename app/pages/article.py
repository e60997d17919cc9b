"""The article, bound to a run or to the recording that it opens with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.api.site import site_of
from app.catalogue import script_messages, translations
from app.kitchen import EngineStatus
from app.pages.calculator import calculator_context
from app.pages.chapters import chapters
from app.pages.modules import scripts_of
from app.pages.preview import room_of, social_of
from app.pages.templates import NO_STORE, environment, run_context
from app.problems import Problem
from app.recipes import DEFAULT_RUN
from app.runs import Run
from app.settings import ROOT, Settings

RECORDINGS = "static/recordings"
RECORDING = f"{RECORDINGS}/{DEFAULT_RUN}.jsonl.gz"

router = APIRouter()


@router.api_route("/", methods=["GET", "HEAD"])
async def show_article(request: Request, run: str | None = None) -> Response:
    """``?run=ID`` binds the page to a run. With an unknown one the page is whole, says so, and plays its recording."""
    if not run:
        return await render_article(request, None)
    found = await site_of(request).store.find(run)
    if found is not None:
        return await render_article(request, found)
    notice = translations().gettext(
        "That run is not here. It may be older than this kitchen keeps; here is a recorded one instead."
    )
    return await render_article(request, None, notice=notice, status=404)


async def render_article(
    request: Request,
    run: Run | None,
    *,
    notice: str = "",
    problem: Problem | None = None,
    prompt: str = "",
    status: int = 200,
) -> Response:
    """The whole page. ``prompt`` is that of a form that was refused: it stays in the box."""
    site = site_of(request)
    address = public_address(request, site.settings)
    if run is None and not (notice or problem or prompt or request.query_params):
        html = _strangers_article(address, kept_words(site.settings), site.kitchen.status, site.settings.dist_dir)
        return HTMLResponse(html, status_code=status, headers=NO_STORE)
    row = site.store.index.get(run.run_id) if run else None
    page = {
        "run_id": run.run_id if run else None,
        "mine": run is not None and site.visitors.created(request, run.creator),
    }
    context = {
        "address": address,
        "social": social_of(address, run, row.title if row else "", room_of(request.query_params.get("room"))),
        **run_context(request, run),
        "refresh": run is not None and run.is_live,
        "notice": notice,
        "kept": kept_words(site.settings),
        "problem": problem,
        "prompt": prompt,
        "status": site.kitchen.status,
    }
    html = article_html(page, context, site.settings.dist_dir, request.query_params)
    code = problem.status if problem else status
    return HTMLResponse(html, status_code=code, headers={**NO_STORE, **(problem.headers if problem else {})})


@lru_cache(maxsize=8)
def _strangers_article(address: str, kept: str, status: EngineStatus, dist: Path) -> str:
    """What everybody sees who comes without a run: a hundred at once do not have it made a hundred times."""
    context = {
        "address": address,
        "social": social_of(address, None, "", room_of(None)),
        "run": None,
        "wait": None,
        "refresh": False,
        "notice": "",
        "kept": kept,
        "problem": None,
        "prompt": "",
        "status": status,
    }
    return article_html({"run_id": None, "mine": False}, context, dist)


def article_html(
    page: Mapping[str, Any], more: Mapping[str, Any], dist: Path, query: Mapping[str, str] | None = None
) -> str:
    """The page whoever shows it, a kitchen or a folder of files. ``page`` is for its script, ``more`` for the
    templates, ``dist`` where a bundle of the scripts may lie, ``query`` is what the calculator is asked."""
    everybodys = {
        "kitchen": True,
        "recording": RECORDING,
        "takes": recorded_takes(),
        "runs": {},
        "messages": script_messages(),
        "embeds": "",
    }
    context = {
        "page": everybodys | dict(page),
        "chapters": chapters(),
        "modules": scripts_of("static/js/main.js", dist),
        **calculator_context(query or {}, lenient=True),
        **more,
    }
    return environment().get_template("article.html").render(**context)


@cache
def recorded_takes() -> dict[str, str]:
    """The recorded takes of the run that the article opens with: ``NAME.KEY.jsonl.gz``, the address by the key."""
    prefix, suffix = f"{DEFAULT_RUN}.", ".jsonl.gz"
    found = sorted(path.name for path in (ROOT / RECORDINGS).glob(f"{prefix}*{suffix}"))
    return {name.removeprefix(prefix).removesuffix(suffix): f"{RECORDINGS}/{name}" for name in found}


def public_address(request: Request, settings: Settings) -> str:
    """Where strangers find the site, with a slash at the end, for what must be absolute: the first public origin that
    is configured, else the address that was asked."""
    if settings.public_origins:
        return f"{settings.public_origins[0].rstrip('/')}{settings.root_path}/"
    return str(request.base_url)


def kept_words(settings: Settings) -> str:
    """One line by the box: what is kept, and for how long."""
    words = translations().gettext(
        "Your prompt and its answer are kept on this server for %(days)s days, under an address that cannot be "
        "guessed, and its takes go with it. When it has ended you can keep it, or delete it."
    )
    return words % {"days": f"{settings.keep_days:g}"}
