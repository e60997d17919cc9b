"""The engine process, spoken to over its real socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from inference import Engine, EngineConfig, Model
from inference import worker as module_under_test
from inference.events import (
    Event,
    RequestAdmitted,
    RequestFinished,
    RequestTokenized,
    Snapshot,
    SpeculationDrafted,
    StepFinished,
    StepStarted,
    TokenSampled,
)
from inference.messages import (
    Abort,
    Accepted,
    Command,
    Cooking,
    CookTake,
    Events,
    Failed,
    Generate,
    Hello,
    Loading,
    Ready,
    Rejected,
    Reply,
    Shutdown,
    TakeEnded,
)
from inference.probes import AttentionProbe, Probes
from inference.sequence import SamplingParams
from inference.submission import Refused, submit
from inference.takes import Again, Parent, Speculative, Static
from inference.worker import EXIT_ENGINE_RAISED, EXIT_FAILED, Worker

WHY = "Why is the sky blue, and what would it take to change that?"


class Client:
    """The app's end, and the process."""

    def __init__(self, folder: Path, *arguments: str, greet: bool = True) -> None:
        self.endpoint = f"ipc://{folder}/worker.sock"
        command = [sys.executable, "-m", "inference.worker", "--endpoint", self.endpoint, "--data-dir", str(folder)]
        self.process = subprocess.Popen([*command, "--num-threads", "1", *arguments])
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(self.endpoint)
        self.decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
        if greet:
            self.send(Hello())

    def send(self, command: Command) -> None:
        self.socket.send(msgspec.msgpack.encode(command))

    def receive(self, seconds: float = 120) -> Reply:
        assert self.socket.poll(seconds * 1000), "the worker says nothing"
        return self.decoder.decode(self.socket.recv())

    def until(self, wanted: Callable[[Reply], bool]) -> list[Reply]:
        replies = [self.receive()]
        while not wanted(replies[-1]):
            replies.append(self.receive())
        return replies

    def until_finished(self, *request_ids: str) -> tuple[list[Reply], list[Event]]:
        """Everything up to the end of the requests, and the events among it."""
        missing, replies = set(request_ids), []
        while missing:
            replies.append(self.receive())
            if isinstance(replies[-1], Events):
                missing -= {e.request_id for e in replies[-1].events if isinstance(e, RequestFinished)}
        return replies, [event for reply in replies if isinstance(reply, Events) for event in reply.events]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.context.destroy(linger=0)


