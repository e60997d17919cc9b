"""Train a drafter for a model, from nothing to weights, in one command that may be killed and started again::

    python -m inference.speculation.train_drafter --work-dir data/drafter
    python -m inference.speculation.train_drafter --work-dir data/drafter --text wrong --epochs 2

Stages, each of which keeps what it has done under the work directory: the model answers thousands of chat prompts
(``answers``; with ``--text wrong`` they are replaced by source code); its hidden states over all of that are computed
(``features``); the head learns (``train``); and is judged on 40 prompts that it has never seen (``evaluate``).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from inference.models import DEFAULT_MODEL, Model, load_model
from inference.speculation.answers import Text, with_other_topics, write_answers, wrong_text
from inference.speculation.chat_prompts import HELD_OUT
from inference.speculation.eagle import config_for, load_head, save_head
from inference.speculation.evaluation import SETTINGS, acceptance, held_out_answers
from inference.speculation.features import compute_features
from inference.speculation.training import Recipe, draft_vocabulary, go_on_from, new_head, token_table, train

WEIGHTS = Path(__file__).parent / "weights"


class Meter:
    """A line now and then: how far, how fast, and when it will be done."""

    def __init__(self, stage: str, unit: str, every: float = 10.0) -> None:
        self._stage, self._unit, self._every = stage, unit, every
        self._started = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int, figures: dict[str, float] | None = None) -> None:
        now = time.monotonic()
        self._first = done if self._first is None else self._first
        if now - self._last < self._every and done < total:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._started, 1e-9)
        left = f"{(total - done) / rate / 60:5.1f} min left" if rate else "-"
        extra = "".join(f"  {name} {value:.3f}" for name, value in (figures or {}).items())
        say(f"{self._stage:9} {done:>9,} of {total:,} {self._unit}  {rate:8.1f}/s  {left}{extra}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    torch.set_num_threads(options.threads)
    work: Path = options.work_dir
    name = {"answers": "eagle", "wrong": "mismatched"}[options.text]
    path: Path = options.output or WEIGHTS / f"{name}-{options.model}.safetensors"
    started = time.monotonic()
    model = load_model(options.model, dtype="bfloat16", device="cpu")
    if not options.evaluate_only:
        learn(model, texts(model, options), work / f"{options.text}.features", path, options)
    report = evaluate(model, path, work, options.held_out_tokens, options.drafts)
    report["minutes"] = round((time.monotonic() - started) / 60, 1)
    (work / f"{name}-report.json").write_text(json.dumps(report, indent=1))


def texts(model: Model, options: argparse.Namespace) -> list[Text]:
    """What to learn from."""
    if options.text == "wrong":
        return wrong_text(model, num_tokens=options.wrong_tokens)
    path: Path = options.work_dir / "answers.jsonl"
    answers = write_answers(
        model,
        path,
        count=options.answers,
        num_invented=options.invented,
        seed=options.seed,
        max_tokens=options.max_tokens,
        batch=options.batch,
        progress=Meter("answers", "answers"),
    )
    return with_other_topics(model, answers[: -options.validation or None], options.other_topics, options.seed)


def learn(model: Model, lessons: list[Text], features: Path, path: Path, options: argparse.Namespace) -> None:
    """Features, then training; the head goes to ``path``."""
    layers = (*options.feature_layers, model.card.num_layers - 1)
    store = compute_features(
        model, lessons, features, layers, limit=options.feature_tokens, progress=Meter("features", "tokens")
    )
    ids = draft_vocabulary(model, store, options.draft_vocab)
    say(f"{len(store)} texts, {len(store.token_ids):,} tokens; {len(ids)} tokens to propose")
    config = config_for(model, feature_layers=layers, draft_vocab_size=len(ids), table_rank=options.table_rank)
    head = new_head(model, config, store, options.seed)
    head.set_draft_ids(ids)
    head.token_table = token_table(model, ids, options.table_rank)
    if options.start_from:
        go_on_from(head, load_head(options.start_from, model))
    fields = {field.name for field in dataclasses.fields(Recipe)}
    given = {key: value for key, value in vars(options).items() if key in fields}
    module: Any = model.module
    train(head, module.base_model.norm, store, Recipe(**given), say=Meter("train", "batches"))
    save_head(head, path)
    say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


def evaluate(model: Model, path: Path, work: Path, max_tokens: int, k: int) -> dict[str, object]:
    """Print and return the acceptance of the head in ``path`` on the held-out prompts."""
    report: dict[str, object] = {"drafter": path.name, "prompts": len(HELD_OUT), "max_tokens": max_tokens}
    head = load_head(path, model)
    for setting, params in SETTINGS.items():
        answers = held_out_answers(model, params, max_tokens, work / f"held-out-{max_tokens}-{setting}.json")
        found = acceptance(model, head, answers, params, k)
        report[setting] = dataclasses.asdict(found) | {"tokens_per_step": found.tokens_per_step}
        say(f"\n{path.name}, {setting}: {found.tokens_per_step:.2f} tokens a step at k = {k}")
        for place, (chance, reached) in enumerate(zip(found.conditional, found.reached, strict=True), 1):
            say(f"  draft {place}: accepted {chance:.3f} where reached, {reached:.3f} of all")
    return report


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a draft head and measure its acceptance.")
    add = parser.add_argument
    add("--work-dir", type=Path, required=True, help="where answers, features and reports are kept")
    add("--model", default=DEFAULT_MODEL)
    add("--text", choices=["answers", "wrong"], default="answers", help="the model's answers, or source code")
    add("--start-from", type=Path, help="go on from this head's weights (same shape; another draft vocabulary may be)")
    add("--output", type=Path, help="the weights' file (default: inference/speculation/weights/)")
    add("--answers", type=int, default=4050, help="prompts to answer")
    add("--invented", type=int, default=580, help="prompts to let the model invent")
    add("--validation", type=int, default=48, help="answers to judge by and not to learn from")
    add("--other-topics", type=int, default=2, help="versions of each answer on other topics")
    add("--max-tokens", type=int, default=128, help="of an answer")
    add("--batch", type=int, default=128, help="answers at a time")
    add("--feature-tokens", type=int, help="learn from so many tokens, the shorter texts first (default: all)")
    add("--wrong-tokens", type=int, default=200_000, help="of source code, for --text wrong")
    add("--feature-layers", type=int, nargs="*", default=[19], help="beside the last")
    add("--draft-vocab", type=int, default=12288, help="tokens that the head can propose")
    add("--table-rank", type=int, default=64, help="numbers a token beside its embedding")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=2)
    recipe = Recipe()
    add("--epochs", type=int, default=recipe.epochs)
    add("--tokens-per-batch", type=int, default=recipe.tokens_per_batch)
    add("--learning-rate", type=float, default=recipe.learning_rate)
    add("--step-weights", type=float, nargs="+", default=recipe.step_weights, help="one for each unrolled step")
    add("--unroll-from", type=float, default=recipe.unroll_from, help="share of the batches before all steps count")
    add("--overlap-weight", type=float, default=recipe.overlap_weight)
    add("--held-out-tokens", type=int, default=96, help="of an answer to a held-out prompt")
    add("--drafts", type=int, default=5, help="places of a draft to judge")
    add("--evaluate-only", action="store_true", help="judge the weights that are there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
