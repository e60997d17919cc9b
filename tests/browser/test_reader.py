"""A reader types a prompt and reads their run: forward, back, paused, by keyboard, on a phone, without scripts."""

from __future__ import annotations

import gzip
import json
from html import unescape
from typing import Any

import pytest
from playwright.sync_api import expect

from benchmarks.browser import until
from benchmarks.served import ROOT, Served
from tests.browser.conftest import PHONE, SHORT, OpenPage, ask, to_centre, wait_closed

RECORDING = ROOT / "static/recordings/tomato-soup.jsonl.gz"


def final_text(served: Served, run_id: str) -> str:
    ended = (event for event in served.events(run_id) if event["type"] == "request.finished")
    finished = next(event for event in ended if event["request_id"] == run_id)  # guests end in this log too
    text: str = finished["text"]
    return text


def test_a_typed_prompt_is_answered_on_the_page(open_page: OpenPage, served: Served) -> None:
    page = open_page()
    run_id = ask(page)
    wait_closed(page)
    answer = page.locator("#answer")
    expect(answer).to_contain_text(final_text(served, run_id).strip().splitlines()[0].strip())
    assert page.evaluate("window.__kitchen.state().ownId") == run_id
    assert page.input_value("#prompt-form textarea") == SHORT


def test_the_answer_can_be_selected_and_tells_each_tokens_probability(open_page: OpenPage) -> None:
    page = open_page()
    ask(page)
    wait_closed(page)
    token = page.locator("#answer [data-position]").nth(2)
    token.hover()
    probability: float = page.evaluate(
        "position => window.__kitchen.state().tokens[position].probability",
        int(token.get_attribute("data-position") or 0),
    )
    assert 0 < probability <= 1
    expect(page.locator("[role=tooltip]:visible").first).to_contain_text("%")
    selected: str = page.evaluate(
        "() => { getSelection().selectAllChildren(document.querySelector('#answer')); return String(getSelection()); }"
    )
    assert page.evaluate("window.__kitchen.state().answer.trim().slice(0, 20)") in selected


def test_scrolling_moves_in_time_and_back(open_page: OpenPage) -> None:
    page = open_page()
    ask(page)
    wait_closed(page)

    def at_step(index: int) -> dict[str, Any]:
        to_centre(page, "phases", index)
        state: dict[str, Any] = page.evaluate(
            "() => { const { state, hash } = window.__kitchen; return { seq: state().seq, hash: hash() }; }"
        )
        return state

    steps = page.locator("#phases .step").count()
    first = at_step(0)
    last = at_step(steps - 1)
    again = at_step(0)
    assert first["seq"] < last["seq"], "scrolling down goes forward in time"
    assert again == first, "the same place is the same moment, drawn from the same state"


def test_pause_holds_the_playhead_and_live_returns_to_the_edge(open_page: OpenPage) -> None:
    page = open_page()
    ask(page, "Write a long story about a lighthouse and the sea.", max_tokens=120)
    until(page, "window.__kitchen.state().tokens.filter(t => t.kind === 'generated').length > 5")
    page.locator("#transport .transport-play").click()
    held = page.evaluate("window.__kitchen.state().seq")
    page.wait_for_timeout(1_000)
    assert page.evaluate("window.__kitchen.state().seq") == held, "new events must not move a reader who left the edge"
    assert page.evaluate("window.__kitchen.log.seq") > held
    page.locator("#transport .transport-live").click()
    until(page, "held => window.__kitchen.state().seq > held", held)
    wait_closed(page)


def test_the_stop_button_ends_the_run(open_page: OpenPage, served: Served) -> None:
    page = open_page()
    run_id = ask(page, "Write a very long story about a lighthouse and the sea.", max_tokens=1000)
    until(page, "window.__kitchen.state().tokens.some(t => t.kind === 'generated')")
    page.locator("[data-action=stop]:visible").first.click()
    wait_closed(page)
    assert served.events(run_id)[-1]["reason"] == "stopped"


def test_a_reload_loses_nothing(open_page: OpenPage) -> None:
    page = open_page()
    ask(page, "Count from one to twenty.")
    until(page, "window.__kitchen.state().tokens.some(t => t.kind === 'generated')")
    page.reload()
    until(page, "window.__kitchen?.state().closed", seconds=120)
    text = page.evaluate("window.__kitchen.state().answer")
    page.reload()
    until(page, "window.__kitchen?.state().closed", seconds=30)
    assert page.evaluate("window.__kitchen.state().answer") == text


def test_keyboard_alone_is_enough(open_page: OpenPage) -> None:
    page = open_page()
    for _ in range(30):
        page.keyboard.press("Tab")
        if (
            page.evaluate("document.activeElement?.closest('#prompt-form') && document.activeElement.tagName")
            == "TEXTAREA"
        ):
            break
    else:
        pytest.fail("Tab never reaches the prompt box")
    page.keyboard.press("Control+A")
    page.keyboard.type("Say hello.")
    page.keyboard.press("Enter")
    until(page, "window.__kitchen.state().request.status !== 'none' && location.search.includes('run=')")
    wait_closed(page)
    page.locator("#transport [role=slider]").focus()
    page.keyboard.press("Home")
    until(page, "window.__kitchen.state().seq <= 1")
    page.keyboard.press("End")
    until(page, "window.__kitchen.state().closed !== null")
    end = page.evaluate("window.__kitchen.state().tokens.length")
    page.keyboard.press("ArrowLeft")
    until(page, "end => window.__kitchen.state().closed === null", end)
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus must be seen"


