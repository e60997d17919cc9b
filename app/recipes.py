"""The recordings that the article opens with: the default run, and takes of it. Each says what it has to show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from inference.events import (
    AnyEvent,
    BlockCopied,
    BlockEvicted,
    BlockShared,
    CollectiveFinished,
    LogClosed,
    LogOpened,
    ProbeAttention,
    ProbeAttentionSummary,
    ProbeLogits,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    SpeculationJudged,
    StepFinished,
    StepStarted,
    TokenSampled,
)
from inference.probes import AttentionProbe, Probes
from inference.sequence import SamplingParams
from inference.takes import (
    Again,
    Batch,
    Chunked,
    Continuous,
    Fork,
    Int4,
    Int4AWQ,
    Int8,
    KVInt8,
    LookUp,
    Mismatched,
    Paged,
    Parent,
    Probe,
    RushHour,
    Samples,
    Slab,
    Speculative,
    Standard,
    Starved,
    Static,
    Take,
    Unchunked,
)

DEFAULT_RUN = "tomato-soup"
PROMPT = "Give me a simple recipe for tomato soup."
PARAMS = SamplingParams(max_tokens=320, temperature=0.6, top_p=0.9, repetition_penalty=1.1, seed=43)
SHARDING = "sharding"
SHARDED_TOKENS = 8
RECORDINGS = Path(__file__).parent.parent / "static" / "recordings"
MAX_BYTES = 2_000_000
"""Of all recordings together."""

E = TypeVar("E")
Log = Sequence[AnyEvent]
Lanes = Mapping[str, Log]
"""Recordings by recipe."""


class ShowsNothing(AssertionError):
    """A recording lacks what its room is about."""


@dataclass(frozen=True)
class Recipe:
    """One recording."""

    key: str
    take: Callable[[Parent, Log], Take] | None
    """Of the default run, given that run's log. None: no take of an engine of ours."""
    shows: Callable[[Log, Lanes], None]
    """Raises ``ShowsNothing`` where the recording, beside those before it, lacks what its room needs."""

    @property
    def file(self) -> str:
        """Its name in ``static/recordings/``."""
        return f"{DEFAULT_RUN}.jsonl.gz" if self.key == DEFAULT_RUN else f"{DEFAULT_RUN}.{self.key}.jsonl.gz"


def lacks(what: str, *, unless: object) -> None:
    """Raise unless."""
    if not unless:
        raise ShowsNothing(what)


# ---- what a log says -----------------------------------------------------------------------------------------------


def opened(log: Log) -> LogOpened:
    event = log[0]
    assert isinstance(event, LogOpened)
    return event


def of(log: Log, kind: type[E]) -> list[E]:
    """The events of one kind."""
    return [event for event in log if isinstance(event, kind)]


def token_ids(log: Log, sample: int = 0) -> list[int]:
    """Of the answer."""
    own = opened(log).run_id
    return [e.id for e in of(log, TokenSampled) if e.request_id == own and e.sample == sample]


def text(log: Log) -> str:
    own = opened(log).run_id
    return next(e.text or "" for e in of(log, RequestFinished) if e.request_id == own and e.sample == 0)


def lengths(log: Log) -> Counter[tuple[int, int]]:
    """Prompt and answer of every request, whatever its name."""
    ends = [e.usage for e in of(log, RequestFinished) if e.usage is not None]
    return Counter((usage.prompt_tokens, usage.completion_tokens) for usage in ends)


def num_idle(log: Log) -> int:
    """Slot-steps in which a slot stood empty."""
    return sum(e.num_idle_slots or 0 for e in of(log, StepStarted))


def batch_sizes(log: Log) -> list[int]:
    """Of each step in which all decode."""
    return [len(e.requests) for e in of(log, StepStarted) if e.phase == "decode"]


def most_unused(log: Log) -> float:
    """The largest share of held cache bytes where nothing stands."""
    return max((e.kv_unused_bytes or 0) / e.kv_held_bytes for e in of(log, StepFinished) if e.kv_held_bytes)


def shows_run(log: Log, lanes: Lanes) -> None:
    """What every recording of ours must have: a beginning that says where, when and of what, and an end."""
    first, last = opened(log), log[-1]
    lacks("log.opened must say hardware, software and commit", unless=first.hardware and first.software)
    lacks("log.closed must say finished", unless=isinstance(last, LogClosed) and last.reason == "finished")
    lacks("seq must count", unless=[event.seq for event in log] == list(range(1, len(log) + 1)))
    lacks("t must not run back", unless=all(a.t <= b.t for a, b in pairwise(log)))
    lacks("an answer", unless=token_ids(log))


