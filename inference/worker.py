"""The engine in a process of its own: ``python -m inference.worker --endpoint ipc:///tmp/kitchen.sock``.

One thread, one loop: take commands, make a step, say what it said. The other end (``app/kitchen.py``) supervises.

::

    bind ─► import, find, convert, load, measure, warm ──► Ready ─► [commands ─► step ─► Events]* ─► exit 0
              │ Loading, Loading ...                                    │
              └─► Failed, exit 1                                        └─ the engine raised: every request it had
                                                                           ends with reason "error", exit 70

With ``--standby`` it binds, imports, and goes on when it is first spoken to: a spare, to take another's place.
Commands that come while it loads wait for Ready. A command that cannot be read is answered with Rejected and logged;
none ends the process. The process ends with its parent.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import msgspec

from inference.events import AnyEvent, Event, Hardware, RequestFinished
from inference.link import Link
from inference.messages import (
    Abort,
    Accepted,
    Check,
    Command,
    CookTake,
    Events,
    Failed,
    Generate,
    Hello,
    Loading,
    Ready,
    Rejected,
    Shutdown,
)
from inference.process import bound_shape_caches, die_with_parent, give_way, trim_memory
from inference.software import software
from inference.tracebacks import QuietFormatter, be_quiet

if TYPE_CHECKING:
    from inference.engine import Engine
    from inference.engine_config import EngineConfig
    from inference.models import Model
    from inference.take_runner import TakeRunner

logger = logging.getLogger("inference.worker")

EXIT_FAILED = 1
EXIT_ENGINE_RAISED = 70
"""EX_SOFTWARE: start me again."""
IDLE_MS = 500
"""How long an idle worker sleeps before it looks whether its parent lives."""
COMMANDS_PER_STEP = 16
"""Taken between two steps at most, so that a burst of requests cannot hold up those that run."""


# ---- the worker ----------------------------------------------------------------------------------------------------


class Worker:
    """One engine and the loop around it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._parent = options.parent_pid or os.getppid()
        self._stopping = False
        self._looping = False
        self._untidy = True
        self._said: list[Event] = []
        self._running: dict[str, None] = {}
        self._link = Link(options.endpoint)

    def run(self) -> int:
        """Load, serve, and return the exit status."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        die_with_parent()
        if os.getppid() != self._parent:  # it died before we could ask to be told
            logger.warning("the parent process is gone")
            self._link.close()
            return 0
        try:
            if self._options.standby:
                if not self._stand_by():
                    return 0
            else:
                self._link.listen(300)  # a first Hello, if it comes soon, lets the loading be told
            return self._load_and_serve()
        finally:
            self._link.close()

    def _load_and_serve(self) -> int:
        try:
            model, hardware = self._load()
            engine = self._start_engine(model)
            import_module("inference.take_runner")  # (what is imported later would hold up a reader)
        except Exception as error:
            return self._fail(error)
        ready = Ready(
            model=engine.model.card,
            hardware=hardware,
            engine=engine.card,
            software=software(),
            monotonic=time.monotonic(),
        )
        self._link.say(ready)
        self._looping = True
        return self._serve(engine, model, ready)

    def _stand_by(self) -> bool:
        """Import what loading will want, and wait until somebody speaks. False: the parent has gone instead."""
        importing = threading.Thread(target=self._import, daemon=True)
        importing.start()
        while not self._link.connected:
            if os.getppid() != self._parent:
                return False
            self._link.listen(IDLE_MS)
        self._progress("importing torch", None)
        importing.join()
        return True

    def _import(self) -> None:
        """In a thread of its own, since a thread that gave way to others cannot be told to hurry again."""
        give_way()
        try:
            from inference.models import import_libraries

            import_libraries(self._options.model, self._options.data_dir)
            for name in ("inference.roofline", "inference.engine", "inference.submission", "inference.take_runner"):
                import_module(name)
        except Exception as error:
            # (What is wrong is told when it is asked to load, to who asks.)
            logger.warning("a spare engine that could not make itself ready: %s", type(error).__name__)
        trim_memory()

    # ---- loading

    def _load(self) -> tuple[Model, Hardware]:
        options = self._options
        self._progress("importing torch", None)
        import torch

        from inference.machine import num_processors
        from inference.models import cache_dir, load_model
        from inference.roofline import measure

        torch.set_num_threads(options.num_threads or num_processors())
        model = load_model(
            options.model,
            dtype=options.dtype,
            device=options.device,
            data_dir=options.data_dir,
            on_progress=self._progress,
        )
        self._progress("measuring the machine", None)
        return model, measure(model.dtype, model.device, cache_dir(options.data_dir))

    def _start_engine(self, model: Model) -> Engine:
        """The engine, after another that is thrown away has made a small real pass: the first pass of a process
        builds kernels and buffers, and no reader's run should pay for that or find its traces in the pool."""
        from inference.engine import Engine
        from inference.engine_config import EngineConfig
        from inference.sequence import SamplingParams

        options = self._options
        config = EngineConfig(
            block_size=options.block_size,
            num_blocks=options.num_blocks,
            max_num_seqs=options.max_num_seqs,
            max_num_batched_tokens=options.max_num_batched_tokens,
            max_model_len=options.max_model_len,
            drafter=options.drafter,
            num_speculative_tokens=options.num_speculative_tokens,
        )
        self._progress("warming up", None)
        self._warm_up(Engine(model, _small(config), on_event=lambda event: None), SamplingParams(max_tokens=4))
        engine = Engine(model, config, on_event=self._hear)
        gc.collect()
        gc.freeze()  # what is loaded stays: the collector need not look at it in the middle of a step
        return engine

    @staticmethod
    def _warm_up(engine: Engine, params: Any) -> None:  # noqa: ANN401
        vocabulary = engine.model.card.vocab_size
        length = min(64, engine.max_model_len - params.max_tokens)
        for count in (length, 1):
            engine.generate([[(7 * i + 11) % vocabulary for i in range(count)]], params)

    def _progress(self, stage: str, fraction: float | None) -> None:
        self._link.listen(0)
        self._link.say(Loading(stage=stage, fraction=fraction))
        logger.info("%s%s", stage, "" if fraction is None else f" ({fraction:.0%})")

    def _fail(self, error: Exception) -> int:
        from inference.models import ModelNotFound

        if isinstance(error, ModelNotFound):
            logger.error("%s", error)
            failed = Failed(reason="no_model", detail=str(error))
        else:
            logger.exception("the engine could not be started", exc_info=error)
            failed = Failed(reason="error", detail=f"{type(error).__name__}: {error}")
        if not self._link.connected:
            self._link.listen(5000)
        self._link.say(failed)
        return EXIT_FAILED

    # ---- serving

    def _serve(self, engine: Engine, model: Model, ready: Ready) -> int:
        from inference.take_runner import TakeRunner

        takes = TakeRunner(engine, model, self._link.say)
        while not self._stopping:
            if os.getppid() != self._parent:
                logger.warning("the parent process is gone")
                return 0
            busy = engine.has_unfinished_requests() or takes.has_work
            self._link.listen(0 if busy else IDLE_MS)
            self._tidy_when_idle(busy)
            for _ in range(COMMANDS_PER_STEP):
                command = self._link.next_command()
                if command is None:
                    break
                self._handle(command, engine, model, takes, ready)
            if takes.step(first_is_busy=engine.has_unfinished_requests()):
                continue  # two engines never step at once
            if not engine.has_unfinished_requests():
                continue
            try:
                engine.step()
            except Exception as error:
                logger.exception("the engine raised in a step", exc_info=error)
                # (Of everybody's requests: what the error says may be one visitor's.)
                self._end_all(f"the engine failed: {type(error).__name__}")
                return EXIT_ENGINE_RAISED
            self._flush()
        return 0

    def _tidy_when_idle(self, busy: bool) -> None:
        """Give memory back once nobody has asked for anything for a while. (Steps of every size leave holes between
        what stays: without this the process grew by 70 KB a request for the first thousands of them.)"""
        if busy:
            self._untidy = True
        elif self._untidy and not self._link.has_command:
            trim_memory()
            self._untidy = False

    def _handle(self, command: Command, engine: Engine, model: Model, takes: TakeRunner, ready: Ready) -> None:
        if isinstance(command, Hello):
            self._link.say(msgspec.structs.replace(ready, monotonic=time.monotonic()))
        elif isinstance(command, Abort):
            if not takes.abort(command.request_id):
                engine.abort(command.request_id)
        elif isinstance(command, Shutdown):
            self._stopping = True
        elif isinstance(command, Check):
            self._check(command.request, engine, model)
        else:
            self._add(command, engine, model, takes)
        self._flush()

    def _check(self, request: Generate | CookTake, engine: Engine, model: Model) -> None:
        from inference.submission import check

        with self._refusing(request.request_id):
            num_tokens = check(engine, model, request)
            self._link.say(Accepted(request_id=request.request_id, num_prompt_tokens=num_tokens))

    def _add(self, command: Generate | CookTake, engine: Engine, model: Model, takes: TakeRunner) -> None:
        from inference.submission import submit, submit_take

        apart = isinstance(command, CookTake) and command.take.apart
        with self._refusing(command.request_id):
            if not isinstance(command, CookTake):
                num_tokens = submit(engine, model, command, self._hear)
            elif apart:
                num_tokens = takes.add(command)
            else:
                num_tokens = submit_take(engine, model, command, self._hear)
            if not apart:
                self._running[command.request_id] = None
            self._link.say(Accepted(request_id=command.request_id, num_prompt_tokens=num_tokens))

    @contextmanager
    def _refusing(self, request_id: str) -> Iterator[None]:
        """Whatever is wrong with a request is told, and what was said of it so far is not."""
        from inference.submission import Refused

        mark = len(self._said)
        try:
            yield
        except Refused as refused:
            del self._said[mark:]
            self._link.say(
                Rejected(request_id=request_id, reason=refused.reason, detail=str(refused), field=refused.field)
            )
        except Exception as error:
            del self._said[mark:]
            logger.exception("a request that could not be added", exc_info=error)
            detail = f"{type(error).__name__}: {error}"
            self._link.say(Rejected(request_id=request_id, reason="invalid", detail=detail))

    def _hear(self, event: Event) -> None:
        self._said.append(event)

    def _flush(self) -> None:
        """All that was said since the last time, as one message."""
        if not self._said:
            return
        said, self._said = self._said, []
        for event in said:
            if isinstance(event, RequestFinished) and event.num_samples_left == 0:
                self._running.pop(event.request_id, None)
        self._link.say(Events(events=cast(list[AnyEvent], said)))

    def _end_all(self, detail: str) -> None:
        """After the engine raised: what it still said, then an end for every request it had."""
        self._flush()
        for request_id in self._running:
            self._said.append(
                RequestFinished(t=time.monotonic(), request_id=request_id, slot=None, reason="error", detail=detail)
            )
        self._flush()

    def _stop(self, signum: int, frame: object) -> None:
        if not self._looping:
            raise SystemExit(0)
        self._stopping = True


