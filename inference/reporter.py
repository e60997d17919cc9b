"""Says what the engine does: puts what happened into events, stamps the time, hands them to who listens.

Everything here costs time only when somebody listens: the engine holds a ``Reporter`` then, and None otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch

from inference.block_manager import BlockManager
from inference.costs import step_costs
from inference.events import (
    Array,
    Candidate,
    Event,
    FinishReason,
    KVWritten,
    ProbeKV,
    RequestFinished,
    RequestTokenized,
    Snapshot,
    SnapshotRequest,
    StepFinished,
    StepStarted,
    TokenSampled,
)
from inference.models import Model
from inference.sampler import Sampled
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence, SequenceId
from inference.tokenizer import Part


@dataclass(slots=True)
class StepClock:
    """When the parts of a step ended, on ``time.perf_counter()``."""

    started: float
    scheduled: float = 0.0
    forward_began: float = 0.0
    computed: float = 0.0
    sample_began: float = 0.0
    sampled: float = 0.0


class Reporter:
    """The engine's voice."""

    def __init__(self, model: Model, on_event: Callable[[Event], None]) -> None:
        self._model = model
        self._on_event = on_event
        texts = model.tokenizer.texts
        self._texts = texts + [""] * (model.card.vocab_size - len(texts))  # (a vocabulary may be padded)
        _ = model.tokenizer.bpe  # made now, not when the first prompt waits for it

    def emit(self, event: Event) -> None:
        """Stamp ``event`` with the monotonic clock and hand it on."""
        event.t = time.monotonic()
        self._on_event(event)

    def tokenized(
        self,
        sequence: Sequence,
        parts: Seq[Part],
        pieces: list[str] | None,
        own: list[tuple[int, int]] | None,
        seconds: float,
    ) -> None:
        """The prompt as ids, how they came about from ``parts`` (where there are any), and whose words they are
        (``own`` None: all the reader's)."""
        tokenizer = self._model.tokenizer
        token_ids = sequence.token_ids[: sequence.num_prompt_tokens]
        self.emit(
            RequestTokenized(
                request_id=sequence.request_id,
                token_ids=token_ids,
                pieces=tokenizer.pieces(token_ids) if pieces is None else pieces,
                own=[(0, len(token_ids))] if own is None else own,
                seconds=seconds,
                merges=tokenizer.merges(parts, token_ids) if parts else None,
            )
        )

    def step_started(self, step: int, items: list[ScheduledItem], num_waiting: int, num_idle_slots: int) -> None:
        """What the step is going to compute."""
        phase = "prefill" if any(item.phase == "prefill" for item in items) else items[0].phase
        self.emit(
            StepStarted(
                step=step,
                phase=phase,
                requests=[item.describe() for item in items],
                num_tokens=sum(item.stop - item.start for item in items),
                num_waiting=num_waiting,
                num_idle_slots=num_idle_slots,
            )
        )

    def kv_written(self, items: list[ScheduledItem]) -> None:
        """The items' keys and values stand in the cache."""
        for item in items:
            sequence = item.sequence
            self.emit(
                KVWritten(request_id=sequence.request_id, sample=sequence.sample, start=item.start, stop=item.stop)
            )

    def norms(self, items: list[ScheduledItem], norms: list[torch.Tensor]) -> None:
        """``norms`` [2, layers, kv_heads, stop - start], float16, of each item's tokens in the cache."""
        for item, both in zip(items, norms, strict=True):
            keys, values = (Array.pack(part.numpy().tobytes(), "float16", list(part.shape)) for part in both)
            self.emit(
                ProbeKV(request_id=item.sequence.request_id, start=item.start, stop=item.stop, keys=keys, values=values)
            )

    def sampled(self, step: int, sequence: Sequence, sampled: Sampled, text: str) -> None:
        """The last token of ``sequence`` was drawn; ``text`` is what it adds to the answer."""
        texts = self._texts
        self.emit(
            TokenSampled(
                request_id=sequence.request_id,
                sample=sequence.sample,
                position=sequence.num_tokens - 1,
                id=sampled.id,
                text=text,
                logprob=sampled.logprob,
                candidates=[
                    Candidate(id=token, text=texts[token], logit=logit, probability=probability)
                    for token, logit, probability in sampled.candidates
                ],
                rest=sampled.rest,
                step=step,
            )
        )

    def step_finished(
        self, step: int, items: list[ScheduledItem], num_logits: int, clock: StepClock, blocks: BlockManager
    ) -> None:
        """What the step took: seconds as measured, FLOPs and bytes by the shapes; and what the cache holds after it."""
        slot_bytes = self._model.card.kv_bytes_per_token
        spans = [(item.start, item.stop) for item in items]
        costs = step_costs(self._model.card, spans, num_logits, self._model.dtype.itemsize)
        self.emit(
            StepFinished(
                step=step,
                seconds=time.perf_counter() - clock.started,
                schedule_seconds=clock.scheduled - clock.started,
                forward_seconds=clock.computed - clock.forward_began,
                sample_seconds=clock.sampled - clock.sample_began,
                num_tokens=sum(stop - start for start, stop in spans),
                flops=costs.flops,
                weight_bytes=costs.weight_bytes,
                kv_read_bytes=costs.kv_read_bytes,
                kv_written_bytes=costs.kv_written_bytes,
                kv_held_bytes=blocks.num_held_blocks * blocks.block_size * slot_bytes,
                kv_unused_bytes=blocks.num_unused_slots * slot_bytes,
            )
        )

    def finished(
        self, sequence: Sequence, reason: FinishReason, text: str, stop: str | None, num_samples_left: int
    ) -> None:
        """The sample has ended, and with the last of them the request."""
        self.emit(
            RequestFinished(
                request_id=sequence.request_id,
                sample=sequence.sample,
                slot=sequence.slot,
                reason=reason,
                stop=stop,
                text=text,
                usage=sequence.usage,
                num_samples_left=num_samples_left,
            )
        )


def snapshot(
    request_id: str,
    others: Iterable[Sequence],
    block_ids_of: Callable[[SequenceId], list[int]],
    *,
    num_blocks: int,
    num_free_blocks: int,
    cached_block_ids: list[int],
) -> Snapshot:
    """What is already there, for the log of ``request_id``: the ``others``, and the pool."""
    requests = [
        SnapshotRequest(
            request_id=sequence.request_id,
            sample=sequence.sample,
            slot=sequence.slot,
            num_tokens=sequence.num_tokens,
            num_computed_tokens=sequence.num_computed_tokens,
            block_ids=block_ids_of(sequence.id),
        )
        for sequence in others
    ]
    return Snapshot(
        t=time.monotonic(),
        request_id=request_id,
        requests=requests,
        num_blocks=num_blocks,
        num_free_blocks=num_free_blocks,
        cached_block_ids=cached_block_ids,
    )
