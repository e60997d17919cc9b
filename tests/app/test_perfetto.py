"""A log as a Chrome trace: by the rules of the Trace Event Format, with the log's own numbers."""

from __future__ import annotations

import gzip
import json
import socket
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.perfetto import ENGINE, REQUESTS, SLOTS, SPECULATION, chrome_trace
from app.recordings import recorded_lines, recordings
from inference.events import decode
from tests.app.conftest import ServedSite, serving

Log = list[dict[str, Any]]


def trace_of(lines: list[bytes]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(b"".join(chrome_trace(map(decode, lines))))
    return document


def log_of(name: str) -> tuple[list[bytes], Log]:
    lines = recorded_lines(name)
    assert lines is not None
    return lines, [json.loads(line) for line in lines]


def us(seconds: float) -> int:
    return round(seconds * 1e6)


def assert_format(document: dict[str, Any]) -> None:
    """What the format asks: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU and
    Perfetto's importer: every track is introduced, its times never run back, what begins ends, slices nest, a flow
    starts once and ends once, inside of slices, and a counter's values are numbers."""
    events = document["traceEvents"]
    assert document["displayTimeUnit"] in ("ms", "ns")
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    processes = {e["pid"] for e in events if e["name"] == "process_name"}
    last: dict[tuple[int, int], int] = defaultdict(int)
    stacks: dict[tuple[int, int], list[tuple[str, float]]] = defaultdict(list)
    flows: dict[int, list[str]] = defaultdict(list)
    for event in events:
        phase, track = event["ph"], (event["pid"], event["tid"])
        assert phase in ("M", "B", "E", "X", "i", "C", "s", "t", "f"), phase
        assert isinstance(event["name"], str)
        assert event["name"]
        assert isinstance(event["ts"], int)
        assert isinstance(event.get("args", {}), dict)
        if phase == "M":
            continue
        assert event["pid"] in processes
        if phase == "C":
            assert event["args"]
            assert all(isinstance(value, int) and value >= 0 for value in event["args"].values())
            continue
        assert track in named, f"{track} was never introduced"
        stack = stacks[track]
        while stack and stack[-1][1] <= event["ts"] and stack[-1][1] != float("inf"):
            stack.pop()
        if phase in ("s", "t", "f"):
            flows[event["id"]].append(phase)
            inside = [name for name, stop in stack] or last[track] >= event["ts"]
            assert inside, f"a flow binds to nothing at {event['ts']}"
            continue
        assert event["ts"] >= last[track], f"{track} runs back at {event['ts']}"
        last[track] = event["ts"]
        if phase == "X":
            assert event["dur"] >= 0
            stop = event["ts"] + event["dur"]
            assert not stack or stop <= stack[-1][1], "slices that overlap"
            stack.append((event["name"], stop))
            last[track] = event["ts"] if track[0] != ENGINE else stop
        elif phase == "B":
            stack.append((event["name"], float("inf")))
        elif phase == "E":
            assert stack
            assert stack.pop()[0] == event["name"]
        elif phase == "i":
            assert event["s"] == "t"
    assert not [track for track, stack in stacks.items() for _, stop in stack if stop == float("inf")], "left open"
    for phases in flows.values():
        assert phases[0] == "s"
        assert phases[-1] == "f"
        assert set(phases[1:-1]) <= {"t"}


@pytest.mark.parametrize("name", sorted(recordings()))
def test_every_recording_is_a_trace_with_the_logs_own_numbers(name: str) -> None:
    lines, log = log_of(name)
    document = trace_of(lines)
    assert_format(document)
    events = document["traceEvents"]
    own = log[0]["run_id"]
    # Steps: each with its phase, its seconds and its sums.
    steps = [e for e in events if e["ph"] == "X" and e["pid"] == ENGINE]
    finished = [e for e in log if e["type"] == "step.finished"]
    started = {e["step"]: e for e in log if e["type"] == "step.started"}
    assert len(steps) == len(finished)
    for drawn, said in zip(steps, finished, strict=True):
        assert drawn["args"]["step"] == said["step"]
        assert drawn["name"] == started[said["step"]]["phase"]
        assert drawn["ts"] + drawn["dur"] == us(said["t"])
        # As long as it says, but that it begins no later than its first event, and after the step before.
        since_started = us(said["t"]) - us(started[said["step"]]["t"])
        assert since_started <= drawn["dur"] <= max(us(said["seconds"]), since_started) + 1
        for key in ("seconds", "forward_seconds", "flops", "weight_bytes", "kv_read_bytes"):
            assert drawn["args"][key] == said[key]
    # Shares: a slice a request and step, in its slot's track.
    slots = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name" and e["pid"] == SLOTS}
    shares = Counter(
        (e["args"]["step"], slots[e["tid"]], e["name"], e["args"]["start"], e["args"]["stop"])
        for e in events
        if e["ph"] == "X" and e["pid"] == SLOTS
    )
    assert shares == Counter(
        (e["step"], f"slot {item['slot']}", item["phase"], item["start"], item["stop"])
        for e in started.values()
        for item in e["requests"]
    )
    # Tokens, with their probabilities; this run's own in the first track of requests.
    tokens = [e for e in events if e["ph"] == "i"]
    sampled = [e for e in log if e["type"] == "token.sampled"]
    assert [(e["ts"], e["args"]["id"]) for e in tokens] == [(us(e["t"]), e["id"]) for e in sampled]
    assert {e["tid"] for e in tokens if e["args"]["step"]} <= set(range(1, 5))
    # Drafts and verdicts.
    verdicts = [e for e in events if e["pid"] == SPECULATION and e["name"].startswith("verify")]
    judged = [e for e in log if e["type"] == "speculation.judged"]
    assert [e["args"]["accepted"] for e in verdicts] == [e["num_accepted"] for e in judged]
    # Every step that computed for this run is on its flow.
    admitted = any(e["type"] == "request.admitted" and e["request_id"] == own for e in log)
    own_steps = [
        e["step"] for e in started.values() if any(i["request_id"] == own and not i["sample"] for i in e["requests"])
    ]
    assert sum(e["ph"] == "t" and e["id"] == 1 for e in events) == (len(own_steps) if admitted else 0)


@pytest.mark.parametrize(
    "name", ["tomato-soup.starved", "tomato-soup.samples", "tomato-soup.paged", "tomato-soup.again"]
)
def test_counters_add_up(name: str) -> None:
    """Worked out another way: from block tables, one a sequence."""
    lines, log = log_of(name)
    events = trace_of(lines)["traceEvents"]
    blocks = {e["ts"]: e["args"] for e in events if e["ph"] == "C" and e["name"] == "blocks"}
    total = log[0]["engine"]["num_blocks"]
    assert blocks
    assert all(sum(args.values()) == total for args in blocks.values())
    tables: dict[tuple[str, int], list[int]] = defaultdict(list)
    held_at: dict[int, int] = {}
    for event in log:
        kind = event["type"]
        key = (event.get("request_id", ""), event.get("sample", 0))
        if kind == "snapshot":
            for request in event["requests"]:
                tables[request["request_id"], request["sample"]] = list(request["block_ids"])
        elif kind in ("block.allocated", "block.shared"):
            tables[key][event["start"] :] = event["block_ids"]
        elif kind == "block.copied":
            tables[key][event["index"]] = event["block_id"]
        elif kind == "block.released":
            tables[key] = [block for block in tables[key] if block not in event["block_ids"]]
        held_at[us(event["t"])] = len({block for table in tables.values() for block in table})
    for ts, args in blocks.items():
        assert args["held"] == held_at[ts], f"at {ts}"
    running = [e["args"]["running"] for e in events if e["ph"] == "C" and e["name"] == "requests"]
    most = max(len(e["requests"]) for e in log if e["type"] == "step.started")
    assert max(running) >= most
    assert running[-1] == 0


def test_a_busy_kitchen_shows_guests_without_their_words() -> None:
    lines, log = log_of("tomato-soup.rush-hour")
    document = trace_of(lines)
    named = {
        e["args"]["name"]: e["tid"]
        for e in document["traceEvents"]
        if e["name"] == "thread_name" and e["pid"] == REQUESTS
    }
    assert named["this run"] == 1
    assert {"guest-1", "guest-6"} <= set(named)
    assert all(e["tid"] == 1 for e in document["traceEvents"] if e["ph"] == "i")
    queued = next(e for e in document["traceEvents"] if e["ph"] == "B" and e["pid"] == REQUESTS and e["tid"] == 1)
    own = log[0]["run_id"]
    admitted = next(e for e in log if e["type"] == "request.admitted" and e["request_id"] == own)
    end = next(e for e in document["traceEvents"] if e["ph"] == "E" and e["pid"] == REQUESTS and e["tid"] == 1)
    assert (queued["name"], end["ts"]) == ("queued", us(admitted["t"]))
    assert document["otherData"]["machine"] == log[0]["hardware"]["name"]
    assert document["otherData"]["source"] == "recorded"


def test_a_log_that_was_cut_short_still_balances() -> None:
    """Wherever a crash ended it."""
    lines, _ = log_of("tomato-soup.rush-hour")
    for length in [*range(1, 60), *range(60, len(lines), 37)]:
        assert_format(trace_of(lines[:length]))


def test_it_is_streamed() -> None:
    lines, _ = log_of("tomato-soup")
    pieces = list(chrome_trace(map(decode, lines)))
    assert len(pieces) > 2
    assert max(map(len, pieces)) < 80_000


def test_over_http(site: ServedSite) -> None:
    run_id = site.run("one two three")
    site.events(run_id)
    response = site.client.get(f"api/runs/{run_id}/perfetto")
    assert response.headers["content-type"] == "application/json"
    assert f"{run_id}.perfetto.json" in response.headers["content-disposition"]
    assert_format(response.json())
    names = [e["name"] for e in response.json()["traceEvents"] if e["ph"] == "i"]
    assert names == [" one", " two", " three"]
    recorded = site.client.get("api/recordings/tomato-soup/perfetto")
    assert recorded.json() == trace_of(log_of("tomato-soup")[0])
    assert recorded.headers["access-control-allow-origin"] == "*"
    for name in ("nope", "..%2f..%2fetc", "tomato-soup.jsonl.gz"):
        missing = site.client.get(f"api/recordings/{name}/perfetto")
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "application/problem+json"
    assert site.client.head(f"api/runs/{run_id}/perfetto").status_code == 200


def test_who_takes_nothing_of_it_holds_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # (The trace is to be more than all buffers on the way can hold.)
    monkeypatch.setattr("app.wire.WRITE_BUFFER_BYTES", 8192)
    monkeypatch.setattr("app.wire.SEND_BUFFER_BYTES", 8192)
    with serving(tmp_path, send_timeout=0.3) as site, socket.socket() as deaf:
        run_id = site.run("LONG " + "word " * 400, max_tokens=400)
        site.events(run_id)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", site.port))
        deaf.sendall(f"GET /api/runs/{run_id}/perfetto HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\n\r\n".encode())
        site.wait(lambda: site.site.readers.total == 1)
        site.wait(lambda: site.site.readers.total == 0, 5)
        assert_format(site.client.get(f"api/runs/{run_id}/perfetto").json())


def test_recordings_are_read_where_they_lie() -> None:
    for name, path in recordings().items():
        lines = recorded_lines(name)
        assert lines == gzip.decompress(path.read_bytes()).splitlines()
        assert msgspec.json.decode(lines[0])["type"] == "log.opened"


def test_clocks_that_disagree_leave_no_overlap() -> None:
    """A step that says it took longer than there was room for since the one before is cut, and says what it said."""
    lines, log = log_of("tomato-soup")
    at = [index for index, event in enumerate(log) if event["type"] == "step.finished"]
    longer = {**log[at[3]], "seconds": 10.0}
    document = trace_of([*lines[: at[3]], json.dumps(longer).encode(), *lines[at[3] + 1 :]])
    assert_format(document)
    steps = [e for e in document["traceEvents"] if e["ph"] == "X" and e["pid"] == ENGINE]
    assert steps[3]["ts"] == steps[2]["ts"] + steps[2]["dur"]
    assert steps[3]["args"]["seconds"] == 10.0
