"""``openkitchen record``: runs of a real engine, kept as ``NAME.jsonl.gz``.

The engine, the chat template, the takes, the projection into a log and the encoding are those of a served run; only the
web is missing. A recording says in its first event on what machine it was made, when, and at which commit.
"""

from __future__ import annotations

import gzip
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from app.orders import public_params
from app.runs import Lineage, LogFile, RunLog
from app.settings import Settings
from inference.events import AnyEvent, Event, decode
from inference.messages import Cooking, CookTake, Events, Generate, Ready, Reply, TakeEnded
from inference.probes import Probes
from inference.sequence import SamplingParams
from inference.takes import Parent, Take

PROBES = Probes(kv=True)
SALT = "recorded"
"""Of all runs of one recorder, so that a prompt which comes again is found in the prefix cache."""

Progress = Callable[[str, float | None], None]


class CannotRecord(RuntimeError):
    """The run could not be made; the message says why."""


class Recorder:
    """A loaded model, its engine, and the engine of its takes."""

    def __init__(self, settings: Settings, on_progress: Progress) -> None:
        """Raises ``inference.models.ModelNotFound``."""
        from inference import Engine, EngineConfig, load_model
        from inference.models import cache_dir
        from inference.roofline import measure
        from inference.software import software
        from inference.take_runner import TakeRunner

        self._on_progress = on_progress
        self.model = load_model(settings.model, dtype=settings.dtype, device=settings.device, on_progress=on_progress)
        on_progress("measuring the machine", None)
        hardware = measure(self.model.dtype, self.model.device, cache_dir())
        # The first pass of a process builds kernels and buffers: it is made before the run, on an engine of its own.
        Engine(self.model, EngineConfig()).generate([[1] * 48], SamplingParams(max_tokens=4))
        self._said: list[AnyEvent] = []
        self._replies: list[Reply] = []
        self._engine = Engine(self.model, EngineConfig(), on_event=self._hear)
        self._takes = TakeRunner(self._engine, self.model, self._replies.append)
        self._ready = Ready(
            model=self._engine.model.card,
            hardware=hardware,
            engine=self._engine.card,
            software=software(),
            monotonic=time.monotonic(),
        )

    def _hear(self, event: Event) -> None:
        self._said.append(cast(AnyEvent, event))

    def run(self, prompt: str, params: SamplingParams, output: Path | None) -> str:
        """Answer ``prompt`` and write the log to ``output`` (None: nowhere). Returns the answer."""
        from inference.submission import submit

        command = Generate(
            request_id=_new_id(), prompt=prompt, params=params, probes=PROBES if output else Probes(), cache_salt=SALT
        )
        with _Recording(command.request_id, output, params, command.probes, None) as log:
            log.open(self._ready)
            self._serve(log, lambda: submit(self._engine, self.model, command, self._hear), params)
        return log.summary.text

    def take(self, take: Take, parent: Parent, parent_id: str, output: Path) -> str:
        """Cook ``take`` of ``parent`` and write the log to ``output``. Returns the answer."""
        from inference.submission import submit_take

        command = CookTake(request_id=_new_id(), take=take, parent=parent, cache_salt=SALT)  # type: ignore[arg-type]
        params, lineage = take.params(parent), Lineage(parent_id, take)
        with _Recording(command.request_id, output, params, take.asked_probes, lineage) as log:
            if take.apart:
                self._cook(log, command)
            else:
                log.open(self._ready)
                self._serve(log, lambda: submit_take(self._engine, self.model, command, self._hear), params)
        return log.summary.text

    def _serve(self, log: RunLog, submit: Callable[[], int], params: SamplingParams) -> None:
        """A request of the first engine."""
        from inference.submission import Refused

        try:
            submit()
        except Refused as refused:
            raise CannotRecord(str(refused)) from refused
        while self._engine.has_unfinished_requests():
            log.project(self._said, 0.0)
            self._said.clear()
            for output in self._engine.step():
                self._on_progress("answering", output.usage.completion_tokens / params.max_tokens)
        log.project(self._said, 0.0)
        self._said.clear()

    def _cook(self, log: RunLog, command: CookTake) -> None:
        """A take that wants an engine of its own."""
        from inference.submission import Refused

        try:
            self._takes.add(command)
        except Refused as refused:
            raise CannotRecord(str(refused)) from refused
        while self._takes.step(first_is_busy=False):
            for reply in self._replies:
                self._follow(log, reply)
            self._replies.clear()
            self._on_progress(f"cooking {command.take.name}", None)

    def _follow(self, log: RunLog, reply: Reply) -> None:
        if isinstance(reply, Cooking):
            ready = msgspec.structs.replace(self._ready, model=reply.model, engine=reply.engine)
            log.open_take(ready, reply.knobs, reply.monotonic)
        elif isinstance(reply, Events):
            log.project(reply.events, 0.0)
        elif isinstance(reply, TakeEnded):
            if reply.reason != "finished":
                raise CannotRecord(reply.detail)
            log.close("finished", reply.detail)


class _Recording:
    """A log in a temporary place, which goes to ``output`` packed: whole or not at all."""

    def __init__(
        self, run_id: str, output: Path | None, params: SamplingParams, probes: Probes, lineage: Lineage | None
    ) -> None:
        self._output = output
        self._folder = tempfile.TemporaryDirectory(dir=output.parent if output else None)
        self._plain = Path(self._folder.name) / "run.jsonl"
        file = LogFile(self._plain)
        self._log = RunLog(run_id, file, public_params(params, probes), probes, source="recorded", lineage=lineage)

    def __enter__(self) -> RunLog:
        return self._log

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._folder as folder:
            if kind is None and self._output is not None:
                packed = Path(folder) / "run.jsonl.gz"
                # mtime 0 and no name: the same log is the same bytes.
                packed.write_bytes(gzip.compress(self._plain.read_bytes(), 9, mtime=0))
                packed.replace(self._output)


def _new_id() -> str:
    return secrets.token_urlsafe(16)


def read_log(path: Path) -> list[AnyEvent]:
    """The events of a recording."""
    return [decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def record(prompt: str, params: SamplingParams, output: Path, settings: Settings, on_progress: Progress) -> str:
    """Run ``prompt`` on the model of ``settings`` and write its log to ``output``. Returns the answer.

    Raises ``CannotRecord``, ``inference.models.ModelNotFound``, and OSError where ``output`` cannot be written. The
    file appears whole or not at all.
    """
    return Recorder(settings, on_progress).run(prompt, params, output)
