"""The engine against ``transformers.generate``: same model, dtype, prompts and process, taking turns so that a machine
that slows down slows both; and what saying events costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import msgspec
import torch

from benchmarks.figures import Figure, at_least, median, under
from inference import Engine, EngineConfig, SamplingParams
from inference.events import AnyEvent, Event, encode
from inference.messages import Events
from inference.models import Model, load_model
from inference.sampler import Sampled
from inference.sequence import Sequence

PROMPTS = (
    "Give me a simple recipe for tomato soup.",
    "Why is the sky blue?",
    "Write a haiku about the sea.",
    "Explain what a hash table is to a child.",
    "Write a Python function that reverses a string.",
    "What is the capital of France, and what is it known for?",
    "List five animals that live in the desert.",
    "Translate to French: the cat sleeps on the sofa.",
)
NEW_TOKENS = 64
ROUNDS = 5
EVENT_STEPS = 300


def _generate_rate(model: Model, prompts: list[list[int]]) -> float:
    """Tokens a second of ``transformers.generate``, one prompt after the other."""
    start = time.perf_counter()
    written = 0
    for ids in prompts:
        inputs = torch.tensor([ids], device=model.device)
        out = model.module.generate(  # type: ignore[operator]  # transformers types a mixin
            inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=False,
            min_new_tokens=NEW_TOKENS,
            max_new_tokens=NEW_TOKENS,
            pad_token_id=min(model.eos_token_ids, default=0),
        )
        written += out.shape[1] - len(ids)
    return written / (time.perf_counter() - start)


def _engine_rate(engine: Engine, prompts: list[list[int]]) -> float:
    """Tokens a second of the engine over ``prompts`` given at once."""
    params = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True)
    start = time.perf_counter()
    outputs = engine.generate(prompts, params)
    return sum(len(output.token_ids) for output in outputs) / (time.perf_counter() - start)


def _event_cost(model: Model, prompts: list[list[int]]) -> float:
    """Per cent of a decode step spent on events that nobody reads: saying them, packing them into one message as the
    worker does, and finding out what they say (the candidates), which a silent engine leaves out. Each is timed by
    itself: between whole steps with and without events, the noise of a step would hide it."""
    heard: list[Event] = []
    packer = msgspec.msgpack.Encoder()
    engine = Engine(model, EngineConfig(enable_prefix_caching=False), on_event=heard.append)
    for ids in prompts:
        engine.add_request(ids, SamplingParams(temperature=0.0, max_tokens=EVENT_STEPS, ignore_eos=True))
    saying = _Stopwatch()
    reporter, sampler = engine._reporter, engine._sampler
    assert reporter is not None
    for name in ("step_started", "kv_written", "sampled", "step_finished"):
        setattr(reporter, name, saying.timing(getattr(reporter, name)))
    sample, drawn_from = sampler.sample, []

    def remember(logits: torch.Tensor, sequences: list[Sequence], *, describe: bool = True) -> list[Sampled]:
        drawn_from[:] = [logits, sequences]
        return sample(logits, sequences, describe=describe)

    setattr(sampler, "sample", remember)  # noqa: B010
    engine.step()
    shares = []
    for turn in range(EVENT_STEPS - 2):
        heard.clear()
        saying.seconds = 0.0
        step = _seconds(engine.step)
        pack = _seconds(lambda: packer.encode(Events(events=cast(list[AnyEvent], heard))))
        # Greedy draws take nothing from a generator, so they may be made again. Either goes first in turns.
        found = {
            describe: _seconds(lambda describe=describe: sample(*drawn_from, describe=describe))
            for describe in ((True, False) if turn % 2 else (False, True))
        }
        shares.append((saying.seconds + pack + found[True] - found[False]) / step)
    return 100 * median(shares)


class _Stopwatch:
    """Sums the seconds spent in what it is wrapped around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timing(self, work: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: object) -> None:
            start = time.perf_counter()
            work(*arguments)
            self.seconds += time.perf_counter() - start

        return timed


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(model_name: str = "smollm2-135m") -> list[Figure]:
    """Measure and return the figures; the model's modules are shared, so both sides multiply the same weights."""
    model = load_model(model_name)
    reference = load_model(model_name)  # its own module: the engine replaces the attention of the one that it is given
    prompts = [model.tokenizer.encode_chat(text).token_ids for text in PROMPTS]
    kept: list[bytes] = []
    engine = Engine(model, EngineConfig(enable_prefix_caching=False), on_event=lambda event: kept.append(encode(event)))
    _generate_rate(reference, prompts[:1])
    _engine_rate(engine, prompts[:1])
    single, eight, theirs = [], [], []
    for turn in range(ROUNDS):
        theirs.append(_generate_rate(reference, prompts[turn : turn + 1]))
        single.append(_engine_rate(engine, prompts[turn : turn + 1]))
        eight.append(_engine_rate(engine, prompts))
    dtype = model.card.dtype
    return [
        Figure(f"transformers.generate, single stream, {dtype}", median(theirs), "tok/s"),
        Figure(f"engine, single stream, {dtype}", median(single), "tok/s"),
        Figure(f"engine, eight streams, {dtype}", median(eight), "tok/s"),
        at_least(
            "engine / transformers.generate, single stream",
            median([a / b for a, b in zip(single, theirs, strict=True)]),
            "x",
            1.0,
        ),
        at_least(
            "engine, eight streams / single stream",
            median([a / b for a, b in zip(eight, single, strict=True)]),
            "x",
            4.0,
        ),
        under("events with nobody watching, one stream", _event_cost(model, prompts[:1]), "% of a step", 1.0),
        under("events with nobody watching, eight streams", _event_cost(model, prompts), "% of a step", 1.0),
    ]
