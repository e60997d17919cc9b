"""A room in somebody else's frame: what its page is, who may frame what, and what a link to it becomes by oEmbed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import httpx
import pytest
from starlette.routing import Route

from app.main import PROGRAMS_AND_PAGES
from app.pages.chapters import chapters, rooms
from tests.app.conftest import ServedSite, serving

ASKED: set[str] = set()
"""Files that a room named and that were asked for: most are named by all of them."""


def ancestors(response: httpx.Response) -> str:
    found = re.search(r"frame-ancestors ([^;]+)", response.headers["content-security-policy"])
    assert found is not None
    return found[1]


def config(page: str) -> dict[str, object]:
    found = re.search(r'<script[^>]*id="config"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    read: dict[str, object] = json.loads(found[1])
    return read


def every_address(site: ServedSite) -> list[str]:
    """One address of every route that answers to GET, and some that nothing answers to."""
    run_id = site.run("hello")
    site.events(run_id)
    paths = [
        route.path for module in PROGRAMS_AND_PAGES for route in module.router.routes if "GET" in (_methods(route))
    ]
    known = {"run_id": run_id, "chapter": "paging"}
    filled = [re.sub(r"\{(\w+)\}", lambda name: known.get(name[1], "x"), path)[1:] for path in paths]
    return [*filled, "static/js/embed.js", "static/nope", "nope", "embed", "embed/", "embed/paging/", "embed/a/b"]


def _methods(route: object) -> set[str]:
    return (route.methods or set()) if isinstance(route, Route) else set()


def test_only_rooms_may_be_framed_by_others(site: ServedSite) -> None:
    addresses = every_address(site)
    assert "embed/paging" in addresses
    assert "" in addresses
    for address in [*addresses, "embed/nope", "embed/%2e%2e", "embed/..%2f"]:
        response = site.client.get(address)
        room = re.fullmatch(r"embed/(paging|nope|%2e%2e)", address) is not None
        assert ancestors(response) == ("*" if room else "'self'"), address
        assert ("x-frame-options" in response.headers) is not room, address
        assert ("cross-origin-opener-policy" in response.headers) is not room, address
        assert "unsafe" not in response.headers["content-security-policy"], address


@pytest.mark.parametrize("root_path", ["", "kitchen"])
def test_rooms_may_be_framed_under_a_prefix(tmp_path: Path, root_path: str) -> None:
    with serving(tmp_path, ready=False, root_path=root_path) as site:
        assert ancestors(site.client.get("embed/paging")) == "*"
        assert ancestors(site.client.get("")) == "'self'"


def test_every_chapter_is_known_by_what_its_template_says() -> None:
    assert chapters()[0].slug == "prologue"
    assert list(rooms()) == [chapter.slug for chapter in chapters()][1:]
    for room in rooms().values():
        assert room.number.isdigit(), room
        assert room.name, room
        assert room.title, room
        assert Path(room.scene).is_file(), room


@pytest.mark.parametrize("slug", rooms())
def test_a_room_is_a_page_without_form_cookie_or_engine(site: ServedSite, slug: str) -> None:
    response = httpx.get(f"{site.url}embed/{slug}", cookies={"kitchen_visitor": "A" * 22})
    assert response.status_code == 200
    assert "set-cookie" not in response.headers
    assert "vary" not in response.headers or "cookie" not in response.headers["vary"].lower()
    page = response.text
    assert f'id="{slug}"' in page
    assert 'id="prompt-form"' not in page
    assert "htmx" not in re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    assert not re.search(r"<[^>]+\s(style|on\w+)\s*=", page)
    for address in {*re.findall(r'(?:href|src)="(static/[^"]+)"', page)} - ASKED:
        ASKED.add(address)
        assert site.client.get(address).headers["access-control-allow-origin"] == "*", address


def test_a_room_that_is_not_says_which_are(site: ServedSite) -> None:
    response = site.client.get("embed/nope")
    assert response.status_code == 404
    for slug in rooms():
        assert f'href="embed/{slug}"' in response.text
    assert site.client.get("embed/<script>alert(1)").status_code == 404
    assert "alert(1)" not in site.client.get("embed/<script>alert(1)").text


def test_a_run_is_named_where_it_is_known(site: ServedSite) -> None:
    run_id = site.run("hello there")
    site.events(run_id)
    known = site.client.get("embed/paging", params={"run": run_id})
    assert known.status_code == 200
    assert known.headers["cache-control"] == "no-store"
    assert config(known.text)["runs"] == {run_id: f"api/runs/{run_id}/events"}
    events = site.client.get(f"api/runs/{run_id}/events", headers={"Origin": "null"})
    assert events.headers["access-control-allow-origin"] == "*"
    unknown = site.client.get("embed/paging", params={"run": "A" * 22})
    assert unknown.status_code == 404
    assert config(unknown.text)["runs"] == {}
    assert 'id="stage"' in unknown.text


def test_what_cannot_be_read_is_left_aside(site: ServedSite) -> None:
    for query in ({"lang": "xx"}, {"lang": "../../etc"}, {"t": "NaN"}, {"theme": "<b>"}, {"step": "-1"}):
        response = site.client.get("embed/paging", params=query)
        assert response.status_code == 200
        assert '<html lang="en"' in response.text
        assert response.text == site.client.get("embed/paging").text


# ---- oEmbed ---------------------------------------------------------------------------------------------------------


class Frame(HTMLParser):
    """The attributes of the one element of a snippet."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def ask(site: ServedSite, url: str, **params: object) -> httpx.Response:
    return site.client.get("oembed", params={"url": url} | params)


