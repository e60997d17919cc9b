"""One model in several processes: tensor parallelism, and what the processes say to each other.

Each rank holds a share of the attention heads, of the MLP's columns and of the vocabulary, so that one layer needs two
sums over all ranks: after the attention's output projection and after the MLP's down projection (Shoeybi et al. 2019,
Megatron-LM, https://arxiv.org/abs/1909.08053). One more sum completes the embeddings, and the logits are gathered at
the end. The plan and the sharded layers are transformers' own (``tp_plan="auto"``) over PyTorch's gloo. A recipe for
recordings: serving at scale is not done here.

    python -m inference.sharding --prompt "Why is the sky blue?" -o sharding.jsonl.gz

starts one process a rank with ``torchrun`` on this machine and writes one log, in which every rank tells each of its
collectives. Processes that share a machine's cores wait for each other: their seconds say little of several machines.
"""

from __future__ import annotations

import argparse
import gzip
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

import msgspec
import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import errors

from inference.collectives import CollectiveRecorder
from inference.costs import step_costs
from inference.events import (
    AnyEvent,
    Candidate,
    Event,
    Hardware,
    LogClosed,
    LogOpened,
    ModelCard,
    RequestFinished,
    RequestTokenized,
    StepFinished,
    StepItem,
    StepStarted,
    TokenSampled,
    Totals,
    Usage,
    decode,
    encode,
)
from inference.models import DEFAULT_MODEL, Model, cache_dir, load_model
from inference.tokenizer import IncrementalDetokenizer

NUM_RANKS = 3
"""The default model has 9 heads and 3 KV heads: they divide by three, and not by two."""
NUM_CANDIDATES = 10
PROVIDES = ["request.tokenized", "steps", "costs", "token.candidates", "collectives"]
JOB = "job.json"


class Job(msgspec.Struct, kw_only=True):
    """What every rank is told."""

    path: str
    """The model's directory."""
    card: ModelCard
    token_ids: list[int]
    max_tokens: int
    eos_token_ids: list[int]
    request_id: str


# ---- in each rank ----------------------------------------------------------------------------------------------------


def load_shard(path: str) -> torch.nn.Module:
    """This rank's share of the float32 model at ``path``, cut as transformers plans it. Wants a process group.

    Raises ``ValueError`` where the heads do not divide by the ranks.
    """
    import transformers
    from transformers.distributed.configuration_utils import DistributedConfig

    config = transformers.AutoConfig.from_pretrained(path, local_files_only=True).get_text_config()
    check_ranks(dist.get_world_size(), config.num_attention_heads, config.num_key_value_heads)
    module = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, local_files_only=True, distributed_config=DistributedConfig(tp_plan="auto")
    )
    return cast(torch.nn.Module, module.train(False))


def check_ranks(num_ranks: int, num_heads: int, num_kv_heads: int) -> None:
    """Raise ``ValueError`` unless every rank gets as many whole heads as every other."""
    if num_ranks < 1 or num_heads % num_ranks or num_kv_heads % num_ranks:
        raise ValueError(
            f"num_ranks must divide the model's {num_heads} heads and {num_kv_heads} KV heads, got {num_ranks}"
        )


