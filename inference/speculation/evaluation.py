"""How good a draft head is on prompts it has never seen: acceptance at each place of a draft, without running one.

At temperature 0 a draft is accepted as far as it is what the target says itself, and a draft that is right so far is
the text's own tokens: so one unrolled pass over the target's greedy answers gives the acceptance exactly. With
sampling, a draft token is accepted with probability sum(min(p, q)) (Leviathan et al. 2023), p and q as the sampler
leaves them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import torch

from inference.engine import Engine
from inference.engine_config import EngineConfig
from inference.models import Model
from inference.sequence import SamplingParams
from inference.speculation.answers import Text
from inference.speculation.chat_prompts import HELD_OUT
from inference.speculation.eagle import EagleHead
from inference.speculation.features import hidden_states
from inference.speculation.training import unrolled

SETTINGS = {
    "greedy": SamplingParams(temperature=0.0),
    "sampled": SamplingParams(temperature=0.6, top_p=0.9, repetition_penalty=1.1, seed=1),
}
"""How held-out prompts are answered; the second is the page's."""

_NUCLEUS = 512


@dataclass
class Acceptance:
    """Means over all places of all answers where a draft of ``k`` tokens could start."""

    conditional: list[float]
    """At each place of the draft: the chance of acceptance, those before it being accepted."""
    reached: list[float]
    """That the draft is accepted up to and with this place (at temperature 0 counted, else the mean product)."""

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a step with this many drafts gives, the target's own included."""
        return 1.0 + sum(self.reached)


def held_out_answers(model: Model, params: SamplingParams, max_tokens: int, path: Path) -> list[Text]:
    """The model's answers to ``HELD_OUT``, by our own engine; kept in ``path``, for every drafter is judged by them."""
    if path.exists():
        return [Text(**each) for each in json.loads(path.read_text())]
    engine = Engine(model, EngineConfig(num_blocks=40 * (max_tokens // 16 + 8), max_num_seqs=40))
    prompts = [model.tokenizer.encode_chat(prompt).token_ids for prompt in HELD_OUT]
    params = msgspec.structs.replace(params, max_tokens=max_tokens)
    outputs = engine.generate(cast(list[str | list[int]], prompts), params)
    texts = [Text(ids + output.token_ids, len(ids)) for ids, output in zip(prompts, outputs, strict=True)]
    path.write_text(json.dumps([dataclasses.asdict(text) for text in texts]))
    return texts


@torch.inference_mode()
def acceptance(model: Model, head: EagleHead, texts: list[Text], params: SamplingParams, k: int) -> Acceptance:
    """The acceptance of drafts of ``k`` tokens in ``texts``, which ``params`` drew from ``model``."""
    chances = torch.cat([_chances(model, head, text, params, k) for text in texts])
    reached = chances.cumprod(dim=1)
    before = torch.cat((torch.ones(len(chances), 1), reached[:, :-1]), dim=1)
    conditional = (chances * before).sum(dim=0) / before.sum(dim=0)
    return Acceptance(conditional.tolist(), reached.mean(dim=0).tolist())


def _chances(model: Model, head: EagleHead, text: Text, params: SamplingParams, k: int) -> torch.Tensor:
    """[starts, k]: the chance that each place of a draft is accepted, for every row of the answer to start at."""
    token_ids = torch.tensor(text.token_ids)[None]
    length = token_ids.shape[1]
    starts = torch.arange(text.num_prompt_tokens, length - k + 1)
    if not len(starts):
        return torch.empty(0, k)
    module: Any = model.module
    layers = (*head.config.feature_layers, head.config.num_target_layers - 1)
    states = hidden_states(module, layers, token_ids)
    features, last = torch.split(states, [states.shape[-1] - head.config.hidden_size, head.config.hidden_size], dim=-1)
    target = module.get_output_embeddings()(module.base_model.norm(last[0])).float()
    seen = torch.zeros(length, target.shape[1], dtype=torch.bool).scatter_(1, token_ids.T, True)
    seen = seen.to(torch.uint8).cummax(dim=0).values.bool()
    p = _shaped(target, seen, params)
    columns = []
    for step, output in enumerate(unrolled(head, token_ids, features, k)):
        rows = starts + step
        logits = torch.full((len(rows), target.shape[1]), float("-inf"))
        logits[:, head.draft_ids] = head.logits(output[0, rows - 1])
        q = _shaped(logits, seen[rows], params)
        columns.append(torch.minimum(p[rows], q).sum(dim=1))
    return torch.stack(columns, dim=1)


def _shaped(logits: torch.Tensor, seen: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Probabilities as the sampler leaves them, all rows at once: penalty, temperature (0: all on the likeliest),
    nucleus."""
    penalty = params.repetition_penalty
    logits = torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
    if params.temperature == 0.0:
        return torch.zeros_like(logits).scatter_(1, logits.argmax(dim=1, keepdim=True), 1.0)
    probabilities = (logits / params.temperature).softmax(dim=1)
    if params.top_p < 1.0:
        sorted_p, order = probabilities.topk(min(_NUCLEUS, probabilities.shape[1]), dim=1)
        if float(sorted_p.sum(dim=1).min()) < params.top_p:  # a wider nucleus than nearly all
            sorted_p, order = probabilities.sort(dim=1, descending=True)
        sorted_p[sorted_p.cumsum(dim=1) - sorted_p >= params.top_p] = 0.0
        probabilities = torch.zeros_like(probabilities).scatter_(1, order, sorted_p)
        probabilities /= probabilities.sum(dim=1, keepdim=True)
    return probabilities
