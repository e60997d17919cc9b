"""What those who keep the kitchen see: metrics that count what happened, a dashboard of metrics that exist, traces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from app.metrics import Metrics
from app.settings import ROOT, Settings
from app.tracing import Tracing
from inference.events import BlockAllocated, BlockReleased, BlockShared, RequestPreempted, TokenSampled
from inference.messages import Events
from tests.app.conftest import ServedSite, serving

DASHBOARD = ROOT / "docs" / "grafana" / "openkitchen.json"
ALERTS = ROOT / "docs" / "alerts.yml"
PAGE = ROOT / "docs" / "observability.md"
_NAME = re.compile(r"\b(?:openkitchen|process)_[a-z0-9_]+")


def samples(site: ServedSite) -> dict[str, float]:
    """Every sample of /metrics, by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(site.client.get("metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    """A kitchen of its own: what others do would be counted too."""
    with serving(tmp_path_factory.mktemp("watched")) as served:
        yield served


def test_what_happened_is_counted(watched: ServedSite) -> None:
    before = samples(watched)
    run_id = watched.run("four words are here")
    watched.events(run_id)
    watched.client.get(f"api/runs/{run_id}/events", headers={"Accept": "text/event-stream"})
    with watched.socket(run_id) as socket:
        size = len(socket.recv())
    watched.client.get("api/runs/nope")
    watched.post("")
    after = samples(watched)
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    for name, count in {
        "openkitchen_runs_started_total": 1,
        "openkitchen_runs_closed_total{reason=finished}": 1,
        "openkitchen_prompt_tokens_total": 4,
        "openkitchen_generation_tokens_total": 4,
        "openkitchen_prefix_cache_queries_total": 4,
        "openkitchen_prefix_cache_hits_total": 3,
        "openkitchen_time_to_first_token_seconds_count": 1,
        "openkitchen_request_queue_time_seconds_count": 1,
        "openkitchen_request_prefill_time_seconds_count": 1,
        "openkitchen_e2e_request_latency_seconds_count": 1,
        "openkitchen_inter_token_latency_seconds_count": 3,
        "openkitchen_step_seconds_count": 4,
        "openkitchen_batch_size_sum": 4,
        "openkitchen_refused_total{code=unknown_run}": 1,
        "openkitchen_refused_total{code=invalid}": 1,
        "openkitchen_http_requests_total{method=POST,route=/api/runs,status=201}": 1,
        "openkitchen_http_requests_total{method=GET,route=/api/runs/{run_id},status=404}": 1,
    }.items():
        assert grown[name] == count, name
    for transport in ("socket", "lines", "sse"):
        assert grown[f"openkitchen_frames_sent_total{{transport={transport}}}"] >= 1
        assert grown[f"openkitchen_sent_bytes_total{{transport={transport}}}"] >= min(size, 100)
    assert after["openkitchen_engine_state{state=ready}"] == 1
    assert after["openkitchen_num_requests_running"] == after["openkitchen_num_requests_waiting"] == 0
    assert after["openkitchen_log_bytes"] > 0
    assert after["openkitchen_disk_free_bytes"] > 0
    assert after["process_resident_memory_bytes"] > 1e6
    assert [name for name in after if name.startswith("openkitchen_build_info{")]


def test_labels_are_ours_whatever_is_asked_for(watched: ServedSite) -> None:
    watched.client.get("warm")
    watched.client.request("BREW", "coffee")
    before = len(samples(watched))
    for number in range(50):
        watched.client.get(f"no/such/{number}")
        watched.client.get(f"api/runs/{number}")
        watched.client.request(f"BREW{number}", "coffee")
        watched.client.get("healthz", headers={"Host": f"host-{number}"})
    text = watched.client.get("metrics").text
    assert "BREW" not in text
    assert "such" not in text
    assert len(samples(watched)) <= before + 16


def test_blocks_in_use_are_those_that_somebody_holds() -> None:
    metrics = Metrics()

    def say(*events: Any, take: str = "") -> None:
        metrics.count(Events(events=list(events), take=take))

    say(BlockAllocated(request_id="a", block_ids=[1, 2, 3], start=0))
    say(BlockShared(request_id="b", block_ids=[1], ref_counts=[2], start=0))
    say(BlockAllocated(request_id="apart", block_ids=[7], start=0), take="apart")
    assert metrics.blocks_held == 3
    say(BlockReleased(request_id="a", block_ids=[3, 2, 1], ref_counts=[0, 0, 1], cached=[False, True, True]))
    assert metrics.blocks_held == 1
    say(RequestPreempted(request_id="b", slot=0, num_computed_tokens=1))
    metrics.engine_lost(crashed=True)
    assert metrics.blocks_held == 0


def test_neighbours_of_a_take_make_no_gaps() -> None:
    metrics = Metrics()

    def token(request_id: str, t: float) -> TokenSampled:
        return TokenSampled(
            t=t, request_id=request_id, position=1, id=1, text="", logprob=0.0, rest=0.0, step=1, candidates=[]
        )

    metrics.count(Events(events=[token("neighbour-1", 1.0), token("one", 1.0), token("one", 1.5)], take="one"))
    metrics.count(Events(events=[token("neighbour-1", 99.0)], take="another"))
    assert metrics.registry.get_sample_value("openkitchen_inter_token_latency_seconds_sum") == 0.5


# ---- what is drawn from them


def queries() -> dict[str, list[str]]:
    """Every query of the dashboard and the alerts."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    drawn = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    return {"dashboard": drawn, "alerts": [rule["expr"] for rule in rules]}


def test_every_query_names_what_exists(watched: ServedSite) -> None:
    watched.events(watched.run("hello"))
    watched.client.get("api/runs/nope")
    exist = {name.partition("{")[0] for name in samples(watched)}
    for place, expressions in queries().items():
        assert len(expressions) > 5
        for expression in expressions:
            asked = set(_NAME.findall(expression))
            assert asked, expression
            assert asked <= exist, (place, asked - exist)


def test_every_metric_is_explained(watched: ServedSite) -> None:
    page = PAGE.read_text()
    families = text_string_to_metric_families(watched.client.get("metrics").text)
    ours = {family.name for family in families if family.name.startswith("openkitchen_")}
    assert {name for name in ours if f"`{name}" not in page} == set()
    of_page = set(re.findall(r"^\| `(openkitchen_[a-z0-9_]+)", page, re.MULTILINE))
    assert {name.removesuffix("_total") for name in of_page} <= ours


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["fieldConfig"]["defaults"]["unit"]
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(places) == len(set(places))


# ---- traces


@pytest.fixture
def spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ServedSite, InMemorySpanExporter]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(Tracing, "from_settings", lambda settings: Tracing(provider))
    with serving(tmp_path, trusted_proxies=("127.0.0.1",)) as site:
        yield site, exporter


def test_a_run_is_a_span_with_its_parts(spans: tuple[ServedSite, InMemorySpanExporter]) -> None:
    site, exporter = spans
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    created = site.client.post("api/runs", json={"prompt": "xylophone SLOW of words"}, headers=headers)
    run_id = created.json()["run_id"]
    site.events(run_id)
    ServedSite.wait(lambda: any(span.name == "run" for span in exporter.get_finished_spans()))
    found: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    request, run = found["POST /api/runs"], found["run"]
    assert f"{request.context.trace_id:032x}" == trace_id, "the proxy's trace goes on"
    assert run.parent is not None
    assert run.parent.span_id == request.context.span_id
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/api/runs"
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["openkitchen.request_id"] == created.headers["x-request-id"]
    assert run.attributes is not None
    assert run.attributes["gen_ai.usage.input_tokens"] == 4
    assert run.attributes["gen_ai.usage.output_tokens"] == 4
    parts = [found[name] for name in ("queue", "prefill", "decode")]
    times = [time for part in parts for time in (part.start_time, part.end_time)]
    assert times == sorted(times, key=lambda time: time or 0)
    assert run.start_time == parts[0].start_time
    assert (run.end_time or 0) >= (parts[-1].end_time or 0)
    told = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "xylophone" not in told
    assert run_id not in told


def test_a_fault_is_an_error_without_its_words(
    spans: tuple[ServedSite, InMemorySpanExporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, exporter = spans

    def broken(run_id: str) -> None:
        raise RuntimeError("xylophone")

    monkeypatch.setattr(site.site.store, "find", broken)
    assert site.client.get("api/runs/nope").status_code == 500
    (span,) = [span for span in exporter.get_finished_spans() if span.name == "GET /api/runs/{run_id}"]
    assert span.status.status_code.name == "ERROR"
    assert "xylophone" not in span.to_json()


def test_there_are_no_traces_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert Tracing.from_settings(Settings())._provider is None
    made = Tracing.from_settings(Settings(otel_endpoint="http://127.0.0.1:1/"))
    assert made._provider is not None
    made._provider.shutdown()
