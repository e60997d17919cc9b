"""Rooms in frames on another origin's page, sandboxed and not: they play, ask for a height, and reach nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Frame, Page, Route

from app.pages.chapters import rooms
from benchmarks.browser import until
from tests.app.conftest import ServedSite, serving
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.rooms import own, recorded
from tests.browser.test_access import violations

SANDBOX = 'sandbox="allow-scripts"'
HostPage = Callable[..., Page]
# Any touch of storage or cookies, before anything of the page runs.
WATCH_STORAGE = """
window.__touched = [];
for (const name of ['localStorage', 'sessionStorage', 'indexedDB', 'caches']) {
  const found = Object.getOwnPropertyDescriptor(window, name);
  const get = () => { window.__touched.push(name); return found.get.call(window); };
  if (found) Object.defineProperty(window, name, { ...found, get });
}
const cookie = Object.getOwnPropertyDescriptor(Document.prototype, 'cookie');
Object.defineProperty(Document.prototype, 'cookie', {
  get() { window.__touched.push('cookie'); return cookie.get.call(this); },
  set(value) { window.__touched.push('cookie'); cookie.set.call(this, value); },
});
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    with serving(tmp_path_factory.mktemp("embed")) as served:
        yield served


class Elsewhere:
    """A site of somebody else's, on another origin: pages by their paths."""

    def __init__(self) -> None:
        pages = self.pages = dict[str, str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = pages.get(self.path.partition("?")[0])
                self.send_response(200 if found else 204)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write((found or "").encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://localhost:{self.server.server_address[1]}"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    other = Elsewhere()
    yield other
    other.server.shutdown()
    other.thread.join()


@pytest.fixture
def host_page(browser: Browser, site: ServedSite, elsewhere: Elsewhere) -> Iterator[HostPage]:
    """``host_page(body)``: a page on the other origin, ``{kitchen}`` in it the address of ours. Its console, and those
    of the frames in it, must stay silent but for words of ``expect``."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    expected: list[str] = []

    def open_host(body: str, *, expect: tuple[str, ...] = (), width: int = 1200, motion: str = "reduce") -> Page:
        elsewhere.pages["/"] = f"<!doctype html><title>host</title>{body.replace('{kitchen}', site.url)}"
        context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion=motion)  # type: ignore[arg-type]
        contexts.append(context)
        expected.extend(expect)
        page = context.new_page()
        page.add_init_script(WATCH_STORAGE)
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(elsewhere.url)
        return page

    yield open_host
    for context in contexts:
        context.close()
    assert [text for text in complaints if not any(part in text for part in expected)] == []


def frame_of(page: Page, nth: int = 0) -> Frame:
    """The room in a frame, once its run is there."""
    handle = page.locator("iframe").nth(nth).element_handle()
    frame = handle.content_frame()
    assert frame is not None
    in_frame(frame, "window.__kitchen?.log.complete && window.__kitchen.stage.scene !== null")
    return frame


def in_frame(frame: Frame, condition: str, seconds: float = 30) -> None:
    until(frame, condition, seconds=seconds)  # type: ignore[arg-type]  # of a page it takes what a frame has too


def frame(address: str, attributes: str = SANDBOX) -> str:
    return f'<iframe src="{{kitchen}}embed/{address}" {attributes} width="800" height="600"></iframe>'


@pytest.mark.parametrize("attributes", [SANDBOX, pytest.param("", marks=pytest.mark.slow)], ids=["sandboxed", "plain"])
def test_a_room_plays_elsewhere_and_touches_nothing(host_page: HostPage, attributes: str) -> None:
    page = host_page(frame("phases?autoplay=1", attributes), motion="no-preference")
    room = frame_of(page)
    assert room.evaluate("self.origin") == ("null" if attributes else room.url.split("/embed")[0])
    in_frame(room, "window.__kitchen.player.drive === 'clock' && window.__kitchen.player.t > 0.3")
    room.locator(".transport-play").click()
    in_frame(room, "window.__kitchen.player.drive === 'still'")
    room.get_by_label("Step 3").click()
    in_frame(room, "window.__kitchen.stage.view.step === 2 && window.__kitchen.stage.view.data.cost === 1")
    finished = next(event["seq"] for event in own(recorded(), "request.finished"))
    in_frame(room, f"window.__kitchen.player.seq === {finished}")
    room.wait_for_timeout(700)
    assert room.locator("#stage-caption").text_content() == room.evaluate("window.__kitchen.describe()")
    assert room.evaluate("document.fonts.check('16px Inter')")
    assert room.evaluate("window.__touched") == []
    assert page.context.cookies() == []
    reached = room.evaluate(
        "(() => { try { return String(parent.document.title); } catch (error) { return error.name; } })()"
    )
    assert reached == "SecurityError"
    link = room.locator("#embed-open")
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener")


@pytest.mark.slow
@pytest.mark.parametrize("slug", rooms())
def test_every_room_stands_at_every_step(host_page: HostPage, slug: str) -> None:
    page = host_page(frame(slug))
    room = frame_of(page)
    before = None
    for step in range(room.locator(f"#{slug} .step").count()):
        room.get_by_label(f"Step {step + 1}", exact=True).click()
        in_frame(
            room,
            "(({ cast, stage }) => { const { main, lanes } = cast.view();"
            f" return stage.view.step === {step} && [main, ...lanes].every(({{ key, status }}) => key === 'own' ||"
            " status === 'recorded' && cast.takes.get(key).log?.complete); })(window.__kitchen)",
        )
        room.wait_for_timeout(300)
        stands = room.evaluate("(({ player, stage }) => JSON.stringify([player.t, stage.view.data]))(window.__kitchen)")
        assert stands != before, f"step {step + 1} is the one before"
        before = stands
        assert room.locator("[data-take]:visible").count() == 0
        unfilled = room.locator(f"#{slug} .step.is-active .number .figure").all_text_contents()
        assert "…" not in unfilled


@pytest.mark.slow
def test_the_moment_and_the_step_are_those_of_the_address(host_page: HostPage) -> None:
    page = host_page(frame("paging?t=1.5&step=4") + frame("paging?t=soon&step=x&theme=pink&autoplay=0"))
    first, second = frame_of(page, 0), frame_of(page, 1)
    in_frame(first, "Math.abs(window.__kitchen.player.t - 1.5) < 1e-9")
    assert first.evaluate("window.__kitchen.stage.view.step") == 3
    assert second.evaluate("window.__kitchen.stage.view.step") == 0
    assert second.evaluate("window.__kitchen.player.drive") == "still"
    open_in = first.locator("#embed-open").get_attribute("href") or ""
    first.wait_for_timeout(600)
    open_in = first.locator("#embed-open").get_attribute("href") or ""
    assert open_in.endswith("#paging?t=1.5&step=4"), open_in


def test_the_moment_is_that_of_the_address_where_the_picture_comes_last(site: ServedSite, host_page: HostPage) -> None:
    page = host_page("")
    held: list[Route] = []
    page.context.route("**/scenes/paging.js", lambda route: held.append(route))
    page.set_content(frame("paging?t=1.5&step=4").replace("{kitchen}", site.url))
    room = page.locator("iframe").element_handle().content_frame()
    assert room is not None
    in_frame(room, "window.__kitchen?.log.complete && __kitchen.cast.view().lanes.every(({ state }) => state)")
    page.wait_for_timeout(300)
    assert held
    for route in held:
        route.continue_()
    in_frame(room, "Math.abs(window.__kitchen.player.t - 1.5) < 1e-9")


@pytest.mark.slow
@pytest.mark.parametrize(("theme", "ground"), [("light", "rgb(250, 247, 241)"), ("dark", "rgb(10, 12, 16)")])
def test_night_or_day_as_the_address_says(host_page: HostPage, theme: str, ground: str) -> None:
    room = frame_of(host_page(frame(f"paging?theme={theme}")))
    assert room.evaluate("getComputedStyle(document.documentElement).backgroundColor") == ground


@pytest.mark.slow
def test_a_run_of_the_kitchens_plays_and_an_unknown_one_says_so(site: ServedSite, host_page: HostPage) -> None:
    run_id = site.run("hello there, kitchen")
    events = site.events(run_id)
    page = host_page(
        frame(f"phases?run={run_id}") + frame("phases?run=AAAAAAAAAAAAAAAAAAAAAA"), expect=("404 (Not Found)",)
    )
    room = frame_of(page)
    assert room.evaluate("window.__kitchen.log.seq") == len(events)
    assert room.locator("#embed-source .badge").text_content() == "measured"
    assert f"?run={run_id}" in (room.locator("#embed-open").get_attribute("href") or "")
    other = frame_of(page, 1)
    assert "Nobody knows this run here" in (other.locator("#notice").text_content() or "")
    assert other.evaluate("window.__kitchen.log.seq") == len(recorded())


def test_a_room_that_is_not_says_so_in_its_frame(host_page: HostPage) -> None:
    page = host_page(frame("nope"), expect=("404 (Not Found)",))
    words = page.frame_locator("iframe").locator("body").text_content() or ""
    assert "There is no such room." in words
    assert "paging" in words


# ---- height ---------------------------------------------------------------------------------------------------------

HOST = '<script src="{kitchen}static/js/embed_host.js"></script>'


@pytest.mark.parametrize(
    ("attributes", "width"),
    [
        (SANDBOX, 720),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("", 720), (SANDBOX, 360), ("", 1000))),
    ],
)
def test_the_frame_becomes_as_high_as_its_room(host_page: HostPage, attributes: str, width: int) -> None:
    page = host_page(HOST + frame("kv-hall", attributes).replace('width="800"', f'width="{width}"'))
    room = frame_of(page)
    page.wait_for_timeout(500)
    height = page.locator("iframe").bounding_box()["height"]  # type: ignore[index]
    assert height > 500
    scrolled, high, wide = room.evaluate(
        "[document.documentElement.scrollHeight, innerHeight, document.documentElement.scrollWidth]"
    )
    assert scrolled <= high, "nothing of it is below the frame"
    assert wide <= width, "nothing beside it"
    room.get_by_label("Step 3").click()
    page.wait_for_timeout(400)
    assert page.locator("iframe").bounding_box()["height"] == height, "a step makes the page jump"  # type: ignore[index]


@pytest.mark.slow
def test_only_the_rooms_own_words_set_a_height(host_page: HostPage, elsewhere: Elsewhere, site: ServedSite) -> None:
    elsewhere.pages["/liar"] = "<script>parent.postMessage({ type: 'openkitchen:resize', height: 999 }, '*')</script>"
    page = host_page(HOST + '<iframe src="/liar"></iframe><iframe src="/liar" sandbox="allow-scripts"></iframe>')
    page.wait_for_timeout(300)
    heights = "[...document.querySelectorAll('iframe')].map(({ style }) => style.height)"
    assert page.evaluate(heights) == ["", ""]
    # From this page itself, and from a frame that went elsewhere but whose address says that it is a room's.
    page.evaluate("postMessage({ type: 'openkitchen:resize', height: 999 }, '*')")
    page.evaluate(
        "room => Object.defineProperty(document.querySelector('iframe'), 'src', { value: room })",
        f"{site.url}embed/paging",
    )
    page.evaluate("document.querySelector('iframe').contentWindow.location.reload()")
    page.wait_for_timeout(400)
    assert page.evaluate(heights) == ["", ""]


@pytest.mark.slow
def test_what_a_room_asks_for_is_bounded(host_page: HostPage) -> None:
    page = host_page(HOST + frame("paging"))
    room = frame_of(page)
    page.wait_for_timeout(500)
    page.evaluate(
        """() => {
          window.__given = [];
          const frame = document.querySelector('iframe');
          new MutationObserver(() => window.__given.push(frame.style.height)).observe(frame, { attributes: true });
        }"""
    )
    for wish in (1e9, "900; x", float("inf"), {"valueOf": 900}, None, 1300.2, -1):
        room.evaluate("height => parent.postMessage({ type: 'openkitchen:resize', height }, '*')", wish)
        page.wait_for_timeout(80)
    given = page.evaluate("window.__given")
    # Between them its own: a frame that is too low gets a scroll bar, is narrower then, and asks for what that takes.
    assert [height for height in given if not height.startswith("10")] == ["2000px", "1301px", "240px"]


# ---- what may not be framed, and what is not seen -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", pytest.param("styleguide", marks=pytest.mark.slow)])
def test_the_site_itself_is_not_framed(host_page: HostPage, path: str) -> None:
    page = host_page(f'<iframe src="{{kitchen}}{path}"></iframe>', expect=("frame-ancestors", "X-Frame-Options"))
    page.wait_for_timeout(500)
    assert "chrome-error" in page.frames[1].url


def test_a_picture_out_of_sight_is_not_drawn(browser: Browser, site: ServedSite) -> None:
    """In a window of its own, where no browser helps: the words are in view, the picture above them is not."""
    page = browser.new_page(viewport={"width": 358, "height": 500})
    page.goto(f"{site.url}embed/loop?autoplay=1")
    until(page, "window.__kitchen?.player.t > 0.2")
    page.evaluate("scrollTo(0, 600)")
    page.wait_for_timeout(300)
    page.evaluate("window.__drawn = 0; window.__kitchen.stage.listen(() => { window.__drawn += 1; })")
    before = page.evaluate("window.__kitchen.player.t")
    page.wait_for_timeout(500)
    assert page.evaluate("[window.__kitchen.player.t, window.__drawn]") == [before, 0]
    page.evaluate("scrollTo(0, 0)")
    until(page, "t => window.__drawn > 3 && window.__kitchen.player.t > t", before)
    page.close()


@pytest.mark.slow
def test_a_room_out_of_sight_draws_nothing_and_stands(host_page: HostPage) -> None:
    page = host_page(frame("phases?autoplay=1") + '<p style="height: 4000px"></p>', motion="no-preference")
    room = frame_of(page)
    in_frame(room, "window.__kitchen.player.t > 0.2")
    page.evaluate("scrollTo(0, 3000)")
    page.wait_for_timeout(400)
    before = room.evaluate("window.__kitchen.player.t")
    page.wait_for_timeout(700)
    assert room.evaluate("window.__kitchen.player.t") == before
    page.evaluate("scrollTo(0, 0)")
    in_frame(room, f"window.__kitchen.player.t > {before}")
    assert room.evaluate("window.__kitchen.player.t") < before + 0.6, "the time away is no time of its clock"


@pytest.mark.slow
def test_ten_rooms_on_one_page_come_when_they_are_seen(host_page: HostPage) -> None:
    slugs = list(rooms())
    frames = "".join(frame(slugs[i % len(slugs)], f'{SANDBOX} loading="lazy"') + "<br>" for i in range(10))
    page = host_page(HOST + frames, width=800)
    frame_of(page, 0)
    last = page.locator("iframe").nth(9)
    assert last.element_handle().content_frame().url in ("", "about:blank"), "nobody has seen it yet"  # type: ignore[union-attr]
    for i in range(10):
        page.locator("iframe").nth(i).scroll_into_view_if_needed()
        room = frame_of(page, i)
        assert room.evaluate("window.__kitchen.describe()")
        assert room.evaluate("window.__touched") == []


# ---- the dialog in the article --------------------------------------------------------------------------------------


def test_the_dialog_builds_the_frame_of_what_is_in_view(browser: Browser, site: ServedSite) -> None:
    context = browser.new_context(viewport=DESKTOP, reduced_motion="reduce")  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    run_id = site.run("hello there, kitchen")
    site.events(run_id)
    page.goto(f"{site.url}?run={run_id}#phases?step=3")
    until(page, "window.__kitchen?.log.complete && window.__kitchen.stage.view.step === 2")
    assert "embed_dialog" not in str(page.evaluate("performance.getEntriesByType('resource').map(e => e.name)"))
    page.click("[data-action=embed]")
    code = page.locator(".embed-code")
    [frame] = Snippet(code.input_value()).frames
    assert frame["src"] == f"{site.url}embed/phases?run={run_id}&step=3"
    assert frame["sandbox"] == "allow-scripts allow-popups allow-popups-to-escape-sandbox"
    room = page.frame_locator(".embed-preview iframe")
    room.locator(".embed-steps [aria-current]", has_text="3").wait_for()
    # Each choice is in the snippet, and in the preview.
    page.select_option("[name=theme]", "light")
    page.select_option("[name=size]", "720x760")
    page.select_option("[name=moment]", "now")
    page.check("[name=autoplay]")
    page.select_option("[name=run]", "recorded")
    [frame] = Snippet(code.input_value()).frames
    query = parse_qs(urlsplit(frame["src"] or "").query)
    assert query.keys() == {"theme", "step", "t", "autoplay"}
    assert (frame["width"], frame["height"]) == ("720", "760")
    until(page, "src => document.querySelector('.embed-preview iframe').src === src", frame["src"])
    until(page.frames[-1], "window.__kitchen?.log.complete")  # type: ignore[arg-type]
    ground = page.frames[-1].evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == "rgb(250, 247, 241)"
    page.keyboard.press("Escape")
    assert page.locator(".embed-dialog[open]").count() == 0
    assert page.locator(".embed-preview iframe").count() == 0, "what nobody sees plays on"
    assert page.evaluate("document.activeElement.dataset.action") == "embed"
    assert complaints == []
    context.close()


class Snippet(HTMLParser):
    """The frames of a snippet, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.frames: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "iframe":
            self.frames.append(dict(attrs))


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [358, 1000])
def test_axe_finds_nothing_in_a_room_for_a_frame(browser: Browser, site: ServedSite, theme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 760}, reduced_motion="reduce")
    page = context.new_page()
    for slug in rooms():
        page.goto(f"{site.url}embed/{slug}?theme={theme}")
        until(page, "window.__kitchen?.log.complete && window.__kitchen.stage.scene !== null")
        page.wait_for_timeout(600)
        assert violations(page) == [], slug
        last = page.locator(".embed-steps button").count() - 2
        page.get_by_label(f"Step {last}", exact=True).click()
        page.wait_for_timeout(900)
        assert violations(page) == [], slug
    context.close()


