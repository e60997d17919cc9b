"""The engine: requests go in, steps are made, tokens come out. It owns no policy of its own.

Who runs is the scheduler's matter, which block holds what the block manager's, the tensors the model runner's, and the
draw the sampler's. What this file does is to keep them in step, turn ids into text, end what has ended, and say it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection
from collections.abc import Sequence as Seq

import torch

from inference.answer import Answer
from inference.attention.quantized_cache import with_cache
from inference.block_manager import BlockManager, IntegrityError
from inference.engine_config import DEFAULT_MAX_MODEL_LEN, POLICIES, EngineConfig
from inference.events import EngineCard, Event, FinishReason, Origin, Snapshot
from inference.model_runner import ModelRunner
from inference.models import Model
from inference.prober import Prober, StepLook
from inference.probes import Probes
from inference.reporter import Reporter, StepClock, snapshot
from inference.sampler import Sampled, Sampler, undescribed
from inference.scheduler import ScheduledItem
from inference.sequence import RequestOutput, SamplingParams, Sequence, SequenceId, SequenceStatus
from inference.slab import SlabManager
from inference.speculation.drafters import load_drafters
from inference.speculation.speculator import OFF, Speculator
from inference.tokenizer import IncrementalDetokenizer, Part

Ended = tuple[Sequence, FinishReason | None]
"""A sequence that got tokens, and why it has ended, if it has."""


class Engine:
    """Serves one model. Not thread-safe: one thread calls it."""

    def __init__(
        self, model: Model, config: EngineConfig | None = None, on_event: Callable[[Event], None] | None = None
    ) -> None:
        config = config or EngineConfig()
        config.validate()
        model = with_cache(model, config.kv_cache_dtype)
        self.model = model
        self.config = config
        self.max_model_len = min(config.max_model_len or DEFAULT_MAX_MODEL_LEN, model.card.max_model_len)
        self._speculator: Speculator | None = None
        if config.drafter is not None:
            drafters = load_drafters(config.drafter, model, num_blocks=config.num_blocks, block_size=config.block_size)
            self._speculator = Speculator(drafters, config.num_speculative_tokens, adaptive=config.adaptive_speculation)
        self._reporter = None if on_event is None else Reporter(model, on_event)
        emit = None if self._reporter is None else self._reporter.emit
        if config.allocator == "slab":
            reserve = self.max_model_len if config.slab_reserve == "max_model_len" else None
            self._blocks: BlockManager = SlabManager(config.num_blocks, config.block_size, reserve=reserve, emit=emit)
        else:
            self._blocks = BlockManager(
                config.num_blocks, config.block_size, enable_prefix_caching=config.enable_prefix_caching, emit=emit
            )
        self._scheduler = POLICIES[config.policy](
            self._blocks,
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            clock=time.monotonic,
            emit=emit,
            num_drafts=None if self._speculator is None else self._speculator.num_drafts,
        )
        self._runner = ModelRunner(model, self._blocks, kv_cache_dtype=config.kv_cache_dtype)
        self._prober = None if emit is None else Prober(self._runner, emit)
        self._sampler = Sampler(model.card.vocab_size, torch.device(model.device))
        self._requests: dict[str, list[Sequence]] = {}
        """Unfinished samples of each: one until its prompt is computed, then ``n``."""
        self._answers: dict[SequenceId, Answer] = {}
        self._aborted: list[RequestOutput] = []
        self._arrivals = itertools.count()
        self._num_steps = 0

    # ---- requests --------------------------------------------------------------------------------------------------

    def add_request(
        self,
        prompt: str | Seq[int],
        params: SamplingParams | None = None,
        *,
        request_id: str | None = None,
        cache_salt: str = "",
        num_public_tokens: int = 0,
        own: list[tuple[int, int]] | None = None,
        pieces: list[str] | None = None,
        parts: Seq[Part] = (),
        tokenize_seconds: float = 0.0,
        probes: Probes | Collection[str] = (),
        waited: float = 0.0,
    ) -> str:
        """Queue a prompt: text as it is (no template), or token ids. Returns the request's id.

        ``cache_salt`` keeps its cached blocks apart from those of other salts, except for blocks wholly inside the
        first ``num_public_tokens``. ``own``: the half-open token ranges that are the reader's own text (None: all).
        ``pieces``, ``parts`` (the texts that token ids came from) and ``tokenize_seconds``: what the caller's
        tokenizing gave, for ``request.tokenized``.
        ``probes``: what is to be looked at more closely (``probes.py``), or the names of those that need no more words.
        ``waited``: seconds that it has stood in a line before this one, which count as queued.
        Raises ``ValueError`` for what can never be served.
        """
        params = params or SamplingParams()
        arrival = next(self._arrivals)
        request_id = f"request-{arrival}" if request_id is None else request_id
        if request_id in self._requests:
            raise ValueError(f"request_id {request_id!r} is already in the engine")
        started = time.monotonic()
        token_ids = self._token_ids(prompt)
        if isinstance(prompt, str):
            tokenize_seconds = time.monotonic() - started
            parts = [Part(prompt, add_special_tokens=True)]
        resolved = self.check_request(len(token_ids), params, probes)
        sequence = Sequence(
            request_id=request_id,
            token_ids=token_ids,
            params=params,
            arrival=arrival,
            queued_at=time.monotonic() - waited,
            cache_salt=cache_salt,
            num_public_tokens=num_public_tokens,
            probes=None if self._prober is None else resolved,
        )
        self._requests[request_id] = []
        self._remember(sequence)
        self._scheduler.add(sequence)
        if self._reporter is not None:
            self._reporter.tokenized(sequence, parts, pieces, own, tokenize_seconds)
        return request_id

    def _token_ids(self, prompt: str | Seq[int]) -> list[int]:
        if isinstance(prompt, str):
            try:
                prompt.encode("utf-8")
            except UnicodeEncodeError as error:
                raise ValueError(f"prompt has a lone surrogate at character {error.start}, which is not text") from None
            token_ids = self.model.tokenizer.encode(prompt)
        else:
            token_ids = list(prompt)
            vocab_size = self.model.card.vocab_size
            for token in token_ids:
                if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocab_size:
                    raise ValueError(f"prompt must hold token ids from 0 to {vocab_size - 1}, got {token!r}")
        if not token_ids:
            raise ValueError("prompt must have at least one token")
        return token_ids

    def check_request(
        self, num_prompt_tokens: int, params: SamplingParams, probes: Probes | Collection[str] = ()
    ) -> Probes | None:
        """Raise ``ValueError`` for what can never be served, and do no more. Returns what the probes come to."""
        params.validate()
        self._check_drafter(params.drafter)
        self._check_fits(num_prompt_tokens, params.max_tokens)
        return Probes.of(probes).resolve(self.model.card, num_prompt_tokens, params.max_tokens)

    def _check_fits(self, num_prompt_tokens: int, max_tokens: int) -> None:
        total = num_prompt_tokens + max_tokens
        if total > self.max_model_len:
            raise ValueError(
                f"prompt of {num_prompt_tokens} tokens plus max_tokens of {max_tokens} is over max_model_len "
                f"({self.max_model_len})"
            )
        # The last token drawn is never computed, so it needs no room.
        needed, there = self._blocks.num_blocks_to_serve(total - 1), self.config.num_blocks
        if needed > there:
            raise ValueError(
                f"prompt of {num_prompt_tokens} tokens plus max_tokens of {max_tokens} needs {needed} blocks and the "
                f"pool has {there}"
            )

    def _check_drafter(self, name: str | None) -> None:
        known = [OFF] if self._speculator is None else [OFF, *self._speculator.names]
        if name is not None and name not in known:
            raise ValueError(
                f"drafter must be null (the engine's own) or one that it has loaded ({', '.join(map(repr, known))}), "
                f"got {name!r}"
            )

    def abort(self, request_id: str) -> bool:
        """End a request, all its samples, now. False, and nothing done, if the engine does not have it (any more)."""
        if request_id not in self._requests:
            return False
        for sequence in list(self._requests[request_id]):
            self._finish(sequence, "aborted")
            self._aborted.append(self._output(sequence, "aborted"))
            self._forget(sequence)
        self._scheduler.tell_positions()
        return True

    def has_unfinished_requests(self) -> bool:
        """Whether ``step`` has anything to do or to tell (an aborted request's last output)."""
        return bool(self._requests or self._aborted)

    # ---- steps -----------------------------------------------------------------------------------------------------

    def step(self) -> list[RequestOutput]:
        """Make one step of the model. Returns what each sample that got a token, or was aborted, has now."""
        outputs, self._aborted = self._aborted, []
        clock = StepClock(started=time.perf_counter())
        items = self._scheduler.schedule()
        if not items:
            return outputs
        self._num_steps += 1
        clock.schedule = time.perf_counter() - clock.started
        if self._speculator is not None:
            self._draft(items, self._speculator, clock)
        if self._reporter is not None:
            num_idle_slots = self._scheduler.num_slots - len(items)
            self._reporter.step_started(self._num_steps, items, len(self._scheduler.waiting), num_idle_slots)
        look = None if self._prober is None else self._prober.look(items)
        logits = self._execute(items, look, clock)
        ended = [] if self._speculator is None else self._verify(items, self._speculator, logits, clock)
        self._mark_computed(items)
        if self._prober is not None and look is not None:
            self._prober.say(look)
        ended += self._sample(items, logits, clock)
        if self._reporter is not None:
            self._reporter.step_finished(self._num_steps, items, clock, self._blocks)
        for sequence, reason in ended:
            if reason is not None:
                self._finish(sequence, reason)
            outputs.append(self._output(sequence, reason))
            if reason is not None:
                self._forget(sequence)
        return outputs

    def _draft(self, items: list[ScheduledItem], speculator: Speculator, clock: StepClock) -> None:
        """Guesses for those that have room for them."""
        began = time.perf_counter()
        speculator.draft(items)
        clock.draft = time.perf_counter() - began
        if self._reporter is not None:
            self._reporter.drafted(self._num_steps, items, speculator, clock.draft)

    def _execute(self, items: list[ScheduledItem], look: StepLook | None, clock: StepClock) -> torch.Tensor:
        """The pass. Rows of logits of each item, in the items' order: what may follow its last token, and where it has
        a draft, what may follow each token before."""
        layers = () if self._speculator is None else self._speculator.layers(items)
        began = time.perf_counter()
        logits = self._runner.execute(items, look, layers)
        clock.forward = time.perf_counter() - began
        return logits

    def _verify(
        self, items: list[ScheduledItem], speculator: Speculator, logits: torch.Tensor, clock: StepClock
    ) -> list[Ended]:
        """Judge the drafts and append what was accepted and what follows it; with each sequence, whether that ended
        it. Nothing counts as computed yet: how much of an item does is decided here."""
        ended: list[Ended] = []
        for item, rows in zip(items, torch.split(logits, [item.num_logits for item in items]), strict=True):
            if item.draft is None:
                continue
            began = time.perf_counter()
            verdict = speculator.judge(item, rows, self._sampler)
            judged = time.perf_counter() - began
            drawn = undescribed(verdict.token_ids)
            if self._reporter is not None:
                drawn = self._sampler.describe(rows[: len(drawn)], verdict.token_ids)
                self._reporter.judged(self._num_steps, item, verdict, clock.forward + judged)
            origins: list[Origin] = ["draft" for _ in range(verdict.num_accepted)]
            origins.append(verdict.origin)
            reason = None
            for count, (sampled, origin) in enumerate(zip(drawn, origins, strict=True), 1):
                item.num_dropped = len(item.draft.token_ids) - min(count, verdict.num_accepted)
                if (reason := self._accept(item.sequence, sampled, origin)) is not None:
                    break  # what comes after the end was never said
            ended.append((item.sequence, reason))
            clock.sample += time.perf_counter() - began
        return ended

    def _sample(self, items: list[ScheduledItem], logits: torch.Tensor, clock: StepClock) -> list[Ended]:
        """Draw and append a token for each item that was to be sampled and had no draft; with each sequence, whether
        that ended it."""
        samplers: list[Sequence] = []
        rows: list[int] = []
        first_rows = itertools.accumulate((item.num_logits for item in items), initial=0)
        for item, row in zip(items, first_rows, strict=False):
            if item.samples and item.draft is None:
                forked = self._fork(item.sequence)
                samplers += forked
                rows += [row] * len(forked)  # the samples of a request draw their first token from one row
        if not samplers:
            return []
        began = time.perf_counter()
        if rows != list(range(len(logits))):
            logits = logits[torch.tensor(rows, device=logits.device)]
        drawn = self._sampler.sample(logits, samplers, describe=self._reporter is not None)
        ended = [(sequence, self._accept(sequence, sampled)) for sequence, sampled in zip(samplers, drawn, strict=True)]
        clock.sample += time.perf_counter() - began
        return ended

    def generate(
        self, prompts: str | Seq[str | Seq[int]], params: SamplingParams | Seq[SamplingParams] | None = None
    ) -> list[RequestOutput]:
        """Answer all ``prompts`` and block until done; outputs in their order, a prompt's samples in theirs."""
        if isinstance(prompts, str):
            prompts = [prompts]
        each = params if params is not None and not isinstance(params, SamplingParams) else [params] * len(prompts)
        request_ids: list[str] = []
        try:
            for prompt, its_params in zip(prompts, each, strict=True):
                request_ids.append(self.add_request(prompt, its_params))
        except ValueError:
            for request_id in request_ids:
                self.abort(request_id)
            self._aborted = [output for output in self._aborted if output.request_id not in request_ids]
            raise
        finished: dict[str, list[RequestOutput]] = {request_id: [] for request_id in request_ids}
        while self._aborted or finished.keys() & self._requests.keys():
            for output in self.step():
                if output.finished and output.request_id in finished:
                    finished[output.request_id].append(output)
        return [output for outputs in finished.values() for output in sorted(outputs, key=lambda one: one.index)]

    def _mark_computed(self, items: list[ScheduledItem]) -> None:
        """The items' keys and values stand in the cache now."""
        for item in items:
            sequence = item.sequence
            sequence.num_computed_tokens = item.stop - item.num_dropped
            self._blocks.mark_computed(sequence.id, sequence.token_ids, sequence.num_computed_tokens)
        if self._speculator is not None:
            self._speculator.observe(items, self._runner)
        if self._reporter is not None:
            self._reporter.kv_written(items)

    def _fork(self, sequence: Sequence) -> list[Sequence]:
        """The sequences that draw from the logits of ``sequence``: itself, and where its prompt has just been computed
        the request's other samples, which begin here."""
        num_samples = sequence.params.n
        if num_samples == 1 or sequence.num_output_tokens > 0:
            return [sequence]
        children = self._scheduler.fork(sequence, num_samples)
        for child in children:
            self._remember(child)
            if self._speculator is not None:
                self._speculator.fork(sequence, child)
        return [sequence, *children]

    def _accept(self, sequence: Sequence, sampled: Sampled, origin: Origin = "target") -> FinishReason | None:
        """Append a drawn token, say it, and tell whether it ends the sequence."""
        params, answer = sequence.params, self._answers[sequence.id]
        sequence.token_ids.append(sampled.id)
        ended = not params.ignore_eos and sampled.id in self.model.eos_token_ids
        full = sequence.num_output_tokens >= params.max_tokens
        piece = "" if ended else answer.detokenizer.push(sampled.id)
        if ended or full:
            piece += answer.detokenizer.flush()
        text = answer.add(piece, params.stop, last=ended or full)
        if self._reporter is not None:
            self._reporter.sampled(self._num_steps, sequence, sampled, text, origin)
        if ended or answer.stop is not None:
            return "stop"
        return "length" if full else None

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        answer = self._answers[sequence.id]
        if self._reporter is not None:
            num_left = len(self._requests[sequence.request_id]) - 1
            self._reporter.finished(sequence, reason, answer.text, answer.stop, num_left)
        self._scheduler.remove(sequence)

    def _remember(self, sequence: Sequence) -> None:
        detokenizer = IncrementalDetokenizer(self.model.tokenizer, prompt_ids=sequence.token_ids)
        self._requests[sequence.request_id].append(sequence)
        self._answers[sequence.id] = Answer(detokenizer)

    def _forget(self, sequence: Sequence) -> None:
        samples = self._requests[sequence.request_id]
        samples.remove(sequence)
        if not samples:
            del self._requests[sequence.request_id]
        self._sampler.forget(sequence.id)
        if self._speculator is not None:
            self._speculator.forget(sequence)
        if self._prober is not None:
            self._prober.forget(sequence)
        del self._answers[sequence.id]

    def _output(self, sequence: Sequence, reason: FinishReason | None) -> RequestOutput:
        return RequestOutput(
            request_id=sequence.request_id,
            index=sequence.sample,
            token_ids=sequence.token_ids[sequence.num_prompt_tokens :],
            text=self._answers[sequence.id].text,
            finish_reason=reason,
            usage=sequence.usage,
        )

    # ---- what there is ---------------------------------------------------------------------------------------------

    def snapshot(self, request_id: str) -> Snapshot:
        """What is already there, for the log of ``request_id``: the other requests, and the pool."""
        pool, tables = self._blocks.pool, self._blocks.tables
        return snapshot(
            request_id,
            [sequence for sequence in self._unfinished() if sequence.request_id != request_id],
            lambda other: list(tables[other].block_ids) if other in tables else [],
            num_blocks=pool.num_blocks,
            num_free_blocks=len(pool.free),
            cached_block_ids=list(pool.cached),
        )

    @property
    def card(self) -> EngineCard:
        """The configuration as logs carry it."""
        config = self.config
        return EngineCard(
            block_size=config.block_size,
            num_blocks=config.num_blocks,
            max_num_seqs=config.max_num_seqs,
            max_num_batched_tokens=config.max_num_batched_tokens,
            max_model_len=self.max_model_len,
            policy=config.policy,
            enable_prefix_caching=self._blocks.enable_prefix_caching,
            allocator=config.allocator,
            drafter=None if self._speculator is None else ",".join(self._speculator.names),
            num_speculative_tokens=0 if self._speculator is None else config.num_speculative_tokens,
            kv_cache_dtype=config.kv_cache_dtype,
            drafter_bytes={} if self._speculator is None else self._speculator.num_bytes,
        )

    def _unfinished(self) -> list[Sequence]:
        return list(itertools.chain.from_iterable(self._requests.values()))

    def check_integrity(self) -> None:
        """Raise ``IntegrityError`` unless every block and slot is accounted for."""
        self._blocks.check_integrity()
        self._scheduler.check_integrity()
        known = {s.id for s in (*self._scheduler.waiting, *self._scheduler.running)}
        if known != {s.id for s in self._unfinished()} or known != self._answers.keys():
            raise IntegrityError("sequences of the engine and of the scheduler differ")
        if any(s.status is SequenceStatus.FINISHED for s in self._unfinished()):
            raise IntegrityError("a finished sequence is still in the engine")
