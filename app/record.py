"""``openkitchen record``: one run of a real engine, kept as ``NAME.jsonl.gz``.

The engine, the chat template, the projection into a log and the encoding are those of a served run; only the web is
missing. A recording says in its first event on what machine it was made, when, and at which commit.
"""

from __future__ import annotations

import gzip
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from app.orders import public_params
from app.runs import LogFile, RunLog
from app.settings import Settings
from inference.events import AnyEvent, Event
from inference.messages import Generate, Ready
from inference.probes import Probes
from inference.sequence import SamplingParams

PROBES = Probes(kv=True)


class CannotRecord(RuntimeError):
    """The run could not be made; the message says why."""


def record(
    prompt: str,
    params: SamplingParams,
    output: Path,
    settings: Settings,
    on_progress: Callable[[str, float | None], None],
) -> str:
    """Run ``prompt`` on the model of ``settings`` and write its log to ``output``. Returns the answer.

    Raises ``CannotRecord``, ``inference.models.ModelNotFound``, and OSError where ``output`` cannot be written. The
    file appears whole or not at all.
    """
    from inference import Engine, EngineConfig, load_model
    from inference.models import cache_dir
    from inference.roofline import measure
    from inference.worker import Refused, software, submit

    model = load_model(settings.model, dtype=settings.dtype, device=settings.device, on_progress=on_progress)
    on_progress("measuring the machine", None)
    hardware = measure(model.dtype, model.device, cache_dir())
    said: list[AnyEvent] = []

    def hear(event: Event) -> None:
        said.append(cast(AnyEvent, event))

    # The first pass of a process builds kernels and buffers: it is made before the run, on an engine of its own.
    Engine(model, EngineConfig()).generate([[1] * 48], SamplingParams(max_tokens=4))
    engine = Engine(model, EngineConfig(), on_event=hear)
    ready = Ready(
        model=engine.model.card, hardware=hardware, engine=engine.card, software=software(), monotonic=time.monotonic()
    )
    command = Generate(request_id=secrets.token_urlsafe(16), prompt=prompt, params=params, probes=PROBES)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        plain = Path(folder) / "run.jsonl"
        log = RunLog(command.request_id, LogFile(plain), public_params(params, PROBES), PROBES, source="recorded")
        log.open(ready)
        try:
            submit(engine, model, command, hear)
        except Refused as refused:
            raise CannotRecord(str(refused)) from refused
        while engine.has_unfinished_requests():
            log.project(said, 0.0)
            said.clear()
            for step_output in engine.step():
                on_progress("answering", step_output.usage.completion_tokens / params.max_tokens)
        log.project(said, 0.0)
        packed = Path(folder) / "run.jsonl.gz"
        # mtime 0 and no name: the same log is the same bytes.
        packed.write_bytes(gzip.compress(plain.read_bytes(), 9, mtime=0))
        packed.replace(output)
    return log.summary.text
