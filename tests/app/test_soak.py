"""Whether the soak would see what grows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.soak import Rest, Tally, growth, verdict

FLAT = Rest(
    minutes=1, runs=9, web_rss=100_000_000, engine_rss=9**9, files=60, threads=30, tasks=12, blocks_lost=0, disk=1
)


def rests(name: str = "", step: float = 0.0, count: int = 20) -> list[Rest]:
    changes = [{name: int(getattr(FLAT, name) + i * step)} if name else {} for i in range(count)]
    return [replace(FLAT, minutes=i, **change) for i, change in enumerate(changes)]


def test_growth_is_of_the_line_and_not_of_its_noise() -> None:
    assert growth([100, 110, 90, 100])[1] == pytest.approx(0, abs=0.06)
    assert growth([100, 110, 120, 130]) == pytest.approx((30, 0.3))


def test_nothing_that_grows_is_flat() -> None:
    assert verdict(rests(), Tally()) == []
    for name, step in (("web_rss", 1e6), ("engine_rss", 5e6), ("files", 1), ("threads", 0.5), ("tasks", 1)):
        assert any(name in words for words in verdict(rests(name, step), Tally())), name
    assert verdict(rests("blocks_lost", 1), Tally())
    assert verdict([replace(rest, threads=30 + (i > 11)) for i, rest in enumerate(rests())], Tally()) == []
    assert verdict(rests(count=2), Tally())
    assert verdict(rests(), Tally(wrong=["a log with a gap"])) == ["a log with a gap"]
