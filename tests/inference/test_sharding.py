"""Three processes compute what one computes, and every exchange between them is told."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from inference import Model
from inference.events import (
    AnyEvent,
    CollectiveFinished,
    LogClosed,
    LogOpened,
    RequestFinished,
    RequestTokenized,
    StepFinished,
    StepStarted,
    TokenSampled,
    decode,
)
from inference.models import _card
from inference.sharding import JOB, NUM_RANKS, Job, check_ranks, launch, main, record
from tests.inference.conftest import greedy

LAYERS, HIDDEN, VOCAB = 2, 72, 300
PROMPT = [5, 17, 3, 250, 99, 4, 42]
NEW = 5


@dataclass
class Ranks:
    """What each rank of a small random model said, the logits that it had, and what PyTorch counted."""

    module: PreTrainedModel
    said: list[list[AnyEvent]]
    logits: list[torch.Tensor]
    counted: list[dict[str, object]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    folder = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    module = LlamaForCausalLM(config).eval()
    module.save_pretrained(folder / "model")
    job = Job(
        path=str(folder / "model"),
        card=_card(module, config, "tiny", None),
        token_ids=PROMPT,
        max_tokens=NEW,
        eos_token_ids=[],
        request_id="r",
    )
    (folder / JOB).write_bytes(msgspec.json.encode(job))
    launch(["-m", "tests.inference.sharded", str(folder)], NUM_RANKS)
    return Ranks(
        module,
        [[decode(line) for line in (folder / f"rank-{r}.jsonl").read_bytes().splitlines()] for r in range(NUM_RANKS)],
        [torch.load(folder / f"logits-{r}.pt") for r in range(NUM_RANKS)],
        [msgspec.json.decode((folder / f"counts-{r}.json").read_bytes()) for r in range(NUM_RANKS)],
    )


@torch.no_grad()
def test_three_processes_compute_what_one_does(ranks: Ranks) -> None:
    token_ids = greedy(ranks.module, PROMPT, NEW, eos_token_id=None).token_ids
    assert [event.id for event in ranks.said[0] if isinstance(event, TokenSampled)] == token_ids
    alone = ranks.module(torch.tensor([PROMPT + token_ids[:-1]])).logits[0, len(PROMPT) - 1 :]
    assert float(alone.abs().max()) > 0.1
    for logits in ranks.logits:
        assert logits.shape == (NEW, VOCAB)
        assert float((logits - alone).abs().max()) < 1e-4


def test_each_rank_holds_a_share(ranks: Ranks) -> None:
    """Else it would be three copies of a model, and as right."""
    whole = sum(p.numel() for p in ranks.module.parameters())
    assert all(counted["held"] < 0.67 * whole for counted in ranks.counted)


def test_every_collective_is_told(ranks: Ranks) -> None:
    layers = [f"model.layers.{i}.{name}" for i in range(LAYERS) for name in ("self_attn.o_proj", "mlp.down_proj")]
    for rank, said in enumerate(ranks.said):
        told = [event for event in said if isinstance(event, CollectiveFinished)]
        assert {(event.rank, event.num_ranks) for event in told} == {(rank, NUM_RANKS)}
        for step in range(1, NEW + 1):
            tokens = len(PROMPT) if step == 1 else 1
            ours = [(e.module, e.kind, e.bytes) for e in told if e.step == step]
            assert ours == [
                ("model.embed_tokens", "all_reduce", tokens * HIDDEN * 4),
                *((layer, "all_reduce", tokens * HIDDEN * 4) for layer in layers),
                ("lm_head", "all_gather", VOCAB // NUM_RANKS * 4),
            ]
        assert all(event.seconds > 0 for event in told)
        counts = ranks.counted[rank]["counts"]
        assert sum(counts.values()) == sum(1 for event in told if event.step == 1), counts


def test_steps_and_tokens_are_told_once(ranks: Ranks) -> None:
    for kind in (StepStarted, StepFinished, TokenSampled):
        assert [sum(1 for event in said if isinstance(event, kind)) for said in ranks.said] == [NEW, 0, 0]
    starts = [event for event in ranks.said[0] if isinstance(event, StepStarted)]
    assert [(s.requests[0].start, s.requests[0].stop) for s in starts] == [(0, 7), *((i, i + 1) for i in range(7, 11))]


@pytest.mark.slow
def test_a_recording_of_the_default_model(model: Model, reference_module: PreTrainedModel, tmp_path: Path) -> None:
    file = tmp_path / "sharding.jsonl.gz"
    answer = record("Why is the sky blue?", file, max_tokens=8)
    events = [decode(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].t == 0.0
    assert [event.t for event in events] == sorted(event.t for event in events)
    assert isinstance(events[0], LogOpened)
    assert isinstance(events[-1], LogClosed)
    (prompt,) = [event for event in events if isinstance(event, RequestTokenized)]
    assert prompt.token_ids == model.tokenizer.encode_chat("Why is the sky blue?").token_ids
    reference = greedy(reference_module, prompt.token_ids, 8)
    sampled = [event for event in events if isinstance(event, TokenSampled)]
    assert [event.id for event in sampled] == reference.token_ids
    with torch.no_grad():
        ids = torch.tensor([prompt.token_ids + reference.token_ids])
        alone = reference_module(ids).logits[0, len(prompt.token_ids) - 1 :]
    for row, event in zip(alone, sampled, strict=False):
        told = torch.tensor([candidate.logit for candidate in event.candidates])
        assert float((told - row[[candidate.id for candidate in event.candidates]]).abs().max()) < 1e-4
    (finished,) = [event for event in events if isinstance(event, RequestFinished)]
    assert answer == finished.text == model.tokenizer.decode(reference.token_ids)
    told = [event for event in events if isinstance(event, CollectiveFinished)]
    assert len(told) == 8 * NUM_RANKS * (2 * model.card.num_layers + 2)
    assert [file.name for file in tmp_path.iterdir()] == ["sharding.jsonl.gz"]


def test_ranks_that_do_not_divide_the_heads() -> None:
    check_ranks(3, 9, 3)
    for number in (0, 2, 9):
        with pytest.raises(ValueError, match=f"num_ranks must divide the model's 9 heads and 3 KV heads, got {number}"):
            check_ranks(number, 9, 3)


def test_a_rank_that_fails_is_said(tmp_path: Path) -> None:
    program = tmp_path / "fails.py"
    program.write_text(
        "from torch.distributed.elastic.multiprocessing.errors import record\n"
        "@record\ndef main():\n    raise OSError('no such thing as this')\nmain()\n"
    )
    with pytest.raises(RuntimeError, match="no such thing as this"):
        launch([str(program)], 1)


def test_the_command_asks_for_what_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["sharding", "--prompt", "x"])
    with pytest.raises(SystemExit):
        main()
    assert "--prompt and -o are required" in capsys.readouterr().err


def test_bad_input_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prompt"):
        record("  ", tmp_path / "x.jsonl.gz")
    with pytest.raises(ValueError, match="output must be called"):
        record("x", tmp_path / "x.json")
