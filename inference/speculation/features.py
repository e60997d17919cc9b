"""What the target thinks of a text: hidden states of chosen layers at every token, computed once and kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from inference.layer_outputs import layer_outputs
from inference.models import Model
from inference.speculation.answers import Text

MAX_TOKENS = 4096
"""Tokens in one forward pass, padding included."""


@dataclass(frozen=True)
class FeatureStore:
    """Texts and their features, side by side. Everything is indexed by ``offsets[i] : offsets[i + 1]`` for text i."""

    token_ids: torch.Tensor
    """[tokens] int64."""
    features: torch.Tensor
    """[tokens, num_features * hidden] bfloat16, a view of the file."""
    offsets: list[int]
    num_prompt_tokens: list[int]

    def __len__(self) -> int:
        return len(self.num_prompt_tokens)

    def answered(self) -> torch.Tensor:
        """[answer tokens] ids, prompts left out."""
        parts = zip(self.offsets[:-1], self.offsets[1:], self.num_prompt_tokens, strict=True)
        return torch.cat([self.token_ids[start + skipped : stop] for start, stop, skipped in parts])


def hidden_states(module: torch.nn.Module, layers: tuple[int, ...], token_ids: torch.Tensor) -> torch.Tensor:
    """Outputs of decoder ``layers`` for ``token_ids`` [batch, length], causal and from position 0:
    [batch, length, len(layers) * hidden]. Whatever attention an engine has given the model is put back."""
    before = module.config._attn_implementation  # type: ignore[union-attr]
    module.set_attn_implementation("sdpa")  # type: ignore[operator]
    try:
        with layer_outputs(module, layers) as found:
            module.base_model(input_ids=token_ids, use_cache=False)  # type: ignore[operator]
    finally:
        module.set_attn_implementation(before)  # type: ignore[operator]
    return torch.cat([found[index] for index in layers], dim=-1)


def compute_features(
    model: Model,
    texts: list[Text],
    path: Path,
    layers: tuple[int, ...],
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None],
) -> FeatureStore:
    """The features of ``texts`` in ``path`` (and ``path`` with ``.json`` for how far it is), as far as they are not
    there yet. Texts are computed shortest first, so that a pass holds texts of like length; with ``limit``, only until
    so many tokens are there."""
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i].token_ids), i))
    ordered = [texts[i] for i in order]
    offsets = [0, *np.cumsum([len(text.token_ids) for text in ordered]).tolist()]
    width = len(layers) * model.card.hidden_size
    marker = path.with_suffix(".json")
    plan = {"layers": list(layers), "num_tokens": offsets[-1], "num_texts": len(texts)}
    state = json.loads(marker.read_text()) if marker.exists() and path.exists() else {}
    done = state.get("done", 0) if state.get("plan") == plan else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.memmap(path, dtype=np.int16, mode="r+" if done else "w+", shape=(offsets[-1], width))
    features = torch.from_numpy(stored).view(torch.bfloat16)
    limit = offsets[-1] if limit is None else min(limit, offsets[-1])
    while offsets[done] < limit:
        stop = done + 1
        while stop < len(ordered) and len(ordered[stop].token_ids) * (stop + 1 - done) <= MAX_TOKENS:
            stop += 1
        batch = [torch.tensor(text.token_ids) for text in ordered[done:stop]]
        padded = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        with torch.inference_mode():
            states = hidden_states(model.module, layers, padded.to(model.device)).to("cpu", torch.bfloat16)
        for row, index in enumerate(range(done, stop)):
            features[offsets[index] : offsets[index + 1]] = states[row, : len(batch[row])]
        done = stop
        marker.write_text(json.dumps({"plan": plan, "done": done}))
        progress(offsets[done], limit)
    token_ids = torch.tensor([token for text in ordered[:done] for token in text.token_ids])
    prompts = [text.num_prompt_tokens for text in ordered[:done]]
    return FeatureStore(token_ids, features[: len(token_ids)], offsets[: done + 1], prompts)
