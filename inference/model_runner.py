"""Runs the model over a scheduled batch: packs its tokens, says where the cache is, and brings back the logits."""

from __future__ import annotations

from itertools import chain

import torch

from inference.attention.interface import NAME, KVCache, Singles, Span, StepContext
from inference.block_manager import BlockManager
from inference.linear import prepare
from inference.models import Model
from inference.scheduler import ScheduledItem


class ModelRunner:
    """The model, its paged cache, and nothing else."""

    def __init__(self, model: Model, blocks: BlockManager) -> None:
        card = model.card
        self._module = model.module
        self._module.set_attn_implementation(NAME)
        self._device = torch.device(model.device)
        prepare(self._module, self._device)
        self._blocks = blocks
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
    def execute(self, items: list[ScheduledItem]) -> torch.Tensor:
        """Compute the items' tokens into the cache. Returns float32 logits ``[n, vocab]`` of the last token of each
        item that samples, in the items' order (the head is skipped where none does). Blocks that are to be copied
        before they are written are copied first."""
        self._copy_blocks()
        singles = [item for item in items if item.stop - item.start == 1]
        spans = [item for item in items if item.stop - item.start > 1]
        singles.sort(key=lambda item: item.stop)
        packed = singles + spans
        tokens = list(chain.from_iterable(item.sequence.token_ids[item.start : item.stop] for item in packed))
        positions = list(chain.from_iterable(range(item.start, item.stop) for item in packed))
        context = StepContext(
            self.cache, self._tensor(self.slots(packed)), self._singles(singles), self._spans(spans, len(singles))
        )
        last_row, row = {}, -1
        for item in packed:
            row += item.stop - item.start
            last_row[item.sequence.id] = row
        wanted = [last_row[item.sequence.id] for item in items if item.samples]
        logits: torch.Tensor = self._module(
            input_ids=self._tensor(tokens).unsqueeze(0),
            position_ids=self._tensor(positions).unsqueeze(0),
            use_cache=False,
            logits_to_keep=self._tensor(wanted),
            kv=context,
        ).logits[0]
        return logits.float()

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
        """``items`` (shortest first) in groups whose shortest has at least half the blocks of its longest: padding
        never doubles what is read."""
        groups: list[Singles] = []
        last = len(items)
        while last:
            longest = self._block_ids(items[last - 1])
            first = last - 1
            while first and 2 * self._blocks.num_blocks_for(items[first - 1].stop) >= len(longest):
                first -= 1
            tables = [self._block_ids(item) for item in items[first:last]]
            padded = chain.from_iterable(table + [table[0]] * (len(longest) - len(table)) for table in tables)
            positions = self._tensor([item.start for item in items[first:last]])
            groups.append(Singles(first, last, positions, self._tensor(list(padded)), items[last - 1].stop))
            last = first
        return groups
