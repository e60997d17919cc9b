"""OpenTelemetry traces, where whoever keeps the kitchen wants them: a span for each request, and for each run one with
its queue, prefill and decode. Times and counts only: no prompt, no answer, and no run's id."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog

from app.summary import Summary
from app.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext

    from app.settings import Settings

logger = structlog.get_logger(__name__)

SCOPE = "openkitchen"
FLUSH_SECONDS = 5.0
_STANDARD = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracing:
    """Makes spans with ``provider``; without one does nothing."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SCOPE, VERSION) if provider is not None else None
        self._asked: dict[str, SpanContext] = {}
        """The request that asked for each live run."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Tracing:
        """To the collector that the settings or OpenTelemetry's own variables name, if any."""
        if not settings.otel_endpoint and not any(os.environ.get(name) for name in _STANDARD):
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            logger.error("traces.unavailable", help="install them: pip install 'openkitchen[otel]'")
            return cls()
        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SCOPE}
        provider = TracerProvider(
            resource=Resource.create({**name, "service.version": VERSION}), shutdown_on_exit=False
        )
        endpoint = settings.otel_endpoint.rstrip("/")
        exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces") if endpoint else OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        logger.info("traces.on")
        return cls(provider)

    async def close(self) -> None:
        """Send what is left, if that does not take long."""
        if self._provider is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._provider.shutdown), FLUSH_SECONDS)

    @contextmanager
    def request(self, method: str, request_id: str, headers: Mapping[str, str]) -> Iterator[Span | None]:
        """The span of one request, ``headers`` those of a proxy that we trust. Its name is known when it ends
        (``end_request``)."""
        if self._tracer is None:
            yield None
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract(headers)
        attributes = {"http.request.method": method, "openkitchen.request_id": request_id}
        with self._tracer.start_as_current_span(
            method,
            context,
            SpanKind.SERVER,
            attributes,
            # (What it says may be a visitor's.)
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    @staticmethod
    def end_request(span: Span | None, method: str, route: str, status: int) -> None:
        """What is known when it has been answered."""
        if span is None:
            return
        from opentelemetry.trace import StatusCode

        span.update_name(f"{method} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if 500 <= status < 600:
            span.set_status(StatusCode.ERROR)

    def asked(self, run_id: str) -> None:
        """The current request has asked for this run, and it is taken."""
        if self._tracer is not None:
            from opentelemetry.trace import get_current_span

            self._asked[run_id] = get_current_span().get_span_context()

    def finish(self, summary: Summary) -> None:
        """A run has closed: its spans, by the times of its log."""
        if self._tracer is None or summary.opened is None or summary.closed is None:
            return
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        asked = self._asked.pop(summary.run_id, None)
        parent = set_span_in_context(NonRecordingSpan(asked)) if asked is not None else None
        zero = summary.opened.opened_at
        times = {
            "queue": (0.0, summary.admitted_t),
            "prefill": (summary.admitted_t, summary.first_token_t),
            "decode": (summary.first_token_t, summary.last_token_t),
        }
        run = self._tracer.start_span("run", parent, attributes=_facts(summary), start_time=_ns(zero))
        inside = set_span_in_context(run)
        for name, (start, stop) in times.items():
            if start is not None and stop is not None:
                self._tracer.start_span(name, inside, start_time=_ns(zero + start)).end(_ns(zero + stop))
        run.end(_ns(zero + summary.closed.t))


def _facts(summary: Summary) -> dict[str, Any]:
    """OpenTelemetry's names for what a model did, where it has one."""
    assert summary.opened is not None
    assert summary.closed is not None
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": summary.opened.model.name if summary.opened.model else "",
        "gen_ai.usage.input_tokens": summary.totals.prompt_tokens,
        "gen_ai.usage.output_tokens": summary.totals.completion_tokens,
        "openkitchen.cached_tokens": summary.totals.cached_tokens,
        "openkitchen.preemptions": summary.totals.num_preemptions,
        "openkitchen.reason": summary.closed.reason,
        "openkitchen.take": summary.opened.take or "",
    }


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
