"""``/og/{run or recording}/{room}.png``: what a link looks like where it is posted; and the words that go with it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from babel.dates import format_date
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.site import Site, site_of
from app.catalogue import translations
from app.pages.chapters import Chapter, chapters
from app.pages.units import human_count, human_figure
from app.portrait import portrait_of
from app.preview import SIZE, Caption, draw_preview
from app.problems import Problem, retry_later, unknown_run
from app.recipes import DEFAULT_RUN
from app.recordings import recorded_lines, recordings
from app.runs import Run
from app.summary import Summary

logger = structlog.get_logger(__name__)

MAX_KEPT = 64
"""Pictures in memory, of a quarter of a megabyte at most."""
MAX_WAITING = 8
"""Who asks for one to be drawn while so many wait is told to come later: nobody can have us draw all day."""

router = APIRouter()


@dataclass(frozen=True)
class Social:
    """The ``og:*`` of a page. Addresses are absolute."""

    title: str
    description: str
    image: str
    url: str
    alt: str
    width: int = SIZE[0]
    height: int = SIZE[1]


def room_of(slug: str | None) -> Chapter:
    """The chapter of that name, else the first."""
    return next((chapter for chapter in chapters() if chapter.slug == slug), chapters()[0])


def social_of(address: str, run: Run | None, title: str, room: Chapter) -> Social:
    """What a link to the article says of itself. ``title``: under which its creator lists the run, empty where it is
    not listed; there is no other word of theirs in it."""
    t = translations()
    words = title or (t.gettext(room.title) if room.title else t.gettext("Watch a language model work."))
    if run is None:
        description = t.gettext(
            "A real model answers, one token at a time, and the page shows what the machine does meanwhile."
        )
    elif run.is_live:
        description = t.gettext("A run that is cooking now: watch it as it goes.")
    else:
        description = figures_of(run.summary) + ". " + source_of(run.summary) + "."
    name = run.run_id if run and not run.is_live else DEFAULT_RUN
    query = f"?run={run.run_id}" if run else ""
    if room.slug != chapters()[0].slug:
        query += f"{'&' if query else '?'}room={room.slug}"
    alt = t.gettext("A picture drawn from the log of a run.")
    return Social(words, description, f"{address}og/{name}/{room.slug}.png", address + query, alt)


def caption_of(summary: Summary, title: str, room: Chapter) -> Caption:
    """The words in the picture."""
    t = translations()
    name = t.gettext(room.name) if room.name else ""
    kicker = f"{room.number}  {name}" if name else "Open Kitchen"
    words = title or (t.gettext(room.title) if room.title else t.gettext("Watch a language model work."))
    return Caption(kicker, words, figures_of(summary, "   "), source_of(summary))


def figures_of(summary: Summary, between: str = ", ") -> str:
    """What a run came to."""
    t = translations()
    totals = summary.closed.totals if summary.closed else summary.totals
    count = totals.completion_tokens
    said = [t.ngettext("%(num)s token", "%(num)s tokens", count) % {"num": human_count(count)}]
    if summary.tokens_per_second is not None:
        said.append(t.gettext("%(rate)s tokens/s") % {"rate": human_figure(summary.tokens_per_second)})
    said.append(f"{human_figure(totals.seconds)} s")
    return between.join(said)


def source_of(summary: Summary) -> str:
    """Where the numbers come from."""
    t = translations()
    opened = summary.opened
    if opened is None:
        return t.gettext("measured")
    day = format_date(datetime.fromtimestamp(opened.opened_at, UTC), "d MMM y", locale="en")
    words = t.gettext("measured on %(machine)s, %(day)s") if opened.source == "live" else ""
    words = words or t.gettext("recorded on %(machine)s, %(day)s")
    machine = opened.hardware.name if opened.hardware else t.gettext("a machine that it does not name")
    said = words % {"machine": machine, "day": day}
    return f"{opened.model.name}, {said}" if opened.model else said


class Previews:
    """Drawn pictures, the last ones used; one is drawn at a time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._drawing: dict[tuple[str, str, str], asyncio.Task[bytes]] = {}

    async def get(self, key: tuple[str, str, str], lines: Sequence[bytes], room: Chapter) -> bytes:
        """``key``: the log's name, the room's, and the title. Raises 503 where too many wait."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        drawing = self._drawing.get(key)
        if drawing is None:
            if len(self._drawing) >= MAX_WAITING:
                raise retry_later(503, "busy", "Too many pictures are being drawn. Please try again shortly.", 5.0)
            drawing = asyncio.create_task(asyncio.to_thread(self._draw, key[2], lines, room))
            self._drawing[key] = drawing
            drawing.add_done_callback(lambda _: self._drawing.pop(key, None))
        # (Who asks for one that is being drawn waits for it; who leaves takes it from nobody.)
        drawn = await asyncio.shield(drawing)
        self._kept[key] = drawn
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return drawn

    def _draw(self, title: str, lines: Sequence[bytes], room: Chapter) -> bytes:
        with self._lock:
            portrait = portrait_of("", lines, walls=True)
            return draw_preview(portrait, room.slug, caption_of(portrait.summary, title, room))


_previews = Previews()


@router.api_route("/og/{name}/{room}.png", methods=["GET", "HEAD"])
async def show_preview(request: Request, name: str, room: str) -> Response:
    """1200 by 630. Of an ended run or of a recording, as a room shows it best."""
    site = site_of(request)
    chapter = next((chapter for chapter in chapters() if chapter.slug == room), None)
    if chapter is None:
        raise Problem(404, "unknown_room", "There is no room of that name here.")
    lines, title, cached = await _log_of(site, name)
    png = await _previews.get((name, room, title), lines, chapter)
    tag = f'"{hashlib.sha256(png).hexdigest()[:32]}"'
    headers: Mapping[str, str] = {"Cache-Control": cached, "ETag": tag, "Access-Control-Allow-Origin": "*"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(png, media_type="image/png", headers=headers)


async def _log_of(site: Site, name: str) -> tuple[Sequence[bytes], str, str]:
    """Lines, title, and how long others may keep the picture. A run is asked for each time, since it may be gone."""
    if name in recordings():
        return await asyncio.to_thread(recorded_lines, name) or [], "", "public, max-age=86400"
    run = await site.run(name)
    if run.is_live:
        raise retry_later(409, "still_running", "This run is still cooking. Its picture is drawn when it ends.", 1)
    if not run.broadcast.lines:
        raise unknown_run()
    row = site.store.index.get(name)
    return run.broadcast.lines, row.title if row else "", "public, max-age=300"
