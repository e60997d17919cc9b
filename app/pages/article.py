"""The article, bound to a run or to the recording that it opens with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.api.run_request import RunRequest
from app.api.site import site_of
from app.catalogue import script_messages, translations
from app.pages.calculator import calculator_context
from app.pages.templates import NO_STORE, environment
from app.problems import Problem
from app.runs import Run
from app.settings import Settings

RECORDING = "static/recordings/tomato-soup.jsonl.gz"

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
    values: Mapping[str, Any] | None = None,
    status: int = 200,
) -> Response:
    """The whole page. ``values`` are those of a form that was refused: they stay in it."""
    site = site_of(request)
    engine = site.kitchen.status
    page = {
        "run_id": run.run_id if run else None,
        "mine": run is not None and site.visitors.created(request, run.creator),
        "recording": RECORDING,
        "messages": script_messages(),
    }
    context = {
        "page": page,
        "run": run.summary if run else None,
        "refresh": run is not None and run.is_live,
        "notice": notice,
        "kept": kept_words(site.settings),
        "problem": problem,
        "values": form_values(values or {}),
        "status": engine,
        **calculator_context(request.query_params, lenient=True),
    }
    html = environment().get_template("article.html").render(**context)
    code = problem.status if problem else status
    return HTMLResponse(html, status_code=code, headers={**NO_STORE, **(problem.headers if problem else {})})


def kept_words(settings: Settings) -> str:
    """One line by the box: what is kept, and for how long."""
    words = translations().gettext(
        "Your prompt and its answer are kept on this server for %(days)s days at most, "
        "under an address that cannot be guessed."
    )
    return words % {"days": f"{settings.keep_days:g}"}


def form_values(refused: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in the form: the page's defaults, or what was refused."""
    defaults = {
        name: RunRequest.model_fields[name].default
        for name in ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    }
    kept = {
        name: value for name, value in refused.items() if name in RunRequest.model_fields and isinstance(value, str)
    }
    return {"prompt": "", "seed": "", **defaults, **kept}
