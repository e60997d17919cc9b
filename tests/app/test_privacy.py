"""A visitor's prompt, cookie and run ids go through every kind of success and failure, and stand afterwards in nobody
else's log, in no metric, in no problem document, and in nothing that the kitchen prints."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from app.log_setup import set_up_logging
from tests.app.conftest import ServedSite, serving

CANARY = "xylophone-quicksilver"


@pytest.fixture(params=[True, False], ids=["json", "for people"])
def printed(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    set_up_logging("debug", as_json=request.param)
    yield capfd
    set_up_logging("info", as_json=True)


def everything_that_can_happen(site: ServedSite, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """Returns the ids of the canary's runs, and the bodies of what was refused."""
    client, refused = site.client, []
    runs = [site.run(f"{CANARY} one"), site.run(f"SLOW LONG {CANARY}", max_tokens=400)]
    site.events(runs[0])
    with site.socket(runs[0]) as socket:
        socket.recv()
    runs.append(client.post(f"api/runs/{runs[0]}/takes", json={"take": "standard"}).json()["run_id"])
    for body in (
        {"prompt": CANARY, "top_p": 7},
        {"prompt": CANARY, "stop": [CANARY] * 9},
        {"prompt": f"TOOLONG {CANARY}"},
        {"prompt": CANARY + "\0"},
        {"prompt": CANARY * 5_000},
    ):
        refused.append(client.post("api/runs", json=body).text)
    refused.append(
        client.post("api/runs", content=f'{{"prompt": "{CANARY}', headers={"Content-Type": "application/json"}).text
    )
    refused.append(client.post("api/runs", json={"prompt": CANARY}, headers={"Sec-Fetch-Site": "cross-site"}).text)
    refused.append(client.put(f"api/runs/{runs[0]}", params={"q": CANARY}).text)
    refused.append(client.get(f"{CANARY}/{runs[0]}").text)
    client.post("api/runs", data={"prompt": CANARY, "top_p": "7"})
    client.delete(f"api/runs/{runs[1]}")
    site.events(runs[1])
    for word in ("CRASH", "RAISE"):
        runs.append(site.run(f"{word} {CANARY} a b c"))
        assert site.events(runs[-1])[-1]["reason"] == "crashed"
        site.wait(lambda: client.get("readyz").status_code == 200)
    with monkeypatch.context() as patch:
        # Our own mistakes, which say what they stumbled over.
        async def broken(run_id: str) -> None:
            try:
                raise KeyError(CANARY)
            except KeyError as error:
                raise RuntimeError(f"no {run_id} for {CANARY}\nand {CANARY}") from error

        patch.setattr(site.site.store, "find", broken)
        with httpx.Client(base_url=site.url, cookies=client.cookies) as other:
            refused.append(other.get(f"api/runs/{runs[0]}").text)
        with pytest.raises(ConnectionClosed), site.socket(runs[0]) as socket:
            socket.recv()
    return runs, refused