def source_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    [(tag, attributes)] = Frame(response.json()["html"]).found
    assert tag == "iframe"
    assert attributes["sandbox"] == "allow-scripts allow-popups allow-popups-to-escape-sandbox"
    assert attributes["width"] == str(response.json()["width"])
    assert attributes["height"] == str(response.json()["height"])
    source = attributes["src"]
    assert source is not None
    return source


def test_the_answer_is_as_oembed_has_it(site: ServedSite) -> None:
    response = ask(site, f"{site.url}embed/paging")
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["version"] == "1.0"
    assert answer["type"] == "rich"
    assert answer["provider_name"] == "Open Kitchen"
    assert answer["provider_url"] == site.url
    assert answer["title"] == "Memory in pages: Nobody knows how long an answer will be."
    assert isinstance(answer["width"], int)
    assert isinstance(answer["height"], int)
    assert source_of(response) == f"{site.url}embed/paging"
    root = ElementTree.fromstring(ask(site, f"{site.url}embed/paging", format="xml").content)
    assert root.tag == "oembed"
    assert {child.tag: child.text for child in root} == {name: str(value) for name, value in answer.items()}


def test_links_lead_to_their_rooms(site: ServedSite) -> None:
    run_id = site.run("hello")
    assert source_of(ask(site, site.url)) == f"{site.url}embed/kv-hall"
    assert source_of(ask(site, site.url.rstrip("/"))) == f"{site.url}embed/kv-hall"
    assert source_of(ask(site, f"{site.url.rstrip('/')}?theme=light#loop")) == f"{site.url}embed/loop?theme=light"
    assert source_of(ask(site, f"{site.url}#loop")) == f"{site.url}embed/loop"
    moment = source_of(ask(site, f"{site.url}?run={run_id}#paging?t=1.42&step=3"))
    assert urlsplit(moment).path == "/embed/paging"
    assert parse_qs(urlsplit(moment).query) == {"run": [run_id], "t": ["1.42"], "step": ["3"]}
    kept = source_of(ask(site, f'{site.url}embed/loop?theme="><script>&autoplay=1&other=2'))
    assert parse_qs(urlsplit(kept).query) == {"theme": ['"><script>'], "autoplay": ["1"]}


def test_a_frame_is_no_larger_than_was_asked(site: ServedSite) -> None:
    answer = ask(site, f"{site.url}embed/paging", maxwidth=400, maxheight=300).json()
    assert (answer["width"], answer["height"]) == (400, 300)
    usual = ask(site, f"{site.url}embed/paging").json()
    larger = ask(site, f"{site.url}embed/paging", maxwidth=9000, maxheight=9000).json()
    assert (larger["width"], larger["height"]) == (usual["width"], usual["height"])
    for wrong in ("0", "-5", "x", "1e3", "", "9" * 30):
        refused = ask(site, f"{site.url}embed/paging", maxwidth=wrong)
        assert refused.status_code == (422 if wrong else 200), wrong


