"""What a step costs, and what a cache weighs: bytes and FLOPs as pure functions of shapes. Imports no torch.

Two halves. ``step_costs`` counts the work of one engine step from the model card and the token ranges computed in it.
``calculate`` is the hall's calculator: how large the keys and values of a conversation are for models of other sizes,
with other kinds of attention, and how many such conversations one card holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from inference.events import ModelCard

# ---- one step ------------------------------------------------------------------------------------------------------


class StepCosts(msgspec.Struct, frozen=True):
    """The least work that one step can be done with."""

    flops: float
    """Multiplications and additions of the matrix products, two a pair."""
    weight_bytes: int
    """Parameters read, each once."""
    kv_read_bytes: int
    kv_written_bytes: int


def step_costs(card: ModelCard, items: Sequence[tuple[int, int]], logits_rows: int, bytes_per_value: int) -> StepCosts:
    """Costs of a step that computes the tokens ``start <= position < stop`` of each of ``items``.

    ``logits_rows``: rows that go through the vocabulary head (the head is skipped when there are none).
    ``bytes_per_value``: of a parameter, where the card does not say otherwise (it does of the head, of all parameters
    together and of a cached token). A token at position p attends to p + 1 keys (causal), in a layer with a sliding
    window at most to the window; an item's cached keys and values are counted as read once, whatever a kernel may read
    again. Of a mixture of experts each token works with those that it is sent to; read are, at the least, those of one
    token, for which ones others are sent to is not known here.
    """
    tied, gated = _tied_and_gated(card)
    routed = card.num_experts_per_token / card.num_experts if card.num_experts and card.num_experts_per_token else 1.0
    matrices = card.num_layers * _layer_matrices(card, gated=gated)
    if card.num_experts:
        embeddings = card.vocab_size * card.hidden_size * (1 if tied else 2)
        matrices = card.num_parameters - embeddings - round(card.expert_parameters * (1 - routed))
    head = card.vocab_size * card.hidden_size
    tokens = sum(stop - start for start, stop in items)
    window, sliding_layers = card.sliding_window, card.num_sliding_layers
    full_layers = card.num_layers - sliding_layers
    attended = sum(_attended(stop) - _attended(start) for start, stop in items) * full_layers
    read = sum(stop for _, stop in items) * full_layers
    if window is not None:
        attended += sum(_attended(stop, window) - _attended(start, window) for start, stop in items) * sliding_layers
        read += sum(stop - max(0, start - window + 1) for start, stop in items) * sliding_layers
    width = card.num_heads * card.head_dim
    flops = 2 * matrices * tokens + 2 * head * logits_rows + 4 * width * attended
    head_bytes = card.head_bytes or head * bytes_per_value
    embedding_bytes = head_bytes if tied else head * bytes_per_value
    other = card.parameter_bytes - head_bytes - (0 if tied else embedding_bytes)
    other -= round(card.expert_bytes * (1 - routed)) if tokens else card.expert_bytes
    # A tied head reads the embedding's rows anyway.
    embedded = 0 if tied and logits_rows else tokens * embedding_bytes // card.vocab_size
    per_token = card.kv_bytes_per_token
    return StepCosts(
        flops=float(flops),
        weight_bytes=other + embedded + (head_bytes if logits_rows else 0),
        kv_read_bytes=per_token // card.num_layers * read,
        kv_written_bytes=per_token * tokens,
    )


def _attended(num_tokens: int, window: int | None = None) -> int:
    """Pairs of a query and a key that it attends to, over the first ``num_tokens`` positions of one layer."""
    beyond = 0 if window is None else max(0, num_tokens - window)
    return num_tokens * (num_tokens + 1) // 2 - beyond * (beyond + 1) // 2


def kv_bytes_per_token(card: ModelCard, bytes_per_value: int) -> int:
    """Bytes of keys and values that one token leaves in the cache, over all layers."""
    return 2 * card.num_layers * card.num_kv_heads * card.head_dim * bytes_per_value


def _layer_matrices(card: ModelCard, *, gated: bool) -> int:
    """Weights of one layer's matrix products: query, key, value, output, and two or (gated) three of the MLP."""
    query = card.hidden_size * card.num_heads * card.head_dim
    key = card.hidden_size * card.num_kv_heads * card.head_dim
    return 2 * query + 2 * key + (3 if gated else 2) * card.hidden_size * card.intermediate_size


