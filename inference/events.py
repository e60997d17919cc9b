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
    "speculation",
    "probe.kv",
    "probe.logits",
    "probe.attention",
    "probe.tiles",
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
    sliding_layers: list[int] = []
    """Which they are, from 0; empty where that is not known, or where none or all have it."""
    attention_sinks: bool = False
    """Whether heads have a sink logit, which takes a share that goes to no token: a row of attention then sums to less
    than one."""
    tied_embeddings: bool | None = None
    """Whether the vocabulary head's weights are the embedding's; None: not told."""
    num_experts: int = 0
    """Of each layer that has experts, those that tokens are routed to; 0: a dense model."""
    num_experts_per_token: int = 0
    """Of ``num_experts``, those that a token is sent to."""
    expert_parameters: int = 0
    """Of ``num_parameters``, those of the routed experts of all layers together."""
    expert_bytes: int = 0
    """Of ``parameter_bytes``, theirs."""
    quantization: str = ""
    """Of the weights: ``int8``, ``int4``, ``int4-awq``; empty where all of them are of ``dtype``."""
    head_bytes: int = 0
    """Of ``parameter_bytes``, the vocabulary head's."""


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
    kv_cache_dtype: str = "auto"
    """``auto``: the model's own; ``int8``, ``fp8``."""
    drafter_bytes: dict[str, int] = {}
    """Of each drafter that is loaded: what its weights and tables occupy beside the model's. What it remembers of a
    sequence is not in it."""


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
    """The run that this one is a take of."""
    take: str | None = None
    """Its kind (``inference/takes.py``)."""
    knobs: dict[str, Any] = {}
    """What the take was asked for, with the values that were chosen where nothing was asked."""


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
    """What is already there when the run comes to the engine: other requests, and the pool."""

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
    died; written at the next start; or a take made way for an ordinary run), ``error``."""

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
    """In the waiting line. Said again whenever ``position`` changes. Position 0 is next. A kitchen with a line of its
    own before the engine's counts everybody in both; visitors take turns there, so that a place may also be lost to
    another visitor's first run."""

    position: int
    num_waiting: int
    detail: str = ""
    """One sentence for the reader, where something befell those who wait (the engine is being started again)."""


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
    drawn token: the sum of schedule, draft, forward and sample, and a rest."""
    schedule_seconds: float
    forward_seconds: float
    sample_seconds: float
    """Drawing tokens, and judging drafts."""
    num_tokens: int
    """Computed, rejected drafts among them."""
    flops: float
    """Of the model; what a drafter does is told by its seconds alone."""
    weight_bytes: int
    """Parameters read."""
    kv_read_bytes: int
    kv_written_bytes: int
    kv_held_bytes: int | None = None
    """Of the cache's blocks that sequences hold after the step. Null: not said."""
    kv_unused_bytes: int | None = None
    """Of those, where no key or value stands: the rest of last blocks, and what an allocator reserved. Null: not
    said."""
    draft_seconds: float = 0.0


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


# ---- speculation ---------------------------------------------------------------------------------------------------


class SpeculationDrafted(RequestEvent, kw_only=True, tag="speculation.drafted"):
    """A drafter guessed the tokens at ``position`` and on, which step ``step`` is going to verify."""

    step: int
    drafter: str
    position: int
    ids: list[int]
    texts: list[str]
    """Each token alone, as in ``Candidate``."""
    q: list[float]
    """With which probability the drafter drew each, after temperature and cuts (1: it was certain, or greedy)."""
    seconds: float
    """What drafting took, for all requests that the step speculates for."""


