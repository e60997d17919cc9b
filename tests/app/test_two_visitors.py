"""Two visitors at the real engine: with everything that either can fetch, neither learns what the other asked."""

from __future__ import annotations

import json
import random
import re
import string
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.app.conftest import ServedSite
from tests.app.test_open_doors import READING, address

SECRET = (
    "My landlord Wolfgang Amaryllis is selling the zeppelin factory in Pfaffenhofen to Quetzalcoatl Holdings. "
    "Should I tell the bicycle couriers before Thursday, or hide the marzipan ledger first?"
)
TELLING = ("Wolfgang", "Amaryllis", "zeppelin", "Pfaffenhofen", "Quetzal", "bicycle", "marzipan", "ledger", "landlord")
READY_SECONDS = 240
SHOWN = {
    "request.admitted": {"slot", "num_tokens", "cached_tokens", "queue_seconds"},
    "request.preempted": {"slot", "num_computed_tokens"},
    "request.finished": {"slot", "reason", "num_samples_left"},
    "kv.written": {"start", "stop"},
    "block.allocated": {"block_ids", "start"},
    "block.shared": {"block_ids", "start", "ref_counts"},
    "block.copied": {"block_id", "source_block_id", "index"},
    "block.released": {"block_ids", "ref_counts", "cached"},
}
"""All that a log may say of somebody else: slots, lengths and blocks."""
ENVELOPE = {"seq", "t", "type", "request_id", "sample"}


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    served = ServedSite(tmp_path_factory.mktemp("data"), worker=None, posts_per_minute_in_all=1e6)
    served.start(seconds=READY_SECONDS)
    yield served
    served.stop()


@pytest.fixture
def visitors(kitchen: ServedSite) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    # (A connection that is kept may be closed as it is used again, where one waits for the other for long.)
    limits = httpx.Limits(max_keepalive_connections=0)
    with (
        httpx.Client(base_url=kitchen.url, timeout=60, limits=limits) as anna,
        httpx.Client(base_url=kitchen.url, timeout=60, limits=limits) as bruno,
    ):
        yield anna, bruno


def ask(visitor: httpx.Client, prompt: str, **params: Any) -> str:
    response = visitor.post("api/runs", json={"prompt": prompt, "temperature": 0, "max_tokens": 8, **params})
    assert response.status_code == 201, response.text
    run_id: str = response.json()["run_id"]
    return run_id


def read(visitor: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in visitor.get(f"api/runs/{run_id}/events").text.splitlines()]


def takes_of(visitor: httpx.Client, run_id: str) -> list[str]:
    bodies: list[dict[str, Any]] = [
        {"take": "again"},
        {"take": "samples", "n": 2, "max_tokens": 4},
        {"take": "rush-hour", "neighbours": 2, "max_tokens": 4},
        {"take": "probe", "probes": {"logits": [-1], "attention": {"positions": [-1]}}},
    ]
    made = []
    for body in bodies:
        response = visitor.post(f"api/runs/{run_id}/takes", json=body)
        if response.status_code == 201:
            made.append(response.json()["run_id"])
            read(visitor, made[-1])
    assert len(made) >= 3
    return made


def socket_text(kitchen: ServedSite, run_id: str) -> str:
    said = []
    with kitchen.socket(run_id) as socket:
        try:
            while True:
                said.append(socket.recv(timeout=60))
        except ConnectionClosed:
            pass
    return "".join(said)


def everything(kitchen: ServedSite, visitor: httpx.Client, run_ids: list[str]) -> dict[str, str]:
    """What a visitor gets by every address that there is, with each of their own runs in its place."""
    told = {}
    for route in READING:
        for run_id in run_ids if "{" in route.path else [""]:
            path = address(route, run_id)
            response = visitor.get(path)
            assert response.status_code < 500, path
            told[path] = f"{dict(response.headers)} {response.text}"
    for run_id in run_ids:
        told[f"socket {run_id}"] = socket_text(kitchen, run_id)
        told[f"sse {run_id}"] = visitor.get(f"api/runs/{run_id}/events", headers={"Accept": "text/event-stream"}).text
    for query in (f"?run={run_ids[0]}", f"oembed?url={kitchen.url}?run={run_ids[0]}", "api/runs?limit=100"):
        told[query] = visitor.get(query).text
    return told


