"""What a run has come to so far, folded from its log: for pages without scripts, the summary and the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from inference.events import (
    AnyEvent,
    LogClosed,
    LogOpened,
    RequestAdmitted,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestTokenized,
    StepStarted,
    TokenSampled,
    Totals,
)

Status = Literal["warming", "queued", "running", "closed"]


class Summary:
    """The fold. ``apply`` is deterministic: a log read from disk gives the same summary as the live one did."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.status: Status = "warming"
        self.opened: LogOpened | None = None
        self.closed: LogClosed | None = None
        self.finished: RequestFinished | None = None
        """Of sample 0, which is the run on stage; the totals are those of all samples."""
        self.ended = False
        """Every sample has finished."""
        self.position: int | None = None
        """Place in the line; 0 is next. None when not in it."""
        self.num_waiting = 0
        self.prompt: str = ""
        """The reader's own words, as the tokenizer gave them back."""
        self.text = ""
        """The answer so far."""
        self.totals = Totals()
        self.t = 0.0
        self.admitted_t: float | None = None
        """When it was first given a slot."""
        self.first_token_t: float | None = None
        self.last_token_t: float | None = None
        self.num_tokens = 0
        """Of sample 0."""

    def apply(self, event: AnyEvent) -> None:
        """Fold in one event of this run's log (stamped, projected)."""
        self.t = event.t
        own = getattr(event, "request_id", None) == self.run_id
        first = own and getattr(event, "sample", 0) == 0
        if isinstance(event, StepStarted):
            if any(item.request_id == self.run_id for item in event.requests):
                self.totals.num_steps += 1
        elif isinstance(event, LogOpened):
            self.opened = event
        elif isinstance(event, LogClosed):
            self.closed = event
            self.status = "closed"
            self.position = None
        elif own and isinstance(event, TokenSampled):
            self.totals.completion_tokens += 1
            if first:
                self.num_tokens += 1
                self.text += event.text
                self.first_token_t = event.t if self.first_token_t is None else self.first_token_t
                self.last_token_t = event.t
        elif first and isinstance(event, RequestQueued):
            self.status, self.position, self.num_waiting = "queued", event.position, event.num_waiting
        elif own and isinstance(event, RequestTokenized):
            self.totals.prompt_tokens = len(event.token_ids)
            self.prompt = own_words(event)
        elif first and isinstance(event, RequestAdmitted):
            self.status, self.position = "running", None
            self.admitted_t = event.t if self.admitted_t is None else self.admitted_t
            if self.totals.num_preemptions == 0:
                self.totals.cached_tokens = event.cached_tokens
        elif own and isinstance(event, RequestPreempted):
            self.totals.num_preemptions += 1
            if first:
                self.status = "queued"
        elif own and isinstance(event, RequestFinished):
            self._finish(event)

    def replay(self, events: Iterable[AnyEvent]) -> None:
        """Begin again, with these events alone."""
        vars(self).update(vars(Summary(self.run_id)))
        for event in events:
            self.apply(event)

    def _finish(self, event: RequestFinished) -> None:
        self.ended = event.num_samples_left == 0
        if event.sample != 0:
            return
        self.finished = event
        self.position = None
        if event.text is not None:
            self.text = event.text
        if event.usage is not None:
            self.totals.prompt_tokens = event.usage.prompt_tokens
            self.totals.cached_tokens = event.usage.cached_tokens

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens after the first, over the time from the first to the last; None where there is no such time."""
        if self.first_token_t is None or self.last_token_t is None or self.last_token_t <= self.first_token_t:
            return None
        return (self.num_tokens - 1) / (self.last_token_t - self.first_token_t)

    def to_dict(self) -> dict[str, Any]:
        """The body of ``GET /api/runs/{id}``. Times in seconds of the log."""
        totals = self.closed.totals if self.closed else self.totals
        return {
            "run_id": self.run_id,
            "status": self.status,
            "closed": self.closed is not None,
            "reason": self.closed.reason if self.closed else None,
            "detail": self.closed.detail if self.closed else "",
            "finish_reason": self.finished.reason if self.finished else None,
            "source": self.opened.source if self.opened else None,
            "opened_at": self.opened.opened_at if self.opened else None,
            "model": self.opened.model.name if self.opened and self.opened.model else None,
            "params": self.opened.params if self.opened else None,
            "parent": self.opened.parent if self.opened else None,
            "take": self.opened.take if self.opened else None,
            "knobs": self.opened.knobs if self.opened else {},
            "position": self.position,
            "num_waiting": self.num_waiting if self.position is not None else None,
            "text": self.text,
            "first_token_seconds": self.first_token_t,
            "tokens_per_second": self.tokens_per_second,
            "totals": {
                "prompt_tokens": totals.prompt_tokens,
                "cached_tokens": totals.cached_tokens,
                "completion_tokens": totals.completion_tokens,
                "num_steps": totals.num_steps,
                "num_preemptions": totals.num_preemptions,
                "seconds": self.closed.totals.seconds if self.closed else self.t,
            },
        }


def own_words(event: RequestTokenized) -> str:
    """The reader's part of the prompt. A chat template may end in a line break just before it ("user\\n"), and a
    tokenizer may merge that with the prompt's first spaces into one token, which counts as the reader's: where no token
    before it brings the break, it is taken off again."""
    words = "".join("".join(event.pieces[start:stop]) for start, stop in event.own)
    start = event.own[0][0] if event.own else 0
    if start > 0 and not event.pieces[start - 1].endswith("\n"):
        return words.removeprefix("\n")
    return words
