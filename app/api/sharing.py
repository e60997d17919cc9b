"""``/api/runs``: what a visitor has asked for, and what may be done with it: keep it, list it, delete it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.api.run_request import FORM, media_type_of, parse_body, printable, read_body
from app.api.site import Site, site_of
from app.pages.gallery import mine_card
from app.pages.templates import NO_STORE, render_fragment, wants_fragment
from app.problems import FieldError, Problem, retry_later, unknown_run
from app.run_files import About
from app.run_index import Row
from app.runs import Run
from app.security import caller_address, refuse_cross_site
from app.titles import one_line

MAX_TITLE_CHARS = 120
MAX_PAGE = 100

router = APIRouter()


class Change(BaseModel):
    """The body of a PATCH. What is left out stays."""

    model_config = ConfigDict(extra="forbid")

    kept: bool | None = None
    listed: bool | None = None
    title: Annotated[str, BeforeValidator(one_line), Field(max_length=MAX_TITLE_CHARS)] | None = None


_TAKES = {
    "kept": "kept must be true or false.",
    "listed": "listed must be true or false.",
    "title": f"title must be text of at most {MAX_TITLE_CHARS} characters.",
}


def parse_change(fields: dict[str, Any], *, is_form: bool) -> Change:
    """Raises 422 that names the field."""
    try:
        change = Change.model_validate(fields, strict=not is_form)
    except ValidationError as error:
        names = dict.fromkeys(printable(str(item["loc"][0])) for item in error.errors() if item["loc"])
        errors = tuple(FieldError(name, _TAKES.get(name, f"{name} is not something a run has.")) for name in names)[:20]
        raise Problem(422, "invalid", " ".join(found.detail for found in errors), errors) from None
    if change == Change():
        raise Problem(422, "invalid", "Send what is to change: kept, listed or title.")
    return change


def entry(site: Site, request: Request, row: Row) -> dict[str, Any]:
    """A run as its creator's list has it: never its prompt."""
    root = request.scope.get("root_path", "")
    return {
        "run_id": row.run_id,
        "url": f"{root}/?run={row.run_id}",
        "created_at": row.created_at,
        "expires_at": site.store.expires_at(row),
        "kept": row.kept,
        "listed": row.listed,
        "title": row.title,
        "parent": row.parent or None,
        "take": row.take or None,
        "reason": row.reason or None,
        "model": row.model or None,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "seconds": row.seconds,
        "tokens_per_second": row.tokens_per_second,
        "log_bytes": row.bytes,
    }


def standing(site: Site, run: Run) -> dict[str, Any]:
    """Until when a run is kept, and under which title it is listed: whoever can read it may know."""
    row = site.store.index.get(run.run_id)
    return {
        "created_at": row.created_at if row else None,
        "expires_at": site.store.expires_at(row) if row else None,
        "kept": row is not None and row.kept,
        "listed": row is not None and row.listed,
        "title": row.title if row else "",
        "log_bytes": row.bytes if row else 0,
    }


@router.api_route("/api/runs", methods=["GET", "HEAD"])
async def list_runs(request: Request) -> Response:
    """The caller's own, the newest first, takes among them: ``{"runs": [...], "next": ID | null}``; ``?before=ID`` is
    where the last page ended."""
    site = site_of(request)
    limit = _limit(request.query_params.get("limit"))
    visitor = site.visitors.of(request)
    rows: list[Row] = []
    if visitor is not None:
        creator = site.visitors.digest(visitor, "creator")
        before = _before(site, request.query_params.get("before"), creator)
        rows = site.store.index.runs_of(creator, before, limit + 1)
    page = [entry(site, request, row) for row in rows[:limit]]
    body = {"runs": page, "next": page[-1]["run_id"] if len(rows) > limit else None}
    return JSONResponse(body, headers=NO_STORE)


def _limit(text: str | None) -> int:
    if text is None or text == "":
        return MAX_PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_PAGE):
        detail = f"limit must be a whole number from 1 to {MAX_PAGE}."
        raise Problem(422, "invalid", detail, (FieldError("limit", detail),))
    return int(text)