def _small(config: EngineConfig) -> EngineConfig:
    """The same engine with a pool that is just enough to warm up in."""
    needed = -(-128 // config.block_size) + 1
    return msgspec.structs.replace(config, num_blocks=min(config.num_blocks, needed))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m inference.worker", description="The engine in its own process.")
    parser.add_argument("--endpoint", required=True, help="ZeroMQ address to bind, e.g. ipc:///tmp/kitchen.sock")
    parser.add_argument(
        "--parent-pid", type=int, default=0, help="end when the parent is another; 0: whoever it is now"
    )
    parser.add_argument("--standby", action="store_true", help="import, and load when first spoken to")
    parser.add_argument("--model", default="smollm2-135m", help="a name, a directory, a .gguf file or a hub id")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--block-size", type=int, default=16, help="tokens in a block")
    parser.add_argument("--num-blocks", type=int, default=1024, help="blocks in the pool")
    parser.add_argument("--max-num-seqs", type=int, default=8, help="slots")
    parser.add_argument("--max-num-batched-tokens", type=int, default=512, help="tokens in a step")
    parser.add_argument("--max-model-len", type=int, default=4096, help="tokens in a request, prompt and answer")
    parser.add_argument(
        "--drafter", default=None, help="eagle, ngram, mismatched, model:MODEL, or several with commas between"
    )
    parser.add_argument("--num-speculative-tokens", type=int, default=2, help="drafts in a step, at most")
    parser.add_argument("--num-threads", type=int, default=0, help="0: as many as there are processors")
    parser.add_argument("--data-dir", default=None, help="where converted models and measurements are kept")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker until it ends; returns its exit status."""
    bound_shape_caches()
    be_quiet()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(QuietFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("OPENKITCHEN_LOG_LEVEL", "INFO").upper(), handlers=[handler])
    return Worker(parse(arguments)).run()


if __name__ == "__main__":
    sys.exit(main())
