"""Looks closer where a request asks for it: finds what its probes want of a step, and says it.

::

    look(items) ─► StepLook ─► ModelRunner.execute keeps the queries of the rows that are wanted, and their logits
                      └──────► say(look): the rest is worked out here, after the pass, from these and the paged cache

So a pass that nobody looks at does nothing for probes but to ask once a layer whether somebody does, and one that
somebody looks at is timed without the looking. What is worked out is the model's own attention, once more, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch

from inference.attention.interface import QueryWatch
from inference.attention.reference import Rule, attention_weights, causal_mask
from inference.attention.tiles import flash_attention
from inference.events import Array, Event, ProbeAttention, ProbeAttentionSummary, ProbeKV, ProbeLogits, ProbeTiles
from inference.model_runner import ModelRunner
from inference.probes import AttentionProbe, Probes, TilesProbe
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence, SequenceId

NEAR_TOKENS = 8
"""A head looks near where it looks at the last so many tokens, the query's own among them."""


@dataclass(slots=True)
class ItemLook:
    """What one sequence's probes want of its share of a step. Positions in order; empty where nothing is wanted."""

    item: ScheduledItem
    probes: Probes
    logits: list[int]
    attention: list[int]
    tiles: list[int]
    attention_watch: QueryWatch | None = None
    tiles_watch: QueryWatch | None = None
    logits_rows: list[int] = field(default_factory=list)


@dataclass(slots=True)
class StepLook:
    """What all probes want of a step."""

    looks: list[ItemLook]
    logits: dict[int, torch.Tensor] = field(default_factory=dict)
    """By packed row: float32 [vocab]."""

    def place(self, last_rows: dict[SequenceId, int], device: torch.device) -> list[QueryWatch]:
        """Learn in which packed rows the items stand. Returns whose queries are to be kept."""
        watches = []
        for look in self.looks:
            shift = last_rows[look.item.sequence.id] - (look.item.stop - 1)
            look.logits_rows = [position + shift for position in look.logits]
            if look.attention:
                look.attention_watch = QueryWatch(torch.tensor(look.attention, device=device) + shift)
                watches.append(look.attention_watch)
            if look.probes.tiles is not None and look.tiles:
                look.tiles_watch = QueryWatch(torch.tensor(look.tiles, device=device) + shift, look.probes.tiles.layer)
                watches.append(look.tiles_watch)
        return watches

    @property
    def logits_rows(self) -> list[int]:
        """Whose logits are to be kept."""
        return [row for look in self.looks for row in look.logits_rows]


