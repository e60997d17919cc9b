"""An EAGLE-style draft head: one small decoder layer that guesses the target's next tokens from its own thoughts.

A language model alone would have to read the text anew. This head need not: it is handed what the target has already
computed, the hidden states of a few of its layers, and takes one step from there (EAGLE, Li et al. 2024; the several
layers and the training on its own outputs are EAGLE-3, Li et al. 2025; the short, frequency-ranked list of tokens that
it may propose is FR-Spec, Zhao et al. 2025). Rows are counted so that row ``j`` stands where token ``j`` stands::

    tokens      t[0]   t[1]   t[2]  ...  t[j]                          the target's text
    features    f[0]   f[1]   f[2]  ...  f[j]                          the target's hidden states at each token
    row j                     t[j] with f[j-1]  ->  guesses t[j+1]     (there is no row 0)

At row ``j`` the target itself would be run on ``t[j]`` to get ``f[j]``; the head guesses what would come of it. To go
on beyond the last known feature it takes its own output at row ``j`` in the place of what it would make of ``f[j]``.

**What it needs from the target.** For ``config.feature_layers`` (counted from 0), the output of each of these decoder
layers: the residual stream as ``model.layers[i]`` returns it, before any final norm, concatenated in that order to
``[tokens, num_features * hidden_size]``; only of tokens that stand (of a verification pass, the rows up to and with
the last accepted token). Feature ``f[i]`` belongs to the token at position ``i``, whoever drew it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from inference.attention.reference import causal_mask
from inference.linear import multiply

if TYPE_CHECKING:
    from inference.models import Model

FEATURE_LIMIT = 8.0
"""Standardised features are cut here: the first token of a text is an outlier by a factor of hundreds."""

Choose = Callable[[int, torch.Tensor], torch.Tensor]
"""(step, logits [n, draft_vocab_size] float32) -> [n] places in the draft vocabulary."""


class EagleConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of a head, and which target it belongs to."""

    target: str
    """Name of the target model, for people."""
    vocab_size: int
    """Of the target."""
    hidden_size: int
    """Of the target and of the head."""
    num_target_layers: int
    feature_layers: tuple[int, ...]
    draft_vocab_size: int
    table_rank: int
    """Numbers a token that ``token_table`` has beside its embedding."""
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float
    rms_norm_eps: float


