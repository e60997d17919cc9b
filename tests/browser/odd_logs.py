"""Logs that few readers will meet, each a real run of a real engine (a tiny model of random weights) or a real log that
something happened to."""

from __future__ import annotations

import functools
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from app.orders import public_params
from app.runs import LogFile, RunLog
from inference import Engine, EngineConfig, Model, SamplingParams, load_model
from inference.events import AnyEvent, Event, Hardware
from inference.messages import Generate, Ready
from inference.probes import Probes
from inference.software import software
from inference.submission import submit
from tests.browser.rooms import Event as Said
from tests.browser.rooms import recorded
from tests.inference.conftest import wrap

HARDWARE = Hardware(
    device="cpu",
    name="a machine of the tests",
    num_threads=1,
    memory_bytes=2**30,
    peak_flops=1e11,
    memory_bandwidth=1e10,
    measured_at=1.7e9,
)


def tiny(*, layers: int, heads: int, kv_heads: int) -> Model:
    """Random weights under the real tokenizer."""
    real = load_model("smollm2-135m", dtype="float32", device="cpu")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=real.card.vocab_size,
        hidden_size=4 * heads,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=4096,
        initializer_range=0.3,
    )
    return wrap(LlamaForCausalLM(config), real.tokenizer, frozenset())


def run_of(model: Model, *, max_tokens: int) -> list[Said]:
    """One run, as `openkitchen record` writes it."""
    said: list[AnyEvent] = []
    engine = Engine(model, EngineConfig(), on_event=lambda event: said.append(cast(AnyEvent, cast(Event, event))))
    params = SamplingParams(max_tokens=max_tokens, temperature=0.6, seed=1, ignore_eos=True)
    probes = Probes(kv=True)
    ready = Ready(
        model=engine.model.card, hardware=HARDWARE, engine=engine.card, software=software(), monotonic=time.monotonic()
    )
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "run.jsonl"
        log = RunLog("odd-run", LogFile(plain), public_params(params, probes), probes, source="recorded")
        log.open(ready)
        asked = Generate(request_id="odd-run", prompt="Tell me.", params=params, probes=probes)
        submit(engine, model, asked, lambda event: said.append(cast(AnyEvent, event)))
        while engine.has_unfinished_requests():
            engine.step()
        log.project(said, 0.0)
        return [json.loads(line) for line in plain.read_text().splitlines()]


def packed(events: list[Said]) -> bytes:
    """As the page fetches it."""
    return gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode(), mtime=0)


def renumbered(events: list[Said]) -> list[Said]:
    """``seq`` without gaps again, after something was put in or taken out."""
    return [{**event, "seq": seq} for seq, event in enumerate(events, 1)]


HIDDEN_FACTS = ("blocks", "kv.written", "probe.kv", "costs")

# ---- what happened to them -----------------------------------------------------------------------------------------


def with_unknown_events() -> bytes:
    """A newer engine says things that this page has never heard of."""
    events: list[Said] = []
    for event in recorded():
        events.append({**event, "novelty": {"of": [1, 2]}})
        if event["type"] == "step.started":
            events.append({"type": "expert.routed", "t": event["t"], "experts": [3, 5], "request_id": "x"})
    return packed(renumbered(events))


def cut_in_a_line() -> bytes:
    """The connection broke in the middle of a line."""
    lines = "".join(json.dumps(event) + "\n" for event in recorded())
    return gzip.compress(lines.encode()[: len(lines) * 2 // 3 + 7], mtime=0)


def without_blocks() -> bytes:
    """A source that does not expose blocks, places in the cache, or norms: a serving engine that is attached."""
    hidden = ("block.", "kv.", "probe.", "speculation.", "snapshot")
    events = [event for event in recorded() if not event["type"].startswith(hidden)]
    first = events[0]
    events[0] = {**first, "provides": [fact for fact in first["provides"] if fact not in HIDDEN_FACTS]}
    return packed(renumbered(events))


def without_any_time() -> bytes:
    """By a clock that stands still, every step is over as it begins: nothing in it has a rate."""
    still = dict.fromkeys(("seconds", "forward_seconds", "schedule_seconds", "sample_seconds"), 0.0)
    return packed([{**event, **still} if event["type"] == "step.finished" else event for event in recorded()])


def at_one_moment() -> bytes:
    """No time passes between the events either."""
    return packed([{**event, "t": 0.0} for event in recorded()])


def of_long_tokens() -> bytes:
    """A source that gives pages of text for one token."""
    long = {"text": "w" * 4000}
    return packed([{**event, **long} if event["type"] == "token.sampled" else event for event in recorded()])


def failed_in_the_queue() -> bytes:
    """The engine died before the request had its turn."""
    events = recorded()
    at = next(i for i, event in enumerate(events) if event["type"] == "request.admitted")
    closed = {**events[-1], "reason": "crashed", "detail": "The engine fell over.", "t": events[at]["t"]}
    return packed(renumbered([*events[:at], closed]))


def of_one_token() -> bytes:
    """The answer is a single token."""
    return packed(run_of(tiny(layers=2, heads=4, kv_heads=2), max_tokens=1))


def of_two_thousand_tokens() -> bytes:
    """The answer fills half the context."""
    return packed(run_of(tiny(layers=2, heads=2, kv_heads=1), max_tokens=2000))


def of_eighty_layers() -> bytes:
    """Eighty layers, and one KV head for all."""
    return packed(run_of(tiny(layers=80, heads=2, kv_heads=1), max_tokens=24))


ODD: dict[str, Any] = {
    odd.__name__: functools.cache(odd)
    for odd in (
        with_unknown_events,
        cut_in_a_line,
        without_blocks,
        without_any_time,
        at_one_moment,
        of_long_tokens,
        failed_in_the_queue,
        of_one_token,
        of_two_thousand_tokens,
        of_eighty_layers,
    )
}
