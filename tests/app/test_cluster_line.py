"""The scripts, one by one, in a real Redis; the line of one process is the oracle of the shared one."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from app import host_check
from app.cluster_link import Link, RedisGone
from app.cluster_log import Record
from app.cluster_scripts import APPEND, BEAT, CLAIM, NEXT, PUSH, PUT_BACK, SHELVE, STANDING, TAKE_OUT
from app.line import Line, Order
from app.settings import Settings
from inference.messages import Generate
from inference.sequence import SamplingParams
from tests.app.replicas import RedisServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    server.cli("FLUSHALL")
    return server


def record(visitor: str = "v", owner: str | None = None, address: str = "a") -> bytes:
    return msgspec.json.encode(Record(creator=visitor, address=address, asked_at=0.0, owner=owner))


def test_turns_are_those_of_the_line_of_one_process(redis: RedisServer) -> None:
    async def compare() -> None:
        link, line, rng = Link(redis.url), Line(), random.Random(5)
        number = 0
        for _ in range(400):
            deed = rng.random()
            if deed < 0.55:
                number += 1
                visitor, run_id, address = f"v{rng.randrange(5)}", f"r{number}", f"a{rng.randrange(3)}"
                request = Generate(request_id=run_id, prompt="", params=SamplingParams())
                await line.push(Order(run_id=run_id, visitor=visitor, address=address, request=request))
                asked = record(visitor, address=address)
                assert await link.script(PUSH, run_id, asked, b"order", 60, "", "", "", "") == b"taken"
            elif deed < 0.8:
                order, got = await line.next(), await link.script(NEXT, "line", "me")
                assert (order.run_id.encode() if order else None) == (got[0] if got else None)
            elif standing := await line.standing():
                run_id = rng.choice(standing)
                assert await line.drop(run_id)
                assert await link.script(TAKE_OUT, run_id, "me") == b""
            assert await link.script(STANDING, "line") == [run_id.encode() for run_id in await line.standing()]
        await link.close()

    asyncio.run(compare())


def test_what_was_not_begun_is_next_again(redis: RedisServer) -> None:
    async def put_back() -> None:
        link = Link(redis.url)
        for run_id, visitor, address in (("x1", "x", "1"), ("y1", "y", "1"), ("z1", "z", "2"), ("x2", "x", "1")):
            await link.script(PUSH, run_id, record(visitor, address=address), b"order", 60, "", "", "", "")
        before = await link.script(STANDING, "line")
        assert before == [b"x1", b"z1", b"y1", b"x2"]
        assert (await link.script(NEXT, "line", "me"))[0] == b"x1"
        assert await link.script(PUT_BACK, "x1", "me", 3) == b"waits"
        assert await link.script(STANDING, "line") == before
        for run_id in before:
            assert await link.script(TAKE_OUT, run_id, "me") == b""
        left = await link.command("KEYS", "kitchen:line*")
        assert left == []
        await link.close()

    asyncio.run(put_back())


def test_a_batch_is_there_once_and_in_its_place(redis: RedisServer) -> None:
    async def send() -> None:
        link = Link(redis.url)

        def append(first: int, last: int, owner: str = "me") -> object:
            return link.script(APPEND, "run", owner, record(owner="me"), first, last, f"{first}-{last}", 0, 60)

        assert await append(1, 3) == [b"has", 3]
        assert await append(1, 3) == [b"has", 3], "sent again, since the answer was lost"
        assert await append(6, 7) == [b"has", 3], "it does not continue the Stream"
        assert await append(4, 5, owner="another") == [b"lost", 0], "whose lease has ended"
        assert await append(4, 5) == [b"has", 5]
        entries = await link.command("XRANGE", "kitchen:log:run", "-", "+")
        assert [(entry, fields[b"lines"]) for entry, fields in entries] == [(b"3-0", b"1-3"), (b"5-0", b"4-5")]
        assert await link.script(SHELVE, "run", "another", b"", b"{}", 60) == b"not ours"
        assert await link.script(SHELVE, "run", "me", b"", b"{}", 60) == b"shelved"
        assert await append(6, 7) == [b"lost", 0], "it is closed"
        await link.close()

    asyncio.run(send())


def test_the_dead_are_named_to_who_was_there_and_claimed_once(redis: RedisServer) -> None:
    async def live() -> None:
        link = Link(redis.url)

        async def beat(name: str) -> list[bytes]:
            answer = await link.script(BEAT, name, 300, b"{}", "epoch")
            return list(answer[3])

        await link.script(PUSH, "run", record(), b"order", 60, "", "", "", "")
        await beat("b")
        await link.script(NEXT, "line", "b")
        await asyncio.sleep(0.4)
        assert await beat("a") == [], "it was away itself, for all it knows"
        assert await link.script(CLAIM, "a", "a") == [], "the living are not claimed"
        for _ in range(4):
            await asyncio.sleep(0.1)
            dead = await beat("a")
        assert dead == [b"b"]
        claims = await asyncio.gather(link.script(CLAIM, "a", "b"), link.script(CLAIM, "c", "b"))
        assert sorted(claims) == [[], [b"run"]]
        await link.close()

    asyncio.run(live())


def test_who_is_gone_is_not_asked_twice(tmp_path: Path) -> None:
    async def ask() -> None:
        link = Link("redis://127.0.0.1:1/0")
        with pytest.raises(RedisGone):
            await link.command("PING")
        assert not link.up
        began = asyncio.get_running_loop().time()
        with pytest.raises(RedisGone):
            await link.command("PING")
        assert asyncio.get_running_loop().time() - began < 0.05
        await link.close()

    asyncio.run(ask())


def test_an_address_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="redis://host:6379/0"):
        Settings(redis_url="redis.example.org:6379")


def test_the_doctor_says_how_far_away_it_is(redis: RedisServer) -> None:
    found = host_check.redis(redis.url)
    assert found.state == "has"
    said = re.fullmatch(rf"\d+\.\d+\.\d+ at {re.escape(redis.url)}, ([0-9.]+) ms there and back", found.value)
    assert said, found.value
    assert 0 < float(said[1]) < 1000