@torch.no_grad()
def run_rank(module: torch.nn.Module, job: Job, on_event: Callable[[Event], None]) -> torch.Tensor:
    """Answer the job's prompt greedily on this rank. Every rank says its collectives, rank 0 also steps and tokens
    (whose texts are left to who has a tokenizer). Returns the logits that were drawn from: float32 [tokens, vocab],
    the same on every rank."""
    from transformers import DynamicCache

    leads = dist.get_rank() == 0
    recorder = CollectiveRecorder(module, on_event)
    cache, token_ids, start, rows = DynamicCache(), list(job.token_ids), 0, []
    for step in range(1, job.max_tokens + 1):
        stop = len(token_ids)
        item = StepItem(
            request_id=job.request_id,
            sample=0,
            slot=0,
            phase="decode" if start else "prefill",
            start=start,
            stop=stop,
        )
        if leads:
            on_event(
                StepStarted(
                    t=time.monotonic(),
                    step=step,
                    phase=item.phase,
                    requests=[item],
                    num_tokens=stop - start,
                    num_waiting=0,
                )
            )
        recorder.step, began = step, time.monotonic()
        with recorder:
            output = module(torch.tensor([token_ids[start:]]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        computed = time.monotonic()
        logits = output.logits[0, -1].float()
        rows.append(logits)
        token_ids.append(int(logits.argmax()))
        if leads:
            on_event(_sampled(job.request_id, stop, logits, step))
            ended = time.monotonic()
            costs = step_costs(job.card, [(start, stop)], 1, logits.element_size())
            on_event(
                StepFinished(
                    t=ended,
                    step=step,
                    seconds=ended - began,
                    schedule_seconds=0.0,
                    forward_seconds=computed - began,
                    sample_seconds=ended - computed,
                    num_tokens=stop - start,
                    **msgspec.structs.asdict(costs),
                )
            )
        start = stop
        if token_ids[-1] in job.eos_token_ids:
            break
    return torch.stack(rows)


def _sampled(request_id: str, position: int, logits: torch.Tensor, step: int) -> TokenSampled:
    logprobs = torch.log_softmax(logits, -1)
    best = logits.topk(NUM_CANDIDATES).indices.tolist()
    probabilities = [float(logprobs[token].exp()) for token in best]
    candidates = [
        Candidate(id=token, text="", logit=float(logits[token]), probability=probability)
        for token, probability in zip(best, probabilities, strict=True)
    ]
    return TokenSampled(
        t=time.monotonic(),
        request_id=request_id,
        position=position,
        id=best[0],
        text="",
        logprob=float(logprobs[best[0]]),
        candidates=candidates,
        rest=max(0.0, 1.0 - sum(probabilities)),
        step=step,
    )


@errors.record
def _work(folder: Path) -> None:
    """The program of one rank, under torchrun: what it has to say goes to a file of its own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    said: list[Event] = []
    run_rank(load_shard(job.path), job, said.append)
    (folder / f"rank-{dist.get_rank()}.jsonl").write_bytes(b"".join(encode(event) + b"\n" for event in said))
    dist.destroy_process_group()


# ---- around them -----------------------------------------------------------------------------------------------------


def launch(arguments: Sequence[str], num_ranks: int) -> None:
    """Run ``python ARGUMENTS`` in ``num_ranks`` processes under torchrun, which only talk over the loopback interface.

    Raises ``RuntimeError`` with the traceback of the first that fails; the others are ended then.
    """
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": "1",
    }
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", str(num_ranks), *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"a rank failed: {done.stderr.rpartition('Root Cause')[2][-3000:]}")


def record(
    prompt: str, output: Path, *, name: str = DEFAULT_MODEL, max_tokens: int = 16, num_ranks: int = NUM_RANKS
) -> str:
    """Answer ``prompt`` (in the chat template, greedily, in float32) in ``num_ranks`` processes and write their log to
    ``output``. Returns the answer.

    Raises ``ValueError`` for a prompt, a length or a number of ranks that cannot be, ``RuntimeError`` when a rank
    fails. The file appears whole or not at all.
    """
    from inference.roofline import measure

    if not prompt.strip():
        raise ValueError("prompt must not be empty")
    if not output.name.endswith(".jsonl.gz") or not output.parent.is_dir():
        raise ValueError(f"output must be called NAME.jsonl.gz and lie in a folder that exists, got {output}")
    model = load_model(name, dtype="float32", device="cpu")
    check_ranks(num_ranks, model.card.num_heads, model.card.num_kv_heads)
    began = time.monotonic()
    templated = model.tokenizer.encode_chat(prompt)
    seconds = time.monotonic() - began
    room = model.card.max_model_len - len(templated.token_ids)
    if not 1 <= max_tokens <= room:
        raise ValueError(f"max_tokens must be from 1 to {room} after this prompt, got {max_tokens}")
    hardware = measure(model.dtype, model.device, cache_dir())
    job = Job(
        path=str(model.path),
        card=model.card,
        token_ids=templated.token_ids,
        max_tokens=max_tokens,
        eos_token_ids=sorted(model.eos_token_ids),
        request_id=secrets.token_urlsafe(16),
    )
    tokenized = RequestTokenized(
        request_id=job.request_id,
        token_ids=job.token_ids,
        pieces=model.tokenizer.pieces(job.token_ids),
        own=templated.own,
        seconds=seconds,
        merges=model.tokenizer.merges(templated.parts, job.token_ids),
    )
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        (Path(folder) / JOB).write_bytes(msgspec.json.encode(job))
        launch(["-m", "inference.sharding", "--job", folder], num_ranks)
        said = [
            decode(line)
            for rank in range(num_ranks)
            for line in (Path(folder) / f"rank-{rank}.jsonl").read_bytes().splitlines()
        ]
        # Processes of one machine share its monotonic clock.
        said.sort(key=lambda event: event.t)
        answer = _tell_texts(model, job, said)
        log = _log(model, hardware, job, tokenized, said, answer)
        packed = Path(folder) / "log.jsonl.gz"
        packed.write_bytes(gzip.compress(b"".join(encode(event) + b"\n" for event in log), 9, mtime=0))
        packed.replace(output)
    return answer


def _tell_texts(model: Model, job: Job, said: Iterable[AnyEvent]) -> str:
    """Fill in what the drawn tokens and their rivals are in characters. Returns the answer."""
    detokenizer = IncrementalDetokenizer(model.tokenizer, prompt_ids=job.token_ids)
    sampled = [event for event in said if isinstance(event, TokenSampled)]
    for event in sampled:
        event.text = "" if event.id in model.eos_token_ids else detokenizer.push(event.id)
        for candidate in event.candidates:
            candidate.text = model.tokenizer.token_text(candidate.id)
    sampled[-1].text += detokenizer.flush()
    return "".join(event.text for event in sampled)


def _log(
    model: Model, hardware: Hardware, job: Job, tokenized: RequestTokenized, said: list[AnyEvent], answer: str
) -> list[Event]:
    """The whole log: it opens with the first step, since starting processes is no part of the run."""
    from inference.software import software

    sampled = [event for event in said if isinstance(event, TokenSampled)]
    usage = Usage(prompt_tokens=len(job.token_ids), cached_tokens=0, completion_tokens=len(sampled))
    zero, last = said[0].t, said[-1].t
    opened = LogOpened(
        run_id=job.request_id,
        source="recorded",
        opened_at=time.time() - (time.monotonic() - zero),
        model=model.card,
        hardware=hardware,
        engine=None,
        software=software(),
        params={"max_tokens": job.max_tokens, "temperature": 0.0},
        provides=PROVIDES,
    )
    finished = RequestFinished(
        request_id=job.request_id,
        slot=0,
        reason="stop" if sampled[-1].id in model.eos_token_ids else "length",
        text=answer,
        usage=usage,
    )
    totals = Totals(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        num_steps=len(sampled),
        seconds=last - zero,
    )
    opened.t = tokenized.t = zero
    closed = LogClosed(reason="finished", totals=totals)
    finished.t = closed.t = last
    log: list[Event] = [opened, tokenized, *said, finished, closed]
    for seq, event in enumerate(log, 1):
        event.seq, event.t = seq, event.t - zero
    return log


def main() -> None:
    """``python -m inference.sharding``."""
    parser = argparse.ArgumentParser(prog="inference.sharding", description="Record one prompt in several processes.")
    parser.add_argument("--prompt", help="what to ask the model")
    parser.add_argument("-o", "--output", type=Path, help="the file to write, NAME.jsonl.gz")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name, path, .gguf file or hub id")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--num-ranks", type=int, default=NUM_RANKS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job is not None:
        return _work(given.job)
    if given.prompt is None or given.output is None:
        parser.error("--prompt and -o are required")
    try:
        answer = record(
            given.prompt, given.output, name=given.model, max_tokens=given.max_tokens, num_ranks=given.num_ranks
        )
    except (ValueError, RuntimeError, OSError) as error:
        parser.exit(1, f"Nothing was recorded: {error}\n")
    sys.stdout.write(f"{answer}\n")
    return None


if __name__ == "__main__":
    main()
