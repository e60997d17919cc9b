"""What Prometheus may know: counts and times, never words or names. What vLLM measures too has vLLM's name, with our
prefix. Every label has a handful of values, all of them ours (``docs/observability.md`` lists them)."""

from __future__ import annotations

import os
import platform
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from app.summary import Summary
from app.version import VERSION
from inference.events import (
    AnyEvent,
    BlockAllocated,
    BlockCopied,
    BlockReleased,
    BlockShared,
    RequestPreempted,
    StepFinished,
    StepStarted,
    TokenSampled,
)
from inference.messages import Events, Ready

disable_created_metrics()  # type: ignore[no-untyped-call]
PREFIX = "openkitchen_"
STATES = ("starting", "loading", "ready", "restarting", "no_model", "failed", "stopped")
Transport = Literal["socket", "lines", "sse"]
_STATUSES = frozenset(HTTPStatus)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_TTFT = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_ITL = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0)
_RUN = (0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_ANSWER = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_BATCH = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class Metrics:
    """One registry per site, so that two in one process (tests) do not count for each other."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_runs()
        self._count_engine()
        self._count_web()
        ProcessCollector(registry=self.registry)
        self._last_token: dict[str, dict[int, float]] = {}
        """Of each run's samples."""
        self._sockets = (0, 0, 0)
        """Frames, bytes and readers dropped, as last told."""
        self._held: set[int] = set()
        """Blocks of the first engine that somebody holds."""

    def _count_runs(self) -> None:
        self.runs_started = self._counter("runs_started", "Runs accepted.")
        self.runs_closed = self._counter("runs_closed", "Runs closed, by reason.", "reason")
        self.refused = self._counter("refused", "Requests refused, by code.", "code")
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of closed runs.")
        self.generated_tokens = self._counter("generation_tokens", "Tokens sampled.")
        self.cache_queries = self._counter("prefix_cache_queries", "Prompt tokens looked for in the prefix cache.")
        self.cache_hits = self._counter("prefix_cache_hits", "Of those, found.")
        self.queue_seconds = self._histogram("request_queue_time_seconds", "From the request to its slot.", _TTFT)
        self.prefill_seconds = self._histogram(
            "request_prefill_time_seconds", "From the slot to the first token.", _TTFT
        )
        self.ttft = self._histogram(
            "time_to_first_token_seconds", "From the request to its first token, the line included.", _TTFT
        )
        self.itl = self._histogram("inter_token_latency_seconds", "Between two tokens of one sample.", _ITL)
        self.e2e = self._histogram("e2e_request_latency_seconds", "From the request to the end of its log.", _RUN)
        self.num_running = self._gauge("num_requests_running", "Runs in the engine.")
        self.num_waiting = self._gauge("num_requests_waiting", "Runs in the line.")

    def _count_engine(self) -> None:
        self.step_seconds = self._histogram("step_seconds", "One step of the first engine.", _ITL)
        self.step_tokens = self._histogram("iteration_tokens", "Tokens in a step.", _TOKENS)
        self.batch_size = self._histogram("batch_size", "Sequences in a step.", _BATCH)
        self.preemptions = self._counter("num_preemptions", "Sequences that lost their slot for a while.")
        self.kv_usage = self._gauge("kv_cache_usage_ratio", "Blocks that somebody holds, of all: 0 to 1.")
        self.engine_crashes = self._counter("engine_crashes", "Times a ready engine was lost.")
        self.engine_restarts = self._counter("engine_restarts", "Times the engine was started again.")
        self._restarts_counted = 0
        self.engine_state = self._gauge("engine_state", "1 for the state that the engine is in.", "state")
        self.engine_info = self._gauge("engine_info", "1 for what the engine is.", "model", "dtype", "device")

    def _count_web(self) -> None:
        self.readers = self._gauge("readers", "Readers following a log.")
        self.tasks = self._gauge("event_loop_tasks", "Tasks of the web process.")
        self._frames = self._counter("frames_sent", "Frames that readers took.", "transport")
        self._bytes = self._counter("sent_bytes", "Bytes of those, before compression.", "transport")
        self._dropped = self._counter("readers_dropped", "Readers cut off because they took nothing.", "transport")
        self._requests = self._counter("http_requests", "Requests answered.", "method", "route", "status")
        self._answers = self._histogram(
            "http_request_duration_seconds", "From a request to the head of its answer.", _ANSWER, "route"
        )
        self._log_bytes = self._gauge("log_bytes", "Runs kept on disk: their logs and what is written beside them.")
        self._log_files = self._gauge("log_files", "Files of those.")
        self._disk_free = self._gauge("disk_free_bytes", "Free where runs are kept.")
        build = self._gauge("build_info", "1 for what is running.", "version", "commit", "python")
        build.labels(VERSION, os.environ.get("OPENKITCHEN_COMMIT", ""), platform.python_version()).set(1)
        transports: tuple[Transport, ...] = ("socket", "lines", "sse")
        # (A thousand readers take a hundred thousand frames a second: no looking up by label for each.)
        self._sent = {name: (self._frames.labels(name), self._bytes.labels(name)) for name in transports}
        for name in transports:
            self._dropped.labels(name)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(PREFIX + name, words, labels, buckets=buckets, registry=self.registry)

    # ---- the engine and its runs

    def count(self, events: Events) -> None:
        """What the engine said, on its own clock. A take's own engine is not the kitchen's load: of it only tokens."""
        for event in events.events:
            if isinstance(event, TokenSampled):
                self.generated_tokens.inc()
                if event.request_id == (events.take or event.request_id):  # (not a take's neighbour)
                    self._count_gap(event)
            elif not events.take:
                self._count_work(event)

    def _count_gap(self, event: TokenSampled) -> None:
        last = self._last_token.setdefault(event.request_id, {})
        if event.sample in last:
            self.itl.observe(max(0.0, event.t - last[event.sample]))
        last[event.sample] = event.t

    def _count_work(self, event: AnyEvent) -> None:
        match event:
            case StepStarted():
                self.batch_size.observe(len(event.requests))
                self.step_tokens.observe(event.num_tokens)
            case StepFinished():
                self.step_seconds.observe(event.seconds)
            case BlockAllocated() | BlockShared():
                self._held.update(event.block_ids)
            case BlockCopied():
                self._held.add(event.block_id)
            case BlockReleased():
                left = zip(event.block_ids, event.ref_counts, strict=True)
                self._held.difference_update(block_id for block_id, count in left if count == 0)
            case RequestPreempted():
                self.preemptions.inc()
            case _:
                pass

    def engine_lost(self, *, crashed: bool) -> None:
        """With it all that it held."""
        self._held.clear()
        self._last_token.clear()
        if crashed:
            self.engine_crashes.inc()

    def finish(self, summary: Summary) -> None:
        """A run has closed."""
        self._last_token.pop(summary.run_id, None)
        if summary.closed is not None:
            self.runs_closed.labels(summary.closed.reason).inc()
            if summary.closed.reason == "finished":
                self.e2e.observe(summary.closed.t)
        if summary.admitted_t is not None:
            self.queue_seconds.observe(summary.admitted_t)
        if summary.first_token_t is not None:
            self.ttft.observe(summary.first_token_t)
            if summary.admitted_t is not None:
                self.prefill_seconds.observe(max(0.0, summary.first_token_t - summary.admitted_t))
        self.prompt_tokens.inc(summary.totals.prompt_tokens)
        self.cache_queries.inc(summary.totals.prompt_tokens)
        self.cache_hits.inc(summary.totals.cached_tokens)

    @property
    def blocks_held(self) -> int:
        """Of the first engine, by whoever."""
        return len(self._held)

    # ---- the web

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request has been. ``route`` is a template of ours; what a caller may choose freely is not told apart."""
        method = method if method in _METHODS else "other"
        code = str(status) if status in _STATUSES else "other"
        self._requests.labels(method, route, code).inc()
        self._answers.labels(route).observe(seconds)

    def sent(self, transport: Transport, num_bytes: int) -> None:
        """A reader took a frame."""
        frames, sizes = self._sent[transport]
        frames.inc()
        sizes.inc(num_bytes)

    def count_sockets(self, num_frames: int, num_bytes: int, num_dropped: int) -> None:
        """What sockets have come to so far: they are too many, and too quick, to be counted one by one."""
        totals = (num_frames, num_bytes, num_dropped)
        for counter, total, before in zip(
            (self._frames, self._bytes, self._dropped), totals, self._sockets, strict=True
        ):
            counter.labels("socket").inc(total - before)
        self._sockets = totals

    def dropped(self, transport: Transport) -> None:
        """A reader took nothing for too long."""
        self._dropped.labels(transport).inc()

    def measure_disk(self, data_dir: Path) -> None:
        """What lies in the folder of runs now (a look at every file: not in the event loop)."""
        try:
            with os.scandir(data_dir / "runs") as found:
                sizes = [entry.stat().st_size for entry in found if entry.is_file()]
            self._log_bytes.set(sum(sizes))
            self._log_files.set(len(sizes))
            self._disk_free.set(shutil.disk_usage(data_dir).free)
        except OSError:
            pass  # a file that went meanwhile: the last figures stand

    def render(
        self,
        *,
        state: str,
        live: int,
        waiting: int,
        readers: int,
        tasks: int,
        restarts: int = 0,
        ready: Ready | None = None,
    ) -> bytes:
        """The text format."""
        for name in STATES:
            self.engine_state.labels(name).set(1.0 if name == state else 0.0)
        self.num_running.set(live - waiting)
        self.num_waiting.set(waiting)
        self.readers.set(readers)
        self.tasks.set(tasks)
        self.engine_restarts.inc(restarts - self._restarts_counted)
        self._restarts_counted = restarts
        self.engine_info.clear()
        if ready is not None:
            self.engine_info.labels(ready.model.name, ready.model.dtype, ready.hardware.device).set(1)
        self.kv_usage.set(self.blocks_held / ready.engine.num_blocks if ready and ready.engine.num_blocks else 0.0)
        return generate_latest(self.registry)