def _shows(*checks: Callable[[Log, Lanes], None]) -> Callable[[Log, Lanes], None]:
    def all_of(log: Log, lanes: Lanes) -> None:
        for check in (shows_run, *checks):
            check(log, lanes)

    return all_of


def _same_answer_as(*keys: str) -> Callable[[Log, Lanes], None]:
    def check(log: Log, lanes: Lanes) -> None:
        for key in keys:
            lacks(f"the answer of {key}, token for token", unless=token_ids(log) == token_ids(lanes[key]))

    return check


def _same_workload_as(key: str) -> Callable[[Log, Lanes], None]:
    def check(log: Log, lanes: Lanes) -> None:
        lacks(f"the workload of {key}", unless=lengths(log) == lengths(lanes[key]))

    return check


# ---- what each must show -------------------------------------------------------------------------------------------


def _speculates(log: Log, lanes: Lanes) -> None:
    judged = of(log, SpeculationJudged)
    lacks("drafts that were judged", unless=sum(e.num_drafts for e in judged) > 0)
    lacks("k = 4", unless=opened(log).engine and opened(log).engine.num_speculative_tokens == 4)  # type: ignore[union-attr]


def _accepts(log: Log, lanes: Lanes) -> None:
    judged = of(log, SpeculationJudged)
    lacks("accepted drafts", unless=sum(e.num_accepted for e in judged) > 0)
    lacks("rejected drafts", unless=any(e.num_accepted < e.num_drafts for e in judged))


def _tosses(log: Log, lanes: Lanes) -> None:
    judged = of(log, SpeculationJudged)
    lacks("draws", unless=all(e.draws is not None for e in judged))
    lacks("a row with a kept and a rejected draft", unless=any(0 < e.num_accepted < e.num_drafts for e in judged))


def _steps_fewer(log: Log, lanes: Lanes) -> None:
    lacks("fewer steps than tokens", unless=len(of(log, StepFinished)) < len(token_ids(log)))


def _nobody_drafts(log: Log, lanes: Lanes) -> None:
    lacks("no drafts", unless=not of(log, SpeculationJudged))


def _is_float32(log: Log, lanes: Lanes) -> None:
    lacks("float32", unless=opened(log).model and opened(log).model.dtype == "float32")  # type: ignore[union-attr]


def _forks(log: Log, lanes: Lanes) -> None:
    samples = {e.sample for e in of(log, TokenSampled)}
    lacks("three samples", unless=samples == {0, 1, 2})
    lacks("block.shared", unless=of(log, BlockShared))
    lacks("block.copied", unless=of(log, BlockCopied))
    lacks("answers that differ", unless=len({tuple(token_ids(log, sample)) for sample in samples}) > 1)


def _idles(log: Log, lanes: Lanes) -> None:
    lacks("idle slot-steps", unless=num_idle(log) > 0)


def _idles_less(log: Log, lanes: Lanes) -> None:
    lacks("fewer idle slot-steps than static", unless=num_idle(log) < num_idle(lanes["static"]))
    steps, others = len(of(log, StepFinished)), len(of(lanes["static"], StepFinished))
    lacks("fewer steps than static", unless=steps < others)


def gaps(log: Log) -> list[float]:
    """Seconds from each token of the run's own answer to the next."""
    own = opened(log).run_id
    times = [e.t for e in of(log, TokenSampled) if e.request_id == own and e.sample == 0]
    return [later - earlier for earlier, later in pairwise(times)]


