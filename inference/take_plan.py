"""How a take that is cooked apart is set up: the second engine's configuration, the precision, and the neighbours.

::

    take            engine                              who is in line, and when
    standard ...    a drafter or none, a dtype          the reader alone
    int8 ...        other weights or cache              the reader alone
    samples         as the first                        the reader alone, n times
    static          4 slots, static policy              the reader, 7 neighbours right behind
    continuous      4 slots                             the same
    batch           16 slots                            the same, every length another
    unchunked       long steps                          the reader, a neighbour with a long prompt some tokens later
    chunked         short steps                         the same
    slab            slabs of max_model_len              the reader, 5 neighbours once the prompt is computed
    paged           blocks, the same pool               the same
    starved         blocks, a pool too small for all    5 neighbours, the reader last (the newest is preempted first)
    rush-hour       2 slots                             6 neighbours, the reader last

Neighbours are made up by the house, from fixed prompts and with fixed output lengths (they ignore the end of an
answer), so that two policies get one workload and a length is what the spread says. The reader's own request ends where
it ends, at ``max_tokens`` at the latest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec.structs import replace

from inference.engine_config import DEFAULT_MAX_MODEL_LEN, EngineConfig
from inference.models import Model
from inference.sequence import SamplingParams
from inference.speculation.drafters import load_drafters
from inference.takes import (
    Batch,
    Chunked,
    Continuous,
    Crowd,
    Int4,
    Int4AWQ,
    Int8,
    KnobError,
    KVInt8,
    Paged,
    Parent,
    Pool,
    Race,
    RushHour,
    Slab,
    Starved,
    Static,
    Take,
    Unchunked,
)

THINGS = (
    "rivers", "bread", "clouds", "violins", "bees", "bridges", "salt", "trains", "owls", "paper", "tides", "chess",
    "glass", "cheese", "maps", "wool", "comets", "soap", "clocks", "pepper", "ferns", "kites", "copper", "whales",
    "ink", "snow", "drums", "honey", "castles", "moths", "coffee",
)  # fmt: skip
"""What neighbours ask about."""
SHORTEST = 4
"""Tokens of a neighbour's answer, at least."""
SHARE = 0.9
"""Of the mean length, by which the longest and the shortest neighbour differ from it at spread 1."""
MOST_POOLED = 16_384
"""Tokens that a pool may have room for, where the first engine's is smaller: 380 MB for the default model."""
MOST_OTHER_WEIGHTS = 2e9
"""Bytes of weights in another dtype, which stand beside the first ones: a look must not fill the memory."""
SMALL_POOL = 32
"""Blocks, where nobody asked and the pool is not what the take is about."""
AFTER = 12
"""Tokens of the reader's answer before neighbours with long prompts come."""
LONG_ANSWER = 12
"""Tokens that such a neighbour writes."""
NUM_SLABS = 3
"""That fit into the pool of ``slab`` and ``paged``, where nobody said another size."""

Joining = Literal["before", "behind", "later"]
"""Neighbours are in line before the reader, right behind, or come once the reader's prompt has been computed."""


@dataclass(frozen=True)
class Neighbour:
    """A made-up request."""

    token_ids: list[int]
    num_public_tokens: int
    params: SamplingParams

    @property
    def num_tokens(self) -> int:
        """In the cache, when it ends."""
        return len(self.token_ids) + self.params.max_tokens - 1


@dataclass(frozen=True)
class Plan:
    """A take, set up."""

    config: EngineConfig
    dtype: str
    """Of the weights; as ``ModelCard.dtype`` spells it."""
    quantization: str = ""
    neighbours: list[Neighbour] = field(default_factory=list)
    joining: Joining = "behind"
    after: int = 1
    """Tokens of the reader's answer that must be there before those come who join ``later``."""
    arrival_steps: int = 0
    """Steps from one arrival to the next of those who join ``behind``; 0: all at once."""
    knobs: dict[str, Any] = field(default_factory=dict)
    """As asked for, and as chosen where nothing was asked."""


