"""The second engine: another configuration or precision of the same model, beside the first.

It shares the first one's weights where it can (a policy, a pool, a drafter, a cache's precision need no other). Another
precision is made at first use, which takes a second to half a minute, and kept; there is at most one such beside the
first, and it is dropped when nobody has asked for it for long.

An engine is built for each take: what is left in a pool by one must not be found by the next.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec

from inference.engine import Engine
from inference.engine_config import EngineConfig
from inference.events import Event
from inference.models import Model, load_model
from inference.quantization import quantize
from inference.sequence import SamplingParams
from inference.take_plan import Plan

IDLE_SECONDS = 300.0
"""After which weights of another precision are dropped."""
WARM_UP_TOKENS = 48


class SideEngines:
    """Builds engines beside the first, whose ``model`` it is given."""

    def __init__(self, model: Model, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._clock = clock
        self._other: Model | None = None
        self._other_kind = ("", "")
        """dtype and quantization of ``_other``."""
        self._used = 0.0
        self._warm: set[tuple[str, str, str]] = set()

    def build(self, plan: Plan, on_event: Callable[[Event], None]) -> Engine:
        """An engine set up as ``plan`` says, warm, with an empty pool. Raises ``ValueError`` for layers that cannot be
        quantised so."""
        model = self._model_of(plan.dtype, plan.quantization)
        self._warm_up(model, plan)
        self._used = self._clock()
        return Engine(model, plan.config, on_event=on_event)

    def drop_unused(self) -> None:
        """Let another precision go that nobody has asked for in a while."""
        if self._other is not None and self._clock() - self._used > IDLE_SECONDS:
            self._drop()

    @property
    def num_models(self) -> int:
        """Whose weights are in memory, the first engine's among them."""
        return 1 + (self._other is not None)

    def _model_of(self, dtype: str, quantization: str) -> Model:
        if (dtype, quantization) == (str(self._model.dtype).removeprefix("torch."), self._model.card.quantization):
            return self._model
        if self._other is None or self._other_kind != (dtype, quantization):
            self._drop()
            self._other = quantize(self._model, quantization) if quantization else self._load(dtype)
            self._other_kind = (dtype, quantization)
        return self._other

    def _load(self, dtype: str) -> Model:
        """The same weights, read again in another dtype."""
        model = load_model(self._model.path, dtype=dtype, device=str(self._model.device))
        card, own = model.card, self._model.card
        return replace(model, card=msgspec.structs.replace(card, name=own.name, license=own.license, note=own.note))

    def _drop(self) -> None:
        self._other = None
        self._warm = {kind for kind in self._warm if kind[:2] == ("", "")}
        gc.collect()

    def _warm_up(self, model: Model, plan: Plan) -> None:
        """The first pass of new weights, or with a new drafter, builds kernels and buffers: not in a take's log."""
        other = ("", "") if model is self._model else self._other_kind
        kind = (*other, f"{plan.config.drafter} {plan.config.num_speculative_tokens} {plan.config.kv_cache_dtype}")
        if kind in self._warm:
            return
        size = plan.config.block_size
        config = EngineConfig(
            block_size=size,
            num_blocks=2 * WARM_UP_TOKENS // size + 2,
            drafter=plan.config.drafter,
            num_speculative_tokens=plan.config.num_speculative_tokens,
            kv_cache_dtype=plan.config.kv_cache_dtype,
        )
        prompt = [(7 * i + 11) % model.card.vocab_size for i in range(WARM_UP_TOKENS)]
        params = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
        Engine(model, config, on_event=lambda event: None).generate([prompt], params)
        self._warm.add(kind)