def _tied_and_gated(card: ModelCard) -> tuple[bool, bool]:
    """Whether the head shares the embedding's weights and whether the MLP has a gate. Where the card does not say, its
    parameter count does: norms, biases and positions are far smaller than either difference."""

    def error(tied: bool, gated: bool) -> int:
        embeddings = card.vocab_size * card.hidden_size * (1 if tied else 2)
        return abs(card.num_layers * _layer_matrices(card, gated=gated) + embeddings - card.num_parameters)

    known = (True, False) if card.tied_embeddings is None else (card.tied_embeddings,)
    return min(((tied, gated) for tied in known for gated in (True, False)), key=lambda pair: error(*pair))


# ---- the hall's calculator -----------------------------------------------------------------------------------------

AttentionKind = Literal["MHA", "GQA", "MQA", "MLA"]
Precision = Literal["fp32", "bf16", "fp8", "int4"]

BITS: dict[Precision, int] = {"fp32": 32, "bf16": 16, "fp8": 8, "int4": 4}
"""Bits a number; the scales that go with 8 and 4 bits (a few per cent) are left out."""

KINDS: tuple[AttentionKind, ...] = ("MHA", "GQA", "MQA", "MLA")

CONTEXT_RANGE = (1, 1_048_576)
BATCH_RANGE = (1, 4_096)
CARD_BYTES = 80 * 10**9
"""One 80 GB card."""


class ModelPreset(msgspec.Struct, frozen=True, kw_only=True):
    """A published model, as far as its cache is concerned. ``source`` is the address of the numbers."""

    slug: str
    name: str
    attention: AttentionKind
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    key_dim: int
    """Numbers in one head's key."""
    value_dim: int
    num_parameters: int
    max_context: int
    source: str
    latent_dim: int = 0
    """MLA only: numbers in the shared latent of one token and layer."""
    rope_dim: int = 0
    """MLA only: numbers in the position part of the key, one for all heads."""


def _huggingface(repository: str) -> str:
    return f"https://huggingface.co/{repository}/blob/main/config.json"


PRESETS: dict[str, ModelPreset] = {
    preset.slug: preset
    for preset in (
        ModelPreset(
            slug="smollm2-135m",
            name="SmolLM2-135M",
            attention="GQA",
            num_layers=30,
            hidden_size=576,
            num_heads=9,
            num_kv_heads=3,
            key_dim=64,
            value_dim=64,
            num_parameters=134_515_008,
            max_context=8_192,
            source=_huggingface("HuggingFaceTB/SmolLM2-135M-Instruct"),
        ),
        ModelPreset(
            slug="llama-2-7b",
            name="Llama 2 7B",
            attention="MHA",
            num_layers=32,
            hidden_size=4_096,
            num_heads=32,
            num_kv_heads=32,
            key_dim=128,
            value_dim=128,
            num_parameters=6_738_415_616,
            max_context=4_096,
            source=_huggingface("meta-llama/Llama-2-7b-hf"),
        ),
        ModelPreset(
            slug="falcon-7b",
            name="Falcon 7B",
            attention="MQA",
            num_layers=32,
            hidden_size=4_544,
            num_heads=71,
            num_kv_heads=1,
            key_dim=64,
            value_dim=64,
            num_parameters=6_921_720_704,
            max_context=2_048,
            source=_huggingface("tiiuae/falcon-7b"),
        ),
        ModelPreset(
            slug="llama-3.1-8b",
            name="Llama 3.1 8B",
            attention="GQA",
            num_layers=32,
            hidden_size=4_096,
            num_heads=32,
            num_kv_heads=8,
            key_dim=128,
            value_dim=128,
            num_parameters=8_030_261_248,
            max_context=131_072,
            source=_huggingface("meta-llama/Llama-3.1-8B"),
        ),
        ModelPreset(
            slug="llama-3.1-70b",
            name="Llama 3.1 70B",
            attention="GQA",
            num_layers=80,
            hidden_size=8_192,
            num_heads=64,
            num_kv_heads=8,
            key_dim=128,
            value_dim=128,
            num_parameters=70_553_706_496,
            max_context=131_072,
            source=_huggingface("meta-llama/Llama-3.1-70B"),
        ),
        ModelPreset(
            slug="llama-3.1-405b",
            name="Llama 3.1 405B",
            attention="GQA",
            num_layers=126,
            hidden_size=16_384,
            num_heads=128,
            num_kv_heads=8,
            key_dim=128,
            value_dim=128,
            num_parameters=405_853_388_800,
            max_context=131_072,
            source=_huggingface("meta-llama/Llama-3.1-405B"),
        ),
        ModelPreset(
            slug="deepseek-v3-671b",
            name="DeepSeek-V3 671B",
            attention="MLA",
            num_layers=61,
            hidden_size=7_168,
            num_heads=128,
            num_kv_heads=128,
            key_dim=192,
            value_dim=128,
            num_parameters=671_026_419_200,
            max_context=163_840,
            source=_huggingface("deepseek-ai/DeepSeek-V3"),
            latent_dim=512,
            rope_dim=64,
        ),
    )
}