class RMSNorm(nn.RMSNorm):
    """In its input's dtype: with weights of another, as in training, torch would take a path several times slower."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class EagleHead(nn.Module):
    """The head. Embedding and output matrix are the target's own and are not kept with it."""

    draft_ids: torch.Tensor
    """[draft_vocab_size] token ids of the draft vocabulary."""
    token_table: torch.Tensor
    """[draft_vocab_size + 1, table_rank]: what the target would say after each token of the draft vocabulary if it saw
    little else, as far as ``table_rank`` numbers hold it: a bigram model that need not be learned from a little text.
    The last row, for all other tokens, is zero."""
    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    token_norm: RMSNorm
    feature_norm: RMSNorm
    attention_norm: RMSNorm
    mlp_norm: RMSNorm
    final_norm: RMSNorm

    def __init__(self, config: EagleConfig, embedding: torch.Tensor, output: torch.Tensor | None = None) -> None:
        """``embedding`` [vocab_size, hidden_size]: the target's input embedding; ``output``: its output matrix, where
        it is another. Neither is copied but for the rows of the draft vocabulary (``set_draft_ids``)."""
        super().__init__()
        self.config = config
        hidden, queries = config.hidden_size, config.num_heads * config.head_dim
        keys, num_features = config.num_kv_heads * config.head_dim, len(config.feature_layers)
        self.fuse = nn.Linear(num_features * hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden + config.table_rank, hidden, bias=False)
        self.qkv = nn.Linear(hidden, queries + 2 * keys, bias=False)
        self.attention_out = nn.Linear(queries, hidden, bias=False)
        self.gate_up = nn.Linear(hidden, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, hidden, bias=False)
        for name in ("token_norm", "feature_norm", "attention_norm", "mlp_norm", "final_norm"):
            self.register_module(name, RMSNorm(hidden, eps=config.rms_norm_eps))
        self.register_buffer("draft_ids", torch.arange(config.draft_vocab_size))
        self.register_buffer("token_table", torch.zeros(config.draft_vocab_size + 1, config.table_rank))
        self.register_buffer("feature_mean", torch.zeros(num_features * hidden))
        self.register_buffer("feature_std", torch.ones(num_features * hidden))
        # Detached: as parameters they would become the head's own.
        self._embedding = embedding.detach()
        self._target_output = self._embedding if output is None else output.detach()
        self.set_draft_ids(self.draft_ids)
        half = config.head_dim // 2
        self._frequencies = config.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)

    @property
    def output(self) -> torch.Tensor:
        """[draft_vocab_size, hidden_size]: the target's output matrix, the draft vocabulary's rows."""
        return self._output

    @property
    def num_bytes(self) -> int:
        """What it holds of its own: weights, tables, and its copy of the draft vocabulary's output rows."""
        held = [*self.parameters(), *self.buffers(), self._output, self._place, self._frequencies]
        return sum(tensor.nbytes for tensor in held)

    def set_draft_ids(self, draft_ids: torch.Tensor) -> None:
        """Which tokens the head may propose."""
        self.draft_ids = draft_ids.to(self._target_output.device)
        self._place = torch.full((self.config.vocab_size,), len(draft_ids), device=self.draft_ids.device)
        self._place[self.draft_ids] = torch.arange(len(draft_ids), device=self.draft_ids.device)
        self._output = self._target_output[self.draft_ids]

    # ---- the layer, in the pieces that drafting and training share ---------------------------------------------------

    def fused(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the target [..., num_features * hidden] as one state [..., hidden]."""
        standard = (features.float() - self.feature_mean) / self.feature_std
        return self._times(self.fuse, standard.clamp_(-FEATURE_LIMIT, FEATURE_LIMIT).to(self.fuse.weight.dtype))

    def residual(self, token_ids: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """What enters the layer: each token's embedding with the state (fused features, or the head's own output) of
        the token before it. [...] and [..., hidden] -> [..., hidden]."""
        embedded = functional.embedding(token_ids, self._embedding).to(states.dtype)
        table = functional.embedding(self._place[token_ids], self.token_table).to(states.dtype)
        parts = (self.token_norm(embedded), table, self.feature_norm(states))
        return self._times(self.combine, torch.cat(parts, dim=-1))

    def projected(
        self, residual: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries [..., heads, head_dim], keys and values [..., kv_heads, head_dim], rotated to ``positions`` [...]."""
        config = self.config
        product = self._times(self.qkv, self.attention_norm(residual))
        product = product.reshape(*product.shape[:-1], config.num_heads + 2 * config.num_kv_heads, config.head_dim)
        rotated, value = torch.split(product, [config.num_heads + config.num_kv_heads, config.num_kv_heads], dim=-2)
        angles = positions.unsqueeze(-1).float() * self._frequencies.to(positions.device)
        cos, sin = (part.unsqueeze(-2).to(rotated.dtype) for part in (angles.cos(), angles.sin()))
        first, second = rotated.chunk(2, dim=-1)
        rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
        query, key = torch.split(rotated, [config.num_heads, config.num_kv_heads], dim=-2)
        return query, key, value

    def finished(self, residual: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """The layer's output from its residual [..., hidden] and what attention gave [..., heads * head_dim]."""
        residual = residual + self._times(self.attention_out, attended)
        gate, up = self._times(self.gate_up, self.mlp_norm(residual)).chunk(2, dim=-1)
        return residual + self._times(self.down, functional.silu(gate) * up)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """[..., hidden] -> [..., draft_vocab_size], float32; on the scale of the target's own."""
        normed = self.final_norm(states)
        return multiply(normed, self._output.to(normed.dtype), None, vector=self._vector).float()

    def _times(self, layer: nn.Module, input: torch.Tensor) -> torch.Tensor:
        weight: torch.Tensor = layer.weight  # type: ignore[assignment]
        return multiply(input, weight, None, vector=self._vector)

    @property
    def _vector(self) -> bool:
        """Whether a single row goes through the matrix-vector routine, as in ``inference.linear``."""
        return not self.training and self.fuse.weight.device.type == "cpu"


@dataclass(slots=True)
class DraftState:
    """What the head remembers of one sequence: keys and values of its rows, and features not yet made into rows.

    ::

        rows in the cache    [ first_row ........ next_row )
        features waiting              of positions [ next_row - 1 ........ num_observed )
    """

    keys: torch.Tensor
    """[capacity, kv_heads, head_dim]."""
    values: torch.Tensor
    waiting: torch.Tensor
    """[num_observed - next_row + 1, num_features * hidden]."""
    first_row: int = 1
    next_row: int = 1

    @classmethod
    def new(cls, head: EagleHead) -> DraftState:
        weight = head.fuse.weight
        cache = weight.new_empty(0, head.config.num_kv_heads, head.config.head_dim)
        return cls(cache, cache.clone(), weight.new_empty(0, weight.shape[1]))

    @property
    def num_observed(self) -> int:
        """Positions before this have been observed."""
        return self.next_row - 1 + len(self.waiting)

    def observe(self, start: int, features: torch.Tensor) -> None:
        """Take in the target's ``features`` [n, num_features * hidden] of positions ``start`` and on. What was observed
        already is skipped (a sequence that is computed again after preemption says the same), and where positions are
        missing (the prefix cache had them) everything before is forgotten: the head reads on from there."""
        if start > self.num_observed:
            self.first_row = self.next_row = start + 1
            self.waiting = self.waiting[:0]
        fresh = features[max(self.num_observed - start, 0) :]
        self.waiting = torch.cat((self.waiting, fresh.to(self.waiting.dtype)))

    def write(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Put keys and values [n, kv_heads, head_dim] at rows ``row`` and on; the views of all rows up to them."""
        start = row - self.first_row
        stop = start + len(keys)
        if stop > len(self.keys):
            self.keys, self.values = (_grown(cache, 2 * stop) for cache in (self.keys, self.values))
        self.keys[start:stop] = keys
        self.values[start:stop] = values
        return self.keys[:stop], self.values[:stop]


@dataclass(slots=True)
class Drafts:
    """What the head proposes for several sequences."""

    token_ids: list[list[int]]
    """[n][k]."""
    logits: torch.Tensor
    """[n, k, draft_vocab_size] float32, over ``EagleHead.draft_ids``; a token outside it has q = 0."""


@torch.inference_mode()
def draft(
    head: EagleHead, states: list[DraftState], token_ids: list[list[int]], k: int, choose: Choose | None = None
) -> Drafts:
    """Propose ``k`` tokens for each of several sequences.

    ``token_ids`` are all tokens of each; the features of all but the last must have been observed. ``choose`` draws
    from each step's logits (default: the likeliest). Raises ``ValueError`` where the features do not fit the tokens.
    What the head makes of its own proposals is not kept: the next call starts from what was observed in between.
    """
    rows: list[range] = []
    for index, (state, tokens) in enumerate(zip(states, token_ids, strict=True)):
        if state.num_observed != len(tokens) - 1 or not len(state.waiting):
            raise ValueError(
                f"sequence {index} has {len(tokens)} tokens, so the features of its first {len(tokens) - 1} must have "
                f"been observed since the last draft, but {state.num_observed} were, {len(state.waiting)} of them since"
            )
        rows.append(range(state.next_row, len(tokens)))
    ids = [token for tokens, span in zip(token_ids, rows, strict=True) for token in tokens[span.start :]]
    new = torch.tensor(ids, device=head.draft_ids.device)
    fused = head.fused(torch.cat([state.waiting for state in states]))
    last = torch.tensor([len(span) for span in rows]).cumsum(0) - 1
    outputs = _rows(head, states, rows, new, fused)[last.to(new.device)]
    for state, span in zip(states, rows, strict=True):
        state.next_row, state.waiting = span.stop, state.waiting[:0]
    choose = choose or (lambda step, logits: logits.argmax(dim=-1))
    drafted: list[torch.Tensor] = []
    all_logits: list[torch.Tensor] = []
    for step in range(k):
        if step:
            rows = [range(span.stop, span.stop + 1) for span in rows]
            outputs = _rows(head, states, rows, drafted[-1], outputs)
        logits = head.logits(outputs)
        all_logits.append(logits)
        drafted.append(head.draft_ids[choose(step, logits)])
    return Drafts(torch.stack(drafted, dim=1).tolist(), torch.stack(all_logits, dim=1))


def _rows(
    head: EagleHead, states: list[DraftState], rows: list[range], token_ids: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    """The layer over the packed ``rows`` of several sequences: each row's token with the state ``before`` it."""
    positions = torch.tensor([row for span in rows for row in span], device=token_ids.device)
    residual = head.residual(token_ids, before)
    query, key, value = head.projected(residual, positions)
    attended, start = [], 0
    for state, span in zip(states, rows, strict=True):
        stop = start + len(span)
        keys, values = state.write(span.start, key[start:stop], value[start:stop])
        attended.append(_attend(query[start:stop], keys, values, span.start - state.first_row))
        start = stop
    return head.finished(residual, torch.cat(attended).flatten(1))


def _attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int) -> torch.Tensor:
    """Causal attention of rows ``start`` and on: [rows, heads, dim] over [length, kv_heads, dim] -> as ``query``."""
    rows, heads, dim = query.shape
    key, value = keys.transpose(0, 1), values.transpose(0, 1)
    if rows == 1:  # the heads that share a key head are its queries
        attended = functional.scaled_dot_product_attention(query.view(len(key), -1, dim)[None], key[None], value[None])
        return attended.view(1, heads, dim)
    mask = causal_mask(torch.arange(start, start + rows, device=query.device), len(keys), None)
    attended = functional.scaled_dot_product_attention(
        query.transpose(0, 1)[None], key[None], value[None], attn_mask=mask, enable_gqa=heads != len(key)
    )
    return attended[0].transpose(0, 1)


def _grown(cache: torch.Tensor, capacity: int) -> torch.Tensor:
    bigger = cache.new_empty(capacity, *cache.shape[1:])
    bigger[: len(cache)] = cache
    return bigger


# ---- files -----------------------------------------------------------------------------------------------------------


def config_for(model: Model, *, feature_layers: tuple[int, ...], draft_vocab_size: int, table_rank: int) -> EagleConfig:
    """A head with the shape of ``model``'s own layers."""
    card = model.card
    rope: dict[str, float] = getattr(model.config, "rope_parameters", None) or {}
    return EagleConfig(
        target=card.name,
        vocab_size=card.vocab_size,
        hidden_size=card.hidden_size,
        num_target_layers=card.num_layers,
        feature_layers=feature_layers,
        draft_vocab_size=draft_vocab_size,
        table_rank=table_rank,
        intermediate_size=card.intermediate_size,
        num_heads=card.num_heads,
        num_kv_heads=card.num_kv_heads,
        head_dim=card.head_dim,
        rope_theta=float(rope.get("rope_theta", 10_000.0)),
        rms_norm_eps=float(getattr(model.config, "rms_norm_eps", 1e-6)),
    )


def save_head(head: EagleHead, path: Path) -> None:
    """Write ``head`` as safetensors, its configuration in the header; what is the target's is left out. Matrices are
    rounded to int8, each row with a scale of its own (``NAME.scale``): a wrong guess costs a little time, never a
    wrong token, and the file is half as large."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in head.state_dict().items():
        tensor = tensor.detach().cpu()
        if name == "draft_ids":
            tensors[name] = tensor.int()
        elif tensor.dim() == 2 and tensor.numel():  # a table of rank 0 is empty
            scale = tensor.float().abs().amax(dim=1).clamp(min=1e-12) / 127
            tensors[name] = (tensor / scale.unsqueeze(1)).round().to(torch.int8)
            tensors[f"{name}.scale"] = scale
        else:
            tensors[name] = tensor.float()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"config": msgspec.json.encode(head.config).decode()})


def target_of(path: Path) -> str:
    """Name of the model that the head in ``path`` was trained for."""
    with safe_open(path, framework="pt") as file:
        return _config(file).target


def _config(file: Any) -> EagleConfig:  # noqa: ANN401  (safetensors does not name the type of an open file)
    return msgspec.json.decode((file.metadata() or {}).get("config", ""), type=EagleConfig)


def load_head(path: Path, model: Model) -> EagleHead:
    """The head in ``path``, on ``model``'s device and in its dtype.

    Raises ``ValueError`` where the file is not a draft head, or was trained for a target of another shape.
    """
    try:
        with safe_open(path, framework="pt") as file:
            config = _config(file)
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, msgspec.DecodeError) as error:
        raise ValueError(f"drafter {path} is not a draft head: {error}") from error
    card = model.card
    for name, needed, there in (
        ("vocab_size", config.vocab_size, card.vocab_size),
        ("hidden_size", config.hidden_size, card.hidden_size),
        ("num_layers", config.num_target_layers, card.num_layers),
    ):
        if needed != there:
            raise ValueError(
                f"drafter {path.name} was trained for {config.target}, {name} {needed}; {card.name} has {there}"
            )
    module: Any = model.module
    head = EagleHead(config, module.get_input_embeddings().weight, module.get_output_embeddings().weight)
    tensors = {
        name: tensor * stored[f"{name}.scale"].unsqueeze(1) if tensor.dtype == torch.int8 else tensor
        for name, tensor in stored.items()
        if not name.endswith(".scale")
    }
    head.load_state_dict(tensors)
    head.to(model.device)
    head.set_draft_ids(tensors["draft_ids"].long())
    exact = {name: tensors[name].to(model.device) for name in ("feature_mean", "feature_std")}
    head.to(dtype=model.dtype).train(False).requires_grad_(False)
    for name, tensor in exact.items():
        setattr(head, name, tensor)  # float32 whatever the model's dtype: they bring outliers to scale
    return head
