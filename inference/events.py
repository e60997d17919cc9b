"""The vocabulary: every event an engine says about a run, with units. The one contract of the project.

Three parties meet here and nowhere else: the engine says events, the app keeps and sends them, the browser folds them
into a state and draws it. They are exported as JSON Schema (``/api/schema/events.json``) and the browser's types are
generated from that.

Units: times are seconds, sizes bytes, probabilities lie in [0, 1], token ids are the model's own. ``logprob`` and
``probability`` are those of the model's own distribution (temperature 1, before any cut-off); ``logit`` is raw.
Numeric arrays (measurements) that can exceed 64 numbers travel as ``Array``. Token ids and block ids are names, not
measurements, and stay plain lists at any length.

Envelope of a *logged* event: ``seq`` counts 1, 2, 3 ... without gaps, ``t`` is seconds since the log opened. A *bare*
event, as the engine says it, has ``seq == 0`` and ``t`` on the engine's monotonic clock (``time.monotonic()``);
``app/runs.py`` stamps both when it projects engine events into one run's log.

A reader ignores fields and types it does not know. A writer never removes a field within one ``SCHEMA_VERSION``.
"""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec

SCHEMA_VERSION = 1

Source = Literal["live", "recorded", "attached"]
Phase = Literal["prefill", "decode", "verify"]
FinishReason = Literal["stop", "length", "aborted", "error"]
CloseReason = Literal["finished", "stopped", "rejected", "crashed", "interrupted", "error"]
Origin = Literal["target", "draft", "bonus", "recovered"]

# What a source can know. A room whose fact is missing from ``log.opened.provides`` says so instead of drawing.
PROVIDES = (
    "request.queued",
    "request.tokenized",
    "request.admitted",
    "request.preempted",
    "steps",
    "costs",
    "blocks",
    "kv.written",
    "token.candidates",
    "probe.kv",
)


class Array(msgspec.Struct, kw_only=True, frozen=True):
    """A numeric array: ``value = decode(data) * scale``, row-major over ``shape``, little-endian, base64."""

    dtype: Literal["uint8", "float16", "float32"]
    shape: list[int]
    data: str
    scale: float = 1.0

    @classmethod
    def pack(
        cls, raw: bytes, dtype: Literal["uint8", "float16", "float32"], shape: list[int], scale: float = 1.0
    ) -> Array:
        """Wrap little-endian ``raw`` bytes of ``dtype`` and ``shape``."""
        return cls(dtype=dtype, shape=shape, data=base64.b64encode(raw).decode("ascii"), scale=scale)


class Event(msgspec.Struct, kw_only=True, tag_field="type"):
    """What all events share: the envelope."""

    seq: int = 0
    t: float = 0.0


class RequestEvent(Event, kw_only=True):
    """An event about one request; ``sample`` tells parallel samples of one request apart (0 is the first)."""

    request_id: str
    sample: int = 0


# ---- the log -------------------------------------------------------------------------------------------------------


class ModelCard(msgspec.Struct, kw_only=True):
    """The model that answers. ``note`` says in words where the weights come from and what was done to them."""

    name: str
    architecture: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    num_parameters: int
    parameter_bytes: int
    dtype: str
    kv_bytes_per_token: int
    max_model_len: int
    license: str = ""
    note: str = ""
    sliding_window: int | None = None
    """Tokens that a layer with a window attends to, itself included."""
    num_sliding_layers: int = 0
    """Layers that have the window; the others see everything."""


class Hardware(msgspec.Struct, kw_only=True):
    """The machine, with its roofs as measured there (``inference/roofline.py``), not as advertised."""

    device: str
    """``cpu`` or ``cuda``."""
    name: str
    """The processor's own name."""
    num_threads: int
    memory_bytes: int
    peak_flops: float
    """Measured: best FLOP/s of a large square matrix product in the model's dtype."""
    memory_bandwidth: float
    """Measured: best bytes/s of a streaming read of an array larger than the caches."""
    measured_at: float
    """Unix seconds."""
    peaks: dict[str, float] = {}
    """Measured like ``peak_flops``, by dtype (``float32``, ``bfloat16``; of ``int8``: integer operations a second)."""