def test_neither_learns_what_the_other_asked(kitchen: ServedSite, visitors: tuple[httpx.Client, httpx.Client]) -> None:
    anna, bruno = visitors
    probes = ["kv"]
    hers: list[str] = []

    def ask_all_the_while() -> None:
        for _ in range(2):
            hers.append(ask(anna, SECRET, max_tokens=40, probes=probes))
            read(anna, hers[-1])

    asking = threading.Thread(target=ask_all_the_while)
    asking.start()
    his = [ask(bruno, "Tell me a story about a boat and the sea.", max_tokens=24, probes=probes) for _ in range(2)]
    for run_id in his:
        read(bruno, run_id)
    asking.join(120)
    anna.patch(f"api/runs/{hers[0]}", json={"kept": True, "title": "mine"})
    her_takes = takes_of(anna, hers[0])
    his += takes_of(bruno, his[0])
    logs = [read(bruno, run_id) for run_id in his]
    guests = [event for log in logs[:2] for event in log if str(event.get("request_id")).startswith("guest-")]
    assert guests, "they met in the engine"
    for event in guests:
        said = {name for name, value in event.items() if value not in (None, "")}
        assert said - ENVELOPE <= SHOWN[event["type"]], event
        assert event.get("cached_tokens", 0) == 0
    told = everything(kitchen, bruno, his)
    assert len(told) > 20
    keys = [*hers, *her_takes, anna.cookies["kitchen_visitor"]]
    digests = [kitchen.site.visitors.digest(keys[-1], purpose) for purpose in ("creator", "cache")]
    her_answer = anna.get(f"api/runs/{hers[0]}").json()["text"]
    for place, text in told.items():
        found = [word for word in (*TELLING, *keys, *digests) if word in text]
        assert not found, (place, found)
        assert len(her_answer) < 20 or her_answer not in text, place


def test_a_stranger_stops_lists_keeps_and_deletes_nothing(
    kitchen: ServedSite, visitors: tuple[httpx.Client, httpx.Client]
) -> None:
    """Even with the id, which is the key to read."""
    anna, bruno = visitors
    run_id = ask(anna, "Name a colour.")
    read(anna, run_id)
    ask(bruno, "Name a number.")
    assert bruno.delete(f"api/runs/{run_id}").status_code == 403
    assert bruno.patch(f"api/runs/{run_id}", json={"kept": True}).status_code == 403
    assert bruno.delete(f"api/runs/{run_id}/log").status_code == 403
    assert run_id not in bruno.get("api/runs").text
    assert run_id in anna.get("api/runs").text
    assert bruno.get("api/runs", params={"before": run_id}).status_code == 422
    unknown = [bruno.get(f"api/runs/{guess}").json() for guess in ("A" * 22, "nope", run_id[:-1] + "!")]
    assert len({problem["detail"] for problem in unknown}) == 1, "one answer for whatever is not there"
    assert run_id != run_id[::-1]


def steps_of_blocks(events: list[dict[str, Any]], run_id: str) -> list[tuple[Any, ...]]:
    """What happened to a run's own blocks, but for which ones they were."""
    return [
        (event["type"], event.get("start"), len(event["block_ids"]))
        for event in events
        if event["type"].startswith("block.") and event.get("request_id") == run_id
    ]


def test_the_same_words_of_a_stranger_find_nothing(
    kitchen: ServedSite, visitors: tuple[httpx.Client, httpx.Client]
) -> None:
    anna, bruno = visitors
    fresh = SECRET.replace("My", "Our", 1)

    def cooked(visitor: httpx.Client, prompt: str) -> tuple[int, int, list[tuple[Any, ...]]]:
        run_id = ask(visitor, prompt, max_tokens=2)
        events = read(visitor, run_id)
        totals = events[-1]["totals"]
        return totals["cached_tokens"], totals["prompt_tokens"], steps_of_blocks(events, run_id)

    first, again = cooked(anna, SECRET), cooked(anna, SECRET)
    assert again[0] > first[0], "her own words are found"
    stranger, unseen = cooked(bruno, SECRET), cooked(bruno, fresh)
    assert stranger[0] == unseen[0] == first[0]
    if stranger[1] == unseen[1]:
        assert stranger[2] == unseen[2]
    assert stranger[2] == first[2] != again[2]


