"""Runs the model over a scheduled batch: packs its tokens, says where the cache is, and brings back the logits."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch

from inference.attention.interface import NAME, Singles, Span, StepContext
from inference.attention.quantized_cache import make_cache
from inference.block_manager import BlockManager
from inference.linear import prepare
from inference.models import Model
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence

if TYPE_CHECKING:
    from inference.prober import StepLook


class ModelRunner:
    """The model, its paged cache, and nothing else."""

    def __init__(self, model: Model, blocks: BlockManager, *, kv_cache_dtype: str = "auto") -> None:
        self._module = model.module
        self._module.set_attn_implementation(NAME)
        self._device = torch.device(model.device)
        prepare(self._module, self._device)
        self._blocks = blocks
        self.cache = make_cache(model, blocks.pool.num_blocks, blocks.block_size, kv_cache_dtype)

    @torch.inference_mode()
    def execute(self, items: list[ScheduledItem], look: StepLook | None = None) -> torch.Tensor:
        """Compute the items' tokens into the cache. Returns float32 logits ``[n, vocab]`` of the last token of each
        item that samples, in the items' order (the head is skipped where none does). Blocks that are to be copied
        before they are written are copied first. What probes ``look`` at is left with them."""
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
        sampled = [last_row[item.sequence.id] for item in items if item.samples]
        wanted = sampled
        if look is not None:
            context.watches = look.place(last_row, self._device)
            wanted = sampled + [row for row in look.logits_rows if row not in sampled]
        logits: torch.Tensor = self._module(
            input_ids=self._tensor(tokens).unsqueeze(0),
            position_ids=self._tensor(positions).unsqueeze(0),
            use_cache=False,
            logits_to_keep=self._tensor(wanted),
            kv=context,
        ).logits[0]
        logits = logits.float()
        if look is not None:
            look.logits = dict(zip(wanted, logits, strict=True))
        return logits[: len(sampled)]

    def _copy_blocks(self) -> None:
        copies = self._blocks.take_copies()
        if copies:
            sources, targets = zip(*copies, strict=True)
            self.cache.copy_blocks(self._tensor(list(sources)), self._tensor(list(targets)))

    @torch.inference_mode()
    def norms(self, spans: list[tuple[Sequence, int, int]]) -> list[torch.Tensor]:
        """Norms of the keys and values of each sequence's tokens ``start <= position < stop``: [2, layers, kv_heads,
        stop - start], float16 on the CPU."""
        if not spans:
            return []
        slots = list(chain.from_iterable(self._slots(*span) for span in spans))
        norms = self.cache.norms(self._tensor(slots)).half().cpu()
        return list(torch.split(norms, [stop - start for _, start, stop in spans], dim=-1))

    @torch.inference_mode()
    def keys_and_values(self, sequence: Sequence, layer: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What stands in the cache of ``sequence``'s first ``length`` tokens: each [kv_heads, length, head_dim]."""
        blocks = self._blocks.tables[sequence.id].block_ids[: self._blocks.num_blocks_for(length)]
        gathered = self.cache.read(layer, self._tensor(blocks)).flatten(0, 1)[:length]
        key, value = gathered.permute(1, 2, 0, 3).unbind(0)
        return key, value

    def slots(self, items: list[ScheduledItem]) -> list[int]:
        """Where in the flat cache each token of ``items`` lives."""
        return list(chain.from_iterable(self._slots(item.sequence, item.start, item.stop) for item in items))

    def _slots(self, sequence: Sequence, start: int, stop: int) -> list[int]:
        size = self._blocks.block_size
        table = self._blocks.tables[sequence.id].block_ids
        return [table[p // size] * size + p % size for p in range(start, stop)]

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
