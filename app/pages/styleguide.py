"""The styleguide: what the page is made of, in both themes, with a still of every room."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.api.site import site_of
from app.catalogue import script_messages
from app.pages.article import RECORDING, recorded_takes
from app.pages.modules import scripts_of
from app.pages.templates import NO_STORE, environment

router = APIRouter()


@router.api_route("/styleguide", methods=["GET", "HEAD"])
async def show_styleguide(request: Request) -> Response:
    """Palette, type, marks, badges and controls; the rooms are drawn by their own scenes from the recorded run."""
    page = {"recording": RECORDING, "takes": recorded_takes(), "messages": script_messages()}
    modules = scripts_of("static/js/styleguide.js", site_of(request).settings.dist_dir)
    html = environment().get_template("styleguide.html").render(page=page, modules=modules)
    return HTMLResponse(html, headers=NO_STORE)
