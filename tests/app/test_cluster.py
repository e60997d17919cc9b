"""Several replicas over a real Redis are one kitchen, whoever of them dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.app.conftest import assert_whole
from tests.app.replicas import Replica, cluster

WEB = {"engine": "none"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replica, Replica]]:
    """One without an engine and one with."""
    with cluster(tmp_path_factory.mktemp("cluster"), web=WEB, cook={}) as (_, web, cook):
        yield web, cook


def test_posted_at_one_cooked_at_another_read_at_both(pair: tuple[Replica, Replica]) -> None:
    web, cook = pair
    run_id = web.run("SLOW LONG the quick brown fox", max_tokens=30)
    logs = [replica.lines(run_id) for replica in (web, cook)]
    assert logs[0] == logs[1]
    assert_whole(web.events(run_id), run_id)
    assert web.summary(run_id) == cook.summary(run_id)
