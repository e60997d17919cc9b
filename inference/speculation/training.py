"""How a draft head learns: to say what the target would say, also when it has only its own word for what came before.

At each row the target's whole distribution over the draft vocabulary is the lesson, not the one token that was drawn.
The unrolled steps are those of drafting: at step s a row's state is the head's own output of step s - 1, and it attends
to what drafting would find in the cache there (EAGLE-3's training-time test), so that drafts do not drift.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from inference.models import Model
from inference.speculation.eagle import EagleConfig, EagleHead
from inference.speculation.features import FeatureStore, hidden_states

CHUNK = 256
"""Rows whose logits are in memory at a time."""
ZIPF_SHARE, ZIPF_SHIFT = 0.05, 200.0
"""How much the ids' order counts in choosing the draft vocabulary (tried on answers that were not learned from)."""
LEVEL = 0.01
"""Weight of keeping the logits on the target's level, without which a repetition penalty, which multiplies logits,
would not mean the same to both."""


@dataclass(frozen=True)
class Recipe:
    """What training is told. ``step_weights``: how much each unrolled step counts; as many steps as weights."""

    epochs: int = 4
    tokens_per_batch: int = 1024
    learning_rate: float = 1e-3
    warmup: float = 0.03
    weight_decay: float = 0.01
    step_weights: tuple[float, ...] = (1.0, 0.7)
    unroll_from: float = 0.5
    """Share of the batches before which only the first step is learned: at first there is nothing to unroll."""
    overlap_weight: float = 0.0
    """Weight of -log sum(min(p, q)), which is the expected acceptance itself, beside KL(p || q)."""
    seed: int = 0


def unrolled(head: EagleHead, token_ids: torch.Tensor, features: torch.Tensor, steps: int) -> list[torch.Tensor]:
    """The head's outputs for whole texts at each of ``steps`` steps of drafting, all rows at once.

    ``token_ids`` [batch, length], ``features`` [batch, length, num_features * hidden]. Output ``[s][:, j - 1]`` is row
    ``j``'s, where drafting started at row ``j - s`` with the text's own tokens as proposals ([batch, length - 1,
    hidden]). Rows ``j <= s`` have no such start: their outputs at step s mean nothing.
    """
    length = token_ids.shape[1] - 1
    positions = torch.arange(1, length + 1)
    rows = torch.arange(length)
    state = head.fused(features[:, :-1])
    keys: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    for step in range(steps):
        residual = head.residual(token_ids[:, 1:], state)
        query, key, value = head.projected(residual, positions)
        repeats = query.shape[-2] // key.shape[-2]
        keys.append(key.repeat_interleave(repeats, dim=-2).transpose(1, 2))
        values.append(value.repeat_interleave(repeats, dim=-2).transpose(1, 2))
        # Row j sees rows up to j - step as the target's features made them, and those since as its own outputs did.
        behind = rows.unsqueeze(1) - rows
        masks = [behind >= step] + [behind == step - earlier for earlier in range(1, step + 1)]
        mask = torch.cat(masks, dim=1)
        mask[:step, 0] = True  # rows without a start: anything but an empty softmax
        attended = functional.scaled_dot_product_attention(
            query.transpose(1, 2), torch.cat(keys, dim=2), torch.cat(values, dim=2), attn_mask=mask
        )
        output = head.finished(residual, attended.transpose(1, 2).flatten(2))
        outputs.append(output)
        state = functional.pad(output[:, :-1], (0, 0, 1, 0))
    return outputs


class DraftLoss(torch.autograd.Function):
    """The loss of normed outputs against the target's normed states, through the frozen output matrix.

    Its gradient is known in closed form, (q - p) for the KL part, so no logits outlive their chunk.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        normed: torch.Tensor,
        target: torch.Tensor,
        weights: torch.Tensor,
        output: torch.Tensor,
        overlap_weight: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``normed`` [steps, rows, hidden], ``target`` [rows, hidden], ``weights`` [steps, rows] -> the weighted sum of
        losses, and [2, steps] summed overlaps and agreements (of rows with weight)."""
        gradient = torch.zeros_like(normed)
        loss, sums = torch.zeros(()), torch.zeros(2, len(normed))
        for start in range(0, len(target), CHUNK):
            rows = slice(start, start + CHUNK)
            logits = (target[rows] @ output.T).float()
            level = logits.logsumexp(dim=-1, keepdim=True)
            log_p = logits.sub_(level)
            p = log_p.exp()
            likeliest = log_p.argmax(dim=-1)
            entropy = (p * log_p).sum(dim=-1)
            for step in range(len(normed)):
                weight = weights[step, rows]
                logits = (normed[step, rows] @ output.T).float()
                guess = logits.argmax(dim=-1)
                own_level = logits.logsumexp(dim=-1, keepdim=True)
                log_q = logits.sub_(own_level)
                cross = (p * log_q).sum(dim=-1)
                q = log_q.exp_()
                difference = (own_level - level).squeeze(1)
                overlap = torch.minimum(p, q).sum(dim=-1)
                each = entropy - cross + LEVEL * difference.square()
                slope = q * (1.0 + 2.0 * LEVEL * difference.unsqueeze(1)) - p
                if overlap_weight:
                    each = each - overlap_weight * overlap.log()
                    under = torch.where(q < p, q, 0.0)
                    slope += (overlap_weight / overlap).unsqueeze(1) * (q * under.sum(dim=-1, keepdim=True) - under)
                loss += (each * weight).sum()
                gradient[step, rows] = (slope * weight.unsqueeze(1)).to(output.dtype) @ output
                counted = weight > 0
                sums[0, step] += overlap[counted].sum()
                sums[1, step] += (guess == likeliest)[counted].sum()
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(sums)
        return loss, sums

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor, _: torch.Tensor) -> Any:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient * slope, None, None, None, None