def test_the_caption_leaves_a_low_frame_to_the_picture(browser: Browser, site: ServedSite) -> None:
    """Rooms keep one line free for it: a sentence of three lay over the chart."""
    context = browser.new_context(viewport={"width": 1000, "height": 640}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{site.url}embed/paging?step=3")
    until(page, "window.__kitchen?.log.complete && window.__kitchen.stage.scene !== null")
    until(page, "document.querySelector('#stage-caption').textContent.length > 200")
    box: dict[str, float] = page.locator("#stage-caption").evaluate(
        "element => element.getBoundingClientRect().toJSON()"
    )
    assert box["height"] < 24
    assert box["right"] <= 1000
    context.close()


@pytest.mark.slow
def test_axe_finds_nothing_in_the_dialog(browser: Browser, site: ServedSite) -> None:
    for viewport in (DESKTOP, PHONE):
        context = browser.new_context(viewport=viewport, reduced_motion="reduce")  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{site.url}#paging?step=2")
        until(page, "window.__kitchen?.log.complete")
        page.evaluate("document.querySelector('[data-action=embed]').click()")
        page.frame_locator(".embed-preview iframe").locator(".transport-play").wait_for()
        page.wait_for_timeout(600)
        assert violations(page) == []
        context.close()


def test_no_script_of_a_room_names_a_place_to_store_things() -> None:
    from app.pages.modules import modules_of

    own = [path for path in modules_of("static/js/embed.js") if "/embed" in path]
    assert own
    for path in own:
        assert "Storage" not in Path(path).read_text()
