"""The engine dies, the wire is cut: the page says so, the log ends with the reason, and the next prompt works."""

from __future__ import annotations

import os
import signal

from playwright.sync_api import expect

from benchmarks.browser import until
from benchmarks.served import Served
from tests.browser.conftest import OpenPage, ask, wait_closed

LONG = "Write a very long story about a lighthouse, the sea and a cat."


def test_engine_killed_mid_run(open_page: OpenPage, served: Served) -> None:
    page = open_page()
    run_id = ask(page, LONG, max_tokens=400)
    until(page, "window.__kitchen.state().tokens.filter(t => t.kind === 'generated').length > 3")
    os.kill(served.engine_pid(), signal.SIGKILL)
    wait_closed(page)
    closed = served.events(run_id)[-1]
    assert (closed["type"], closed["reason"]) == ("log.closed", "crashed")
    expect(page.locator("#notice:visible, [role=alert]:visible").first).to_contain_text("engine", ignore_case=True)
    assert page.evaluate("window.__kitchen.state().answer.length") > 0, "what was written stays"
    served.wait_ready()


def test_the_next_prompt_works_after_a_crash(open_page: OpenPage, served: Served) -> None:
    page = open_page(expect=("503",))
    run_id = ask(page)
    wait_closed(page)
    assert served.events(run_id)[-1]["reason"] == "finished"


def test_a_cut_socket_resumes_where_it_was(open_page: OpenPage, served: Served) -> None:
    # A wrapper that the test can cut: the browser's offline emulation leaves open sockets alone.
    wrap = (
        "const Real = WebSocket; window.__sockets = [];"
        "window.WebSocket = class extends Real { constructor(...a) { super(...a); window.__sockets.push(this); } };"
    )
    page = open_page(before=lambda page: page.add_init_script(wrap))
    run_id = ask(page, LONG, max_tokens=120)
    for cuts in (1, 2):
        seen = page.evaluate("window.__kitchen.log.seq")
        until(page, "seen => window.__kitchen.log.seq > seen + 40", seen)
        page.evaluate("window.__sockets.at(-1).close()")
        until(page, "cuts => window.__sockets.length > cuts", cuts, seconds=20)
    wait_closed(page)
    live: str = page.evaluate("window.__kitchen.hash()")
    events = served.events(run_id)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert page.evaluate("window.__kitchen.log.seq") == len(events)
    page.reload()
    until(page, "window.__kitchen?.state().closed")
    assert page.evaluate("window.__kitchen.hash()") == live