def draft_vocabulary(model: Model, store: FeatureStore, size: int, *, sample: int = 16_384) -> torch.Tensor:
    """[size] ids, ascending: those that the model's answers hold most often, and that it thought of most.

    Few texts hold few different tokens, and an answer to another prompt needs others. So what the model would have said
    counts as much as what it said (its whole distribution at ``sample`` places), and a little of Zipf's law over the
    ids, for a BPE tokenizer numbers its tokens about as it found them: frequent ones first.
    """
    vocab_size = model.card.vocab_size
    counted = torch.bincount(store.answered(), minlength=vocab_size).float()
    expected = torch.zeros(vocab_size)
    places = torch.randperm(len(store.features), generator=torch.Generator().manual_seed(0))[:sample]
    module: Any = model.module
    output, norm = module.get_output_embeddings().weight, module.base_model.norm
    with torch.inference_mode():
        for rows in torch.split(places, 512):
            normed = norm(store.features[rows, -model.card.hidden_size :].to(output.dtype))
            expected += (normed @ output.T).float().softmax(dim=-1).sum(dim=0)
    zipf = 1.0 / (torch.arange(vocab_size) + ZIPF_SHIFT)
    score = counted / counted.sum() + expected / expected.sum() + ZIPF_SHARE * zipf / zipf.sum()
    return score.sort(descending=True, stable=True).indices[:size].sort().values


def token_table(model: Model, draft_ids: torch.Tensor, rank: int) -> torch.Tensor:
    """[len(draft_ids) + 1, rank]: the target's normed state after each token with nothing but the template's
    last token before it, less what is common to all, along its ``rank`` principal directions; then a row of zeros."""
    opening = torch.tensor(model.tokenizer.encode_chat("").token_ids[-1:])
    layers = (model.card.num_layers - 1,)
    states = []
    module: Any = model.module
    with torch.no_grad():
        for ids in torch.split(draft_ids, 128):
            text = torch.cat((opening.expand(len(ids), -1), ids.unsqueeze(1)), dim=1)
            states.append(hidden_states(module, layers, text)[:, -1])
        normed = module.base_model.norm(torch.cat(states)).float()
    centred = normed - normed.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    table = centred @ directions[:rank].T
    return torch.cat((table / table.square().mean().sqrt(), torch.zeros(1, rank)))


def new_head(model: Model, config: EagleConfig, store: FeatureStore, seed: int) -> EagleHead:
    """A head to begin with, in float32: the target's last layer and final norm, on the last layer's features alone.

    Everything is in units of that layer's typical output, which the norms inside do not see.
    """
    torch.manual_seed(seed)
    module: Any = model.module
    embedding, output = module.get_input_embeddings().weight, module.get_output_embeddings().weight
    head = EagleHead(config, embedding.float(), output.float())
    sample = store.features[torch.randperm(len(store.features))[:20_000]].float()
    # Medians, not means: the first token of a text would drown the others.
    head.feature_mean = sample.median(dim=0).values
    head.feature_std = (sample - head.feature_mean).abs().median(dim=0).values * 1.4826 + 1e-6
    hidden = config.hidden_size
    scale = head.feature_std[-hidden:].square().mean().sqrt()
    layer = module.base_model.layers[-1]
    with torch.no_grad():
        head.fuse.weight.normal_(std=0.01)
        head.fuse.weight[:, -hidden:] += torch.eye(hidden)
        head.combine.weight.normal_(std=0.01)
        head.combine.weight[:, -hidden:] += torch.diag(head.feature_std[-hidden:] / scale)
        attention, mlp = layer.self_attn, layer.mlp
        head.qkv.weight.copy_(torch.cat([getattr(attention, f"{n}_proj").weight for n in "qkv"]))
        head.attention_out.weight.copy_(attention.o_proj.weight / scale)
        head.gate_up.weight.copy_(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]))
        head.down.weight.copy_(mlp.down_proj.weight / scale)
        head.attention_norm.weight.copy_(layer.input_layernorm.weight)
        head.mlp_norm.weight.copy_(layer.post_attention_layernorm.weight)
        head.final_norm.weight.copy_(module.base_model.norm.weight)
    return head


