"""Runs the model over a scheduled batch: packs its tokens, says where the cache is, and brings back the logits."""

from __future__ import annotations

from itertools import chain

import torch

from inference.attention.interface import NAME, KVCache, Singles, Span, StepContext
from inference.block_manager import BlockManager
from inference.layer_outputs import layer_outputs
from inference.linear import prepare
from inference.models import Model
from inference.scheduler import ScheduledItem
from inference.sequence import SequenceId


class ModelRunner:
    """The model, its paged cache, and nothing else."""

    def __init__(self, model: Model, blocks: BlockManager) -> None:
        card = model.card
        self._module = model.module
        self._module.set_attn_implementation(NAME)
        self._device = torch.device(model.device)
        prepare(self._module, self._device)
        self._blocks = blocks
        self._rows: dict[SequenceId, slice] = {}
        """Of the last pass, the packed rows of each sequence."""
        self._layer_outputs: dict[int, torch.Tensor] = {}
        """Of the last pass, [1, T, hidden_size] of each layer that was to be kept."""
        self.cache = KVCache(
            card.num_layers,
            blocks.pool.num_blocks,
            blocks.block_size,
            card.num_kv_heads,
            card.head_dim,
            model.dtype,
            self._device,
        )

    @torch.inference_mode()
    def execute(self, items: list[ScheduledItem], layers: tuple[int, ...] = ()) -> torch.Tensor:
        """Compute the items' tokens into the cache. Returns float32 logits ``[n, vocab]`` of the last ``num_logits``
        tokens of each item, in the items' order (the head is skipped where none are wanted). Blocks that are to be
        copied before they are written are copied first. What comes out of ``layers`` is kept for ``layer_output``."""
        self._copy_blocks()
        singles = [item for item in items if item.stop - item.start == 1 or item.draft is not None]
        spans = [item for item in items if item.stop - item.start > 1 and item.draft is None]
        singles.sort(key=lambda item: (item.stop - item.start, item.stop))
        packed = singles + spans
        tokens = list(chain.from_iterable(item.token_ids for item in packed))
        positions = list(chain.from_iterable(range(item.start, item.stop) for item in packed))
        num_single_rows = sum(item.stop - item.start for item in singles)
        context = StepContext(
            self.cache, self._tensor(self.slots(packed)), self._singles(singles), self._spans(spans, num_single_rows)
        )
        self._rows, row = {}, 0
        for item in packed:
            self._rows[item.sequence.id] = slice(row, row := row + item.stop - item.start)
        stops = [(self._rows[item.sequence.id].stop, item.num_logits) for item in items]
        wanted = list(chain.from_iterable(range(stop - count, stop) for stop, count in stops))
        with layer_outputs(self._module, layers) as self._layer_outputs:
            logits: torch.Tensor = self._module(
                input_ids=self._tensor(tokens).unsqueeze(0),
                position_ids=self._tensor(positions).unsqueeze(0),
                use_cache=False,
                logits_to_keep=self._tensor(wanted),
                kv=context,
            ).logits[0]
        return logits.float()

    def layer_output(self, layer: int, item: ScheduledItem) -> torch.Tensor:
        """[stop - start, hidden_size]: what came out of decoder ``layer`` for ``item`` in the last pass, which was to
        keep it."""
        return self._layer_outputs[layer][0, self._rows[item.sequence.id]]

    def _copy_blocks(self) -> None:
        copies = self._blocks.take_copies()
        if copies:
            sources, targets = zip(*copies, strict=True)
            self.cache.copy_blocks(self._tensor(list(sources)), self._tensor(list(targets)))

    @torch.inference_mode()
    def norms(self, items: list[ScheduledItem]) -> list[torch.Tensor]:
        """Norms of the keys and values of each of ``items``' tokens: [2, layers, kv_heads, stop - start], float16 on
        the CPU."""
        if not items:
            return []
        norms = self.cache.norms(self._tensor(self.slots(items))).half().cpu()
        return list(torch.split(norms, [item.stop - item.start for item in items], dim=-1))

    def slots(self, items: list[ScheduledItem]) -> list[int]:
        """Where in the flat cache each token of ``items`` lives."""
        size = self._blocks.block_size
        slots: list[int] = []
        for item in items:
            table = self._blocks.tables[item.sequence.id].block_ids
            slots += [table[p // size] * size + p % size for p in range(item.start, item.stop)]
        return slots

    def _tensor(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)

    def _block_ids(self, item: ScheduledItem) -> list[int]:
        table = self._blocks.tables[item.sequence.id].block_ids
        return table[: self._blocks.num_blocks_for(item.stop)]

    def _spans(self, items: list[ScheduledItem], first: int) -> list[Span]:
        spans = []
        for item in items:
            last = first + item.stop - item.start
            spans.append(Span(first, last, item.start, self._tensor(self._block_ids(item))))
            first = last
        return spans

    def _singles(self, items: list[ScheduledItem]) -> list[Singles]:
        """``items`` (of one width after another, shortest first) in groups of one width whose shortest has at least
        half the blocks of its longest: padding never doubles what is read."""
        groups: list[Singles] = []
        last, last_row = len(items), sum(item.stop - item.start for item in items)
        while last:
            stop, width = items[last - 1].stop, items[last - 1].stop - items[last - 1].start
            longest = self._block_ids(items[last - 1])
            first = last - 1
            while first and self._joins(items[first - 1], width, len(longest)):
                first -= 1
            tables = [self._block_ids(item) for item in items[first:last]]
            padded = chain.from_iterable(table + [table[0]] * (len(longest) - len(table)) for table in tables)
            positions = self._tensor([item.start for item in items[first:last]])
            first_row = last_row - (last - first) * width
            groups.append(Singles(first_row, last_row, positions, self._tensor(list(padded)), stop, width))
            last, last_row = first, first_row
        return groups

    def _joins(self, item: ScheduledItem, width: int, num_blocks: int) -> bool:
        return item.stop - item.start == width and 2 * self._blocks.num_blocks_for(item.stop) >= num_blocks
