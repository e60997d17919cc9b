"""How an engine is set up."""

from __future__ import annotations

import msgspec

from inference.attention.quantized_cache import KV_CACHE_DTYPES
from inference.scheduler import ContinuousScheduler, StaticScheduler
from inference.speculation.drafter import MAX_SPECULATIVE_TOKENS

DEFAULT_MAX_MODEL_LEN = 4096
POLICIES = {"continuous": ContinuousScheduler, "static": StaticScheduler}
ALLOCATORS = ("paged", "slab")
RESERVES = ("max_tokens", "max_model_len")


class EngineConfig(msgspec.Struct, frozen=True):
    """How the engine is set up, in the field's own words. ``max_model_len`` None: the model's, at most 4,096.

    ``policy`` "static" and ``allocator`` "slab" are what serving did before continuous batching and paging: baselines
    on the same runner. A slab reserves for a sequence, whatever comes of it, what ``slab_reserve`` says: its prompt and
    "max_tokens", or "max_model_len". Slabs share nothing, so they have no prefix cache.

    ``drafter`` names who guesses ``num_speculative_tokens`` at a time (``speculation/drafters.py``): "eagle", "ngram",
    "mismatched", "model:MODEL", or several with commas between, of which a request may pick and the first is the
    default. With ``adaptive_speculation`` fewer are guessed for a sequence whose last guesses fared badly.
    """

    block_size: int = 16
    num_blocks: int = 512
    max_num_seqs: int = 8
    max_num_batched_tokens: int = 512
    policy: str = "continuous"
    allocator: str = "paged"
    slab_reserve: str = "max_tokens"
    enable_prefix_caching: bool = True
    drafter: str | None = None
    num_speculative_tokens: int = 2
    adaptive_speculation: bool = False
    max_model_len: int | None = None
    kv_cache_dtype: str = "auto"
    """``auto``: the model's own; ``int8`` or ``fp8``."""

    def validate(self) -> None:
        """Raise ``ValueError`` that names the field and what it may be."""
        for name in ("block_size", "num_blocks", "max_num_seqs", "max_num_batched_tokens", "num_speculative_tokens"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.max_model_len is not None and (not isinstance(self.max_model_len, int) or self.max_model_len < 2):
            raise ValueError(f"max_model_len must be a whole number of at least 2, got {self.max_model_len!r}")
        choices = {
            "policy": tuple(POLICIES),
            "allocator": ALLOCATORS,
            "slab_reserve": RESERVES,
            "kv_cache_dtype": KV_CACHE_DTYPES,
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
        if self.num_speculative_tokens > MAX_SPECULATIVE_TOKENS:
            raise ValueError(
                f"num_speculative_tokens must be at most {MAX_SPECULATIVE_TOKENS}, got {self.num_speculative_tokens}"
            )
        if self.drafter is not None and not isinstance(self.drafter, str):
            raise ValueError(f"drafter must be None or a drafter's name, got {self.drafter!r}")
