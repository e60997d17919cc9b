"""axe finds no violation, in both themes, at several places of the article, before and after a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import DESKTOP, PHONE, OpenPage, ask, wait_closed

AXE = Path(__file__).resolve().parents[2] / "node_modules/axe-core/axe.min.js"


def violations(page: Page) -> list[str]:
    # The page's policy forbids scripts from elsewhere; evaluate() runs it as the debugger does.
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['id']}: {[(node['html'][:160], node['failureSummary']) for node in violation['nodes']][:3]}"
        for violation in found["violations"]
    ]


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing(open_page: OpenPage, theme: str, viewport: dict[str, int]) -> None:
    page = open_page(color_scheme=theme, viewport=viewport, reduced_motion="reduce")
    assert violations(page) == []
    ask(page)
    wait_closed(page)
    for chapter in ("prologue", "phases", "kv-hall"):
        page.evaluate("id => document.querySelector(`#${id} .step`)?.scrollIntoView({block: 'center'})", chapter)
        page.wait_for_timeout(700)
        assert violations(page) == [], chapter


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_theme_follows_the_reader(open_page: OpenPage, theme: str) -> None:
    page = open_page(color_scheme=theme)
    ground: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    light = sum(int(part) for part in ground.strip("rgba()").split(",")[:3]) > 380
    assert light == (theme == "light")