class EngineCard(msgspec.Struct, kw_only=True):
    """The engine's configuration, in the field's own words."""

    block_size: int
    num_blocks: int
    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    policy: str
    enable_prefix_caching: bool
    allocator: str = "paged"
    drafter: str | None = None
    num_speculative_tokens: int = 0


class Software(msgspec.Struct, kw_only=True):
    """What ran: versions, and the commit of this project where it is known."""

    openkitchen: str
    commit: str = ""
    torch: str = ""
    transformers: str = ""
    python: str = ""


class LogOpened(Event, kw_only=True, tag="log.opened"):
    """First event of every log (``seq`` 1, ``t`` 0). ``model``, ``hardware`` and ``engine`` are null only in the log
    of a run whose engine never came up; ``engine`` also in that of a sharded run, which no engine of ours serves."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    source: Source
    opened_at: float
    """Unix seconds."""
    model: ModelCard | None
    hardware: Hardware | None
    engine: EngineCard | None
    software: Software | None
    params: dict[str, Any]
    """The sampling parameters of the run, as ``POST /api/runs`` takes them (without the prompt)."""
    provides: list[str]
    parent: str | None = None


class SnapshotRequest(msgspec.Struct, kw_only=True):
    """A request that was already running when the log opened."""

    request_id: str
    sample: int
    slot: int | None
    """Null while it waits."""
    num_tokens: int
    num_computed_tokens: int
    block_ids: list[int]


class Snapshot(Event, kw_only=True, tag="snapshot"):
    """What is already there when the log opens: other requests, and the pool."""

    request_id: str
    """The request for whose log it was taken."""
    requests: list[SnapshotRequest]
    num_blocks: int
    num_free_blocks: int
    """Neither held nor cached."""
    cached_block_ids: list[int]
    """Held by nobody, kept for their contents, in eviction order."""


class Totals(msgspec.Struct, kw_only=True):
    """Sums over the log."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    num_steps: int = 0
    """Steps that computed something for this run's request."""
    num_preemptions: int = 0
    seconds: float = 0.0
    """From ``log.opened`` to ``log.closed``."""


class LogClosed(Event, kw_only=True, tag="log.closed"):
    """Last event of every log. ``reason``: ``finished`` (the request ended by itself), ``stopped`` (its creator stopped
    it), ``rejected`` (found impossible after it was accepted), ``crashed`` (the engine died), ``interrupted`` (the app
    died; written at the next start), ``error``."""

    reason: CloseReason
    detail: str = ""
    """One sentence for the reader."""
    totals: Totals


# ---- a request's life ----------------------------------------------------------------------------------------------