def test_enter_held_down_asks_once_and_the_table_keeps_the_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: request.method == "POST" and asked.append(request.url))
    page.fill("#prompt-form textarea", "Tell me a long story about the sea.")
    for _ in range(6):
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")
    until(page, "window.__kitchen.state().request.firstTokenAt !== null", seconds=60)
    assert len(asked) == 1
    page.click("[data-action=table]")
    page.get_by_role("button", name="Close the table").focus()
    rows = "document.querySelectorAll('#stage-table tbody tr').length"
    before = page.evaluate(rows)
    until(page, f"{rows} > {before}", seconds=60)
    page.keyboard.press("Escape")
    expect(page.locator("#stage-table")).to_be_hidden()
    page.locator("[data-action=stop]:visible").first.dispatch_event("click")
    wait_closed(page)


def test_reduced_motion_gives_stills(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    page.wait_for_timeout(1_000)
    first = page.evaluate("window.__kitchen.state().seq")
    page.wait_for_timeout(1_500)
    assert page.evaluate("window.__kitchen.state().seq") == first, "nothing plays by itself"
    ask(page)
    wait_closed(page)


def test_a_phone_shows_stage_and_prose_without_sideways_scroll(open_page: OpenPage) -> None:
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    ask(page)
    wait_closed(page)
    for chapter in ("prologue", "phases", "kv-hall"):
        page.evaluate("id => document.getElementById(id).scrollIntoView()", chapter)
        page.wait_for_timeout(400)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_without_scripts_the_article_and_a_run_can_be_read(open_page: OpenPage, served: Served) -> None:
    page = open_page(java_script_enabled=False)
    expect(page.locator("#kv-hall")).to_contain_text("key", ignore_case=True)
    assert page.locator("img:visible").count() > 0, "posters stand where the stage would be"
    page.fill("#prompt-form textarea", SHORT)
    page.locator("#prompt-form button[type=submit]").first.click()
    page.wait_for_url("**/*run=*", timeout=60_000)
    run_id = page.url.split("run=")[1].split("&")[0]
    text = final_text(served, run_id).strip().splitlines()[0].strip()
    # While it cooks the page comes anew by itself every three seconds.
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0, timeout=20_000)
    expect(page.locator(".without-scripts .answer")).to_be_visible()
    assert text in unescape(page.content())


def test_show_as_table_says_the_same_as_rows(open_page: OpenPage) -> None:
    page = open_page()
    ask(page)
    wait_closed(page)
    for chapter in ("phases", "kv-hall"):
        page.evaluate(
            "id => document.querySelector(`#${id} .step:last-of-type`).scrollIntoView({block: 'center'})", chapter
        )
        page.wait_for_timeout(900)
        toggle = page.locator("[data-action=table]:visible").first
        toggle.click()
        expect(page.locator("table:visible tbody tr").first).to_be_visible()
        toggle.click()


def test_script_in_the_prompt_is_only_text(open_page: OpenPage) -> None:
    page = open_page()
    ask(page, "Repeat exactly: <script>window.__owned = 1</script><img src=x onerror='window.__owned = 1'>")
    wait_closed(page)
    assert page.evaluate("window.__owned") is None
    assert page.locator("#answer :is(script, img), #ribbon :is(script, img)").count() == 0


def test_script_in_a_token_is_only_text(open_page: OpenPage) -> None:
    markup = "<img src=x onerror='window.__owned = 2'><script>window.__owned = 3</script>"
    events = [json.loads(line) for line in gzip.decompress(RECORDING.read_bytes()).splitlines()]
    for event in events:
        if event["type"] == "token.sampled":
            event["text"] = markup
            event["candidates"] = [candidate | {"text": markup} for candidate in event["candidates"]]
        if event["type"] == "request.tokenized":
            event["pieces"] = [markup] * len(event["pieces"])
        if event["type"] == "request.finished":
            event["text"] = markup * 3
    body = gzip.compress("\n".join(map(json.dumps, events)).encode() + b"\n")
    page = open_page(before=lambda page: page.route("**/*.jsonl.gz", lambda route: route.fulfill(body=body)))
    page.locator("#transport [role=slider]").focus()
    page.keyboard.press("End")
    until(page, "window.__kitchen.state().closed !== null")
    for chapter in ("phases", "kv-hall"):
        to_centre(page, chapter, 1)
    assert page.evaluate("window.__owned") is None
    assert markup[:8] in page.locator("#answer").inner_text()
    assert page.locator("#answer :is(script, img), #ribbon :is(script, img)").count() == 0


def test_an_unknown_run_is_said_and_the_article_stays(open_page: OpenPage) -> None:
    page = open_page("?run=AAAAAAAAAAAAAAAAAAAAAA", expect=("404",))
    expect(page.locator("#notice")).to_contain_text("run")
    assert page.locator("#notice:visible, [role=alert]:visible").count() > 0