@pytest.mark.parametrize("most", [{"maxwidth": 100}, {"maxheight": 239}, {"maxwidth": 1, "maxheight": 5000}])
def test_who_has_no_room_for_a_frame_gets_a_title_to_link(site: ServedSite, most: dict[str, int]) -> None:
    """oembed.com: what is asked for at most may not be passed, and a ``link`` has neither html nor a size."""
    answer = ask(site, f"{site.url}embed/paging", **most).json()
    assert answer["type"] == "link"
    assert answer["version"] == "1.0"
    assert answer["title"] == "Memory in pages: Nobody knows how long an answer will be."
    assert not {"html", "width", "height"} & set(answer)
    root = ElementTree.fromstring(ask(site, f"{site.url}embed/paging", format="xml", **most).content)
    assert root.findtext("type") == "link"
    assert ask(site, f"{site.url}embed/nope", **most).status_code == 404


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("https://kitchen.example/soup/embed/loop", True),
        ("http://kitchen.example/soup/embed/loop", True),
        ("HTTPS://Kitchen.Example/soup/embed/loop", True),
        ("https://kitchen.example:443/soup#loop", True),
        ("http://kitchen.example:80/soup?theme=dark#loop", True),
        ("http://127.0.0.1:{port}/soup/embed/loop", True),
        ("https://127.0.0.1:{port}/soup/embed/loop", True),
        ("https://kitchen.example:8443/soup/embed/loop", False),
        ("http://kitchen.example:443/soup/embed/loop", False),
        ("https://kitchen.example/Soup/embed/loop", False),
        ("https://kitchen.example/soupspoon/embed/loop", False),
        ("https://kitchen.example/embed/loop", False),
        ("https://kitchen.example.evil.example/soup/embed/loop", False),
        ("https://kitchen.example@evil.example/soup/embed/loop", False),
        ("https://user@kitchen.example/soup/embed/loop", False),
        ("https://kitchen.example:port/soup/embed/loop", False),
        ("ftp://kitchen.example/soup/embed/loop", False),
        ("//kitchen.example/soup/embed/loop", False),
        ("kitchen.example/soup/embed/loop", False),
    ],
)
def test_the_same_place_however_it_is_written(proxied: ServedSite, url: str, there: bool) -> None:
    response = ask(proxied, url.format(port=proxied.port))
    if there:
        assert source_of(response).partition("?")[0] == "https://Kitchen.example/soup/embed/loop"
    else:
        assert response.status_code == 404


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    public = ("https://Kitchen.example",)
    with serving(tmp_path_factory.mktemp("proxied"), ready=False, public_origins=public, root_path="/soup") as served:
        yield served


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://evil.example/embed/paging",
        "{site}embed/nope",
        "{site}embed/",
        "{site}.evil.example/embed/paging",
        "{site}static/favicon.svg",
        "{site}api/runs",
        "{site}?run=AAAAAAAAAAAAAAAAAAAAAA",
        "{site}embed/paging/../../metrics",
        "javascript:alert(1)",
        "{site}embed/[",
        "//[",
    ],
)
def test_other_addresses_are_not_found(site: ServedSite, url: str) -> None:
    response = ask(site, url.format(site=site.url))
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_a_format_that_is_not_there(site: ServedSite) -> None:
    assert ask(site, f"{site.url}embed/paging", format="yaml").status_code == 501


@pytest.mark.parametrize("path", ["", "embed/paging"])
def test_pages_say_where_their_oembed_is(site: ServedSite, path: str) -> None:
    page = site.client.get(path).text
    [link] = re.findall(r'<link rel="alternate" type="application/json\+oembed" href="([^"]+)"', page)
    assert link.startswith(site.url)
    assert httpx.get(link.replace("&amp;", "&")).json()["type"] == "rich"
