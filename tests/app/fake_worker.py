"""A scripted stand-in for the engine process, for tests of the protocol alone: it speaks the real messages over the
real sockets and computes nothing. What it does follows from words in the prompt.

``CRASH``: dies in the middle. ``RAISE``: raises, saying the prompt. ``HANG``: stops talking. ``TOOLONG``: rejected.
``SLOW``: 20 ms a token. ``LONG``: 400 tokens. Everything else: one token per word of the prompt, at once, as fast as
they can be said.

Takes that are cooked apart have one neighbour, who stays a step longer than the reader. What they do follows from their
``max_tokens``: 512 is rejected, 511 waits for a turn that never comes, 510 gives up in the middle."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser
from typing import Any

import msgspec
import zmq

from inference.events import (
    AnyEvent,
    Array,
    BlockAllocated,
    BlockReleased,
    Candidate,
    EngineCard,
    Hardware,
    KVWritten,
    ModelCard,
    ProbeKV,
    RequestAdmitted,
    RequestFinished,
    RequestQueued,
    RequestTokenized,
    Snapshot,
    SnapshotRequest,
    Software,
    StepFinished,
    StepItem,
    StepStarted,
    TokenSampled,
    Usage,
)
from inference.messages import (
    Abort,
    Accepted,
    Check,
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
from inference.process import die_with_parent
from inference.tracebacks import be_quiet

MODEL = ModelCard(
    name="fake", architecture="none", num_layers=2, hidden_size=8, num_heads=2, num_kv_heads=1, head_dim=4,
    intermediate_size=16, vocab_size=100, num_parameters=1, parameter_bytes=2, dtype="float32", kv_bytes_per_token=64,
    max_model_len=4096,
)  # fmt: skip
HARDWARE = Hardware(
    device="cpu", name="fake", num_threads=1, memory_bytes=1, peak_flops=1.0, memory_bandwidth=1.0, measured_at=0.0
)
ENGINE = EngineCard(
    block_size=16, num_blocks=512, max_num_seqs=8, max_num_batched_tokens=512, max_model_len=4096, policy="continuous",
    enable_prefix_caching=True,
)  # fmt: skip


class Cook:
    """One request."""

    def __init__(self, request: Generate, slot: int) -> None:
        self.id = request.request_id
        self.slot = slot
        self.words = request.prompt.split() or ["?"]
        self.probes = request.probes
        count = 400 if "LONG" in self.words else len(self.words)
        self.total = min(count, request.params.max_tokens)
        self.done = 0
        self.pause = 0.02 if "SLOW" in self.words else 0.0
        self.crash = "CRASH" in self.words
        self.hang = "HANG" in self.words
        self.raises = "RAISE" in self.words
        self.reason: Any = None

    @property
    def num_tokens(self) -> int:
        return len(self.words) + self.done

    def text(self, index: int) -> str:
        return " " + self.words[index % len(self.words)]


class FakeWorker:
    """Slots without end, one token per request and step."""

    def __init__(self, endpoint: str, fail: str, load_seconds: float, seats: int = ENGINE.max_num_seqs) -> None:
        self.engine = msgspec.structs.replace(ENGINE, max_num_seqs=seats)
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.sndhwm = self.socket.rcvhwm = 0
        self.socket.bind(endpoint)
        self.peer: bytes | None = None
        self.cooks: list[Cook] = []
        self.waiting_takes: set[str] = set()
        self.step = 0
        self.fail = fail
        self.ready_at = time.monotonic() + load_seconds

    def say(self, reply: Reply) -> None:
        assert self.peer is not None
        self.socket.send_multipart([self.peer, msgspec.msgpack.encode(reply)])

    def say_events(self, events: list[AnyEvent], take: str = "") -> None:
        now = time.monotonic()
        for event in events:
            event.t = now
        self.say(Events(events=events, take=take))

    def run(self) -> None:
        backlog: list[Command] = []
        while True:
            busy = bool(self.cooks)
            while self.socket.poll(0 if busy else 20):
                self.peer, frame = self.socket.recv_multipart()
                backlog.append(msgspec.msgpack.decode(frame, type=Command))
                busy = True
            for command in backlog if time.monotonic() >= self.ready_at else []:
                self.handle(command)
            if time.monotonic() >= self.ready_at:
                backlog.clear()
            elif any(isinstance(command, Hello) for command in backlog):
                self.say(Loading(stage="pretending", fraction=0.5))
                time.sleep(0.01)
            if self.cooks:
                self.cook()

    def handle(self, command: Command) -> None:
        if isinstance(command, Hello):
            if self.fail:
                self.say(Failed(reason=self.fail, detail="There is no model here."))  # type: ignore[arg-type]
                time.sleep(0.05)
                os._exit(1)
            self.say(Ready(
                model=MODEL, hardware=HARDWARE, engine=self.engine, software=Software(openkitchen="test"),
                monotonic=time.monotonic(),
            ))  # fmt: skip
        elif isinstance(command, Check):
            prompt = command.request.prompt if isinstance(command.request, Generate) else ""
            if "TOOLONG" in prompt:
                self.begin(command.request)
            else:
                self.say(Accepted(request_id=command.request.request_id, num_prompt_tokens=len(prompt.split())))
        elif isinstance(command, Generate):
            self.begin(command)
        elif isinstance(command, CookTake):
            self.take(command)
        elif isinstance(command, Abort) and command.request_id in self.waiting_takes:
            self.waiting_takes.remove(command.request_id)
            self.say(TakeEnded(request_id=command.request_id, reason="stopped", detail="Stopped."))
        elif isinstance(command, Abort):
            for cook in self.cooks:
                if cook.id == command.request_id:
                    cook.reason = "aborted"
        elif isinstance(command, Shutdown):
            sys.exit(0)

    def begin(self, request: Generate) -> None:
        if "TOOLONG" in request.prompt:
            self.say(Rejected(request_id=request.request_id, reason="too_long", detail="5,000 tokens; 4,096 fit."))
            return
        taken = {cook.slot for cook in self.cooks}
        cook = Cook(request, next(slot for slot in range(10_000) if slot not in taken))
        others = [
            SnapshotRequest(
                request_id=c.id, sample=0, slot=c.slot, num_tokens=c.num_tokens, num_computed_tokens=c.num_tokens,
                block_ids=[c.slot],
            )
            for c in self.cooks
        ]  # fmt: skip
        ids = list(range(len(cook.words)))
        self.say(Accepted(request_id=cook.id, num_prompt_tokens=len(ids)))
        self.say_events([
            Snapshot(request_id=cook.id, requests=others, num_blocks=512, num_free_blocks=500, cached_block_ids=[]),
            RequestQueued(request_id=cook.id, position=0, num_waiting=1),
            RequestTokenized(request_id=cook.id, token_ids=ids, pieces=cook.words, own=[(0, len(ids))], seconds=0.0),
            RequestAdmitted(
                request_id=cook.id, slot=cook.slot, num_tokens=len(ids), cached_tokens=3, queue_seconds=0.1
            ),
            BlockAllocated(request_id=cook.id, block_ids=[cook.slot], start=0),
        ])  # fmt: skip
        self.cooks.append(cook)

    def take(self, command: CookTake) -> None:
        params = command.take.params(command.parent)
        if not command.take.apart:
            self.begin(Generate(request_id=command.request_id, prompt=command.parent.prompt, params=params))
            return
        own, name = command.request_id, "neighbour-1"
        if params.max_tokens == 512:
            self.say(Rejected(request_id=own, reason="too_long", detail="the take is too long."))
            return
        self.say(Accepted(request_id=own, num_prompt_tokens=len(command.parent.token_ids)))
        if params.max_tokens == 511:
            self.waiting_takes.add(own)
            return
        engine = msgspec.structs.replace(ENGINE, policy=command.take.name)
        knobs = {"max_tokens": params.max_tokens}
        self.say(Cooking(request_id=own, model=MODEL, engine=engine, knobs=knobs, monotonic=time.monotonic()))
        ids = command.parent.token_ids
        cook = Cook(Generate(request_id=own, prompt=command.parent.prompt, params=params), 0)
        item = StepItem(request_id=name, sample=0, slot=1, phase="decode", start=5, stop=6)
        self.say_events([
            Snapshot(request_id=own, requests=[], num_blocks=9, num_free_blocks=9, cached_block_ids=[]),
            RequestQueued(request_id=name, position=0, num_waiting=2),
            RequestTokenized(request_id=name, token_ids=[8], pieces=["secret"], own=[], seconds=0.0),
            RequestTokenized(request_id=own, token_ids=ids, pieces=[""] * len(ids), own=[], seconds=0.0),
            RequestAdmitted(request_id=name, slot=1, num_tokens=6, cached_tokens=3, queue_seconds=0.1),
            RequestAdmitted(request_id=own, slot=0, num_tokens=len(ids), cached_tokens=0, queue_seconds=0.0),
            StepStarted(step=1, phase="decode", num_tokens=1, num_waiting=0, requests=[item]),
            *self.token(cook),
        ], own)  # fmt: skip
        if params.max_tokens == 510:
            self.say(TakeEnded(request_id=own, reason="interrupted", detail="Others came first."))
            return
        usage = Usage(prompt_tokens=len(ids), cached_tokens=0, completion_tokens=1)
        self.say_events([RequestFinished(request_id=own, slot=0, reason="stop", text="done", usage=usage)], own)
        later = StepStarted(step=2, phase="decode", num_tokens=1, num_waiting=0, requests=[item])
        end = RequestFinished(request_id=name, slot=1, reason="length", text="secret", usage=usage)
        self.say_events([later, end], own)
        self.say(TakeEnded(request_id=own, reason="finished"))

    def cook(self) -> None:
        self.step += 1
        time.sleep(max(cook.pause for cook in self.cooks))
        events: list[AnyEvent] = [StepStarted(
            step=self.step, phase="decode", num_tokens=len(self.cooks), num_waiting=0,
            requests=[StepItem(
                request_id=c.id, sample=0, slot=c.slot, phase="prefill" if c.done == 0 else "decode",
                start=0 if c.done == 0 else c.num_tokens - 1, stop=c.num_tokens,
            ) for c in self.cooks],
        )]  # fmt: skip
        ended: list[AnyEvent] = []
        for cook in list(self.cooks):
            if cook.crash and cook.done >= min(3, cook.total - 1):
                self.say_events(events)
                time.sleep(0.05)
                os._exit(7)
            if cook.raises and cook.done >= 1:
                raise RuntimeError(f"{cook.id} stumbled over {' '.join(cook.words)}")
            if cook.hang and cook.done >= 1:
                self.say_events(events)
                time.sleep(3600)
            events += self.token(cook)
            if cook.reason or cook.done >= cook.total:
                self.cooks.remove(cook)
                text = "".join(cook.text(i) for i in range(cook.done))
                usage = Usage(prompt_tokens=len(cook.words), cached_tokens=3, completion_tokens=cook.done)
                ended.append(RequestFinished(
                    request_id=cook.id, slot=cook.slot, reason=cook.reason or "stop", text=text, usage=usage,
                ))  # fmt: skip
                ended.append(BlockReleased(request_id=cook.id, block_ids=[cook.slot], ref_counts=[0], cached=[False]))
        events.append(StepFinished(
            step=self.step, seconds=0.001, schedule_seconds=0.0, forward_seconds=0.001, sample_seconds=0.0,
            num_tokens=1, flops=1.0, weight_bytes=1, kv_read_bytes=1, kv_written_bytes=1,
        ))  # fmt: skip
        self.say_events(events + ended)

    def token(self, cook: Cook) -> list[AnyEvent]:
        start, stop = (0 if cook.done == 0 else cook.num_tokens - 1), cook.num_tokens
        found: list[AnyEvent] = [KVWritten(request_id=cook.id, start=start, stop=stop)]
        if cook.probes.kv:
            norms = Array.pack(bytes(2 * (stop - start)), "uint8", [2, 1, stop - start])
            found.append(ProbeKV(request_id=cook.id, start=start, stop=stop, keys=norms, values=norms))
        text = cook.text(cook.done)
        found.append(TokenSampled(
            request_id=cook.id, position=cook.num_tokens, id=7, text=text, logprob=-0.5, rest=0.4, step=self.step,
            candidates=[Candidate(id=7, text=text, logit=1.0, probability=0.6)],
        ))  # fmt: skip
        cook.done += 1
        return found


def main() -> None:
    be_quiet()  # as the real one
    parser = ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--fail", default="")
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--seats", type=int, default=ENGINE.max_num_seqs)
    parser.add_argument("--standby", action="store_true")
    options, _ = parser.parse_known_args()
    die_with_parent()
    worker = FakeWorker(options.endpoint, options.fail, 0.0, options.seats)
    if options.standby:
        worker.socket.poll()
    worker.ready_at = time.monotonic() + options.load_seconds
    worker.run()


if __name__ == "__main__":
    main()
