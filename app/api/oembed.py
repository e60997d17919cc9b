"""``/oembed``: a link to a room becomes the room itself, for sites that ask (oembed.com)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit
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
"""Narrower or lower than this a room shows nothing: who has no more room for it gets its title, for a link."""
DEFAULT_PORTS = {"http": 80, "https": 443}
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
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) == 0:
        detail = f"{name} must be a whole number of pixels from 1 on."
        raise Problem(422, "invalid", detail, (FieldError(name, detail),))
    return min(int(text), usual)


@dataclass(frozen=True)
class Place:
    """An address, taken apart. Which of http and https it is says nothing, and nor does the case of its host: what is
    posted was often typed, or copied before there was TLS."""

    host: str
    port: int | None
    parts: SplitResult

    @classmethod
    def of(cls, url: str) -> Place | None:
        """None for what leads nowhere, and for what names a user."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return None
        if parts.scheme not in DEFAULT_PORTS or "@" in parts.netloc or not host:
            return None
        return cls(host, None if port == DEFAULT_PORTS[parts.scheme] else port, parts)

    def below(self, ours: Place | None) -> SplitResult | None:
        """The rest of this address, if it lies below that one."""
        # (`https://site.org` is how people write `https://site.org/`.)
        if ours is None or (self.host, self.port) != (ours.host, ours.port):
            return None
        if not f"{self.parts.path}/".startswith(ours.parts.path):
            return None
        return self.parts._replace(path=self.parts.path[len(ours.parts.path) :])


def _room_of(url: str, addresses: set[str]) -> tuple[Chapter, dict[str, str]]:
    """The room that an address of ours leads to, and what it says besides. Raises 404."""
    nothing = Problem(404, "not_found", "Only addresses of this site's article and rooms can be embedded.")
    asked = Place.of(url)
    below = (asked.below(Place.of(each)) for each in addresses) if asked else ()
    parts = next((each for each in below if each is not None), None)
    if parts is None:
        raise nothing
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
    answer: dict[str, str | int] = {
        "version": "1.0",
        "type": "link",
        "provider_name": "Open Kitchen",
        "provider_url": address,
        "title": f"{name}: {title}",
        "cache_age": 300,
    }
    if min(width, height) < LEAST:
        # (What is asked for at most may not be passed, and `link` is the type that has no size.)
        return answer
    html = str(frame.format(source, f"{name}: {title}", width, height, SANDBOX))
    return answer | {"type": "rich", "html": html, "width": width, "height": height}


def _xml(answer: dict[str, str | int]) -> bytes:
    root = ElementTree.Element("oembed")
    for name, value in answer.items():
        ElementTree.SubElement(root, name).text = str(value)
    found: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return found