class SpeculationJudged(RequestEvent, kw_only=True, tag="speculation.judged"):
    """The target has computed the drafts: ``num_accepted`` of them are kept, and ``id`` follows. A draft x is accepted
    if its draw is below p(x) / q(x); the first that is not ends it, and the token in its place is recovered from the
    residual (p - q)+; where all are accepted a bonus follows. (Tokens beyond the end of an answer, behind an EOS, are
    judged but not said: they have no ``token.sampled``.)"""

    step: int
    position: int
    """Of the first draft."""
    p: list[float]
    """With which probability the target would have drawn each draft that was judged: the accepted and the one that
    was not. After penalties, temperature and cuts (at temperature 0 therefore 1 or 0)."""
    q: list[float]
    draws: list[float] | None
    """Uniform in [0, 1). Null at temperature 0, where nothing is drawn."""
    num_drafts: int
    num_accepted: int
    id: int
    text: str
    origin: Literal["recovered", "bonus"]
    seconds: float
    """What verifying took: the target's pass, for all requests of the step, and this judgement."""


# ---- probes --------------------------------------------------------------------------------------------------------


class ProbeKV(RequestEvent, kw_only=True, tag="probe.kv"):
    """Euclidean norms of the keys (after rotary embedding) and values as they stand in the cache:
    of what a step wrote, and with a request's first step also of what it found there (the prefix cache).
    ``shape`` of both: [num_layers, num_kv_heads, stop - start], float16."""

    start: int
    stop: int
    keys: Array
    values: Array


class ProbeLogits(RequestEvent, kw_only=True, tag="probe.logits"):
    """The raw logits of the whole vocabulary after the token at ``position``: what the token at ``position + 1`` is
    drawn from, before penalty, temperature and cuts. ``shape``: [vocab_size], float32."""

    position: int
    logits: Array


class ProbeAttention(RequestEvent, kw_only=True, tag="probe.attention"):
    """Attention weights: how the query of the token at ``position`` shares itself out over the keys 0 to ``position``,
    in ``heads`` of ``layers``. Worked out after the step, in float32, from the query and the cached keys; causality,
    sliding window, soft-cap and sinks are the model's. ``shape`` of ``weights``: [len(layers), len(heads),
    position + 1], float16; a row sums to 1 within 1e-3, its sink (if any) included."""

    position: int
    layers: list[int]
    heads: list[int]
    weights: Array
    sinks: Array | None = None
    """Weight of the learned sink, which is no token: [len(layers), len(heads)]. Null where the model has none."""


class ProbeAttentionSummary(RequestEvent, kw_only=True, tag="probe.attention_summary"):
    """Where every head of every layer looks from ``position``: near, far, or at the first token. Each array:
    [num_layers, num_heads], float16."""

    position: int
    near_tokens: int
    first: Array
    """Weight of token 0, where many heads rest when they have nothing to say."""
    near: Array
    """Weight of the last ``near_tokens`` tokens, the query's own among them and token 0 not."""
    distance: Array
    """Mean distance of what is looked at, in tokens."""
    entropy: Array
    """Of the weights, in nats: 0 for one token, log(position + 1) for all alike."""


class ProbeTiles(RequestEvent, kw_only=True, tag="probe.tiles"):
    """A flash-attention pass over the first ``num_tokens`` of the prompt in one head of one layer, from an instrumented
    kernel (``inference/attention/tiles.py``) on the queries, keys and values of this run. ``tiles``: (query tile, key
    tile) in the order visited. Each array is [len(tiles), block_q], float32, a number for each row of the query tile
    (0 past ``num_tokens``), after that tile but for ``tile_max``; -inf is the maximum of a row that has seen no key."""

    layer: int
    head: int
    num_tokens: int
    block_q: int
    block_k: int
    tiles: list[tuple[int, int]]
    tile_max: Array
    """Largest score within the tile."""
    row_max: Array
    """Running maximum."""
    row_sum: Array
    """Running sum of exp(score - running maximum)."""
    rescale: Array
    """What sum and output so far were multiplied by, as the maximum moved: exp(old maximum - new)."""
    output_norm: Array
    """Euclidean norm of the output so far, which is divided by the sum only at the end."""
    largest_error: float
    """Measured: largest absolute difference between its output and that of attention with the whole matrix."""


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
    | SpeculationDrafted
    | SpeculationJudged
    | ProbeKV
    | ProbeLogits
    | ProbeAttention
    | ProbeAttentionSummary
    | ProbeTiles
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
