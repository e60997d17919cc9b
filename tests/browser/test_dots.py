"""The token dots between every pair of adjacent rooms: none is lost, none leaps, none leaves the stage."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page

from benchmarks.browser import until
from tests.browser.conftest import OpenPage
from tests.browser.rooms import visit

LONGEST_STEP = 40
WINDOWS = {390: 844, 768: 1024, 1440: 900, 2560: 1440}

# The room on stage, and how it stands.
STANDING = "({ stage, player }) => { window.__left = { scene: stage.scene, view: stage.view }; }"

# From the room that was left to the one that was entered, by the stage's own `travel`, for the run as it stands now.
TRANSITION = """async () => {
  const { travel } = await import(new URL('static/js/stage/travel.js', document.baseURI).href);
  const { stage, player } = window.__kitchen;
  const { width, height } = stage.view;
  const to = stage.scene.places(player.state, stage.view);
  const from = window.__left.scene.places(player.state, window.__left.view);
  const drawn = (places) => places.filter((r, i) => i % 3 === 2 && r > 0.05).length;
  let [last, longest, outside] = [null, 0, 0];
  for (let k = 0; k < 200; k++) {
    const now = travel(from, to, k / 199, new Float32Array(to.length), stage.view);
    for (let i = 0; i < now.length; i += 3) {
      const [x, y, r] = now.subarray(i, i + 3);
      const seen = r > 0.05 || (last && last[i + 2] > 0.05);
      if (last && seen) longest = Math.max(longest, Math.hypot(x - last[i], y - last[i + 1]));
      if (r > 0.05 && !(x >= 0 && y >= 0 && x <= width && y <= height)) outside += 1;
    }
    last = now;
  }
  return { tokens: player.state.tokens.length, before: from.length / 3, after: to.length / 3, longest, outside,
    drawn: [drawn(from), drawn(to)] };
}"""


def chapters(page: Page) -> list[tuple[str, int]]:
    """Slugs of the rooms and how many steps each has."""
    found: list[list[Any]] = page.evaluate(
        "[...document.querySelectorAll('.chapter')].map(({ id, ...rest }) =>"
        " [id, document.querySelectorAll(`#${id} .step`).length])"
    )
    return [(slug, count) for slug, count in found]


@pytest.mark.parametrize("width", WINDOWS)
def test_dots_between_adjacent_rooms(open_page: OpenPage, width: int) -> None:
    page = open_page(viewport={"width": width, "height": WINDOWS[width]}, reduced_motion="reduce")
    until(page, "window.__kitchen.log.closed !== null")
    rooms = chapters(page)
    for (left, steps), (entered, _) in pairwise(rooms):
        visit(page, left, steps - 1)
        page.evaluate(f"({STANDING})(window.__kitchen)")
        visit(page, entered, 0)
        found: dict[str, Any] = page.evaluate(f"({TRANSITION})()")
        words = f"{left} to {entered} at {width}: {found}"
        assert found["before"] == found["after"] == found["tokens"] > 0, words
        assert found["longest"] < LONGEST_STEP, words
        assert found["outside"] == 0, words
        assert min(found["drawn"]) > found["tokens"] / 3, words


def test_a_real_change_of_rooms_takes_the_way_that_was_measured(open_page: OpenPage) -> None:
    """Frame by frame in a page that moves: from the last room's places to the next one's, in the time of a change."""
    page = open_page(reduced_motion="no-preference")
    until(page, "window.__kitchen.log.closed !== null")
    page.evaluate("window.__kitchen.player.pause(); window.__kitchen.player.seek(200)")
    steps = dict(chapters(page))
    visit(page, "phases", 0)
    frames: list[list[float]] = page.evaluate(
        """async () => {
          const { stage } = window.__kitchen;
          const frames = [];
          const began = performance.now();
          document.querySelector('#kv-hall .step').scrollIntoView({ block: 'center', behavior: 'instant' });
          while (performance.now() - began < 1200) {
            await new Promise(requestAnimationFrame);
            frames.push([performance.now() - began, ...stage.marks.places.slice(0, 6)]);
          }
          return frames;
        }"""
    )
    assert steps["kv-hall"] > 0
    first, last = frames[0], frames[-1]
    between = [frame for frame in frames if frame[1:] not in (first[1:], last[1:])]
    assert len(between) >= 3, "the dots were somewhere between"
    spread = abs(first[1] - last[1])
    assert spread > 50
    xs = [frame[1] for frame in frames]
    assert xs == sorted(xs) or xs == sorted(xs, reverse=True), "one way, never back"
    assert max(frame[0] for frame in between) - min(frame[0] for frame in between) < 700