class KindCost(msgspec.Struct, frozen=True, kw_only=True):
    """The cache of the model with one kind of attention."""

    kind: AttentionKind
    num_kv_heads: int
    """1 for MLA: all heads share one latent."""
    values_per_token: int
    """Numbers that one token leaves in one layer."""
    bytes_per_token: int
    """Over all layers, rounded up to whole bytes."""
    bytes_per_conversation: int
    total_bytes: int
    """Of the whole batch."""
    conversations: int
    """How many fit on the card beside the weights."""
    own: bool
    """Whether this is the kind that the model has."""


class Calculation(msgspec.Struct, frozen=True, kw_only=True):
    """What the calculator shows. Everything in it is modelled: it follows from published shapes."""

    preset: ModelPreset
    context: int
    batch: int
    precision: Precision
    weight_precision: Precision
    weight_bytes: int
    card_bytes: int
    weights_fit: bool
    """Whether the weights alone leave room on the card."""
    total_fits: bool
    """Whether the weights and the whole batch fit together."""
    chosen: KindCost
    kinds: list[KindCost]


def calculate(
    model: str,
    context: int = 4_096,
    batch: int = 1,
    precision: str = "bf16",
    *,
    weight_precision: str | None = None,
    kind: str | None = None,
    card_bytes: int = CARD_BYTES,
) -> Calculation:
    """The cache of ``batch`` conversations of ``context`` tokens on ``model`` (a key of ``PRESETS``).

    ``precision`` is that of the cache, and of the weights too unless ``weight_precision`` says otherwise. ``kind``
    asks what the model would need with another attention (default: its own). Raises ``ValueError`` that names the
    field and what it may be.
    """
    preset = PRESETS.get(model)
    if preset is None:
        raise ValueError(f"model must be one of {', '.join(PRESETS)}, not {model!r}")
    _in_range("context", context, CONTEXT_RANGE)
    _in_range("batch", batch, BATCH_RANGE)
    _in_range("card_bytes", card_bytes, (1, 10**15))
    cache_precision = _precision("precision", precision)
    weights = cache_precision if weight_precision is None else _precision("weight_precision", weight_precision)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    weight_bytes = -(-preset.num_parameters * BITS[weights] // 8)
    kinds = [_kind_cost(preset, each, context, batch, cache_precision, card_bytes - weight_bytes) for each in KINDS]
    chosen = next(cost for cost in kinds if cost.kind == (kind or preset.attention))
    return Calculation(
        preset=preset,
        context=context,
        batch=batch,
        precision=cache_precision,
        weight_precision=weights,
        weight_bytes=weight_bytes,
        card_bytes=card_bytes,
        weights_fit=weight_bytes < card_bytes,
        total_fits=weight_bytes + chosen.total_bytes <= card_bytes,
        chosen=chosen,
        kinds=kinds,
    )


def _kind_cost(
    preset: ModelPreset, kind: AttentionKind, context: int, batch: int, precision: Precision, room: int
) -> KindCost:
    heads, values = _kv_shape(preset, kind)
    bits = preset.num_layers * values * BITS[precision]
    conversation = -(-context * bits // 8)
    return KindCost(
        kind=kind,
        num_kv_heads=heads,
        values_per_token=values,
        bytes_per_token=-(-bits // 8),
        bytes_per_conversation=conversation,
        total_bytes=batch * conversation,
        conversations=max(0, room // conversation),
        own=kind == preset.attention,
    )


def _kv_shape(preset: ModelPreset, kind: AttentionKind) -> tuple[int, int]:
    """KV heads, and numbers a token leaves in one layer, had the model this kind of attention.

    Its own numbers where it has that kind. Else GQA means 8 KV heads (Llama's choice), and MLA a latent of four head
    widths plus half a width for the position (the proportions of DeepSeek-V2, https://arxiv.org/abs/2405.04434).
    """
    if kind == "MLA":
        return 1, (preset.latent_dim + preset.rope_dim) or 4 * preset.value_dim + preset.value_dim // 2
    own = kind == preset.attention
    heads = {"MHA": preset.num_heads, "GQA": preset.num_kv_heads if own else 8, "MQA": 1}[kind]
    return heads, heads * (preset.key_dim + preset.value_dim)


def _in_range(field: str, value: int, allowed: tuple[int, int]) -> None:
    low, high = allowed
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{field} must be a whole number from {low:,} to {high:,}, not {value!r}")


def _precision(field: str, value: str) -> Precision:
    for known in BITS:
        if value == known:
            return known
    raise ValueError(f"{field} must be one of {', '.join(BITS)}, not {value!r}")
