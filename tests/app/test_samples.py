"""A run of several samples: one log, which ends with the last of them; the first is the one on stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.metrics import Metrics
from app.runs import LogFile, RunLog
from inference.events import (
    AnyEvent,
    FinishReason,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    Snapshot,
    TokenSampled,
    Usage,
)
from inference.messages import Events
from inference.probes import Probes
from tests.app.fake_worker import ENGINE, HARDWARE, MODEL, Ready, Software

RUN = "own-run"


def sampled(sample: int, t: float) -> TokenSampled:
    return TokenSampled(
        request_id=RUN, sample=sample, t=t, position=3, id=1, text=f" {sample}", logprob=-1.0, candidates=[], rest=0.0
    )


def finished(sample: int, left: int, reason: FinishReason = "stop") -> RequestFinished:
    usage = Usage(prompt_tokens=3, cached_tokens=3 if sample else 0, completion_tokens=1)
    return RequestFinished(
        request_id=RUN, sample=sample, slot=sample, reason=reason, text=f" {sample}", usage=usage, num_samples_left=left
    )


@pytest.fixture
def log(tmp_path: Path) -> RunLog:
    log = RunLog(RUN, LogFile(tmp_path / "run.jsonl"), {"n": 3}, Probes(kv=False))
    ready = Ready(model=MODEL, hardware=HARDWARE, engine=ENGINE, software=Software(openkitchen="test"), monotonic=0.0)
    log.open(ready)
    snapshot = Snapshot(request_id=RUN, requests=[], num_blocks=8, num_free_blocks=8, cached_block_ids=[])
    admitted = [
        RequestAdmitted(
            request_id=RUN, sample=sample, slot=sample, num_tokens=3, cached_tokens=3 * sample, queue_seconds=0.0
        )
        for sample in (0, 1)
    ]
    waits = RequestQueued(request_id=RUN, sample=2, position=0, num_waiting=1)
    said: list[AnyEvent] = [snapshot, *admitted, waits, *(sampled(sample, 1.0) for sample in range(3))]
    log.project(said, 0.0)
    return log


def test_the_log_closes_after_the_last_sample(log: RunLog) -> None:
    log.project([finished(0, 2)], 0.0)
    assert not log.is_closed
    log.project([finished(2, 1), finished(1, 0)], 0.0)
    assert log.is_closed
    closed = log.summary.closed
    assert closed is not None
    assert closed.reason == "finished"
    assert closed.totals.completion_tokens == 3
    assert closed.totals.cached_tokens == 0
    assert closed.totals.prompt_tokens == 3


def test_the_first_sample_is_the_one_on_stage(log: RunLog) -> None:
    assert log.summary.status == "running", "though another sample waits"
    assert log.summary.position is None
    assert log.summary.text == " 0"
    log.project([RequestPreempted(request_id=RUN, sample=1, slot=1, num_computed_tokens=3)], 0.0)
    assert log.summary.status == "running"
    assert log.summary.totals.num_preemptions == 1
    log.project([finished(1, 2)], 0.0)
    assert log.summary.finished is None
    log.project([finished(0, 1)], 0.0)
    assert log.summary.text == " 0"
    assert log.summary.finished is not None
    assert not log.summary.ended


def test_a_run_that_is_stopped_says_so_though_a_sample_had_finished(log: RunLog) -> None:
    log.project([finished(0, 2)], 0.0)
    log.project([finished(1, 1, "aborted"), finished(2, 0, "aborted")], 0.0)
    assert log.summary.closed is not None
    assert log.summary.closed.reason == "stopped"


def test_gaps_between_tokens_are_those_of_one_sample() -> None:
    metrics = Metrics()
    metrics.count(Events(events=[sampled(0, 1.0), sampled(1, 1.0), sampled(0, 1.5), sampled(1, 1.5)]))
    text = metrics.render(state="ready", live=0, waiting=0, readers=0, tasks=0).decode()
    assert "openkitchen_inter_token_latency_seconds_count 2.0" in text
    assert "openkitchen_inter_token_latency_seconds_sum 1.0" in text