def go_on_from(head: EagleHead, start: EagleHead) -> None:
    """Give ``head`` what ``start`` has learned. Its token table is turned into the other's coordinates, which the
    weights know, by least squares over the tokens that both may propose. ``ValueError`` where the shapes differ."""
    for field in ("feature_layers", "table_rank"):
        there, wanted = getattr(start.config, field), getattr(head.config, field)
        if there != wanted:
            raise ValueError(f"the head to start from has {field} {there}; {wanted} was asked for")
    table, known = head.token_table[:-1], torch.isin(start.draft_ids, head.draft_ids)
    shared = table[torch.searchsorted(head.draft_ids, start.draft_ids[known])]
    turn = torch.linalg.lstsq(shared, start.token_table[:-1][known].float()).solution
    head.token_table[:-1] = table @ turn
    for own in ("feature_mean", "feature_std"):
        setattr(head, own, getattr(start, own))
    learned = {name: value.float() for name, value in start.named_parameters()}
    head.load_state_dict(learned, strict=False)


def batches(store: FeatureStore, recipe: Recipe, draw: random.Random) -> Iterator[list[tuple[int, int]]]:
    """One epoch in batches of texts of like length, each as (text, where to start): at the text's beginning, or
    anywhere in its prompt, since a prefix cache leaves the head without the beginning."""
    spans = []
    for index, prompt in enumerate(store.num_prompt_tokens):
        length = store.offsets[index + 1] - store.offsets[index]
        skipped = draw.randrange(prompt) if prompt > 1 and draw.random() < 0.7 else 0
        if length - max(prompt, skipped) > 4:
            spans.append((length - skipped + draw.random() * 16, index, skipped))
    spans.sort()
    found: list[list[tuple[int, int]]] = [[]]
    for width, index, skipped in spans:
        if found[-1] and width * (len(found[-1]) + 1) > recipe.tokens_per_batch:
            found.append([])
        found[-1].append((index, skipped))
    draw.shuffle(found)
    yield from found


def gathered(store: FeatureStore, batch: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch's token ids [texts, length], features [texts, length, ...] and which rows are lessons [texts, length - 1]
    (those of the answer)."""
    spans = [(store.offsets[index] + skipped, store.offsets[index + 1]) for index, skipped in batch]
    pad = nn.utils.rnn.pad_sequence
    token_ids = pad([store.token_ids[start:stop] for start, stop in spans], batch_first=True)
    features = pad([store.features[start:stop] for start, stop in spans], batch_first=True)
    first = torch.tensor([max(store.num_prompt_tokens[index] - skipped, 1) for index, skipped in batch])
    last = torch.tensor([stop - start for start, stop in spans])
    rows = torch.arange(1, token_ids.shape[1])
    lessons = (rows >= first.unsqueeze(1)) & (rows < last.unsqueeze(1))
    return token_ids, features, lessons


def train(
    head: EagleHead,
    final_norm: nn.Module,
    store: FeatureStore,
    recipe: Recipe,
    *,
    say: Callable[[int, int, dict[str, float]], None],
) -> None:
    """Train ``head`` in place: AdamW, a cosine to nothing, products in bfloat16. ``final_norm`` is the target's.
    ``say(batch, of how many, figures)`` hears the figures of the last batches."""
    draw = random.Random(recipe.seed)
    epochs = [list(batches(store, recipe, draw)) for _ in range(recipe.epochs)]
    plan = [batch for epoch in epochs for batch in epoch]
    head.train()
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    warmup = max(1, int(recipe.warmup * len(plan)))

    def rate(step: int) -> float:
        return min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / len(plan)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    output = head.output.bfloat16()
    for number, batch in enumerate(plan):
        steps = 1 if number < recipe.unroll_from * len(plan) else len(recipe.step_weights)
        token_ids, features, lessons = gathered(store, batch)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = torch.stack([state[lessons] for state in unrolled(head, token_ids, features, steps)])
            with torch.no_grad():
                target = final_norm(features[:, 1:, -head.config.hidden_size :][lessons]).bfloat16()
            normed = head.final_norm(outputs).bfloat16()
        row = torch.arange(1, token_ids.shape[1]).expand_as(lessons)[lessons]
        weights = torch.stack([(row > step) * weight for step, weight in enumerate(recipe.step_weights[:steps])])
        loss, sums = DraftLoss.apply(  # type: ignore[no-untyped-call]
            normed, target, weights.float(), output, recipe.overlap_weight
        )
        loss = loss / weights.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        means = sums / (weights > 0).sum(dim=1)
        figures = {"loss": float(loss.detach())}
        for step in range(steps):
            figures |= {f"overlap {step + 1}": float(means[0, step]), f"agreement {step + 1}": float(means[1, step])}
        say(number + 1, len(plan), figures)
    head.train(False)