def _before(site: Site, run_id: str | None, creator: str) -> Row | None:
    if not run_id:
        return None
    row = site.store.index.get(run_id)
    if row is None or row.creator != creator:
        detail = "before must be the id of one of your runs: the last of the page before."
        raise Problem(422, "invalid", detail, (FieldError("before", detail),))
    return row


async def own_closed_run(request: Request, run_id: str, deed: Literal["change", "delete"]) -> Run:
    """The run, if it has ended and the caller asked for it. Raises 403, 404, 409."""
    site = site_of(request)
    refuse_cross_site(request, site.settings.public_origins)
    await site.rates.post(caller_address(request))
    run = await site.run(run_id)
    if not site.visitors.created(request, run.creator):
        raise Problem(403, "not_yours", f"Only the one who asked for this run can {deed} it.")
    if run.is_live:
        raise retry_later(409, "still_running", f"This run is still cooking. You can {deed} it when it ends.", 1)
    return run


@router.patch("/api/runs/{run_id}")
async def change_run(request: Request, run_id: str) -> Response:
    """``{kept, listed, title}`` of an ended run, by its creator."""
    site = site_of(request)
    run = await own_closed_run(request, run_id, "change")
    body = await read_body(request, site.settings.max_body_bytes, site.settings.body_timeout)
    media_type = media_type_of(request)
    change = parse_change(parse_body(body, media_type), is_form=media_type == FORM)

    def apply(about: About) -> None:
        check_change(site, about, change)
        about.kept = about.kept if change.kept is None else change.kept
        about.title = about.title if change.title is None else change.title
        about.listed = about.listed if change.listed is None else change.listed

    try:
        found = await site.store.change(run.run_id, apply)
    except OSError as error:
        raise retry_later(503, "disk", "The kitchen cannot write this down just now.", 60.0) from error
    row = site.store.index.get(run.run_id)
    if not found or row is None:
        raise unknown_run()
    if wants_fragment(request):
        card = await asyncio.to_thread(mine_card, site, row)
        return render_fragment(request, "own_run.html", {"card": card})
    return JSONResponse(entry(site, request, row), headers=NO_STORE)


def check_change(site: Site, about: About, change: Change) -> None:
    """Raise 409 or 422 where it cannot be. (Its counts are right: nothing else changes meanwhile.)"""
    settings, index = site.settings, site.store.index
    if about.parent and (change.kept or change.listed):
        detail = "This is a take of another run: it is kept and listed with that one."
        raise Problem(409, "a_take", detail)
    if change.kept and not about.kept:
        if index.count_kept(about.creator) >= settings.max_kept_runs:
            detail = f"This kitchen keeps at most {settings.max_kept_runs} runs for you. Let another one go first."
            raise Problem(409, "too_many_kept", detail)
        if index.kept_bytes() >= settings.max_log_bytes // 2:
            raise Problem(409, "shelf_full", "This kitchen's shelf is full: it can keep no more runs just now.")
    if change.listed and not about.listed and index.count_listed(about.creator) >= settings.max_listed_runs:
        detail = (
            f"At most {settings.max_listed_runs} of your runs can be listed. Take another one out first."
            if settings.max_listed_runs
            else "The gallery of this kitchen shows recordings alone."
        )
        raise Problem(409, "too_many_listed", detail)
    listed = about.listed if change.listed is None else change.listed
    title = about.title if change.title is None else change.title
    if listed and not title:
        detail = "title is missing: the gallery shows a run under the title that you give it."
        raise Problem(422, "invalid", detail, (FieldError("title", detail),))


@router.delete("/api/runs/{run_id}/log")
async def delete_run(request: Request, run_id: str) -> Response:
    """An ended run and its takes, for good, by its creator. (``DELETE /api/runs/{id}`` stops one.)"""
    site = site_of(request)
    run = await own_closed_run(request, run_id, "delete")
    try:
        cooking = await site.store.delete(run.run_id)
    except OSError as error:
        raise retry_later(503, "disk", "The kitchen could not delete all of it. Please try again.", 60.0) from error
    for take in cooking:
        site.orders.stop(take)
    # (htmx takes the run's entry out of the page for an answer with a body, even an empty one.)
    return HTMLResponse("", headers=NO_STORE) if wants_fragment(request) else Response(status_code=204)
