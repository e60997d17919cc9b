"""A request inside the engine, what was asked of it, and what comes out. Imports no torch: the app uses it too."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

import msgspec

from inference.events import FinishReason, Usage
from inference.probes import Probes

MAX_SEED = 2**63 - 1
MAX_SAMPLES = 16


class SamplingParams(msgspec.Struct, kw_only=True, frozen=True):
    """How to draw tokens. Defaults are the engine's; the page has its own. ``temperature`` 0 is greedy."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no cut."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    """Parallel samples: answers drawn independently to one prompt, which is computed once."""
    ignore_eos: bool = False
    drafter: str | None = None
    """Who drafts for it, of the drafters that the engine has loaded. None: the engine's first; "none": nobody."""

    def validate(self) -> None:
        """Raise ``ValueError`` that names the field and its range."""
        _within("max_tokens", self.max_tokens, 1, None)
        _within("temperature", self.temperature, 0.0, 100.0)
        _within("top_p", self.top_p, 0.0, 1.0, above=True)
        _within("top_k", self.top_k, 0, None)
        _within("min_p", self.min_p, 0.0, 1.0)
        _within("repetition_penalty", self.repetition_penalty, 0.0, 100.0, above=True)
        if self.seed is not None:
            _within("seed", self.seed, 0, MAX_SEED)
        if any(not isinstance(stop, str) or not stop for stop in self.stop):
            raise ValueError("stop must hold strings of at least one character")
        _within("n", self.n, 1, MAX_SAMPLES)
        if self.drafter is not None and not isinstance(self.drafter, str):
            raise ValueError(f"drafter must be null or a drafter's name, got {self.drafter!r}")


def _within(name: str, value: float, low: float, high: float | None, *, above: bool = False) -> None:
    """Raise unless ``low <= value <= high`` (``low < value`` where ``above``); NaN and wrong types never pass."""
    expected = f"must be {'above' if above else 'at least'} {low:g}" + (
        f" and at most {high:g}" if high is not None else ""
    )
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} {expected}, got {value!r}")
    if isinstance(low, int) and not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < low or (above and value == low) or (high is not None and value > high):
        raise ValueError(f"{name} {expected}, got {value!r}")


class SequenceStatus(Enum):
    """Where a sequence stands. A preempted one waits again."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class SequenceId(NamedTuple):
    """The name of a sequence: its request's, and which of the request's parallel samples it is (0 is the first)."""

    request_id: str
    sample: int = 0


@dataclass(slots=True, eq=False, kw_only=True)
class Sequence:
    """One sequence of tokens and how far the cache has got with it. A request is one sequence until its prompt is
    computed, then ``params.n`` of them.

    ::

        token_ids:  [ prompt ................ | generated ........ ]
                      0      num_prompt_tokens           num_tokens
        in cache:   [ cached | computed ... ]                          num_computed_tokens <= num_tokens
    """

    request_id: str
    token_ids: list[int]
    params: SamplingParams
    arrival: int
    """Counts requests: the line is first come, first served."""
    queued_at: float
    """Monotonic seconds of the last time it joined the line."""
    sample: int = 0
    """Which of its request's parallel samples it is."""
    num_prompt_tokens: int = 0
    cache_salt: str = ""
    num_public_tokens: int = 0
    probes: Probes | None = None
    """Resolved; None where nothing is asked for."""
    status: SequenceStatus = SequenceStatus.WAITING
    slot: int | None = None
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    """Prompt tokens that its first admission found computed: in the prefix cache, or shared by a fork."""
    num_preemptions: int = 0
    num_probed_tokens: int = 0
    """Positions before this have had what their probes ask for."""
    position: int | None = None
    """Place in the waiting line as last told."""
    admitted: bool = field(default=False)
    """Whether it ever had a slot."""

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)

    @property
    def id(self) -> SequenceId:
        return SequenceId(self.request_id, self.sample)

    @property
    def order(self) -> tuple[int, int]:
        """First come, first served; samples of a request in their own order."""
        return self.arrival, self.sample

    @property
    def seed(self) -> int | None:
        """Sample ``i`` draws what a request of its own with seed ``params.seed + i`` would (modulo 2**63; vLLM derives
        its samples' seeds alike), so sample 0 draws what n = 1 does. None: of no seed."""
        return None if self.params.seed is None else (self.params.seed + self.sample) & MAX_SEED

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def max_cached_tokens(self) -> int | None:
        """How many tokens it may take from the prefix cache: what a probe is still to see must be computed."""
        return None if self.probes is None else self.probes.first_owed(self.num_probed_tokens)

    @property
    def max_num_computed_tokens(self) -> int:
        """The most that it can ever have in the cache: the last token drawn is never computed."""
        return self.num_prompt_tokens + self.params.max_tokens - 1

    def fork(self, sample: int, queued_at: float) -> Sequence:
        """Another sample of the same prompt, waiting. Probes look at sample 0 alone."""
        return replace(
            self,
            token_ids=list(self.token_ids),
            queued_at=queued_at,
            sample=sample,
            probes=None,
            status=SequenceStatus.WAITING,
            slot=None,
            num_computed_tokens=0,
            num_cached_tokens=0,
            num_preemptions=0,
            position=None,
            admitted=False,
        )

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.num_prompt_tokens,
            cached_tokens=self.num_cached_tokens,
            completion_tokens=self.num_output_tokens,
        )


@dataclass(slots=True, kw_only=True)
class RequestOutput:
    """What one sample of a request (``index``, from 0) has produced so far. ``token_ids`` are the generated ones,
    cumulative, with the EOS that ended it; ``text`` is cumulative too, without special tokens and cut at the stop
    string."""

    request_id: str
    index: int
    token_ids: list[int]
    text: str
    finish_reason: FinishReason | None
    usage: Usage

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None
