"""The line is fair: visitors take turns, nobody is lost or doubled, and a place is a promise kept."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.line import Line, Order
from inference.messages import Generate
from inference.sequence import SamplingParams

T = TypeVar("T")


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine of the line gives; it must not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        value: T = stopped.value
        return value
    raise AssertionError("the line in memory waited for something")


def order(run_id: str, visitor: str, address: str = "") -> Order:
    request = Generate(request_id=run_id, prompt="x", params=SamplingParams())
    return Order(run_id=run_id, visitor=visitor, address=address, request=request)


def drain(line: Line) -> list[str]:
    taken = []
    while (found := now(line.next())) is not None:
        taken.append(found.run_id)
    return taken


def test_visitors_take_turns() -> None:
    line = Line()
    for run_id in ("a1", "a2", "a3", "b1", "c1", "c2"):
        now(line.push(order(run_id, run_id[0])))
    assert drain(line) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_cookies_of_one_address_share_its_turns() -> None:
    line = Line()
    for number in range(30):
        now(line.push(order(f"a{number}", f"a new cookie each: {number}", "one")))
    now(line.push(order("b0", "b", "another")))
    now(line.push(order("b1", "b", "another")))
    assert now(line.place("b0")) == 1
    assert drain(line)[:5] == ["a0", "b0", "a1", "b1", "a2"]


def test_a_class_behind_one_address_takes_turns_inside() -> None:
    line = Line()
    for run_id in ("a1", "a2", "a3", "b1"):
        now(line.push(order(run_id, run_id[0], "school")))
    now(line.push(order("c1", "c", "home")))
    now(line.push(order("c2", "c", "home")))
    assert drain(line) == ["a1", "c1", "b1", "c2", "a2", "a3"]


def test_thirty_of_one_hold_up_nobodys_first() -> None:
    line = Line()
    for number in range(30):
        now(line.push(order(f"a{number}", "a")))
    assert now(line.next()) is not None
    now(line.push(order("b0", "b")))
    assert now(line.place("b0")) == 1
    assert [now(line.next()).run_id for _ in range(2)] == ["a1", "b0"]  # type: ignore[union-attr]


def test_a_run_stands_in_it_once() -> None:
    line = Line()
    now(line.push(order("a", "x")))
    with pytest.raises(ValueError, match="already"):
        now(line.push(order("a", "y")))
    assert now(line.drop("a"))
    assert not now(line.drop("a"))
    assert now(line.place("a")) is None
    assert now(line.next()) is None


actions = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 4)),
        st.tuples(st.just("next"), st.none()),
        st.tuples(st.just("drop"), st.integers(0, 60)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(actions)
def test_nobody_is_lost_doubled_or_passed_over(steps: list[tuple[str, int | None]]) -> None:
    """Whatever comes and goes: who stands is who came and has not left; places are 0, 1, 2 ...; no visitor gets a
    second turn while another who was waiting all the time gets none; each visitor's own keep their order."""
    line = Line()
    waiting: dict[str, list[str]] = {}
    pushed: list[str] = []
    turns_since: dict[str, dict[str, int]] = {}
    """For each visitor who waits: turns of the others since they began to wait, or had their last."""
    for action, value in steps:
        if action == "push":
            visitor, run_id = f"v{value}", f"r{len(pushed)}"
            pushed.append(run_id)
            if not waiting.get(visitor):
                turns_since[visitor] = {}
            waiting.setdefault(visitor, []).append(run_id)
            now(line.push(order(run_id, visitor)))
        elif action == "drop":
            run_id = f"r{value}"
            known = any(run_id in runs for runs in waiting.values())
            assert now(line.drop(run_id)) is known
            for runs in waiting.values():
                if run_id in runs:
                    runs.remove(run_id)
        else:
            found = now(line.next())
            everybody = [run for runs in waiting.values() for run in runs]
            assert (found is None) == (not everybody)
            if found is not None:
                assert found.run_id == waiting[found.visitor].pop(0), "first come, first served among one's own"
                turns_since[found.visitor] = {}
                for other, runs in waiting.items():
                    if other != found.visitor and runs:
                        count = turns_since[other].get(found.visitor, 0) + 1
                        turns_since[other][found.visitor] = count
                        assert count <= 1, f"{found.visitor} had two turns while {other} waited"
        standing = now(line.standing())
        assert sorted(standing) == sorted(run for runs in waiting.values() for run in runs)
        assert len(line) == len(standing) == len(set(standing))
        assert [now(line.place(run_id)) for run_id in standing] == list(range(len(standing)))
    assert now(line.standing()) == drain(line), "they are taken in the order in which they stand"


def test_its_coroutines_are_coroutines() -> None:
    """A line that replicas share awaits its store; callers of this one await too."""
    assert asyncio.run(Line().next()) is None
