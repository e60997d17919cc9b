"""``/gallery``: recordings and listed runs; ``/mine``: a visitor's own."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from babel.dates import format_date, format_datetime
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.api.site import Site, site_of
from app.pages.article import public_address
from app.pages.chapters import Chapter, chapters
from app.pages.modules import scripts_of
from app.pages.shelf import Shown, shown
from app.pages.strip import Strip, strip_of
from app.pages.templates import NO_STORE, environment
from app.portrait import portrait_of
from app.recordings import recorded_lines
from app.run_index import Row
from app.summary import Summary

logger = structlog.get_logger(__name__)

PAGE = 24
MAX_DRAWN = 256
"""Pictures kept in memory."""
SCRIPT = "static/js/shelf.js"

router = APIRouter()


@dataclass(frozen=True)
class Drawn:
    """A log as its card shows it."""

    strip: Strip
    provenance: str
    """``recorded`` or ``measured``."""
    machine: str
    date: str
    model: str
    tokens: int
    prompt_tokens: int
    seconds: float
    tokens_per_second: float | None


class Gallery:
    """Pictures of logs, drawn once and kept while there is room."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[str, Drawn] = OrderedDict()
        self._lock = threading.Lock()

    def drawn(self, name: str, read: Callable[[], list[bytes] | None]) -> Drawn | None:
        """The picture of a log; None where there is none, or none that can be read."""
        with self._lock:
            if name in self._drawn:
                self._drawn.move_to_end(name)
                return self._drawn[name]
        lines = read()
        if not lines:
            return None
        try:
            portrait = portrait_of("", lines)
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            logger.warning("gallery.undrawn", error=str(error))
            return None
        drawn = _drawn(portrait.summary, strip_of(portrait))
        with self._lock:
            self._drawn[name] = drawn
            while len(self._drawn) > MAX_DRAWN:
                self._drawn.popitem(last=False)
        return drawn


_gallery = Gallery()


def _drawn(summary: Summary, strip: Strip) -> Drawn:
    opened = summary.opened
    totals = summary.closed.totals if summary.closed else summary.totals
    return Drawn(
        strip=strip,
        provenance="measured" if opened and opened.source == "live" else "recorded",
        machine=opened.hardware.name if opened and opened.hardware else "",
        date=day_words(opened.opened_at) if opened else "",
        model=opened.model.name if opened and opened.model else "",
        tokens=totals.completion_tokens,
        prompt_tokens=totals.prompt_tokens,
        seconds=totals.seconds,
        tokens_per_second=summary.tokens_per_second,
    )


def day_words(seconds: float) -> str:
    """A day, in UTC."""
    return str(format_date(datetime.fromtimestamp(seconds, UTC), "d MMM y", locale="en"))


def time_words(seconds: float) -> str:
    """A day and its hour, in UTC."""
    return str(format_datetime(datetime.fromtimestamp(seconds, UTC), "d MMM y, HH:mm 'UTC'", locale="en"))


@dataclass(frozen=True)
class Group:
    """What one room shows best."""

    room: Chapter | None
    """None: what no room shows yet."""
    cards: list[tuple[Shown, Drawn]]


def recorded_groups() -> list[Group]:
    """The shelf in the order of the rooms."""
    places = {chapter.slug: chapter for chapter in chapters()}
    by_room: dict[str, list[tuple[Shown, Drawn]]] = {slug: [] for slug in (*places, "")}
    for entry in shown():
        drawn = _gallery.drawn(entry.name, partial(recorded_lines, entry.name))
        if drawn is not None:
            by_room[entry.room if entry.room in by_room else ""].append((entry, drawn))
    return [Group(places.get(slug), cards) for slug, cards in by_room.items() if cards]


@router.api_route("/gallery", methods=["GET", "HEAD"])
async def show_gallery(request: Request, before: str = "") -> Response:
    """Recorded runs, then those that their readers listed; ``?before=ID``: older ones."""
    site = site_of(request)
    last = site.store.index.get(before) if before else None
    rows = site.store.index.listed(last if last and last.listed else None, PAGE + 1)

    def draw() -> dict[str, Any]:
        read = site.store.files.read
        cards = [(row, _gallery.drawn(row.run_id, partial(read, row.run_id))) for row in rows[:PAGE]]
        return {
            "groups": recorded_groups() if last is None else [],
            "listed": [(row, drawn) for row, drawn in cards if drawn is not None],
        }

    context = await asyncio.to_thread(draw)
    context["older"] = rows[PAGE - 1].run_id if len(rows) > PAGE else ""
    return _page(request, site, "gallery.html", context)


def recordings_html(more: Mapping[str, Any], dist: Path) -> str:
    """The shelf of recordings alone, where no kitchen has runs to list. ``more`` for the template."""
    context = {"groups": recorded_groups(), "listed": [], "older": "", "modules": scripts_of(SCRIPT, dist), **more}
    return environment().get_template("gallery.html").render(**context)


@router.api_route("/mine", methods=["GET", "HEAD"])
async def show_mine(request: Request, before: str = "") -> Response:
    """The caller's own runs. Only here are their prompts read for a list: from their logs, for their creator alone."""
    site = site_of(request)
    visitor = site.visitors.of(request)
    rows: list[Row] = []
    if visitor is not None:
        creator = site.visitors.digest(visitor, "creator")
        last = site.store.index.get(before) if before else None
        if last is not None and last.creator != creator:
            last = None
        rows = site.store.index.runs_of(creator, last, PAGE + 1, takes=False)
    cards = await asyncio.to_thread(lambda: [mine_card(site, row) for row in rows[:PAGE]])
    older = rows[PAGE - 1].run_id if len(rows) > PAGE else ""
    return _page(request, site, "mine.html", {"cards": cards, "older": older})


def mine_card(site: Site, row: Row) -> dict[str, Any]:
    """What ``fragments/own_run.html`` needs."""
    expires = site.store.expires_at(row)
    drawn = None
    if row.reason:
        drawn = _gallery.drawn(row.run_id, partial(site.store.files.read, row.run_id))
    return {
        "row": row,
        "prompt": site.store.files.read_prompt(row.run_id),
        "drawn": drawn,
        "began": time_words(row.created_at),
        "expires": day_words(expires) if expires is not None else "",
        "takes": len(site.store.index.takes_of(row.run_id)),
        "may_keep": site.settings.max_kept_runs > 0,
        "may_list": site.settings.max_listed_runs > 0,
    }


def _page(request: Request, site: Site, template: str, context: dict[str, Any]) -> Response:
    common = {
        "address": public_address(request, site.settings),
        "modules": scripts_of(SCRIPT, site.settings.dist_dir),
        "keep_days": f"{site.settings.keep_days:g}",
    }
    html = environment().get_template(template).render(**common, **context)
    return HTMLResponse(html, headers=NO_STORE)