class Prober:
    """The engine's magnifying glass."""

    def __init__(self, runner: ModelRunner, emit: Callable[[Event], None]) -> None:
        self._runner = runner
        self._emit = emit
        self._tile_queries: dict[SequenceId, torch.Tensor] = {}
        """Of prompts that are partly through: [tokens so far, head_dim]."""

    def look(self, items: Iterable[ScheduledItem]) -> StepLook | None:
        """What the probes of the items' sequences want of this step; None, as ever, if there are none."""
        looks = [_look(item, item.sequence.probes) for item in items if item.sequence.probes is not None]
        return StepLook(looks) if looks else None

    def forget(self, sequence: Sequence) -> None:
        """It has ended."""
        self._tile_queries.pop(sequence.id, None)

    @torch.inference_mode()
    def say(self, step: StepLook) -> None:
        """Say what was seen, of what now counts as computed (a token that was only tried is not in the log)."""
        self._say_norms([look.item for look in step.looks if look.probes.kv])
        for look in step.looks:
            sequence = look.item.sequence
            stop = sequence.num_computed_tokens
            for position, row in zip(look.logits, look.logits_rows, strict=True):
                if position < stop:
                    logits = _pack(step.logits[row])
                    self._emit(ProbeLogits(request_id=sequence.request_id, position=position, logits=logits))
            if look.probes.attention is not None and look.attention_watch is not None:
                self._say_attention(look, look.attention_watch, look.probes.attention, stop)
            if look.probes.tiles is not None and look.tiles_watch is not None:
                self._take_tiles(look, look.tiles_watch, look.probes.tiles)
            sequence.num_probed_tokens = max(sequence.num_probed_tokens, stop)

    def _say_norms(self, items: list[ScheduledItem]) -> None:
        """Of what was written, and before a request's first of what it found in the prefix cache."""
        spans = []
        for item in items:
            sequence = item.sequence
            spans.append((sequence, min(item.start, sequence.num_probed_tokens), sequence.num_computed_tokens))
        for (sequence, start, stop), norms in zip(spans, self._runner.norms(spans), strict=True):
            keys, values = (_pack(part) for part in norms)
            self._emit(ProbeKV(request_id=sequence.request_id, start=start, stop=stop, keys=keys, values=values))

    # ---- attention

    def _say_attention(self, look: ItemLook, watch: QueryWatch, probe: AttentionProbe, stop: int) -> None:
        sequence = look.item.sequence
        positions = [position for position in look.attention if position < stop]
        if not positions:
            return
        weights: list[torch.Tensor] = []
        summaries: list[torch.Tensor] = []
        for layer, query in sorted(watch.queries.items()):
            if not probe.summary and layer not in (probe.layers or ()):
                continue
            key, _ = self._runner.keys_and_values(sequence, layer, positions[-1] + 1)
            every = weigh(query[:, : len(positions)], key, positions, watch.rules[layer])
            if probe.summary:
                summaries.append(summarize(every, positions))
            if layer in (probe.layers or ()):
                weights.append(every[list(probe.heads or ())])
        summary = torch.stack(summaries).half() if summaries else None  # [layers, 4, heads, positions]
        chosen = torch.stack(weights) if probe.layers and probe.heads else None  # [layers, heads, positions, keys]
        for index, position in enumerate(positions):
            if summary is not None:
                self._emit(summary_event(sequence, position, summary[..., index]))
            if chosen is None or position not in (probe.whole or ()):
                continue
            row = chosen[:, :, index, : position + 1]
            has_sinks = any(rule.sinks is not None for rule in watch.rules.values())
            self._emit(
                ProbeAttention(
                    request_id=sequence.request_id,
                    position=position,
                    layers=list(probe.layers or ()),
                    heads=list(probe.heads or ()),
                    weights=_pack(row.half()),
                    sinks=_pack((1.0 - row.sum(dim=-1)).half()) if has_sinks else None,
                )
            )

    # ---- tiles

    def _take_tiles(self, look: ItemLook, watch: QueryWatch, probe: TilesProbe) -> None:
        """Keep the queries of this chunk, and once all are there, go through their attention tile by tile."""
        sequence = look.item.sequence
        heads = watch.queries[probe.layer]
        known = self._tile_queries.get(sequence.id, heads[0, :0])
        query = torch.cat([known[: look.tiles[0]], heads[probe.head]])  # (what was preempted begins again)
        if len(query) < probe.num_tokens:
            self._tile_queries[sequence.id] = query
            return
        self.forget(sequence)
        key, value = self._runner.keys_and_values(sequence, probe.layer, probe.num_tokens)
        kv_head = probe.head * len(key) // len(heads)
        rule = watch.rules[probe.layer]
        if rule.sinks is not None:
            rule = rule._replace(sinks=rule.sinks[probe.head])
        self._emit(tiles_event(sequence, probe, query.float(), key[kv_head].float(), value[kv_head].float(), rule))