@pytest.fixture(scope="session")
def tiny_directory(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-model")
    tiny.module.save_pretrained(folder)
    tiny.tokenizer.hf.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def client(tiny_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(tmp_path_factory.mktemp("worker"), "--model", str(tiny_directory), "--dtype", "float32",
                    "--max-model-len", "900", "--drafter", "ngram", "--num-speculative-tokens", "3")  # fmt: skip
    replies = client.until(lambda reply: isinstance(reply, Ready | Failed))
    assert isinstance(replies[-1], Ready), replies[-1]
    client.replies = replies
    yield client
    client.close()


def test_it_tells_how_it_loads_and_what_it_is(client: Client) -> None:
    stages = [reply.stage for reply in client.replies if isinstance(reply, Loading)]
    assert stages[-4:] == ["finding the model", "loading weights", "measuring the machine", "warming up"]
    ready = client.replies[-1]
    assert ready.engine.max_model_len == 900
    assert (ready.engine.drafter, ready.engine.num_speculative_tokens) == ("ngram", 3)
    assert ready.model.dtype == "float32"
    assert ready.hardware.peak_flops > 0
    assert ready.software.torch
    client.send(Hello())
    (again,) = client.until(lambda reply: isinstance(reply, Ready))
    assert again.monotonic > ready.monotonic


def test_a_request_from_accepted_to_finished(client: Client) -> None:
    client.send(Generate(request_id="r1", prompt="Why is the sky blue? 🍅", probes=Probes(kv=True),
                         params=SamplingParams(max_tokens=5, temperature=0.0, ignore_eos=True, drafter="none"))
    )  # fmt: skip
    replies, events = client.until_finished("r1")
    replies = [reply for reply in replies if not isinstance(reply, Ready)]  # to the Hello sent while it was loading
    assert isinstance(replies[0], Accepted)
    assert isinstance(events[0], Snapshot)
    # The warm-up has left no trace: nothing is cached, and this is the first step.
    assert events[0].cached_block_ids == []
    assert events[0].num_free_blocks == events[0].num_blocks
    tokenized = next(event for event in events if isinstance(event, RequestTokenized))
    (start, stop), pieces = tokenized.own[0], tokenized.pieces
    assert "".join(pieces[start:stop]) == "Why is the sky blue? 🍅"
    assert tokenized.merges is not None
    assert tokenized.merges.num_tokens == len(tokenized.token_ids)
    assert len(tokenized.token_ids) == replies[0].num_prompt_tokens
    assert [event.step for event in events if isinstance(event, StepStarted)] == [1, 2, 3, 4, 5]
    assert sum(isinstance(event, TokenSampled) for event in events) == 5
    assert all(event.t > 0 and event.seq == 0 for event in events)
    assert [event.t for event in events] == sorted(event.t for event in events)
    # One message a step: each carries one step.finished.
    with_steps = [r for r in replies if isinstance(r, Events) and any(isinstance(e, StepFinished) for e in r.events)]
    assert len(with_steps) == 5


def test_a_request_is_drafted_for_unless_it_wants_no_drafter(client: Client) -> None:
    for name, drafter in (("s0", "none"), ("s1", None)):
        params = SamplingParams(max_tokens=200, temperature=0.0, ignore_eos=True, drafter=drafter)
        client.send(Generate(request_id=name, prompt="Sing.", params=params))
    _, events = client.until_finished("s0", "s1")
    drafted = [event for event in events if isinstance(event, SpeculationDrafted)]
    assert {event.request_id for event in drafted} == {"s1"}
    assert max(len(event.ids) for event in drafted) == 3
    plain, speculated = (
        [e.id for e in events if isinstance(e, TokenSampled) and e.request_id == name] for name in ("s0", "s1")
    )
    assert plain == speculated


def test_many_at_once(client: Client) -> None:
    names = [f"m{i}" for i in range(30)]
    for name in names:
        params = SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True)
        client.send(Generate(request_id=name, prompt=f"Prompt {name}", params=params))
    _, events = client.until_finished(*names)
    assert {e.reason for e in events if isinstance(e, RequestFinished)} == {"length"}
    tokens = [e.request_id for e in events if isinstance(e, TokenSampled)]
    assert all(tokens.count(name) == 4 for name in names)


def test_the_same_prompt_is_a_cache_hit_for_the_same_visitor_only(client: Client) -> None:
    def cached(name: str, salt: str) -> int:
        params = SamplingParams(max_tokens=1, ignore_eos=True)
        client.send(Generate(request_id=name, prompt="A longer prompt. " * 10, params=params, cache_salt=salt))
        _, events = client.until_finished(name)
        return next(e.cached_tokens for e in events if isinstance(e, RequestAdmitted))

    public = cached("c1", "anna")
    assert cached("c2", "anna") > public
    assert cached("c3", "bert") == public == 16  # the one whole block of system prompt that everybody shares


@pytest.mark.parametrize(
    ("prompt", "params", "probes", "reason", "words"),
    [
        ("long " * 1000, {}, Probes(), "too_long", "max_model_len"),
        ("short", {"max_tokens": 890}, Probes(), "too_long", "max_model_len"),
        (" \n", {}, Probes(), "invalid", "empty"),
        ("a", {"max_tokens": 0}, Probes(), "invalid", "max_tokens"),
        ("a", {"temperature": float("nan")}, Probes(), "invalid", "temperature"),
        ("a", {"n": 1000}, Probes(), "invalid", "n must be"),
        (
            "a",
            {},
            Probes(attention=AttentionProbe(positions=(0,), layers=(99,))),
            "invalid",
            "from 0 to 1 (the model has 2 layers), got 99",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_and_said(
    client: Client, prompt: str, params: dict[str, Any], probes: Probes, reason: str, words: str
) -> None:
    client.send(Generate(request_id="bad", prompt=prompt, params=SamplingParams(**params), probes=probes))
    rejected = client.receive()
    assert isinstance(rejected, Rejected)
    assert (rejected.request_id, rejected.reason) == ("bad", reason)
    assert words in rejected.detail
    client.send(Hello())
    assert isinstance(client.receive(), Ready)  # nothing of it reached the events


@pytest.mark.parametrize(
    ("frame", "request_id"),
    [
        (b"\xc1", ""),
        (b"", ""),
        (msgspec.msgpack.encode([1, 2]), ""),
        (msgspec.msgpack.encode({"kind": "dance"}), ""),
        (msgspec.msgpack.encode({"kind": "generate", "request_id": "q", "prompt": 3}), "q"),
        (msgspec.msgpack.encode({"kind": "abort"}), ""),
    ],
)
def test_a_command_that_cannot_be_read_harms_nobody(client: Client, frame: bytes, request_id: str) -> None:
    client.socket.send(frame)
    rejected = client.receive()
    assert isinstance(rejected, Rejected)
    assert (rejected.request_id, rejected.reason) == (request_id, "invalid")


def test_a_request_id_is_taken_once(client: Client) -> None:
    for _ in range(2):
        client.send(Generate(request_id="twin", prompt="a", params=SamplingParams(max_tokens=300, ignore_eos=True)))
    replies = client.until(lambda reply: isinstance(reply, Rejected))
    assert "already" in replies[-1].detail
    client.send(Abort(request_id="twin"))
    client.until_finished("twin")


def test_abort_ends_one_and_leaves_the_other(client: Client) -> None:
    for name, count in (("gone", 800), ("stays", 60)):
        client.send(Generate(request_id=name, prompt="a", params=SamplingParams(max_tokens=count, ignore_eos=True)))
    client.until(lambda reply: isinstance(reply, Events) and any(isinstance(e, TokenSampled) for e in reply.events))
    client.send(Abort(request_id="gone"))
    client.send(Abort(request_id="never-there"))
    _, events = client.until_finished("gone", "stays")
    ends = {e.request_id: e.reason for e in events if isinstance(e, RequestFinished)}
    assert ends == {"gone": "aborted", "stays": "length"}


def parent_in(client: Client, name: str) -> Parent:
    """A run that takes can be made of."""
    params = SamplingParams(max_tokens=6, temperature=0.0, ignore_eos=True)
    client.send(Generate(request_id=name, prompt=WHY, params=params, cache_salt="anna"))
    _, events = client.until_finished(name)
    tokenized = next(event for event in events if isinstance(event, RequestTokenized))
    output_ids = [event.id for event in events if isinstance(event, TokenSampled)]
    return Parent(prompt=WHY, token_ids=tokenized.token_ids, own=tokenized.own, output_ids=output_ids, params=params)


def test_a_take_from_accepted_to_ended(client: Client) -> None:
    command = CookTake(request_id="static", take=Static(neighbours=2, max_num_seqs=2), parent=parent_in(client, "p1"))
    client.send(command)
    replies = client.until(lambda reply: isinstance(reply, TakeEnded))
    assert [type(reply) for reply in replies[:3]] == [Accepted, Cooking, Events]
    assert replies[1].engine.policy == "static"
    assert all(reply.take == "static" for reply in replies if isinstance(reply, Events))
    assert replies[-1] == TakeEnded(request_id="static", reason="finished")
    again = msgspec.structs.replace(command, request_id="again", take=Again(), cache_salt="anna")
    client.send(again)
    replies, events = client.until_finished("again")
    assert isinstance(replies[0], Accepted)
    assert not any(reply.take for reply in replies if isinstance(reply, Events))
    assert next(e.cached_tokens for e in events if isinstance(e, RequestAdmitted)) == 32


def test_a_take_that_cannot_be_is_rejected(client: Client) -> None:
    client.send(CookTake(request_id="bad", take=Speculative(), parent=parent_in(client, "p2")))
    rejected = client.receive()
    assert isinstance(rejected, Rejected)
    assert "has been trained for" in rejected.detail
    frame = {"kind": "cook_take", "request_id": "worse", "take": {"take": "static", "neighbours": 99}, "parent": {}}
    client.socket.send(msgspec.msgpack.encode(frame))
    assert client.receive().request_id == "worse"


def test_two_engines_never_step_at_once(client: Client) -> None:
    """Ordinary requests keep coming while takes cook: no two steps overlap, and all of them end."""
    parent = parent_in(client, "p3")
    takes, runs = [f"t{i}" for i in range(4)], [f"o{i}" for i in range(4)]
    for take, run in zip(takes, runs, strict=True):
        client.send(CookTake(request_id=take, take=Static(max_tokens=120), parent=parent))
        params = SamplingParams(max_tokens=40, ignore_eos=True)
        time.sleep(0.05)
        client.send(Generate(request_id=run, prompt="Go on.", params=params))
    missing, steps = {*takes, *runs}, []
    while missing:
        reply = client.receive()
        if isinstance(reply, TakeEnded):
            assert reply.reason in ("finished", "interrupted")
            missing.discard(reply.request_id)
        elif isinstance(reply, Events):
            steps += [(e.t, bool(reply.take), e) for e in reply.events if isinstance(e, StepStarted | StepFinished)]
            if not reply.take:
                missing -= {e.request_id for e in reply.events if isinstance(e, RequestFinished)}
    steps.sort(key=lambda step: step[0])
    assert {apart for _, apart, _ in steps} == {True, False}
    for (_, apart, started), (_, also, finished) in zip(steps[::2], steps[1::2], strict=True):
        assert isinstance(started, StepStarted)
        assert isinstance(finished, StepFinished)
        assert apart == also
        assert started.step == finished.step


def test_a_take_is_stopped_like_a_run(client: Client) -> None:
    client.send(CookTake(request_id="gone", take=Static(max_tokens=400), parent=parent_in(client, "p4")))
    client.until(lambda reply: isinstance(reply, Cooking))
    client.send(Abort(request_id="gone"))
    assert client.until(lambda reply: isinstance(reply, TakeEnded))[-1].reason == "stopped"


def test_shutdown_ends_it_with_status_0(client: Client) -> None:
    """Last of those that share the worker."""
    client.send(Shutdown())
    assert client.process.wait(10) == 0


def test_no_model_is_said_and_final(tmp_path: Path) -> None:
    client = Client(tmp_path, "--model", str(tmp_path / "nothing"))
    try:
        replies = client.until(lambda reply: isinstance(reply, Ready | Failed))
        assert isinstance(replies[-1], Failed)
        assert replies[-1].reason == "no_model"
        assert "nothing" in replies[-1].detail
        assert client.process.wait(10) == EXIT_FAILED
    finally:
        client.close()


def test_a_spare_imports_at_once_and_loads_when_it_is_spoken_to(tiny_directory: Path, tmp_path: Path) -> None:
    client = Client(tmp_path, "--model", str(tiny_directory), "--standby", greet=False)
    try:
        maps = Path(f"/proc/{client.process.pid}/maps")
        deadline = time.monotonic() + 60
        while "libtorch" not in maps.read_text():
            assert time.monotonic() < deadline, "it imports nothing"
            time.sleep(0.1)
        assert not client.socket.poll(500), "it speaks when it is spoken to"
        client.send(Hello())
        replies = client.until(lambda reply: isinstance(reply, Ready | Failed))
        assert isinstance(replies[-1], Ready), replies[-1]
        assert "loading weights" in [reply.stage for reply in replies if isinstance(reply, Loading)]
        client.send(Shutdown())
        assert client.process.wait(10) == 0
    finally:
        client.close()


def test_it_ends_with_sigterm_and_with_its_parent(tmp_path: Path) -> None:
    """Before it is ready too. The parent here is a shell that is killed."""
    client = Client(tmp_path, "--model", "smollm2-135m")
    try:
        client.until(lambda reply: isinstance(reply, Loading))
        client.process.send_signal(signal.SIGTERM)
        assert client.process.wait(30) == 0
    finally:
        client.close()
    arguments = f"{sys.executable} -m inference.worker --endpoint ipc://{tmp_path}/orphan.sock"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", f"{arguments} & echo $!; wait"], text=True, **pipes) as shell:
        assert shell.stdout is not None
        assert shell.stderr is not None
        orphan = int(shell.stdout.readline())
        assert "importing torch" in shell.stderr.readline()
        shell.kill()
        shell.wait()
    deadline = time.monotonic() + 60
    while _alive(orphan) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(orphan)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


# ---- without a process ---------------------------------------------------------------------------------------------


def test_submit_is_one_door(tiny: Model, small: EngineConfig) -> None:
    events: list[Event] = []
    engine = Engine(tiny, small, on_event=events.append)
    command = Generate(request_id="a", prompt="Hello", params=SamplingParams(max_tokens=3))
    count = submit(engine, tiny, command, events.append)
    assert isinstance(events[0], Snapshot)
    assert count == len(tiny.tokenizer.encode_chat("Hello").token_ids)
    with pytest.raises(Refused, match="lone surrogate"):
        submit(engine, tiny, msgspec.structs.replace(command, request_id="b", prompt="\ud800"), events.append)
    too_long = msgspec.structs.replace(command, request_id="c", params=SamplingParams(max_tokens=250))
    with pytest.raises(Refused, match="max_model_len 256") as refused:
        submit(engine, tiny, too_long, events.append)
    assert refused.value.reason == "too_long"


def test_an_engine_that_raises_ends_what_it_had(
    tiny: Model, small: EngineConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Reply] = []
    options = module_under_test.parse(["--endpoint", f"ipc://{tmp_path}/raises.sock"])
    worker = Worker(options)
    monkeypatch.setattr(worker._link, "say", said.append)
    engine = Engine(tiny, small, on_event=worker._hear)
    for name in ("a", "b"):
        worker._add(Generate(request_id=name, prompt="Hi", params=SamplingParams(max_tokens=9)), engine, tiny, None)

    def broken() -> None:
        raise RuntimeError("out of gas")

    monkeypatch.setattr(engine, "step", broken)
    ready = None  # nobody asks
    assert worker._serve(engine, tiny, ready) == EXIT_ENGINE_RAISED
    worker._link.close()
    events = [event for reply in said if isinstance(reply, Events) for event in reply.events]
    ends = [event for event in events if isinstance(event, RequestFinished)]
    assert [(end.request_id, end.reason) for end in ends] == [("a", "error"), ("b", "error")]
    # (What it says may be one visitor's words: all hear of its type alone.)
    assert {end.detail for end in ends} == {"the engine failed: RuntimeError"}
