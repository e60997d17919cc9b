"""A served kitchen with its real engine, a real Chromium, and pages whose console must stay silent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from benchmarks.browser import chromium, until
from benchmarks.served import Served

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SHORT = "Name three colours."
ENOUGH_TOKENS = 48
"""Of an answer: every room has its picture then. The page itself asks for 200."""

OpenPage = Callable[..., Page]


@pytest.fixture(scope="package")
def served() -> Iterator[Served]:
    # The suite asks more often than a reader would; the limits have tests of their own in tests/app.
    limits = {"posts_per_minute": 6000, "posts_burst": 1000, "max_runs_per_visitor": 50, "max_runs_per_address": 50}
    # Each worker of the suite has a kitchen, and threads that wait for one another on a full machine wait by spinning.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = max(1, (os.cpu_count() or 1) // workers)
    with Served(**limits, engine_args=f"--num-threads {threads}") as kitchen:
        yield kitchen


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def open_page(browser: Browser, served: Served) -> Iterator[OpenPage]:
    """Open the article: ``open_page(path="", **context_options)``; ``before(page)`` runs before it loads;
    ``kitchen=False``: it is another page than the article. Fails the
    test on any console error, uncaught exception or refused resource but those that hold a word of ``expect``."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    expected: list[str] = []

    def open_one(
        path: str = "",
        *,
        expect: tuple[str, ...] = (),
        url: str = served.url,
        before: Callable[[Page], object] = lambda page: None,
        kitchen: bool = True,
        **options: Any,
    ) -> Page:
        context = browser.new_context(**({"viewport": DESKTOP} | options))
        contexts.append(context)
        expected.extend(expect)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        before(page)
        page.goto(url + path)
        if kitchen and options.get("java_script_enabled", True):
            until(page, "window.__kitchen?.state().opened", seconds=20)
        return page

    yield open_one
    for context in contexts:
        context.close()
    unexpected = [text for text in complaints if not any(part in text for part in expected)]
    assert unexpected == []


def ask(page: Page, prompt: str = SHORT, max_tokens: int = ENOUGH_TOKENS) -> str:
    """Type the prompt, press Enter, and return the run's id once the page is bound to it. ``max_tokens`` goes with it
    as a field that the form might have."""
    page.evaluate(
        """tokens => {
            const form = document.querySelector("#prompt-form");
            const field = form.querySelector("[name=max_tokens]") ?? form.appendChild(document.createElement("input"));
            Object.assign(field, { type: "hidden", name: "max_tokens", value: tokens });
        }""",
        max_tokens,
    )
    page.fill("#prompt-form textarea", prompt)
    page.press("#prompt-form textarea", "Enter")
    until(page, "new URL(location.href).searchParams.has('run')")
    until(page, "window.__kitchen.state().request.status !== 'none'", seconds=30)
    run_id: str = page.evaluate("new URL(location.href).searchParams.get('run')")
    return run_id


def wait_closed(page: Page) -> None:
    until(page, "window.__kitchen.state().closed !== null", seconds=120)


def to_centre(page: Page, chapter: str, step: int) -> None:
    """Scroll a step of a chapter to the middle, and let the room come to rest."""
    page.evaluate(
        "([id, step]) => document.querySelectorAll(`#${id} .step`)[step].scrollIntoView({ block: 'center' })",
        [chapter, step],
    )
    page.wait_for_timeout(900)
