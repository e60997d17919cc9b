"""Text to train a drafter on: the model's own answers, or (for the wrong apprentice) something else entirely.

A drafter has to guess what *this* model says next, so it learns from what this model says: its answers to thousands of
chat prompts, a part of which it invents itself (a chat model that is given the opening of a user's turn and nothing
else writes a user's turn: Magpie, Xu et al. 2024). Answers are kept one a line, so a killed run goes on where it was.
"""

from __future__ import annotations

import ast
import json
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from inference.engine import Engine
from inference.engine_config import EngineConfig
from inference.models import Model
from inference.sampler import Sampled, Sampler, top
from inference.sequence import SamplingParams, Sequence
from inference.speculation.chat_prompts import other_topics, resembles_held_out, training_prompts

Progress = Callable[[int, int], None]
"""Told (done, of how many)."""

MANNERS = [SamplingParams(temperature=0.6, top_p=0.9, repetition_penalty=1.1)] * 7 + [
    SamplingParams(temperature=0.0, repetition_penalty=1.1),
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=1.0, top_p=0.95),
]
"""How answers are drawn, in turn: mostly as the page does."""


@dataclass(frozen=True)
class Text:
    """Token ids, of which the first ``num_prompt_tokens`` are not to be learned from."""

    token_ids: list[int]
    num_prompt_tokens: int
    prompt: str = ""
    """The prompt as its asker wrote it, where there is one."""


class BatchSampler(Sampler):
    """Draws for a hundred sequences at once from the 64 likeliest tokens of each, with one generator for all: several
    times faster than one by one, and nobody needs these draws to be independent of their neighbours."""

    def __init__(self, vocab_size: int, device: torch.device, seed: int) -> None:
        super().__init__(vocab_size, device)
        self._generator_of_all = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def sample(self, logits: torch.Tensor, sequences: list[Sequence], *, describe: bool = True) -> list[Sampled]:
        params = [sequence.params for sequence in sequences]
        seen = [torch.tensor(sorted(set(sequence.token_ids))) for sequence in sequences]
        rows = torch.arange(len(seen)).repeat_interleave(torch.tensor([len(ids) for ids in seen]))
        columns = torch.cat(seen)
        penalty = torch.tensor([each.repetition_penalty for each in params])[rows]
        scores = logits[rows, columns]
        logits = logits.index_put((rows, columns), torch.where(scores < 0, scores * penalty, scores / penalty))
        scores, ids = top(logits, min(64, logits.shape[1]))
        temperature = torch.tensor([max(each.temperature, 1e-4) for each in params]).unsqueeze(1)
        probabilities = (scores / temperature).softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities[before >= torch.tensor([each.top_p for each in params]).unsqueeze(1)] = 0.0
        places = torch.multinomial(probabilities, 1, generator=self._generator_of_all)
        return [Sampled(i, 0.0, [], 0.0) for i in ids.gather(1, places).squeeze(1).tolist()]


