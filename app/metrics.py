"""What Prometheus may know: counts and times, never words or names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.summary import Summary
from inference.events import TokenSampled
from inference.messages import Events

_TTFT = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_ITL = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0)
STATES = ("starting", "loading", "ready", "restarting", "no_model", "failed", "stopped")


class Metrics:
    """One registry per site, so that two in one process (tests) do not count for each other."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.runs_started = Counter("openkitchen_runs_started", "Runs accepted.", registry=self.registry)
        self.runs_closed = Counter(
            "openkitchen_runs_closed", "Runs closed, by reason.", ["reason"], registry=self.registry
        )
        self.refused = Counter("openkitchen_refused", "Requests refused, by code.", ["code"], registry=self.registry)
        self.prompt_tokens = Counter(
            "openkitchen_prompt_tokens", "Prompt tokens of closed runs.", registry=self.registry
        )
        self.cached_tokens = Counter(
            "openkitchen_cached_prompt_tokens", "Of those, found in the prefix cache.", registry=self.registry
        )
        self.generated_tokens = Counter("openkitchen_generated_tokens", "Tokens sampled.", registry=self.registry)
        self.ttft = Histogram(
            "openkitchen_time_to_first_token_seconds",
            "From the request to its first token, the line included.",
            buckets=_TTFT,
            registry=self.registry,
        )
        self.itl = Histogram(
            "openkitchen_inter_token_latency_seconds",
            "Between two tokens of one sample of a request.",
            buckets=_ITL,
            registry=self.registry,
        )
        self.engine_restarts = Counter(
            "openkitchen_engine_crashes", "Times a ready engine was lost.", registry=self.registry
        )
        self.engine_state = Gauge(
            "openkitchen_engine_state", "1 for the state the engine is in.", ["state"], registry=self.registry
        )
        self.live_runs = Gauge("openkitchen_live_runs", "Runs whose logs still grow.", registry=self.registry)
        self.waiting_runs = Gauge("openkitchen_waiting_runs", "Of those, in the line.", registry=self.registry)
        self.readers = Gauge("openkitchen_readers", "Readers following a log.", registry=self.registry)
        self.tasks = Gauge("openkitchen_event_loop_tasks", "Tasks of the web process.", registry=self.registry)
        self._last_token: dict[str, dict[int, float]] = {}
        """Of each run's samples."""

    def count(self, events: Events) -> None:
        """Tokens and the gaps between them, on the engine's own clock."""
        for event in events.events:
            if isinstance(event, TokenSampled):
                self.generated_tokens.inc()
                last = self._last_token.setdefault(event.request_id, {})
                if event.sample in last:
                    self.itl.observe(max(0.0, event.t - last[event.sample]))
                last[event.sample] = event.t

    def finish(self, summary: Summary) -> None:
        """A run has closed."""
        self._last_token.pop(summary.run_id, None)
        if summary.closed is not None:
            self.runs_closed.labels(summary.closed.reason).inc()
        if summary.first_token_t is not None:
            self.ttft.observe(summary.first_token_t)
        self.prompt_tokens.inc(summary.totals.prompt_tokens)
        self.cached_tokens.inc(summary.totals.cached_tokens)

    def render(self, *, state: str, live: int, waiting: int, readers: int, tasks: int) -> bytes:
        """The text format."""
        for name in STATES:
            self.engine_state.labels(name).set(1.0 if name == state else 0.0)
        self.live_runs.set(live)
        self.waiting_runs.set(waiting)
        self.readers.set(readers)
        self.tasks.set(tasks)
        return generate_latest(self.registry)
