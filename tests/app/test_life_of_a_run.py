"""A run from its prompt to its end: warm-up, stop, crash, hang, shutdown, restart, and what stays on disk."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.app.conftest import WORKER, ServedSite, assert_whole, serving

WARMING = (*WORKER, "--load-seconds", "1.0")


def test_the_log_says_what_was_asked_and_what_happened(site: ServedSite) -> None:
    run_id = site.run("the quick brown fox", max_tokens=3, temperature=0.5, seed=7, stop="###")
    events = site.events(run_id)
    assert_whole(events, run_id)
    opened, closed = events[0], events[-1]
    assert opened["source"] == "live"
    assert opened["model"]["name"] == "fake"
    assert opened["params"]["temperature"] == 0.5
    assert opened["params"]["seed"] == 7
    assert opened["params"]["stop"] == ["###"]
    assert "prompt" not in opened["params"]
    assert "probe.kv" in opened["provides"]
    assert closed["reason"] == "finished"
    assert closed["totals"]["completion_tokens"] == 3
    assert closed["totals"]["num_steps"] == 3
    assert closed["totals"]["cached_tokens"] == 3
    summary = site.client.get(f"api/runs/{run_id}").json()
    assert summary["status"] == "closed"
    assert summary["closed"] is True
    assert summary["text"] == " the quick brown"


def test_a_run_without_a_seed_is_given_one(site: ServedSite) -> None:
    seeds = {site.events(site.run("hello"))[0]["params"]["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_without_the_probe_it_is_not_provided(site: ServedSite) -> None:
    events = site.events(site.run("hello", probes=[]))
    assert "probe.kv" not in events[0]["provides"]
    assert "probe.kv" not in {event["type"] for event in events}


def test_probes_are_asked_for_by_name_or_in_full(site: ServedSite) -> None:
    for asked, params, provided in (
        (["kv", "kv"], ["kv"], ["probe.kv"]),
        ({}, [], []),
        ({"logits": [-1], "attention": {"positions": [3, -1], "layers": [1]}},
         {"kv": False, "logits": [-1], "attention": {"positions": [3, -1], "layers": [1], "heads": None, "whole": None,
                                                     "summary": True},
          "tiles": None},
         ["probe.logits", "probe.attention"]),
        ({"kv": True, "tiles": {"block_q": 8}},
         {"kv": True, "logits": [], "attention": None,
          "tiles": {"layer": 0, "head": 0, "num_tokens": 64, "block_q": 8, "block_k": 16}},
         ["probe.kv", "probe.tiles"]),
    ):  # fmt: skip
        opened = site.events(site.run("hello", probes=asked))[0]
        assert opened["params"]["probes"] == params
        assert [fact for fact in opened["provides"] if fact.startswith("probe.")] == provided
        again = site.events(site.run("hello", probes=opened["params"]["probes"]))[0]
        assert again["params"]["probes"] == params, "what the log says can be sent back"


def test_neighbours_are_guests(site: ServedSite) -> None:
    first = site.run("SLOW LONG alpha", max_tokens=60)
    second = site.run("SLOW LONG beta", max_tokens=30)
    for run_id, other_run, other_word in ((first, second, "beta"), (second, first, "alpha")):
        text = site.client.get(f"api/runs/{run_id}/events").text
        assert other_run not in text
        assert other_word not in text
        assert "guest-1" in text
    snapshot = next(event for event in site.events(second) if event["type"] == "snapshot")
    assert [request["request_id"] for request in snapshot["requests"]] == ["guest-1"]


def test_a_run_posted_while_the_engine_warms_waits_for_it(tmp_path: Path) -> None:
    with serving(tmp_path, worker=WARMING, ready=False) as site:
        assert site.client.get("").status_code == 200
        assert site.client.get("readyz").status_code == 503
        run_id = site.run("early bird")
        assert site.client.get(f"api/runs/{run_id}").json()["status"] == "warming"
        assert "warm" in site.client.get(f"fragments/runs/{run_id}/queue").text
        events = site.events(run_id)
        assert_whole(events, run_id)
        assert events[0]["model"]["name"] == "fake"
        assert events[1]["t"] > 0.3, "t counts from the prompt, the wait included"
        assert events[-1]["reason"] == "finished"


def test_only_its_creator_stops_a_run(site: ServedSite) -> None:
    run_id = site.run("SLOW LONG story", max_tokens=400)
    with httpx.Client() as stranger:
        response = stranger.delete(f"{site.url}api/runs/{run_id}")
        assert response.status_code == 403
        stranger.cookies.set("kitchen_visitor", "A" * 22)
        assert stranger.delete(f"{site.url}api/runs/{run_id}").status_code == 403
    assert site.client.delete(f"api/runs/{run_id}").status_code == 202
    events = site.events(run_id)
    assert_whole(events, run_id)
    assert events[-1]["reason"] == "stopped"
    assert events[-1]["totals"]["completion_tokens"] < 400
    again = site.client.delete(f"api/runs/{run_id}")
    assert again.status_code == 200
    assert again.json()["reason"] == "stopped"


def test_stopped_before_the_engine_was_ready(tmp_path: Path) -> None:
    with serving(tmp_path, worker=WARMING, ready=False) as site:
        run_id = site.run("never mind")
        site.client.delete(f"api/runs/{run_id}")
        events = site.events(run_id)
        assert_whole(events, run_id)
        assert events[0]["model"] is None
        assert events[-1]["reason"] == "stopped"


def test_the_engine_dies_and_the_next_run_works(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        bystander = site.run("SLOW LONG", max_tokens=300)
        run_id = site.run("SLOW CRASH LONG")
        for run in (run_id, bystander):
            events = site.events(run)
            assert_whole(events, run)
            assert events[-1]["reason"] == "crashed"
            assert "status 7" in events[-1]["detail"]
        site.wait(lambda: site.client.get("readyz").status_code == 200)
        after = site.run("hello again")
        assert site.events(after)[-1]["reason"] == "finished"
        assert "openkitchen_engine_crashes_total 1.0" in site.client.get("metrics").text


def test_killed_from_outside(tmp_path: Path) -> None:
    with serving(tmp_path, engine_restart_seconds=0.5) as site:
        run_id = site.run("SLOW LONG", max_tokens=400)
        os.kill(site.site.kitchen.pid, signal.SIGKILL)
        assert "SIGKILL" in site.events(run_id)[-1]["detail"]
        response = site.post("too soon")
        assert response.status_code == 503
        assert response.json()["code"] == "engine_restarting"
        assert int(response.headers["retry-after"]) >= 1
        assert site.client.get("").status_code == 200


def test_the_second_warm_up_takes_no_prompts(tmp_path: Path) -> None:
    with serving(tmp_path, worker=WARMING, ready=False) as site:
        site.wait(lambda: site.client.get("readyz").status_code == 200)
        os.kill(site.site.kitchen.pid, signal.SIGKILL)
        site.wait(lambda: site.site.kitchen.status.stage == "pretending")
        response = site.post("too soon")
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) >= 1
        site.wait(lambda: site.client.get("readyz").status_code == 200)
        assert site.post("now").status_code == 201


def test_the_line_and_each_visitors_share_are_bounded(tmp_path: Path) -> None:
    limits = {"max_waiting_runs": 5, "max_runs_per_visitor": 3}
    with serving(tmp_path, worker=(*WORKER, "--load-seconds", "2"), ready=False, **limits) as site:
        mine = [site.post("mine") for _ in range(4)]
        assert [response.status_code for response in mine] == [201, 201, 201, 429]
        assert mine[-1].json()["code"] == "too_many_runs"
        with httpx.Client() as other:
            theirs = [other.post(f"{site.url}api/runs", json={"prompt": "theirs"}) for _ in range(3)]
        assert [response.status_code for response in theirs] == [201, 201, 429]
        assert theirs[-1].json()["code"] == "line_full"
        for response in (*mine[:3], *theirs[:2]):
            assert site.events(response.json()["run_id"])[-1]["reason"] == "finished"


def test_an_engine_that_hangs_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, engine_hang_seconds=0.6) as site:
        run_id = site.run("HANG now please")
        events = site.events(run_id)
        assert_whole(events, run_id)
        assert events[-1]["reason"] == "crashed"
        assert "said nothing" in events[-1]["detail"]
        site.wait(lambda: site.client.get("readyz").status_code == 200)


def test_without_a_model_the_page_still_opens(tmp_path: Path) -> None:
    worker = (*WORKER, "--fail", "no_model", "--load-seconds", "0.5")
    with serving(tmp_path, worker=worker, ready=False) as site:
        waiting = site.run("early")
        site.wait(lambda: site.site.kitchen.status.state == "no_model")
        events = site.events(waiting)
        assert_whole(events, waiting)
        assert events[-1]["reason"] == "error"
        assert "no model" in events[-1]["detail"]
        response = site.post("hello")
        assert response.status_code == 503
        assert response.json()["code"] == "no_model"
        assert "retry-after" in response.headers
        assert site.client.get("").status_code == 200
        assert "no model on this machine" in site.client.get("fragments/status").text
        assert site.site.kitchen.pid is None


def test_an_engine_that_cannot_be_started(tmp_path: Path) -> None:
    with serving(tmp_path, worker=("/no/such/program",), ready=False) as site:
        site.wait(lambda: site.site.kitchen.status.state == "failed")
        assert site.post("hello").status_code == 503
        assert site.client.get("healthz").status_code == 200


def test_a_shutdown_ends_live_runs_and_the_engine(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        run_id = site.run("SLOW LONG", max_tokens=400)
        pid = site.site.kitchen.pid
        with site.socket(run_id) as reader:
            reader.recv()
            site.server.should_exit = True
            events = [event for frame in reader for event in json.loads(frame)["events"]]
        assert events[-1]["type"] == "log.closed"
        assert events[-1]["reason"] == "interrupted"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with serving(tmp_path) as again:
        kept = again.events(run_id)
        assert_whole(kept, run_id)
        assert kept[-1]["reason"] == "interrupted"


@pytest.mark.parametrize("cut", ["whole lines", "mid line", "nothing written", "garbage"])
def test_a_start_closes_what_a_crash_left_open(tmp_path: Path, cut: str) -> None:
    with serving(tmp_path) as site:
        run_id = site.run("one two three")
        whole = site.events(run_id)
        site.wait(lambda: (tmp_path / "runs" / f"{run_id}.jsonl.gz").exists())
    packed = tmp_path / "runs" / f"{run_id}.jsonl.gz"
    lines = gzip.decompress(packed.read_bytes()).splitlines(keepends=True)
    packed.unlink()
    left = {
        "whole lines": b"".join(lines[:6]),
        "mid line": b"".join(lines[:6]) + lines[6][:20],
        "nothing written": b"",
        "garbage": b"".join(lines[:6]) + b"\0\0\0\0\n" + lines[6],
    }[cut]
    (tmp_path / "runs" / f"{run_id}.jsonl").write_bytes(left)
    with serving(tmp_path) as site:
        healed = site.events(run_id)
        assert_whole(healed, run_id)
        assert healed[-1]["reason"] == "interrupted"
        assert healed[:-1] == (whole[:6] if left else healed[:1])
        assert site.client.get(f"api/runs/{run_id}").json()["reason"] == "interrupted"
        assert not list((tmp_path / "runs").glob("*.jsonl"))


def test_what_is_read_is_on_disk_already(site: ServedSite) -> None:
    run_id = site.run("SLOW LONG", max_tokens=40)
    path = site.settings.data_dir / "runs" / f"{run_id}.jsonl"
    with site.socket(run_id) as reader:
        for _ in range(10):
            last = json.loads(reader.recv())["events"][-1]["seq"]
            assert path.read_bytes().count(b"\n") >= last


def test_old_runs_go(tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        ids = [site.run(f"number {number}") for number in range(4)]
        for age, run_id in enumerate(ids):
            site.events(run_id)
            packed = tmp_path / "runs" / f"{run_id}.jsonl.gz"
            site.wait(packed.exists)
            assert packed.stat().st_mode & 0o777 == 0o600
            about = tmp_path / "runs" / f"{run_id}.json"
            assert about.stat().st_mode & 0o777 == 0o600
            if age == 3:
                about.write_text(json.dumps(json.loads(about.read_text()) | {"created_at": 1e9}))
    (tmp_path / "runs" / f"{'A' * 22}.json").write_text('{"creator": "nobody", "created_at": 1e9}')
    with serving(tmp_path, keep_runs=2, keep_days=1) as site:
        site.wait(lambda: len(list((tmp_path / "runs").glob("*.gz"))) == 2)
        assert site.client.get(f"api/runs/{ids[3]}").status_code == 404
        assert len(list((tmp_path / "runs").glob("*.json"))) == 2


def test_the_web_process_never_imports_torch() -> None:
    import subprocess

    code = (
        "import sys, app.main, app.cli, app.server; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
