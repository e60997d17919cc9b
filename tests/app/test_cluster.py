"""Several replicas over a real Redis are one kitchen, whoever of them dies."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.conftest import assert_whole
from tests.app.replicas import Reader, RedisServer, Replica, cluster, wait

WEB = {"engine": "none"}
LONG = "SLOW LONG the quick brown fox"


@pytest.fixture(scope="module")
def kitchens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, Replica, Replica]]:
    """Two replicas: one without an engine, and one with."""
    with cluster(tmp_path_factory.mktemp("cluster"), web=WEB, cook={}) as found:
        yield found


def follow(pool: ThreadPoolExecutor, run_id: str, *replicas: Replica) -> Future[list[dict[str, Any]]]:
    return pool.submit(Reader(run_id, *replicas).read)


def test_posted_at_one_cooked_at_another_read_at_both(kitchens: tuple[RedisServer, Replica, Replica]) -> None:
    _, web, cook = kitchens
    began = time.monotonic()
    run_id = web.run(LONG, max_tokens=40)
    assert time.monotonic() - began < 3, "it need not wait to hear that the engine took it"
    with ThreadPoolExecutor(4) as pool:
        live = [follow(pool, run_id, replica) for replica in (web, cook, web, cook)]
        logs = [replica.lines(run_id) for replica in (web, cook)]
    assert logs[0] == logs[1]
    assert_whole(web.events(run_id), run_id)
    assert all(reader.result() == web.events(run_id) for reader in live)
    assert web.summary(run_id) == cook.summary(run_id)
    # Closed, it is on either disk, to be listed, downloaded and drawn from there.
    wait(lambda: all((replica.directory / "runs" / f"{run_id}.jsonl.gz").exists() for replica in (web, cook)))
    assert web.lines(run_id) == logs[0]
    assert web.client.get(f"api/runs/{run_id}/log").content == cook.client.get(f"api/runs/{run_id}/log").content


def test_a_refusal_leaves_no_trace(kitchens: tuple[RedisServer, Replica, Replica]) -> None:
    redis, web, _ = kitchens
    response = web.post("TOOLONG")
    assert response.status_code == 413
    assert response.json()["code"] == "too_long"
    wait(lambda: redis.cli("HLEN", "kitchen:runs") == "0")
    assert not redis.cli("KEYS", "kitchen:order:*")


def test_one_cookie_holds_at_all(kitchens: tuple[RedisServer, Replica, Replica]) -> None:
    """Who asked at one may stop, list and delete at another; a stranger may not."""
    _, web, cook = kitchens
    run_id = web.run(LONG, max_tokens=400)
    with httpx.Client(base_url=cook.client.base_url) as stranger:
        assert stranger.delete(f"api/runs/{run_id}").status_code == 403
    cook.client.cookies = httpx.Cookies({"kitchen_visitor": web.client.cookies["kitchen_visitor"]})
    assert cook.client.delete(f"api/runs/{run_id}").status_code == 202
    events = web.events(run_id)
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "stopped"
    # And the other way: stopped where it does not cook, deleted where it did not.
    run_id = web.run(LONG, max_tokens=400)
    assert web.client.delete(f"api/runs/{run_id}").status_code == 202
    assert cook.events(run_id)[-1]["reason"] == "stopped"
    wait(lambda: (web.directory / "runs" / f"{run_id}.jsonl.gz").exists())
    assert run_id in [run["run_id"] for run in web.client.get("api/runs").json()["runs"]]
    assert web.client.patch(f"api/runs/{run_id}", json={"kept": True}).status_code == 200
    wait(lambda: any(run["kept"] for run in cook.client.get("api/runs").json()["runs"] if run["run_id"] == run_id))
    assert web.client.delete(f"api/runs/{run_id}/log").status_code in (200, 204)
    wait(lambda: cook.client.get(f"api/runs/{run_id}").status_code == 404)
    assert web.client.get(f"api/runs/{run_id}").status_code == 404
    assert not list(cook.directory.glob(f"runs/{run_id}*"))


def test_a_take_of_a_run_that_cooked_elsewhere(kitchens: tuple[RedisServer, Replica, Replica]) -> None:
    _, web, cook = kitchens
    parent = cook.run("why is the sky blue")
    web.events(parent)
    for take in ({"take": "again"}, {"take": "static"}):
        response = web.client.post(f"api/runs/{parent}/takes", json=take)
        assert response.status_code == 201, response.text
        run_id = response.json()["run_id"]
        events = web.events(run_id)
        assert_whole(events, run_id)
        assert events[0]["parent"] == parent
        assert cook.events(run_id) == events


def test_limits_are_shared(tmp_path: Path) -> None:
    bounds = {"max_runs_per_visitor": 2, "max_runs_per_address": 3, "max_waiting_runs": 4}
    with cluster(tmp_path, web={**WEB, **bounds}, cook=bounds) as (_, web, cook):
        web.run(LONG)
        web.run(LONG)
        cook.client.cookies = httpx.Cookies({"kitchen_visitor": web.client.cookies["kitchen_visitor"]})
        assert cook.post(LONG).json()["code"] == "too_many_runs", "two of one visitor"
        cook.client.cookies = httpx.Cookies()
        cook.run(LONG)
        web.client.cookies = httpx.Cookies()
        assert web.post(LONG).json()["code"] == "too_many_runs", "three from one address"
        with httpx.Client(base_url=cook.client.base_url) as unknown:
            assert unknown.get("api/runs/AAAAAAAAAAAAAAAAAAAAAA").status_code == 404


def test_a_replica_dies_and_nobody_loses_an_event(tmp_path: Path) -> None:
    """Its readers go elsewhere and get the rest exactly once, with the end that a survivor writes; what waits is cooked
    by another."""
    seats = 2
    engine = {"engine_args": f"--seats {seats}"}
    with cluster(tmp_path, web=WEB, one=engine, two=engine) as (redis, web, one, two), ThreadPoolExecutor(40) as pool:
        runs = [web.run(f"{LONG} {number}", max_tokens=75) for number in range(2 * seats + 2)]
        readers = [follow(pool, run_id, replica, web) for run_id in runs for replica in (one, web)]
        time.sleep(0.3)
        # Between a disk and a Redis that takes its time: nobody may have seen what the others will never have.
        redis.signal(signal.SIGSTOP)
        time.sleep(0.2)
        one.kill()
        redis.signal(signal.SIGCONT)
        logs = [reader.result(30) for reader in readers]
        for run_id, log, same in zip(runs, logs[::2], logs[1::2], strict=True):
            assert_whole(log, run_id)
            assert log == same == web.events(run_id) == two.events(run_id)
        reasons = [log[-1]["reason"] for log in logs[::2]]
        assert reasons.count("interrupted") == seats
        assert reasons.count("finished") == len(runs) - seats
        assert redis.cli("HLEN", "kitchen:runs") == "0"
        # It comes back, and takes for its own torn logs what the others made of them: also where its own had come to
        # an end on its disk, of which nobody else ever heard.
        torn, log = next(
            (run_id, log) for run_id, log in zip(runs, logs[::2], strict=True) if log[-1]["reason"] == "interrupted"
        )
        assert (one.directory / "runs" / f"{torn}.json").exists()
        about = json.loads((web.directory / "runs" / f"{torn}.json").read_text())
        about["ended"] |= {"reason": "finished"}
        (one.directory / "runs" / f"{torn}.json").write_text(json.dumps(about))
        whole = b"".join(json.dumps(event).encode() + b"\n" for event in [*log[:-1], log[-1] | {"reason": "finished"}])
        (one.directory / "runs" / f"{torn}.jsonl.gz").write_bytes(gzip.compress(whole))
        (one.directory / "runs" / f"{torn}.jsonl").unlink(missing_ok=True)
        one.start()
        for run_id, log in zip(runs, logs[::2], strict=True):
            wait(lambda run_id=run_id, log=log: one.events(run_id) == log)


@pytest.mark.slow
def test_an_order_that_nobody_began_is_put_back(tmp_path: Path) -> None:
    """Its replica died between taking it from the line and the first line of its log."""
    with cluster(tmp_path, web=WEB, cook={"engine_args": "--seats 1"}) as (redis, web, cook):
        first = web.run(LONG, max_tokens=30)
        waits = web.run(LONG, max_tokens=5)
        assert redis.cli("GET", f"kitchen:order:{waits}"), "its prompt is there while it waits"
        # As it stands when the replica dies at that very moment.
        script = """
            local run = cjson.decode(redis.call('HGET', 'kitchen:runs', ARGV[1]))
            run.owner = 'dead'
            redis.call('HSET', 'kitchen:runs', ARGV[1], cjson.encode(run))
            local at = ':' .. run.address
            redis.call('DEL', 'kitchen:line:lanes', 'kitchen:line:lane' .. at,
                'kitchen:line:of' .. at .. ':' .. run.creator)
            local lease = cjson.encode({until_ms = 1, since_ms = 0, engine = ''})
            return redis.call('HSET', 'kitchen:replicas', 'dead', lease)
        """
        assert redis.cli("EVAL", script, "0", waits) == "1"
        events = web.events(waits)
        assert_whole(events, waits)
        assert events[-1]["reason"] == "finished"
        assert cook.events(first)[-1]["reason"] == "finished"
        assert not redis.cli("GET", f"kitchen:order:{waits}")


@pytest.mark.slow
def test_redis_forgets_a_run_whose_replica_is_dead(tmp_path: Path) -> None:
    """What its readers elsewhere have seen of it is all that is left, and gets an end."""
    with cluster(tmp_path, web=WEB, cook={}, spare={}) as (redis, web, cook, spare), ThreadPoolExecutor(2) as pool:
        run_id = cook.run(LONG, max_tokens=400)
        owner = cook if any(cook.directory.glob(f"runs/{run_id}.jsonl")) else spare
        reader = follow(pool, run_id, web)
        time.sleep(1.0)
        owner.kill()
        redis.cli("FLUSHALL")
        events = reader.result(60)
        assert_whole(events, run_id)
        assert len(events) > 20
        assert events[-1]["reason"] == "interrupted"
        assert web.events(run_id) == events


@pytest.mark.parametrize(
    ("seconds", "empty"),
    [
        pytest.param(1.5, False, id="for a moment"),
        pytest.param(1.5, True, id="and comes back empty", marks=pytest.mark.slow),
        pytest.param(10.0, False, id="for ten seconds", marks=pytest.mark.slow),
        pytest.param(10.0, True, id="for ten seconds and comes back empty", marks=pytest.mark.slow),
    ],
)
def test_redis_is_away(tmp_path: Path, seconds: float, empty: bool) -> None:
    """Redis stops (or is killed, and another is started that knows nothing) while runs cook and others wait."""
    cook_here = {"engine_args": "--seats 2"}
    num_tokens = int(100 + 50 * seconds)
    with cluster(tmp_path, web=WEB, cook=cook_here) as (redis, web, cook), ThreadPoolExecutor(20) as pool:
        closed = web.run("a short one")
        web.events(closed)
        runs = [web.run(f"{LONG} {number}", max_tokens=num_tokens if number < 2 else 5) for number in range(4)]
        readers = [Reader(run_id, replica) for run_id in runs for replica in (web, cook)]
        logs = [pool.submit(reader.read) for reader in readers]
        time.sleep(0.3)
        redis.kill() if empty else redis.signal(signal.SIGSTOP)
        stopped_at = time.monotonic()
        refused = web.post(LONG)
        assert refused.status_code == 503, "who has no engine sends people away"
        assert int(refused.headers["retry-after"]) > 0
        assert time.monotonic() - stopped_at < 2.5
        alone = cook.run(f"{LONG} alone", max_tokens=5)
        assert web.client.get("").status_code == 200
        time.sleep(max(0.0, stopped_at + seconds - time.monotonic()))
        there, here = len(readers[0].events), len(readers[1].events)
        redis.start() if empty else redis.signal(signal.SIGCONT)
        for run_id, one, same in zip(runs, logs[::2], logs[1::2], strict=True):
            assert_whole(one.result(60), run_id)
            assert one.result() == same.result(60)
            assert one.result()[-1]["reason"] == "finished"
        assert here > there + 5, "the engine and the readers beside it did not wait for Redis; the others did"
        log = cook.events(alone)
        assert_whole(log, alone)
        wait(lambda: web.client.get(f"api/runs/{alone}").status_code == 200)
        assert web.events(alone) == log
        assert web.events(closed) == cook.events(closed)
        wait(lambda: redis.cli("HLEN", "kitchen:runs") == "0")
        assert redis.cli("GET", "kitchen:secret")


def test_the_default_knows_nothing_of_it() -> None:
    code = (
        "import sys; from app.main import create_app; from app.settings import Settings; import tempfile, pathlib;"
        "create_app(Settings(data_dir=pathlib.Path(tempfile.mkdtemp())));"
        "sys.exit(any(n == 'redis' or n.startswith('redis.') or n == 'app.cluster' for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