def test_what_one_visitor_does_is_told_to_nobody(
    tmp_path: Path, printed: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as site, httpx.Client(base_url=site.url, timeout=20) as other:
        before = other.post("api/runs", json={"prompt": "SLOW LONG me too", "max_tokens": 30}).json()["run_id"]
        runs, refused = everything_that_can_happen(site, monkeypatch)
        after = other.post("api/runs", json={"prompt": "me again"}).json()["run_id"]
        token = site.client.cookies["kitchen_visitor"]
        told = {"problems": "".join(refused)}
        for path in ("metrics", "readyz", "healthz", "", "fragments/status", "api/schema/events.json", "styleguide"):
            told[path] = other.get(path).text
        for run_id in (before, after):
            for path in (f"api/runs/{run_id}", f"api/runs/{run_id}/events", f"?run={run_id}"):
                told[path] = other.get(path).text
        about = "".join(path.read_text() for path in (tmp_path / "runs").glob("*.json"))
    out, err = printed.readouterr()
    told |= {"standard output": out, "standard error": err, "beside the logs": about}
    assert "run.accepted" in err
    assert "request.fault" in err
    assert "engine.output" in err
    assert "Exception in ASGI application" in err
    assert "RuntimeError" in err
    assert err.count("test_privacy.py") >= 2, "where it came from is said"
    for place, text in told.items():
        assert CANARY not in text, place
        assert token not in text, place
        assert not [run_id for run_id in runs if run_id in text and place not in ("problems", "beside the logs")], place


def test_what_tasks_and_libraries_say_is_cut(printed: pytest.CaptureFixture[str]) -> None:
    async def forgotten() -> None:
        raise ValueError(CANARY)

    async def main() -> None:
        task = asyncio.create_task(forgotten())
        await asyncio.wait([task])
        del task

    asyncio.run(main())
    logging.getLogger("some.library").error("could not read %s\nof %s", "A1b2C3d4E5f6G7h8I9j0K_", CANARY)
    err = printed.readouterr().err
    assert "Task exception was never retrieved" in err
    assert "could not read (key)" in err
    assert CANARY not in err


def test_whoever_asks_for_it_sees_all(printed: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENKITCHEN_LOG_PRIVATE", "1")
    logging.getLogger("some.library").error("first\nsecond", exc_info=ValueError(CANARY))
    err = printed.readouterr().err
    assert "second" in err
    assert CANARY in err


WORKER = """
import logging
from inference import worker
from inference.tracebacks import be_quiet
class Broken:
    def __init__(self, options): pass
    def run(self):
        try: raise KeyError("{canary}")
        except KeyError as error: worker.logger.exception("the engine raised in a step", exc_info=error)
        raise RuntimeError("{canary}")
worker.Worker = Broken
worker.main(["--endpoint", "ipc:///nowhere"])
"""


def test_the_engine_process_prints_no_more() -> None:
    """The real one: what it logs, and what it dies of."""
    command = [sys.executable, "-c", WORKER.format(canary=CANARY)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "KeyError" in ended.stderr
    assert "RuntimeError" in ended.stderr
    # The source lines of this very script are not to be had, so whatever stands there was said by an exception.
    assert CANARY not in ended.stderr + ended.stdout


def test_lines_of_a_request_carry_its_name_and_no_address(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(tmp_path, trusted_proxies=("127.0.0.1",), access_log=True) as site:
        named = site.client.post("api/runs", json={"prompt": "hello"}, headers={"X-Request-ID": "from-the-proxy.1"})
        assert named.headers["x-request-id"] == "from-the-proxy.1"
        run_id = named.json()["run_id"]
        forged = site.client.get(f"api/runs/{run_id}", headers={"X-Request-ID": "a b\tc" + "x" * 80})
        assert len(forged.headers["x-request-id"]) == 16
        problem = site.client.get("api/runs/nope")
        assert problem.json()["request_id"] == problem.headers["x-request-id"]
        with site.socket(run_id) as socket:
            socket.recv()
        site.client.get("no/such/place")
        site.client.get("static/favicon.svg")
    err = capfd.readouterr().err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["event"] == "request"]
    named_lines = [line["event"] for line in lines if line.get("request_id") == "from-the-proxy.1"]
    assert sorted(named_lines) == ["request", "run.accepted"]
    posted = next(line for line in requests if line["request_id"] == "from-the-proxy.1")
    assert (posted["method"], posted["route"], posted["status"]) == ("POST", "/api/runs", 201)
    assert posted["seconds"] > 0
    routes = {(line["method"], line["route"], line["status"]) for line in requests}
    assert ("GET", "/api/runs/{run_id}", 404) in routes
    assert ("SOCKET", "/api/runs/{run_id}/socket", 1000) in routes or any(m == "SOCKET" for m, _, _ in routes)
    assert ("GET", "unmatched", 404) in routes
    assert not any(route.startswith("/static") for _, route, _ in routes), "files are told at debug"
    assert run_id not in err


def test_nobody_but_a_proxy_names_requests(site: ServedSite) -> None:
    response = site.client.get("healthz", headers={"X-Request-ID": "mine"})
    assert response.headers["x-request-id"] != "mine"
