"""Says what the engine does: puts what happened into events, stamps the time, hands them to who listens.

Everything here costs time only when somebody listens: the engine holds a ``Reporter`` then, and None otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from inference.block_manager import BlockManager
from inference.costs import step_costs
from inference.events import (
    Candidate,
    Event,
    FinishReason,
    KVWritten,
    Origin,
    RequestFinished,
    RequestTokenized,
    Snapshot,
    SnapshotRequest,
    SpeculationDrafted,
    SpeculationJudged,
    StepFinished,
    StepStarted,
    TokenSampled,
)
from inference.models import Model
from inference.sampler import Sampled
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence, SequenceId
from inference.speculation.speculator import Speculator
from inference.speculation.verification import Verdict
from inference.tokenizer import Part


@dataclass(slots=True)
class StepClock:
    """What the parts of a step took, in seconds."""

    started: float
    """On ``time.perf_counter()``."""
    schedule: float = 0.0
    draft: float = 0.0
    forward: float = 0.0
    sample: float = 0.0


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
        """The items' keys and values stand in the cache; those of dropped drafts count for nothing."""
        for item in items:
            sequence, stop = item.sequence, item.stop - item.num_dropped
            self.emit(KVWritten(request_id=sequence.request_id, sample=sequence.sample, start=item.start, stop=stop))

    def drafted(self, step: int, items: list[ScheduledItem], speculator: Speculator, seconds: float) -> None:
        """The items that have drafts got them; drafting took ``seconds`` in all."""
        for item in items:
            drafter = speculator.drafter_of(item.sequence)
            if item.draft is None or drafter is None:
                continue
            self.emit(
                SpeculationDrafted(
                    request_id=item.sequence.request_id,
                    sample=item.sequence.sample,
                    step=step,
                    drafter=drafter.name,
                    position=item.sequence.num_tokens,
                    ids=item.draft.token_ids,
                    texts=[self._texts[token] for token in item.draft.token_ids],
                    q=item.draft.probabilities(),
                    seconds=seconds,
                )
            )

    def judged(self, step: int, item: ScheduledItem, verdict: Verdict, seconds: float) -> None:
        """The item's drafts were verified, before any token of them joined the sequence."""
        assert item.draft is not None
        num_drafts = len(item.draft.token_ids)
        self.emit(
            SpeculationJudged(
                request_id=item.sequence.request_id,
                sample=item.sequence.sample,
                step=step,
                position=item.sequence.num_tokens,
                p=verdict.p,
                q=verdict.q,
                draws=verdict.draws,
                num_drafts=num_drafts,
                num_accepted=verdict.num_accepted,
                id=verdict.token_ids[-1],
                text=self._texts[verdict.token_ids[-1]],
                origin=verdict.origin,
                seconds=seconds,
            )
        )

    def sampled(self, step: int, sequence: Sequence, sampled: Sampled, text: str, origin: Origin) -> None:
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
                origin=origin,
                step=step,
            )
        )

    def step_finished(self, step: int, items: list[ScheduledItem], clock: StepClock, blocks: BlockManager) -> None:
        """What the step took: seconds as measured, FLOPs and bytes by the shapes; and what the cache holds after it."""
        slot_bytes = self._model.card.kv_bytes_per_token
        spans = [(item.start, item.stop) for item in items]
        num_logits = sum(item.num_logits for item in items)
        costs = step_costs(self._model.card, spans, num_logits, self._model.dtype.itemsize)
        self.emit(
            StepFinished(
                step=step,
                seconds=time.perf_counter() - clock.started,
                schedule_seconds=clock.schedule,
                draft_seconds=clock.draft,
                forward_seconds=clock.forward,
                sample_seconds=clock.sample,
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