def _stalls(log: Log, lanes: Lanes) -> None:
    usual = sorted(gaps(log))[len(gaps(log)) // 2]
    lacks("a gap of five usual ones, while a neighbour's prompt is read", unless=max(gaps(log)) > 5 * usual)
    wide = [step for step in of(log, StepStarted) if step.phase == "prefill" and len(step.requests) > 1]
    lacks("a neighbour's prompt that is read in one step", unless=len(wide) == 1)


def _stalls_less(log: Log, lanes: Lanes) -> None:
    lacks("gaps under half of the longest of unchunked", unless=max(gaps(log)) < max(gaps(lanes["unchunked"])) / 2)
    shared = [step for step in of(log, StepStarted) if step.phase == "prefill" and len(step.requests) > 1]
    lacks("a prompt that is read in several steps, beside a token for the run", unless=len(shared) > 2)


def _shrinks(log: Log, lanes: Lanes) -> None:
    sizes = Counter(batch_sizes(log))
    lacks("two decode steps at every batch size from 16 to 1", unless=all(sizes[n] >= 2 for n in range(1, 17)))


def _wastes(log: Log, lanes: Lanes) -> None:
    lacks("reserved places that stand empty, more than half", unless=most_unused(log) > 0.5)
    lacks("somebody who waits for a slab", unless=any(e.num_waiting for e in of(log, StepStarted)))


def _wastes_less(log: Log, lanes: Lanes) -> None:
    pool = [opened(each).engine.num_blocks for each in (log, lanes["slab"])]  # type: ignore[union-attr]
    lacks("the pool of slab", unless=pool[0] == pool[1])
    lacks("less waste than slab", unless=most_unused(log) < most_unused(lanes["slab"]))
    lacks("a system prompt that is stored once", unless=of(log, BlockShared))
    together, apart = (max(len(e.requests) for e in of(each, StepStarted)) for each in (log, lanes["slab"]))
    lacks("more requests together than in slabs", unless=together > apart)


def _starves(log: Log, lanes: Lanes) -> None:
    own = opened(log).run_id
    preempted = [e for e in of(log, RequestPreempted) if e.request_id == own]
    admitted = [e for e in of(log, RequestAdmitted) if e.request_id == own]
    lacks("request.preempted of the run itself", unless=preempted)
    lacks("request.admitted once more", unless=len(admitted) > 1)
    lacks("block.evicted", unless=of(log, BlockEvicted))


def _hits(log: Log, lanes: Lanes) -> None:
    admitted = next(e for e in of(log, RequestAdmitted) if e.request_id == opened(log).run_id)
    lacks("a prefix-cache hit of two blocks", unless=admitted.cached_tokens >= 32)


def _waits(log: Log, lanes: Lanes) -> None:
    own = opened(log).run_id
    places = [e.position for e in of(log, RequestQueued) if e.request_id == own]
    lacks("a place in the line that changes", unless=len(set(places)) >= 3)


def _goes_elsewhere(log: Log, lanes: Lanes) -> None:
    first = opened(log)
    run = lanes[DEFAULT_RUN]
    prompt = next(e for e in of(run, RequestAdmitted)).num_tokens
    before = token_ids(run)[: first.knobs["position"] - prompt]
    place = len(before)
    lacks("another token than the parent's", unless=token_ids(run)[place] != first.knobs["token_id"])
    lacks("another answer", unless=token_ids(log) != token_ids(run)[place + 1 :])


def _has_logits(log: Log, lanes: Lanes) -> None:
    lacks("logits at three positions", unless=len(of(log, ProbeLogits)) == 3)


def _has_attention(log: Log, lanes: Lanes) -> None:
    lacks("summaries at 20 positions", unless=len(of(log, ProbeAttentionSummary)) >= 20)
    start = next(e for e in of(lanes[DEFAULT_RUN], RequestAdmitted)).num_tokens
    whole = [e.position - start for e in of(log, ProbeAttention)]
    lacks("the weights of all heads where the steps of the room stop", unless=whole == list(STOPS))


def _has_gazes(log: Log, lanes: Lanes) -> None:
    start = next(e for e in of(lanes[DEFAULT_RUN], RequestAdmitted)).num_tokens
    probed = of(log, ProbeAttention)
    rows = [e.position for e in probed] == list(range(start, start + GAZE))
    lacks("weights at every token of the answer's beginning", unless=rows)
    lacks("twelve heads", unless=all(len(e.layers) * len(e.heads) == 12 for e in probed))


def _is_quantized(scheme: str) -> Callable[[Log, Lanes], None]:
    def check(log: Log, lanes: Lanes) -> None:
        model = opened(log).model
        lacks(f"weights of {scheme}", unless=model and model.quantization == scheme)

    return check


def _has_small_cache(log: Log, lanes: Lanes) -> None:
    engine = opened(log).engine
    lacks("a cache of int8", unless=engine and engine.kv_cache_dtype == "int8")


def shows_sharding(log: Log, lanes: Lanes) -> None:
    collectives = of(log, CollectiveFinished)
    lacks("collectives of three ranks", unless={e.rank for e in collectives} == {0, 1, 2})
    lacks("two sums a layer", unless=len(collectives) >= 3 * 2 * 30 * SHARDED_TOKENS)


# ---- the book ------------------------------------------------------------------------------------------------------

RACE = 160
"""Tokens of each lane of the race."""


def _fork_elsewhere(parent: Parent, log: Log) -> Fork:
    """At the first token that a close second could have had the place of, some way into the answer."""
    for event in of(log, TokenSampled)[8:]:
        second = next(candidate for candidate in event.candidates if candidate.id != event.id)
        if second.probability > 0.2 and re.fullmatch(r" \w{3,}", second.text):
            return Fork(event.position, second.id)
    raise ShowsNothing("no token of the default run had a second that came near")


def _logits(parent: Parent, log: Log) -> Probe:
    """Where the model was sure, where it was torn, and before its first word."""
    start = len(parent.token_ids)
    early = [event for event in of(log, TokenSampled) if event.position < start + 80]
    surest = max(early[8:], key=lambda event: event.candidates[0].probability)
    torn = min(early[8:], key=lambda event: event.candidates[0].probability)
    positions = sorted({start - 1, surest.position - 1, torn.position - 1})
    return Probe(Probes(logits=tuple(positions)))


STOPS = (17, 18, 49)
"""Tokens of the answer at which the room of attention asks all heads, as in ``static/js/scenes/attention_asks.js``."""
GAZE = 64
"""Tokens in a row at which it asks a few."""


def _attention(parent: Parent, log: Log) -> Probe:
    """Summaries spread over the answer; whole weights near its beginning, where they are short."""
    start, count = len(parent.token_ids), len(parent.output_ids)
    whole = tuple(start + stop for stop in STOPS)
    positions = sorted({*whole, *(start + (count - 1) * i // 20 for i in range(20))})
    return Probe(Probes(attention=AttentionProbe(positions=tuple(positions), whole=whole)))


def _gaze(parent: Parent, log: Log) -> Probe:
    """A few heads of the middle layers and of a late one, at every token of the answer's beginning."""
    start = len(parent.token_ids)
    positions = tuple(range(start, start + GAZE))
    return Probe(
        Probes(attention=AttentionProbe(positions=positions, layers=(13, 16, 17, 24), heads=(0, 4, 8), summary=False))
    )


def _always(take: Take) -> Callable[[Parent, Log], Take]:
    return lambda parent, log: take


def _race(kind: type[Take], dtype: str = "auto") -> Callable[[Parent, Log], Take]:
    return _always(kind(max_tokens=RACE, temperature=0.0, dtype=dtype))


RECIPES = {
    recipe.key: recipe
    for recipe in (
        Recipe(DEFAULT_RUN, None, _shows()),
        Recipe("again", _always(Again()), _shows(_hits)),
        Recipe("fork", _fork_elsewhere, _shows(_goes_elsewhere)),
        Recipe("logits", _logits, _shows(_has_logits)),
        Recipe("attention", _attention, _shows(_has_attention)),
        Recipe("gaze", _gaze, _shows(_has_gazes)),
        Recipe("samples", _always(Samples()), _shows(_forks)),
        Recipe("rush-hour", _always(RushHour()), _shows(_waits)),
        Recipe("static", _always(Static()), _shows(_idles)),
        Recipe("continuous", _always(Continuous()), _shows(_same_workload_as("static"), _idles_less)),
        Recipe("unchunked", _always(Unchunked()), _shows(_stalls)),
        Recipe("chunked", _always(Chunked()), _shows(_same_workload_as("unchunked"), _stalls_less)),
        Recipe("batch", _always(Batch()), _shows(_shrinks)),
        Recipe("slab", _always(Slab()), _shows(_wastes)),
        Recipe("paged", _always(Paged()), _shows(_same_workload_as("slab"), _wastes_less)),
        Recipe("starved", _always(Starved()), _shows(_starves)),
        Recipe("standard", _race(Standard), _shows(_nobody_drafts)),
        Recipe("speculative", _race(Speculative), _shows(_speculates, _accepts, _steps_fewer)),
        Recipe("speculative-sampled", _always(Speculative(max_tokens=RACE)), _shows(_speculates, _accepts, _tosses)),
        Recipe("look-up", _race(LookUp), _shows(_speculates, _accepts)),
        Recipe("mismatched", _race(Mismatched), _shows(_speculates)),
        Recipe("standard-fp32", _race(Standard, "float32"), _shows(_nobody_drafts, _is_float32)),
        Recipe(
            "speculative-fp32",
            _race(Speculative, "float32"),
            _shows(_speculates, _accepts, _is_float32, _same_answer_as("standard-fp32")),
        ),
        Recipe("int8", _always(Int8()), _shows(_is_quantized("int8"))),
        Recipe("int4", _always(Int4()), _shows(_is_quantized("int4"))),
        Recipe("int4-awq", _always(Int4AWQ()), _shows(_is_quantized("int4-awq"))),
        Recipe("kv-int8", _always(KVInt8()), _shows(_has_small_cache)),
        Recipe(SHARDING, None, shows_sharding),
    )
}
"""In the order in which they are recorded: what a recipe is compared with comes before it."""
