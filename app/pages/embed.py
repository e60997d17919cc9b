"""One room in a frame of somebody else's page: replay only, no cookie, no storage, no engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.api.site import site_of
from app.catalogue import languages, script_messages, translations
from app.pages.article import RECORDING, public_address, recorded_takes
from app.pages.calculator import calculator_context
from app.pages.chapters import Chapter, rooms
from app.pages.modules import scripts_of
from app.pages.templates import environment

ENTRY = "static/js/embed.js"
CACHED = {"Cache-Control": "public, max-age=300"}

router = APIRouter()


@router.api_route("/embed/{chapter}", methods=["GET", "HEAD"])
async def show_embed(request: Request, chapter: str, run: str = "", lang: str = "") -> Response:
    """``?run=ID`` plays a run of this kitchen's. What else the address says (``theme``, ``t``, ``step``, ``autoplay``)
    the page's script reads, so that it holds in a copy without a server too."""
    language = lang if lang in languages() else "en"
    room = rooms().get(chapter)
    if room is None:
        html = environment(language).get_template("embed_missing.html").render(rooms=rooms(), lang=language)
        return HTMLResponse(html, status_code=404, headers=CACHED)
    found = await site_of(request).store.find(run) if run else None
    runs = {found.run_id: f"api/runs/{found.run_id}/events"} if found else {}
    settings = site_of(request).settings
    address = public_address(request, settings)
    html = embed_html(room, runs, settings.dist_dir, language=language, address=address)
    # A run may be deleted, and comes to its end.
    headers = {"Cache-Control": "no-store"} if run else CACHED
    return HTMLResponse(html, status_code=404 if run and not found else 200, headers=headers)


def embed_html(
    room: Chapter,
    runs: Mapping[str, str],
    dist: Path,
    *,
    language: str = "en",
    address: str = "",
    more: Mapping[str, Any] | None = None,
) -> str:
    """The page. ``runs``: addresses of the logs that it may play besides the recorded one, by the ids of the runs.
    ``dist``: where a bundle of the scripts may lie.
    ``address`` of the site, where it has one: then it says where its oEmbed is. ``more`` for the template."""
    page: dict[str, Any] = {
        "chapter": room.slug,
        "recording": RECORDING,
        "takes": recorded_takes(),
        "runs": dict(runs),
        "messages": script_messages(language),
    }
    context = {
        "page": page,
        "lang": language,
        "room": room,
        "title": translations(language).gettext(room.title),
        "modules": scripts_of(ENTRY, dist, room.scene),
        "address": address,
        "kitchen": False,
        **(more or {}),
        **calculator_context({}, lenient=True),
    }
    return environment(language).get_template("embed.html").render(**context)