class Usage(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens: read, of those found in the cache, and written (the EOS that ended a request included)."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class RequestQueued(RequestEvent, kw_only=True, tag="request.queued"):
    """In the waiting line. Said again whenever ``position`` changes. Position 0 is next."""

    position: int
    num_waiting: int


class BPEWord(msgspec.Struct, kw_only=True):
    """One word, or one added token, on its way from symbols to tokens."""

    symbols: list[str]
    """The text of each initial symbol; a byte that is no character by itself is spelled ``<0xE2>``. A symbol that two
    were merged into is the two texts joined."""
    merges: list[tuple[int, int]]
    """Rank and position of each merge, in the order in which they apply: the symbol that begins with the initial
    symbol ``position`` joins its right neighbour. Every merge leaves one symbol less; what is left are the tokens."""


class BPEMerges(msgspec.Struct, kw_only=True):
    """How byte-pair encoding made the first ``num_tokens`` tokens of a prompt. Of a long prompt with many different
    words that may be fewer than it has."""

    words: list[BPEWord]
    """Each different word once."""
    order: list[int]
    """Indices into ``words``, in the order of the text."""
    num_tokens: int


class RequestTokenized(RequestEvent, kw_only=True, tag="request.tokenized"):
    """The prompt as ids. ``pieces`` are the characters each token adds (joined they are the templated text; a token
    that ends inside a character has an empty piece, and the one that completes it carries the whole character)."""

    token_ids: list[int]
    pieces: list[str]
    own: list[tuple[int, int]]
    """Half-open ranges of tokens that are the reader's own text; the rest is the chat template."""
    seconds: float
    """Template and tokenizer."""
    merges: BPEMerges | None = None
    """Null for ids that came without a text, and for a tokenizer that does not merge (Unigram, WordPiece)."""


class RequestAdmitted(RequestEvent, kw_only=True, tag="request.admitted"):
    """Given a slot. After a preemption a request is admitted again."""

    slot: int
    num_tokens: int
    """Tokens it holds now (the prompt, and after a preemption what it had generated)."""
    cached_tokens: int
    """Of those, found computed: in the prefix cache, or (a parallel sample) shared by the fork."""
    queue_seconds: float


class RequestPreempted(RequestEvent, kw_only=True, tag="request.preempted"):
    """Lost its slot and blocks because the pool was full; its tokens will be computed again (recompute)."""

    slot: int
    num_computed_tokens: int
    """Computed tokens that it gave up."""


class RequestFinished(RequestEvent, kw_only=True, tag="request.finished"):
    """A sample of a request ended. ``text`` is its whole answer (cut at the stop string, without special tokens)."""

    slot: int | None
    reason: FinishReason
    stop: str | None = None
    """The stop string that ended it, where one did."""
    text: str | None = None
    usage: Usage | None = None
    """Of this sample. All samples of a request read the same prompt, which was computed once."""
    detail: str = ""
    num_samples_left: int = 0
    """Samples of the request that have not finished yet. 0: the request has ended."""


# ---- steps ---------------------------------------------------------------------------------------------------------


class StepItem(msgspec.Struct, kw_only=True):
    """One request's share of a step: its tokens ``start <= position < stop`` are computed."""

    request_id: str
    sample: int
    slot: int
    phase: Phase
    start: int
    stop: int


class StepStarted(Event, kw_only=True, tag="step.started"):
    """One engine step begins. ``phase`` is ``prefill`` if any request in it prefills, else what they all do."""

    step: int
    phase: Phase
    requests: list[StepItem]
    num_tokens: int
    num_waiting: int
    num_idle_slots: int | None = None
    """Slots for which the step computes nothing: free ones, and those whose sequence gets no share. Null: not said."""


class StepFinished(Event, kw_only=True, tag="step.finished"):
    """The step is done. Seconds are measured; FLOPs and bytes follow from the shapes (``inference/costs.py``)."""

    step: int
    seconds: float
    """From before scheduling (whose ``block.*`` and ``request.admitted`` come before ``step.started``) to the last
    drawn token: the sum of the three below and a rest."""
    schedule_seconds: float
    forward_seconds: float
    sample_seconds: float
    num_tokens: int
    flops: float
    weight_bytes: int
    """Parameters read."""
    kv_read_bytes: int
    kv_written_bytes: int
    kv_held_bytes: int | None = None
    """Of the cache's blocks that sequences hold after the step. Null: not said."""
    kv_unused_bytes: int | None = None
    """Of those, where no key or value stands: the rest of last blocks, and what an allocator reserved. Null: not
    said."""


class CollectiveFinished(Event, kw_only=True, tag="collective.finished"):
    """Ranks that share a model have exchanged numbers. Each rank says its own; ``t`` is when it had the result."""

    step: int
    kind: Literal["all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all"]
    module: str
    """Name of the layer whose result it completes."""
    rank: int
    num_ranks: int
    bytes: int
    """What this rank brought along."""
    seconds: float
    """From this rank's call to its result: it waits there for the slowest rank."""


# ---- the cache -----------------------------------------------------------------------------------------------------


class BlockAllocated(RequestEvent, kw_only=True, tag="block.allocated"):
    """Fresh blocks at the end of a block table: ``block_table[start:start + len(block_ids)] = block_ids``."""

    block_ids: list[int]
    start: int


class BlockShared(RequestEvent, kw_only=True, tag="block.shared"):
    """Computed blocks enter the beginning of a block table: found by hash, or all of the parent's at a fork (then the
    last may be partly full). ``ref_counts`` are those after."""

    block_ids: list[int]
    ref_counts: list[int]
    start: int


class BlockCopied(RequestEvent, kw_only=True, tag="block.copied"):
    """Copy-on-write: a shared block was about to be written, so ``block_id``, a copy of its own, takes its place in the
    block table. The source has one holder fewer."""

    source_block_id: int
    block_id: int
    index: int
    """Place in the block table."""


class BlockReleased(RequestEvent, kw_only=True, tag="block.released"):
    """A request lets its blocks go; ``ref_counts`` are those after."""

    block_ids: list[int]
    ref_counts: list[int]
    cached: list[bool]
    """Per block: kept for its contents (true) or free (false). Meaningful where the ref_count is 0."""


class BlockEvicted(Event, kw_only=True, tag="block.evicted"):
    """A cached block gives up its contents to be used anew (least recently used first)."""

    block_id: int


class KVWritten(RequestEvent, kw_only=True, tag="kv.written"):
    """Keys and values of tokens ``start <= position < stop`` now stand in the cache."""

    start: int
    stop: int


# ---- tokens --------------------------------------------------------------------------------------------------------


class Candidate(msgspec.Struct, kw_only=True):
    """One of the most likely next tokens. ``text`` is the token alone (special tokens by their name)."""

    id: int
    text: str
    logit: float
    probability: float


class TokenSampled(RequestEvent, kw_only=True, tag="token.sampled"):
    """A token was chosen for ``position``. ``text`` is what it adds to the answer (empty inside a character, and for
    special tokens)."""

    position: int
    id: int
    text: str
    logprob: float
    candidates: list[Candidate]
    rest: float
    """Probability of everything that is not in ``candidates``."""
    origin: Origin = "target"
    step: int = 0


# ---- probes --------------------------------------------------------------------------------------------------------


class ProbeKV(RequestEvent, kw_only=True, tag="probe.kv"):
    """Euclidean norms of the keys (after rotary embedding) and values as they stand in the cache:
    of what a step wrote, and with a request's first step also of what it found there (the prefix cache).
    ``shape`` of both: [num_layers, num_kv_heads, stop - start]."""

    start: int
    stop: int
    keys: Array
    values: Array


AnyEvent = (
    LogOpened
    | Snapshot
    | LogClosed
    | RequestQueued
    | RequestTokenized
    | RequestAdmitted
    | RequestPreempted
    | RequestFinished
    | StepStarted
    | StepFinished
    | CollectiveFinished
    | BlockAllocated
    | BlockShared
    | BlockCopied
    | BlockReleased
    | BlockEvicted
    | KVWritten
    | TokenSampled
    | ProbeKV
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """One event as one line of JSON, without the newline."""
    return _encoder.encode(event)


def decode(line: bytes | str) -> AnyEvent:
    """The inverse of ``encode``; unknown fields are ignored. Raises ``msgspec.ValidationError`` on an unknown type."""
    return _decoder.decode(line)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the log: one of the events, tagged by ``type``."""
    (schema,), components = msgspec.json.schema_components([AnyEvent], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Open Kitchen events",
        "description": f"Schema version {SCHEMA_VERSION}. One event of a run's log.",
        **schema,
        "$defs": components,
    }
