"""What the engine says must be what it did: the stream is replayed and compared with the engine itself."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from inference import Engine, EngineConfig, Model, SamplingParams
from inference.events import (
    BlockEvicted,
    BlockReleased,
    BlockShared,
    Event,
    KVWritten,
    ProbeKV,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestTokenized,
    Snapshot,
    StepFinished,
    StepStarted,
    TokenSampled,
    decode,
    encode,
)
from inference.sequence import RequestOutput
from tests.inference.replay import Replay


def of(events: Iterable[Event], kind: type[Event], request_id: str | None = None) -> list[Event]:
    return [e for e in events if isinstance(e, kind) and request_id in (None, getattr(e, "request_id", None))]


@pytest.fixture
def crowded(tiny: Model) -> tuple[list[Event], list[RequestOutput], Engine]:
    """Twelve requests through a small pool: chunks, hits, evictions and preemptions. Books are compared on the way."""
    events: list[Event] = []
    config = EngineConfig(block_size=4, num_blocks=24, max_num_seqs=4, max_num_batched_tokens=16)
    engine = Engine(tiny, config, events.append)
    outputs: list[RequestOutput] = []
    for i in range(12):
        prompt = list(range(100, 100 + 5 + 3 * (i % 4)))
        engine.add_request(prompt, SamplingParams(temperature=1.0, seed=i, max_tokens=20 + i), request_id=f"r{i}")
    replay, told = Replay(24), 0
    while engine.has_unfinished_requests():
        outputs += engine.step()
        engine.check_integrity()
        for event in events[told:]:
            replay.apply(event)
        told = len(events)
        replay.check(engine._blocks)
    return events, outputs, engine


def test_the_crowd_meets_everything(crowded: tuple[list[Event], list[RequestOutput], Engine]) -> None:
    events, _, _ = crowded
    for kind in (RequestPreempted, BlockShared, BlockEvicted, BlockReleased):
        assert of(events, kind), kind


def test_every_token_is_said_once_and_is_the_outputs(crowded: tuple[list[Event], list[RequestOutput], Engine]) -> None:
    events, outputs, _ = crowded
    for last in [output for output in outputs if output.finished]:
        said = of(events, TokenSampled, last.request_id)
        (prompt,) = of(events, RequestTokenized, last.request_id)
        assert [event.id for event in said] == last.token_ids
        assert [event.position for event in said] == [len(prompt.token_ids) + i for i in range(len(said))]
        assert "".join(event.text for event in said) == last.text
        (end,) = of(events, RequestFinished, last.request_id)
        assert (end.text, end.reason, end.usage) == (last.text, last.finish_reason, last.usage)
        for event in said:
            assert event.logprob <= 0
            assert sum(c.probability for c in event.candidates) + event.rest == pytest.approx(1.0, abs=1e-4)
            assert len(event.candidates) == 8


def test_the_cache_is_written_without_gap_or_overlap(crowded: tuple[list[Event], list[RequestOutput], Engine]) -> None:
    events, outputs, _ = crowded
    for last in [output for output in outputs if output.finished]:
        written = 0
        for event in events:
            if getattr(event, "request_id", None) != last.request_id:
                continue
            if isinstance(event, RequestPreempted):
                assert event.num_computed_tokens == written
                written = 0
            elif isinstance(event, RequestAdmitted):
                written = event.cached_tokens
            elif isinstance(event, KVWritten):
                assert event.start == written
                written = event.stop
        assert written == last.usage.prompt_tokens + last.usage.completion_tokens - 1, "the last is never computed"


def test_steps_are_whole(crowded: tuple[list[Event], list[RequestOutput], Engine]) -> None:
    events, _, _ = crowded
    started, finished = of(events, StepStarted), of(events, StepFinished)
    assert [e.step for e in started] == [e.step for e in finished] == list(range(1, len(started) + 1))
    for begin, end in zip(started, finished, strict=True):
        inside = events[events.index(begin) + 1 : events.index(end)]
        assert all(isinstance(event, (KVWritten, ProbeKV, TokenSampled)) for event in inside)
        assert [(e.request_id, e.start, e.stop) for e in inside if isinstance(e, KVWritten)] == [
            (item.request_id, item.start, item.stop) for item in begin.requests
        ]
        assert begin.num_tokens == end.num_tokens == sum(item.stop - item.start for item in begin.requests) <= 16
        assert begin.phase == ("prefill" if any(i.phase == "prefill" for i in begin.requests) else "decode")
        assert len({item.slot for item in begin.requests}) == len(begin.requests)
        assert end.seconds >= end.schedule_seconds + end.forward_seconds + end.sample_seconds > 0
        assert end.flops > 0
        assert end.kv_written_bytes > 0
    assert all(a.t <= b.t for a, b in itertools.pairwise(events))
    assert all(event.seq == 0 for event in events)


def test_a_life_is_told_in_order(crowded: tuple[list[Event], list[RequestOutput], Engine]) -> None:
    events, outputs, _ = crowded
    for name in {output.request_id for output in outputs}:
        kinds = [type(e) for e in events if getattr(e, "request_id", None) == name]
        first = [kinds.index(k) for k in (RequestQueued, RequestTokenized, RequestAdmitted, KVWritten, TokenSampled)]
        assert first == sorted(first)
        assert kinds[-2:] == [RequestFinished, BlockReleased]
        assert kinds.count(RequestFinished) == 1
        assert kinds.count(RequestAdmitted) == kinds.count(RequestPreempted) + 1


def test_every_event_survives_the_wire(crowded: tuple[list[Event], list[RequestOutput], Engine]) -> None:
    events, _, _ = crowded
    assert [decode(encode(event)) for event in events] == events


def test_the_kv_probe_covers_what_was_written(tiny: Model) -> None:
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4, max_num_batched_tokens=5), events.append)
    engine.add_request(list(range(50, 62)), SamplingParams(max_tokens=3, seed=1), request_id="a", probes=["kv"])
    engine.add_request(list(range(70, 75)), SamplingParams(max_tokens=3, seed=1), request_id="b")
    while engine.has_unfinished_requests():
        engine.step()
    probes, written = of(events, ProbeKV), of(events, KVWritten, "a")
    assert {event.request_id for event in probes} == {"a"}
    assert [(p.start, p.stop) for p in probes] == [(w.start, w.stop) for w in written]
    for probe in probes:
        for array in (probe.keys, probe.values):
            assert array.shape == [2, 2, probe.stop - probe.start]
            norms = np.frombuffer(base64.b64decode(array.data), dtype="<f2")
            assert norms.size == np.prod(array.shape)
            assert (norms > 0).all()


def test_the_kv_probe_covers_what_the_prefix_cache_held(tiny: Model) -> None:
    events: list[Event] = []
    engine = Engine(tiny, EngineConfig(block_size=4), events.append)
    prompt, params = list(range(50, 62)), SamplingParams(max_tokens=2, temperature=0.0)
    for request_id in ("cold", "warm"):
        engine.add_request(prompt, params, request_id=request_id, probes=["kv"])
        while engine.has_unfinished_requests():
            engine.step()
    assert of(events, RequestAdmitted, "warm")[0].cached_tokens == 8
    cold, warm = of(events, ProbeKV, "cold")[0], of(events, ProbeKV, "warm")[0]
    assert (cold.start, cold.stop) == (warm.start, warm.stop) == (0, 12)
    for name in ("keys", "values"):
        ours, theirs = (
            np.frombuffer(base64.b64decode(getattr(event, name).data), dtype="<f2") for event in (warm, cold)
        )
        np.testing.assert_allclose(ours, theirs, rtol=2e-3)


def test_the_snapshot_shows_the_others(tiny: Model) -> None:
    engine = Engine(tiny, EngineConfig(block_size=4, num_blocks=16, max_num_seqs=1), lambda event: None)
    engine.add_request(list(range(5)), SamplingParams(max_tokens=4), request_id="running")
    engine.step()
    engine.add_request(list(range(6)), SamplingParams(max_tokens=4), request_id="waiting")
    snapshot = engine.snapshot("mine")
    assert isinstance(snapshot, Snapshot)
    assert [(r.request_id, r.slot, r.num_tokens, r.num_computed_tokens) for r in snapshot.requests] == [
        ("running", 0, 6, 5),
        ("waiting", None, 6, 0),
    ]
    assert snapshot.num_blocks == 16
    assert snapshot.num_free_blocks == 14
    assert [len(r.block_ids) for r in snapshot.requests] == [2, 0]


def test_nobody_listening_changes_no_token(tiny: Model) -> None:
    params = SamplingParams(temperature=1.0, seed=5, max_tokens=12)
    heard = Engine(tiny, EngineConfig(), lambda event: None).generate("Listen", params)
    unheard = Engine(tiny, EngineConfig()).generate("Listen", params)
    assert heard[0].token_ids == unheard[0].token_ids


def test_merges_are_told_of_a_text_and_only_to_a_listener(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    Engine(tiny, EngineConfig(), events.append).generate(["Hello there", [1, 2, 3]], SamplingParams(max_tokens=1))
    text, ids = of(events, RequestTokenized)
    assert text.merges.num_tokens == len(text.token_ids)
    assert text.merges.order == [0, 1]
    assert text.merges.words[1].symbols == [" ", "t", "h", "e", "r", "e"]
    assert ids.merges is None
    assert decode(encode(text)) == text
    monkeypatch.setattr(type(tiny.tokenizer), "merges", None)
    Engine(tiny, EngineConfig()).generate("Hello there", SamplingParams(max_tokens=1))
