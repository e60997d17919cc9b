"""8 and 4 bits beside bfloat16: bytes, tokens a second through the engine, perplexity and divergence.

`python -m benchmarks.quantization` or `./kitchen bench --only quantization`. Of the former, `--speed` and `--quality`
take one half, and `--products` times single products instead: the packed kernels against products by way of weights,
over the number of rows.

Speeds are ratios: all engines live in one process and take turns, prompt by prompt, and each turn is compared with
bfloat16's of the same turn. Quality is measured on the text that ships with the project, against the float32 weights.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.engine import PROMPTS
from benchmarks.figures import Figure, at_least, median, under
from inference import Engine, EngineConfig, SamplingParams
from inference.linear import multiply
from inference.models import Model, load_model
from inference.perplexity import compare, fixed_text
from inference.quantization import SCHEMES, quantize
from inference.quantized_linear import Int4Linear, Int8Linear

NEW_TOKENS = 32
PREFILL_TOKENS = 480
ROUNDS = 5
PRODUCT_ROUNDS = 7
TRACE_GROUP = 32
"""Q4_1's own group: shown to tell why it is not ours."""


def _rate(engine: Engine, prompts: list[list[int]], new_tokens: int) -> float:
    """Tokens a second: written, or where only one is written, read."""
    params = SamplingParams(temperature=0.0, max_tokens=new_tokens, ignore_eos=True)
    start = time.perf_counter()
    engine.generate(prompts, params)
    count = sum(len(ids) for ids in prompts) if new_tokens == 1 else new_tokens * len(prompts)
    return count / (time.perf_counter() - start)


def _speed(models: dict[str, Model]) -> Iterator[Figure]:
    """Every model in turns over the same prompts; ratios to the first of the same turn."""
    tokenizer = next(iter(models.values())).tokenizer
    prompts = [tokenizer.encode_chat(text).token_ids for text in PROMPTS]
    long = tokenizer.encode(fixed_text())[:PREFILL_TOKENS]
    engines = {name: Engine(model, EngineConfig(enable_prefix_caching=False)) for name, model in models.items()}
    works: dict[str, Callable[[Engine, int], float]] = {
        "one stream": lambda engine, turn: _rate(engine, [prompts[turn % len(prompts)]], NEW_TOKENS),
        "eight streams": lambda engine, turn: _rate(engine, prompts, NEW_TOKENS // 2),
        f"prefill of {PREFILL_TOKENS}": lambda engine, turn: _rate(engine, [long], 1),
    }
    for work, rate in works.items():
        for engine in engines.values():
            rate(engine, 0)
        turns = [{name: rate(engine, turn) for name, engine in engines.items()} for turn in range(ROUNDS)]
        for name in engines:
            yield Figure(f"{name}, {work}", median([turn[name] for turn in turns]), "tok/s")
        base, *others = engines
        for name in others:
            ratio = median([turn[name] / turn[base] for turn in turns])
            what = f"{name} / {base}, {work}"
            yield at_least(what, ratio, "x", 1.0) if work == "one stream" else Figure(what, ratio, "x")


def _quality(models: dict[str, Model], reference: Model) -> Iterator[Figure]:
    """Every model over the whole text, and bfloat16 with the smaller caches."""
    ids = reference.tokenizer.encode(fixed_text())
    divergence: dict[str, float] = {}
    rows = [(name, model, "auto") for name, model in models.items()]
    bf16 = models["bf16"]
    rows += [(f"bf16, {kind} cache", bf16, kind) for kind in ("int8", "fp8")]
    rows.append((f"int4 in Q4_1's own groups of {TRACE_GROUP}", quantize(bf16, "int4", group_size=TRACE_GROUP), "auto"))
    for name, model, kv_cache_dtype in rows:
        quality = compare(model, reference, ids, kv_cache_dtype=kv_cache_dtype)
        if not divergence:
            yield Figure("float32 (the weights we start from), perplexity", quality.reference_perplexity, "")
        divergence[name] = quality.kl
        yield Figure(f"{name}, perplexity", quality.perplexity, "")
        yield Figure(f"{name}, divergence from float32", quality.kl, "nats a token")
        yield Figure(f"{name}, same likeliest token", 100 * quality.agreement, "%")
    yield under("int4-awq / int4, divergence", divergence["int4-awq"] / divergence["int4"], "x", 1.0)


def measure(model_name: str, *, speed: bool = True, quality: bool = True) -> Iterator[Figure]:
    """Each figure as it is there."""
    models = {"bf16": load_model(model_name, dtype="bfloat16", device="cpu")}
    for scheme in SCHEMES:
        models[scheme] = quantize(models["bf16"], scheme)
    yield from (Figure(f"{name}, parameters", model.card.parameter_bytes / 1e6, "MB") for name, model in models.items())
    if speed:
        yield from _speed(models)
    if quality:
        yield from _quality(models, load_model(model_name, dtype="float32", device="cpu"))


def run(model_name: str = "smollm2-135m") -> list[Figure]:
    """Measure and return the figures."""
    return list(measure(model_name))


# ---- single products -----------------------------------------------------------------------------------------------

SHAPES = ((960, 576), (576, 576), (3072, 576), (576, 1536))
"""One layer of the default model: [out, in] of QKV, output, gate and up, down."""
LAYERS = 15
"""So many copies of each, in turns, that they come from memory and not from the second-level cache."""


@torch.inference_mode()
def products() -> list[Figure]:
    """One layer's four products over 1 to 512 rows: bfloat16, the packed kernels, and by way of weights."""
    weights = [torch.randn(shape, dtype=torch.bfloat16) for _ in range(LAYERS) for shape in SHAPES]
    eight = [Int8Linear(weight) for weight in weights]
    four = [Int4Linear(weight, group_size=64) for weight in weights]
    ways: dict[str, Callable[[int, torch.Tensor], object]] = {
        "bf16": lambda place, rows: multiply(rows, weights[place], None, vector=True),
        "int8 packed": lambda place, rows: eight[place].packed_product(rows),
        "int8 by weights": lambda place, rows: eight[place].product(rows),
        "int4 packed": lambda place, rows: four[place].packed_product(rows),
        "int4 by weights": lambda place, rows: four[place].product(rows),
    }
    figures = []
    for count in (1, 2, 4, 8, 16, 24, 32, 48, 64, 128, 512):
        inputs = [torch.randn(count, weight.shape[1], dtype=torch.bfloat16) for weight in weights]
        turns = [{name: _layer_seconds(way, inputs) for name, way in ways.items()} for _ in range(PRODUCT_ROUNDS)]
        for name in ways:
            milliseconds = 1e3 * median([turn[name] for turn in turns])
            figures.append(Figure(f"{name}, {count} rows", milliseconds, "ms a layer"))
            if name != "bf16":
                ratio = median([turn[name] / turn["bf16"] for turn in turns])
                figures.append(Figure(f"{name} / bf16, {count} rows", ratio, "x"))
    return figures


def _layer_seconds(way: Callable[[int, torch.Tensor], object], inputs: list[torch.Tensor]) -> float:
    start = time.perf_counter()
    for place, rows in enumerate(inputs):
        way(place, rows)
    return (time.perf_counter() - start) / LAYERS


if __name__ == "__main__":
    words = sys.argv[1:]
    whole = measure("smollm2-135m", speed="--quality" not in words, quality="--speed" not in words)
    for figure in products() if "--products" in words else whole:
        print(figure.line(), flush=True)
