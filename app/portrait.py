"""What a picture of a run is drawn from: who sat in which slot when, how sure the model was of each token, how full the
pool was. Folded from the log once; a server-side SVG and a preview picture draw the same."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from app.pool import Pool
from app.summary import Summary
from inference.events import (
    Array,
    LogOpened,
    ProbeKV,
    Snapshot,
    SpeculationJudged,
    StepFinished,
    StepStarted,
    TokenSampled,
    decode,
)

Role = Literal["prefill", "decode", "verify", "guest"]
# What is looked at here is told by the beginning of a line: the rest of a log is not even parsed.
_WANTED = (b"request.", b"step.", b"token.", b"block.", b"snapshot", b"log.", b"speculation.judged")


@dataclass(frozen=True)
class Share:
    """One sequence's part of one step."""

    slot: int
    start: float
    stop: float
    """Seconds of the log."""
    role: Role


@dataclass(frozen=True)
class Token:
    """One token of the answer (sample 0)."""

    t: float
    probability: float
    origin: str


@dataclass
class Portrait:
    """A log, as far as its picture goes."""

    summary: Summary
    shares: list[Share] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    pool: list[tuple[float, int, int]] = field(default_factory=list)
    """Time, blocks held, blocks kept for their contents."""
    num_blocks: int = 0
    num_drafts: int = 0
    num_accepted: int = 0
    keys: list[tuple[int, Array]] = field(default_factory=list)
    """First position, and the norms that were written there: [layers, heads, tokens]."""
    values: list[tuple[int, Array]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return max(self.summary.t, 1e-6)

    @property
    def opened(self) -> LogOpened | None:
        return self.summary.opened

    @property
    def slots(self) -> list[int]:
        """Those in which somebody sat."""
        return sorted({share.slot for share in self.shares})


def portrait_of(run_id: str, lines: Iterable[bytes], *, walls: bool = False) -> Portrait:
    """Fold a log. ``run_id``: empty for a recording, which says it itself. ``walls``: with the norms of keys and
    values."""
    portrait = Portrait(Summary(run_id))
    pool = Pool(0)
    step: StepStarted | None = None
    for line in lines:
        kind = line[9:40] if line.startswith(b'{"type":"') else line
        if not kind.startswith(_WANTED) and not (walls and kind.startswith(b"probe.kv")):
            continue
        event = decode(line)
        own = getattr(event, "request_id", None) == portrait.summary.run_id and not getattr(event, "sample", 0)
        if isinstance(event, LogOpened):
            portrait.summary.run_id = event.run_id
            portrait.num_blocks = event.engine.num_blocks if event.engine else 0
        elif isinstance(event, StepStarted):
            step = event
        elif isinstance(event, StepFinished) and step is not None:
            _add_shares(portrait, step, event.t)
            step = None
        elif isinstance(event, TokenSampled) and own:
            portrait.tokens.append(Token(event.t, math.exp(min(0.0, event.logprob)), event.origin))
        elif isinstance(event, SpeculationJudged) and own:
            portrait.num_drafts += event.num_drafts
            portrait.num_accepted += event.num_accepted
        elif isinstance(event, ProbeKV) and own:
            portrait.keys.append((event.start, event.keys))
            portrait.values.append((event.start, event.values))
        if kind.startswith((b"block.", b"snapshot")):
            if isinstance(event, Snapshot):
                portrait.num_blocks = event.num_blocks
            pool.apply(event)
            portrait.pool.append((event.t, pool.num_held, pool.num_cached))
        portrait.summary.apply(event)
    return portrait


def _add_shares(portrait: Portrait, step: StepStarted, stop: float) -> None:
    for item in step.requests:
        role: Role = item.phase if item.request_id == portrait.summary.run_id else "guest"
        portrait.shares.append(Share(item.slot, step.t, stop, role))
