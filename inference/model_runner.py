"""Runs the model over a scheduled batch: packs its tokens, says where the cache is, and brings back the logits."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch

from inference.attention.interface import NAME, Singles, Span, StepContext
from inference.attention.quantized_cache import make_cache
from inference.block_manager import BlockManager
from inference.layer_outputs import layer_outputs
from inference.linear import prepare
from inference.models import Model
from inference.scheduler import ScheduledItem
from inference.sequence import Sequence, SequenceId

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
        self._rows: dict[SequenceId, slice] = {}
        """Of the last pass, the packed rows of each sequence."""
        self._layer_outputs: dict[int, torch.Tensor] = {}
        """Of the last pass, [1, T, hidden_size] of each layer that was to be kept."""
        self.cache = make_cache(model, blocks.pool.num_blocks, blocks.block_size, kv_cache_dtype)

    @torch.inference_mode()
    def execute(
        self, items: list[ScheduledItem], look: StepLook | None = None, layers: tuple[int, ...] = ()
    ) -> torch.Tensor:
        """Compute the items' tokens into the cache. Returns float32 logits ``[n, vocab]`` of the last ``num_logits``
        tokens of each item, in the items' order (the head is skipped where none are wanted). Blocks that are to be
        copied before they are written are copied first. What probes ``look`` at is left with them; what comes out of
        decoder ``layers`` is kept for ``layer_output``."""
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
        sampled = list(chain.from_iterable(range(stop - count, stop) for stop, count in stops))
        wanted = sampled
        if look is not None:
            last_rows = {name: rows.stop - 1 for name, rows in self._rows.items()}
            context.watches = look.place(last_rows, self._device)
            wanted = sampled + [row for row in look.logits_rows if row not in sampled]
        with layer_outputs(self._module, layers) as self._layer_outputs:
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