def test_a_take_of_anothers_run_finds_nothing_of_theirs(
    kitchen: ServedSite, visitors: tuple[httpx.Client, httpx.Client]
) -> None:
    """Who has the id may read the run and cook it again, for themselves: with their own salt, and as theirs."""
    anna, bruno = visitors
    run_id = ask(anna, SECRET)
    read(anna, run_id)
    made = bruno.post(f"api/runs/{run_id}/takes", json={"take": "again"}).json()["run_id"]
    log = read(bruno, made)
    public = read(bruno, ask(bruno, "Something else."))[-1]["totals"]["cached_tokens"]
    assert log[-1]["reason"] == "finished"
    assert log[-1]["totals"]["cached_tokens"] == public
    assert made not in anna.get("api/runs").text
    assert anna.delete(f"api/runs/{made}").status_code == 403
    hers = anna.post(f"api/runs/{run_id}/takes", json={"take": "again"}).json()["run_id"]
    assert read(anna, hers)[-1]["totals"]["cached_tokens"] > public


# ---- by the clock

NUM_PAIRS = 150


def words(rng: random.Random, count: int) -> str:
    return " ".join("".join(rng.choices(string.ascii_lowercase, k=14)) for _ in range(count))


def measured(visitor: httpx.Client, prompt: str) -> dict[str, float]:
    """What a visitor can time of a run of theirs, by its own log."""
    run_id = ask(visitor, prompt, max_tokens=1)
    events = read(visitor, run_id)
    at = {event["type"]: event["t"] for event in reversed(events)}
    tokenized = next(event for event in events if event["type"] == "request.tokenized")
    return {
        "tokens": float(len(tokenized["token_ids"])),
        "tokenizing": tokenized["seconds"],
        "first token": at["token.sampled"],
        "prefill": at["token.sampled"] - at["request.admitted"],
    }


@pytest.mark.slow
def test_time_tells_nothing_either(kitchen: ServedSite, visitors: tuple[httpx.Client, httpx.Client]) -> None:
    """Bruno times prompts that Anna has just asked, and fresh ones of as many tokens, in turns. The same measure finds
    her own prompts at once when she asks again, so it is not blind."""
    from scipy.stats import mannwhitneyu

    anna, bruno = visitors
    rng = random.Random(11)
    seen: list[dict[str, float]] = []
    fresh: list[dict[str, float]] = []
    again: list[dict[str, float]] = []
    for _ in range(NUM_PAIRS):
        secret = words(rng, 12)
        measured(anna, secret)
        first_seen = rng.random() < 0.5
        for which in (first_seen, not first_seen):
            (seen if which else fresh).append(measured(bruno, secret if which else words(rng, 12)))
        again.append(measured(anna, secret))

    def told_apart(one: list[dict[str, float]], other: list[dict[str, float]], what: str) -> tuple[float, float]:
        """How often the one takes longer than the other (0.5: no telling), and how likely that is by chance."""
        # (A token more takes longer; that lengths can be seen is said.)
        test = mannwhitneyu([m[what] / m["tokens"] for m in one], [m[what] / m["tokens"] for m in other])
        return float(test.statistic) / len(one) / len(other), float(test.pvalue)

    for what in ("tokenizing", "first token", "prefill"):
        share, chance = told_apart(seen, fresh, what)
        print(f"{what}: a stranger's look takes longer in {share:.3f} of pairs, p {chance:.3f}")  # noqa: T201
        assert chance > 0.001, what
    control, chance = told_apart(seen, again, "prefill")
    print(f"control: {control:.3f}, p {chance:.1e}")  # noqa: T201
    assert control > 0.9
    assert chance < 1e-6


def test_words_that_were_split_before_are_not_kept() -> None:
    """The tokenizers library keeps the words that it has split, for everybody: switched off, or seconds would tell."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    from inference.bpe import forget_words

    model = BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], cache_capacity=10)
    backend = Tokenizer(model)
    forget_words(backend)
    assert re.search("_resize_cache", " ".join(dir(backend.model))), "the library still lets us"
    assert backend.encode("ab").ids == [2]