def write_answers(
    model: Model,
    path: Path,
    *,
    count: int,
    num_invented: int,
    seed: int,
    max_tokens: int,
    batch: int,
    progress: Progress,
) -> list[Text]:
    """Have ``model`` answer ``count`` prompts, drawn from ours and ``num_invented`` of its own, into ``path`` (JSON
    lines), where what stands is not done again. Returns them with their answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {line["index"] for line in _lines(path)}
    invented = path.with_name("invented.jsonl")
    there = len(_lines(invented))
    if there < num_invented:
        _invent(model, invented, range(there, num_invented), seed=seed, batch=batch, progress=progress)
    prompts = training_prompts(seed) + [line["prompt"] for line in _lines(invented)[:num_invented]]
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    wanted = {i: model.tokenizer.encode_chat(prompts[i]).token_ids for i in order[:count] if i not in done}
    engine = _engine(model, batch, max_tokens + 256, seed + len(done))
    manners = [_limited(manner, max_tokens) for manner in MANNERS]
    requests = [(str(i), ids, manners[i % len(manners)]) for i, ids in wanted.items() if len(ids) < 256]
    with path.open("a") as file:
        for request_id, answer in _answers(engine, requests):
            index = int(request_id)
            done.add(index)
            line = {"index": index, "prompt": prompts[index], "prompt_ids": wanted[index], "answer_ids": answer}
            file.write(json.dumps(line) + "\n")
            file.flush()
            progress(len(done), count)
    lines = {line["index"]: line for line in _lines(path)}
    answered = [lines[index] for index in order[:count] if index in lines]
    return [Text(line["prompt_ids"] + line["answer_ids"], len(line["prompt_ids"]), line["prompt"]) for line in answered]


def with_other_topics(model: Model, texts: list[Text], count: int, seed: int) -> list[Text]:
    """``texts`` and, of those on a topic of ours, ``count`` versions each on others: what the model would have said
    only roughly, but its opinion at every token of them costs a fifth of having it write them."""
    draw = random.Random(seed)
    tokenizer, versions = model.tokenizer, list[Text]()
    for text in texts:
        answer = tokenizer.decode(text.token_ids[text.num_prompt_tokens :])
        for version in other_topics(f"{text.prompt}\n{answer}", count, draw):
            question, _, swapped = version.partition("\n")
            ids = tokenizer.encode_chat(question).token_ids
            versions.append(Text(ids + tokenizer.encode(swapped), len(ids), question))
    return texts + versions


def wrong_text(model: Model, *, num_tokens: int, length: int = 256) -> list[Text]:
    """What a drafter for chat should not learn from: the Python standard library's source without its comments and
    docstrings, cut into texts of ``length`` tokens, about ``num_tokens`` in all."""
    texts: list[Text] = []
    for source in _standard_library():
        ids = model.tokenizer.encode(source)
        texts += [Text(ids[i : i + length], 0) for i in range(0, len(ids) - length, length)]
        if len(texts) * length >= num_tokens:
            break
    return texts


def _lines(path: Path) -> list[dict]:  # type: ignore[type-arg]
    """What is in a file of JSON lines; a last line that was cut short is dropped from the file, too."""
    if not path.exists():
        return []
    text = path.read_text()
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text)
    return [json.loads(line) for line in text.splitlines()]


def _limited(params: SamplingParams, max_tokens: int) -> SamplingParams:
    return SamplingParams(
        temperature=params.temperature,
        top_p=params.top_p,
        repetition_penalty=params.repetition_penalty,
        max_tokens=max_tokens,
    )


def _engine(model: Model, batch: int, length: int, seed: int) -> Engine:
    block_size = 16
    config = EngineConfig(
        block_size=block_size,
        num_blocks=batch * (length // block_size + 1),
        max_num_seqs=batch,
        max_num_batched_tokens=1024,
    )
    engine = Engine(model, config)
    engine._sampler = BatchSampler(model.card.vocab_size, torch.device(model.device), seed)
    return engine


def _answers(engine: Engine, requests: list[tuple[str, list[int], SamplingParams]]) -> Iterator[tuple[str, list[int]]]:
    """(id, token ids) of each request in the order in which they end."""
    for request_id, prompt_ids, params in requests:
        engine.add_request(prompt_ids, params, request_id=request_id)
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                yield output.request_id, output.token_ids


def _invent(model: Model, path: Path, indices: range, *, seed: int, batch: int, progress: Progress) -> None:
    """Let the model write user's turns, one for each of ``indices``; those that are no prompt are asked for again."""
    templated = model.tokenizer.encode_chat("X")
    opening = templated.token_ids[: templated.own[0][0]]
    engine = _engine(model, batch, 256, seed + 1 + indices.start)
    params = SamplingParams(temperature=1.0, top_p=0.95, max_tokens=96)
    made = 0
    with path.open("a") as file:
        while made < len(indices):
            wave = [(f"{made}-{i}", opening, params) for i in range(len(indices) - made)]
            for _, answer in _answers(engine, wave):
                prompt = model.tokenizer.decode(answer).strip() if answer[-1] in model.eos_token_ids else ""
                if prompt and len(prompt) < 400 and not resembles_held_out(prompt):
                    file.write(json.dumps({"prompt": prompt}) + "\n")
                    made += 1
                    progress(made, len(indices))


def _standard_library() -> Iterator[str]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(folder.glob("*.py")) + sorted(folder.glob("*/*.py")):
        if "test" not in path.as_posix() and "site-packages" not in path.as_posix():
            stripped = _code_only(path.read_text(encoding="utf-8", errors="replace"))
            if stripped:
                yield stripped


def _code_only(source: str) -> str:
    """``source`` without comments and docstrings; empty where it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