def plan(take: Take, parent: Parent, model: Model, first: EngineConfig) -> Plan:
    """Set ``take`` up beside an engine of ``model`` and configuration ``first``. Raises ``KnobError`` for what cannot
    be had here, before any work."""
    params = take.params(parent)
    longest = len(take.prompt_ids(parent)) + params.max_tokens - 1
    config = replace(first, drafter=None, policy="continuous", allocator="paged", kv_cache_dtype="auto")
    dtype, quantization = str(model.dtype).removeprefix("torch."), model.card.quantization
    joining: Joining = "behind"
    neighbours: list[Neighbour] = []
    if isinstance(take, Crowd):
        if isinstance(take, RushHour | Starved):
            joining = "before"
        elif isinstance(take, Pool | Unchunked | Chunked):
            joining = "later"
        neighbours = _neighbours(take, params, model)
    lengths = [longest] * params.n + [neighbour.num_tokens for neighbour in neighbours]
    most = min(first.max_model_len or DEFAULT_MAX_MODEL_LEN, model.card.max_model_len)
    if max(lengths) >= most:
        raise KnobError(
            "max_tokens",
            f"max_tokens must be smaller: the longest request would have {max(lengths) + 1} of {most} tokens",
        )
    room = max(first.num_blocks * first.block_size, MOST_POOLED)
    if isinstance(take, Pool):
        prompts = [len(parent.token_ids), *(len(neighbour.token_ids) for neighbour in neighbours)]
        config = _memory(take, config, lengths, prompts, most, room)
    else:
        pool = max(SMALL_POOL, _pool(lengths, config.block_size))
        config = replace(config, num_blocks=min(pool, room // config.block_size))
    if isinstance(take, Static | Continuous | Batch | RushHour):
        config = replace(config, max_num_seqs=take.max_num_seqs)
    if isinstance(take, Unchunked | Chunked):
        config = replace(config, max_num_batched_tokens=take.max_num_batched_tokens)
    if isinstance(take, Static):
        config = replace(config, policy="static")
    if isinstance(take, Race):
        dtype = _dtype(take, dtype, quantization, model.card.num_parameters)
        config = _drafting(take, config, model)
    if isinstance(take, KVInt8):
        config = replace(config, kv_cache_dtype="int8")
    if isinstance(take, Int8 | Int4 | Int4AWQ):
        quantization = take.name
        _check_quantizable(take, model)
    knobs = take.knobs | {"max_tokens": params.max_tokens}
    if "dtype" in knobs:
        knobs["dtype"] = dtype
    if "num_blocks" in knobs:
        knobs["num_blocks"] = config.num_blocks
    after = min(AFTER, params.max_tokens) if isinstance(take, Unchunked | Chunked) else 1
    arrivals = take.arrival_steps if isinstance(take, Static | Continuous) else 0
    return Plan(config, dtype, quantization, neighbours, joining, after, arrivals, knobs)


# ---- neighbours ----------------------------------------------------------------------------------------------------


def _neighbours(take: Crowd, params: SamplingParams, model: Model) -> list[Neighbour]:
    count = take.num_neighbours
    if isinstance(take, Unchunked | Chunked):
        return [_long_neighbour(index, take.prompt_tokens, params, model) for index in range(count)]
    if isinstance(take, Batch):
        # One after another ends, so many steps apart; the reader's own request may last longest.
        apart = max(1, params.max_tokens // (count + 1))
        lengths = [apart * (index + 1) for index in range(count)]
    else:
        lengths = spread_lengths(count, params.max_tokens, getattr(take, "spread", 1.0))
    made = []
    for index, length in enumerate(lengths):
        templated = model.tokenizer.encode_chat(f"Tell me about {THINGS[index % len(THINGS)]}.")
        drawn = SamplingParams(max_tokens=length, temperature=params.temperature, seed=index, ignore_eos=True)
        made.append(Neighbour(templated.token_ids, templated.num_public_tokens, drawn))
    return made


def _long_neighbour(index: int, num_tokens: int, params: SamplingParams, model: Model) -> Neighbour:
    """One whose prompt has so many tokens: a long list of things, cut there."""
    things = [THINGS[(index + i) % len(THINGS)] for i in range(num_tokens)]  # (a thing is a token or more)
    templated = model.tokenizer.encode_chat(f"Tell me about {', '.join(things)}.")
    drawn = SamplingParams(max_tokens=LONG_ANSWER, temperature=params.temperature, seed=index, ignore_eos=True)
    public = min(templated.num_public_tokens, num_tokens)
    return Neighbour(templated.token_ids[:num_tokens], public, drawn)


def spread_lengths(count: int, mean: int, spread: float) -> list[int]:
    """``count`` output lengths, evenly spaced about ``mean``, in an order that goes up and down. ``spread`` 0: all the
    same; 1: from a tenth to nearly twice the mean."""
    even = [max(SHORTEST, round(mean * (1 + SHARE * spread * ((2 * i + 1) / count - 1)))) for i in range(count)]
    golden = 0.6180339887
    return [even[i] for i in sorted(range(count), key=lambda i: (i + 1) * golden % 1.0)]


# ---- pools ---------------------------------------------------------------------------------------------------------


def _blocks(num_tokens: int, block_size: int) -> int:
    return -(-num_tokens // block_size)


def _pool(lengths: list[int], block_size: int) -> int:
    """Blocks for all of them at once."""
    return sum(_blocks(length, block_size) for length in lengths)


def _memory(
    take: Pool, config: EngineConfig, lengths: list[int], prompts: list[int], most: int, room: int
) -> EngineConfig:
    """A pool that the take is about. ``lengths``: in the cache at the end; ``prompts``: of each request; ``most``: of
    any; ``room``: tokens that the pool may have."""
    size = take.block_size
    # Slots are not what is short here.
    config = replace(config, block_size=size, max_num_seqs=max(config.max_num_seqs, len(lengths)))
    if isinstance(take, Starved):
        least = max(_blocks(length, size) for length in lengths)
        chosen = max(least, _starving(lengths, prompts, size))
    else:
        # A slab is reserved for the longest that anybody may ask for (the paper's "Orca (Max)"): twice what is needed.
        slab = _blocks(max(lengths) + 1, size)
        length = min(2 * slab * size, most)
        config = replace(config, max_model_len=length)
        if isinstance(take, Paged) and not take.share:
            config = replace(config, enable_prefix_caching=False)
        if isinstance(take, Slab):
            config = replace(config, allocator="slab", slab_reserve="max_model_len", enable_prefix_caching=False)
        # The same least for both: one workload, one pool.
        least = _blocks(length, size)
        chosen = NUM_SLABS * least
    largest = max(least, room // size)
    if take.num_blocks is not None and not least <= take.num_blocks <= largest:
        raise KnobError(
            "num_blocks",
            f"num_blocks must be from {least} to {largest} for this prompt (block_size {size}), got {take.num_blocks}",
        )
    return replace(config, num_blocks=take.num_blocks or min(chosen, largest))


def _starving(lengths: list[int], prompts: list[int], size: int) -> int:
    """Blocks in which all prompts have room, and answers run out of it while the reader's (the first of ``lengths``)
    is under way: half way between what all have at the start and what they would have at most."""
    requests = list(zip(lengths, prompts, strict=True))
    steps = range(1, lengths[0] - prompts[0] + 1)
    held = [
        sum(_blocks(prompt + step, size) for length, prompt in requests if prompt + step <= length) for step in steps
    ]
    begun = sum(_blocks(prompt + 1, size) for prompt in prompts)
    return begun + max(0, max(held, default=begun) - begun) // 2


# ---- precision and drafters ----------------------------------------------------------------------------------------


def _dtype(take: Race, dtype: str, quantization: str, num_parameters: int) -> str:
    if take.dtype in ("auto", dtype):
        return dtype
    if quantization:
        raise KnobError("dtype", f"dtype must be auto: the weights here are {quantization}")
    num_bytes = num_parameters * {"bfloat16": 2, "float32": 4}[take.dtype]
    if num_bytes > MOST_OTHER_WEIGHTS:
        raise KnobError(
            "dtype", f"dtype must be auto: weights of {take.dtype} would take {num_bytes / 1e9:.1f} GB more memory here"
        )
    return take.dtype


def _drafting(take: Race, config: EngineConfig, model: Model) -> EngineConfig:
    drafter = getattr(take, "drafter", None)
    if drafter is None:
        return config
    try:
        load_drafters(drafter, model, num_blocks=1, block_size=config.block_size)
    except ValueError as error:
        raise KnobError("drafter", str(error)) from None
    k: int = getattr(take, "num_speculative_tokens")  # noqa: B009  those who draft have it
    return replace(config, drafter=drafter, num_speculative_tokens=k, adaptive_speculation=False)


def _check_quantizable(take: Take, model: Model) -> None:
    if model.device.type != "cpu":
        raise KnobError("take", f"take {take.name!r} has kernels on cpu only, and the model is on {model.device}")
    if model.card.num_parameters > MOST_OTHER_WEIGHTS:  # a byte each, at most
        raise KnobError("take", f"take {take.name!r} would take too much memory beside a model of this size")
    if model.card.quantization:
        raise KnobError(
            "take", f"take {take.name!r} starts from whole weights; here they are {model.card.quantization}"
        )