def _look(item: ScheduledItem, probes: Probes | None) -> ItemLook:
    assert probes is not None
    start = max(item.start, item.sequence.num_probed_tokens)

    def within(positions: Iterable[int]) -> list[int]:
        return [position for position in positions if start <= position < item.stop]

    attention, tiles = probes.attention, probes.tiles
    owes_tiles = tiles is not None and item.sequence.num_probed_tokens < tiles.num_tokens
    return ItemLook(
        item,
        probes,
        logits=within(probes.logits),
        attention=within(attention.positions) if attention is not None else [],
        tiles=list(range(item.start, min(item.stop, tiles.num_tokens))) if tiles is not None and owes_tiles else [],
    )


def weigh(query: torch.Tensor, key: torch.Tensor, positions: list[int], rule: Rule) -> torch.Tensor:
    """Attention weights of ``query`` [heads, n, dim], which stand at ``positions``, over ``key`` [kv_heads, length,
    dim]: [heads, n, length] float32, 0 where a query does not see."""
    mask = causal_mask(torch.tensor(positions, device=key.device), key.shape[1], rule.sliding_window)
    return attention_weights(
        query.float()[None], key.float()[None], mask, rule.scaling, softcap=rule.softcap, sinks=rule.sinks
    )[0]


def summarize(weights: torch.Tensor, positions: list[int]) -> torch.Tensor:
    """Where each head looks: ``weights`` [heads, n, length] of queries at ``positions`` -> [4, heads, n]: the share of
    the first token, that of the last ``NEAR_TOKENS`` (the first token never among them), the mean distance in tokens,
    and the entropy in nats."""
    queries = torch.tensor(positions, device=weights.device)[:, None]
    keys = torch.arange(weights.shape[-1], device=weights.device)
    distance = (queries - keys).clamp(min=0)
    first = weights[..., 0]
    near = (weights * ((distance < NEAR_TOKENS) & (keys > 0))).sum(dim=-1)
    shares = weights / weights.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)  # (without sinks)
    return torch.stack([first, near, (shares * distance).sum(dim=-1), -torch.xlogy(shares, shares).sum(dim=-1)])


def summary_event(sequence: Sequence, position: int, summary: torch.Tensor) -> ProbeAttentionSummary:
    """``summary`` [layers, 4, heads] of the token at ``position``."""
    first, near, distance, entropy = (_pack(part) for part in summary.transpose(0, 1))
    return ProbeAttentionSummary(
        request_id=sequence.request_id,
        position=position,
        near_tokens=NEAR_TOKENS,
        first=first,
        near=near,
        distance=distance,
        entropy=entropy,
    )


def tiles_event(
    sequence: Sequence, probe: TilesProbe, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: Rule
) -> ProbeTiles:
    """A flash-attention pass over ``query``, ``key`` and ``value`` [tokens, dim] of one head, and how far its output is
    from that of plain attention."""
    tokens = len(query)
    output, tiles = flash_attention(query, key, value, rule, block_q=probe.block_q, block_k=probe.block_k)
    plain = weigh(query[None], key[None], list(range(tokens)), rule)[0] @ value

    def packed(name: str) -> Array:
        rows = torch.zeros(len(tiles), probe.block_q)
        for row, tile in zip(rows, tiles, strict=True):
            numbers = getattr(tile, name)
            row[: len(numbers)] = numbers
        return _pack(rows)

    return ProbeTiles(
        request_id=sequence.request_id,
        layer=probe.layer,
        head=probe.head,
        num_tokens=tokens,
        block_q=probe.block_q,
        block_k=probe.block_k,
        tiles=[(tile.query_tile, tile.key_tile) for tile in tiles],
        tile_max=packed("tile_max"),
        row_max=packed("row_max"),
        row_sum=packed("row_sum"),
        rescale=packed("rescale"),
        output_norm=packed("output_norm"),
        largest_error=float((output - plain).abs().max()),
    )


def _pack(numbers: torch.Tensor) -> Array:
    dtype: Literal["float16", "float32"] = "float16" if numbers.dtype == torch.float16 else "float32"
    return Array.pack(numbers.cpu().contiguous().numpy().tobytes(), dtype, list(numbers.shape))
