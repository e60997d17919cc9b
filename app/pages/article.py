"""The article, bound to a run or to the recording that it opens with."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.api.site import site_of
from app.catalogue import script_messages, translations
from app.pages.calculator import FIELDS as CALCULATOR_FIELDS
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

MAX_KEPT = 64
"""Pages in memory, of a tenth of a megabyte each."""
MOMENT_SECONDS = 0.5

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
    query = request.query_params
    address, room = public_address(request, site.settings), room_of(query.get("room"))
    mine = run is not None and site.visitors.created(request, run.creator)
    kept, engine = kept_words(site.settings), site.kitchen.status
    row = site.store.index.get(run.run_id) if run else None
    title = row.title if row else ""

    def make() -> str:
        context = {
            "address": address,
            "social": social_of(address, run, title, room),
            **run_context(request, run),
            "refresh": run is not None and run.is_live,
            "notice": notice,
            "kept": kept,
            "problem": problem,
            "prompt": prompt,
            "status": engine,
        }
        page = {"run_id": run.run_id if run else None, "mine": mine}
        return article_html(page, context, site.settings.dist_dir, query)

    if problem or prompt or any(name in query for name in CALCULATOR_FIELDS):
        html = make()
    else:
        state = (run.run_id, mine, title, *_moment_of(run)) if run else ()
        html = _pages.get((address, room.slug, notice, kept, engine, site.settings.dist_dir, *state), make)
    code = problem.status if problem else status
    return HTMLResponse(html, status_code=code, headers={**NO_STORE, **(problem.headers if problem else {})})


def _moment_of(run: Run) -> tuple[object, ...]:
    """What tells one page of a run from a later one: while it cooks, each is shown for a moment to all who come."""
    if not run.is_live:
        return (False,)
    return (True, run.summary.status, run.summary.position, int(time.monotonic() / MOMENT_SECONDS))


class Pages:
    """The last pages that were made: a hundred readers who open one link at once do not have it made a hundred times,
    while those who follow a run wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, str] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], str]) -> str:
        """The page of that key, made if it is not here."""
        page = self._kept.pop(key, None)
        if page is None:
            page = make()
        self._kept[key] = page
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return page


_pages = Pages(MAX_KEPT)


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
