"""``/oembed``: a link to a room becomes the room itself, for sites that ask (oembed.com)."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from fastapi import APIRouter
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.site import site_of
from app.catalogue import translations
from app.pages.article import public_address
from app.pages.chapters import Chapter, rooms
from app.problems import FieldError, Problem

WIDTH, HEIGHT = 960, 640
LEAST = 240
"""Narrower or lower than this a room shows nothing."""
FRONT = "kv-hall"
"""The room that stands for the article as a whole."""
SANDBOX = "allow-scripts allow-popups allow-popups-to-escape-sandbox"
KEPT = ("run", "theme", "lang", "t", "step", "autoplay")
"""What a link may say to the room that it leads to."""

router = APIRouter()


@router.api_route("/oembed", methods=["GET", "HEAD"])
async def show_oembed(request: Request, url: str = "", format: str = "json") -> Response:
    """Only for addresses of this site: its article, where the fragment names the room, and its rooms."""
    if format not in ("json", "xml"):
        raise Problem(501, "format", f"There is no {format[:40]!r} here: ask for format=json or format=xml.")
    width, height = (_most(request, name, usual) for name, usual in (("maxwidth", WIDTH), ("maxheight", HEIGHT)))
    address = public_address(request, site_of(request).settings)
    room, query = _room_of(url, {address, str(request.base_url)})
    if (run := query.get("run")) and await site_of(request).store.find(run) is None:
        raise Problem(404, "unknown_run", "The run that this address names is not here.")
    answer = _answer(room, query, address, width, height)
    headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=300"}
    if format == "json":
        return JSONResponse(answer, headers=headers)
    return Response(_xml(answer), media_type="text/xml; charset=utf-8", headers=headers)


def _most(request: Request, name: str, usual: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return usual
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < LEAST:
        detail = f"{name} must be a whole number of pixels from {LEAST} on."
        raise Problem(422, "invalid", detail, (FieldError(name, detail),))
    return min(int(text), usual)


def _room_of(url: str, addresses: set[str]) -> tuple[Chapter, dict[str, str]]:
    """The room that an address of ours leads to, and what it says besides. Raises 404."""
    nothing = Problem(404, "not_found", "Only addresses of this site's article and rooms can be embedded.")
    # (`https://site.org` is how people write `https://site.org/`.)
    sites = (each.rstrip("/") for each in addresses)
    site = next((each for each in sites if url.startswith(each) and url[len(each) :][:1] in ("", "/", "?", "#")), None)
    if site is None:
        raise nothing
    try:
        parts = urlsplit(url[len(site) :].removeprefix("/"))
    except ValueError:
        raise nothing from None
    query = dict(parse_qsl(parts.query))
    slug = FRONT
    if parts.path.startswith("embed/"):
        slug = unquote(parts.path.removeprefix("embed/"))
    elif parts.path == "":
        # `/?run=ID#paging?t=1.4`: what the article's own links to a moment look like.
        name, _, said = parts.fragment.partition("?")
        slug = name if name in rooms() else FRONT
        query |= dict(parse_qsl(said))
    else:
        raise nothing
    room = rooms().get(slug)
    if room is None:
        raise nothing
    return room, {name: query[name] for name in KEPT if name in query}


def _answer(room: Chapter, query: dict[str, str], address: str, width: int, height: int) -> dict[str, str | int]:
    name, title = (translations().gettext(words) for words in (room.name, room.title))
    source = f"{address}embed/{quote(room.slug)}{'?' + urlencode(query) if query else ''}"
    frame = Markup(
        '<iframe src="{}" title="{}" width="{}" height="{}" sandbox="{}" loading="lazy" style="border:0"></iframe>'
    )
    return {
        "version": "1.0",
        "type": "rich",
        "provider_name": "Open Kitchen",
        "provider_url": address,
        "title": f"{name}: {title}",
        "html": str(frame.format(source, f"{name}: {title}", width, height, SANDBOX)),
        "width": width,
        "height": height,
        "cache_age": 300,
    }


def _xml(answer: dict[str, str | int]) -> bytes:
    root = ElementTree.Element("oembed")
    for name, value in answer.items():
        ElementTree.SubElement(root, name).text = str(value)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found
