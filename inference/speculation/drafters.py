"""Drafters by name: ``eagle``, ``mismatched``, ``ngram``, ``model:MODEL``."""

from __future__ import annotations

from pathlib import Path

from inference.models import Model, ModelNotFound, load_model
from inference.speculation.draft_model import ModelDrafter
from inference.speculation.drafter import Drafter
from inference.speculation.eagle import load_head, target_of
from inference.speculation.eagle_drafter import EagleDrafter
from inference.speculation.ngram import NgramDrafter

NAMES = ("eagle", "ngram", "mismatched", "model")
WEIGHTS = Path(__file__).parent / "weights"


def load_drafters(asked: str, model: Model, *, num_blocks: int, block_size: int) -> dict[str, Drafter]:
    """The drafters that ``asked`` names, by name, in its order: ``NAME`` or ``NAME:PATH``, with commas between several.

    ``eagle`` and ``mismatched`` are draft heads: those trained for ``model``, or the one in file ``PATH``. ``model``
    is another model: a directory, ``.gguf`` or name, as ``load_model`` takes it; its cache has ``num_blocks`` of
    ``block_size`` tokens. Raises ``ValueError`` for what does not exist or does not fit the model.
    """
    drafters: dict[str, Drafter] = {}
    for each in asked.split(","):
        name, _, path = each.strip().partition(":")
        if name not in NAMES or name in drafters or (name == "model") > bool(path) or (name == "ngram" and path):
            raise ValueError(
                f"drafter must be one of eagle, ngram, mismatched, model:MODEL, or several with commas between, "
                f"got {asked!r}"
            )
        if name == "ngram":
            drafters[name] = NgramDrafter()
        elif name == "model":
            drafters[name] = _draft_model(path, model, num_blocks, block_size)
        else:
            drafters[name] = EagleDrafter(name, load_head(Path(path) if path else _weights(name, model), model))
    return drafters


def _weights(name: str, model: Model) -> Path:
    """The head of that name that was trained for ``model``."""
    targets = {target_of(path): path for path in sorted(WEIGHTS.glob(f"{name}-*.safetensors"))}
    if model.card.name not in targets:
        raise ValueError(
            f"drafter {name!r} has been trained for {', '.join(targets) or 'no model'} and not for {model.card.name}; "
            "train one (python -m inference.speculation.train_drafter), or take ngram, which suits every model"
        )
    return targets[model.card.name]


def _draft_model(path: str, model: Model, num_blocks: int, block_size: int) -> ModelDrafter:
    try:
        other = load_model(path, dtype=str(model.dtype).removeprefix("torch."), device=str(model.device))
    except ModelNotFound as error:
        raise ValueError(f"drafter model:{path} cannot be had: {error}") from error
    return ModelDrafter(other, vocab_size=model.card.vocab_size, num_blocks=num_blocks, block_size=block_size)
