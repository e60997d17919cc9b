"""The engine process: started, spoken to, watched, and started again."""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec
import structlog
import zmq
import zmq.asyncio

from app.engine_process import EngineProcess, exit_words, sweep_left_behind
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

logger = structlog.get_logger(__name__)

State = Literal["starting", "loading", "ready", "restarting", "no_model", "failed", "stopped"]

MAX_RESTART_SECONDS = 60.0
HELLO_SECONDS = 5.0
"""An engine that owes us nothing is asked this often how it is; the answer also keeps the clocks aligned."""
SPARE_SECONDS = 2.0
"""A spare engine is started when nobody has asked for anything for this long ..."""
SPARE_PATIENCE_SECONDS = 60.0
"""... or the engine has been ready for this long. Also the wait before one that died is replaced."""
SPARE_ANSWER_SECONDS = 20.0
"""A spare that has not said a word this long after it was spoken to is not waited for. (It may still be importing.)"""
LOADING_HANGS = 10
"""An engine that loads may be silent for so many times ``hang_seconds``."""
STABLE_SECONDS = 30.0
"""An engine that cooked, or was ready for this long, had come up well: its failure is the first in a row again."""


@dataclass(frozen=True)
class EngineStatus:
    """How the engine is. ``stage`` and ``fraction`` are of loading; ``detail`` is one sentence for people."""

    state: State
    detail: str = ""
    stage: str = ""
    fraction: float | None = None
    retry_seconds: float = 0.0
    """Until the next try, where there will be one."""

    @property
    def takes_orders(self) -> bool:
        """A run posted now is accepted; while the engine first warms it is queued."""
        return self.state in ("starting", "loading", "ready")


class Listener(Protocol):
    """Who hears from the engine (``orders.py``). All are called in the event loop and must not block."""

    def engine_ready(self, ready: Ready) -> None:
        """The engine takes requests."""

    def engine_lost(self, reason: Literal["crashed", "error"], detail: str) -> None:
        """The engine and all that it was doing are gone."""

    def engine_said(self, events: Events, clock_offset: float) -> None:
        """Bare events, and what to add to their clock to get ours."""

    def take_cooking(self, reply: Cooking, clock_offset: float) -> None:
        """A take that is cooked apart has its turn. ``clock_offset`` as for events."""

    def take_ended(self, reply: TakeEnded) -> None:
        """A take that was cooked apart is over, or never had its turn."""

    def engine_accepted(self, reply: Accepted) -> None:
        """A request is in the engine's queue."""

    def engine_rejected(self, reply: Rejected) -> None:
        """A request never entered the engine."""


class EngineLost(Exception):
    """The engine process ended or went silent. ``final``: trying again would not help."""

    def __init__(self, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.final = final


class Kitchen:
    """Supervises one engine process (or an endpoint that somebody else runs) and carries messages both ways."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        endpoint: str = "",
        hang_seconds: float = 60.0,
        restart_seconds: float = 1.0,
        spare: bool = False,
        command: Sequence[str] = (sys.executable, "-m", "inference.worker"),
    ) -> None:
        self.status = EngineStatus("starting", "The engine is starting.")
        self.ready: Ready | None = None
        self.num_restarts = 0
        self._arguments = list(arguments)
        self._endpoint = endpoint
        self._command = list(command)
        self._hang_seconds = hang_seconds
        self._restart_seconds = restart_seconds
        self._listener: Listener | None = None
        self._context: zmq.asyncio.Context | None = None
        self._socket: zmq.asyncio.Socket | None = None
        self._process: EngineProcess | None = None
        self._wants_spare = spare
        self._spare: EngineProcess | None = None
        self._was_spare = False
        """The process of this life was a spare before."""
        self._supervisor: asyncio.Task[None] | None = None
        self._last_heard = 0.0
        self._began = 0.0
        self._cooked = False
        """This engine has said what it did: it came up well."""
        self._warm_seconds = 10.0
        """How long the last warm-up took: what a caller is told to wait for the next."""
        self._clock_offset = 0.0
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)
        self.is_busy: Callable[[], bool] = lambda: False
        """Whether an answer is owed (set by ``orders.py``): silence means a hang only then."""

    @property
    def pid(self) -> int | None:
        """Of the engine process we started, while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def spare_pid(self) -> int | None:
        """Of the process that waits to take its place."""
        return self._spare.pid if self._spare is not None else None

    def start(self, listener: Listener) -> None:
        """Begin, in the background: the site does not wait for its engine."""
        self._listener = listener
        sweep_left_behind()
        self._context = zmq.asyncio.Context()
        self._supervisor = asyncio.create_task(self._supervise(), name="kitchen")

    async def stop(self) -> None:
        """End the engine process (asked, then told, then killed) and forget it."""
        self.status = EngineStatus("stopped", "The kitchen is closing.")
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self._spare is not None:
            await self._spare.end(None)
        if self._context is not None:
            self._context.destroy(linger=0)

    def send(self, request: Generate | CookTake | Check) -> None:
        """Hand over a request, or ask whether it could be served. One sent to an engine that is just going down is
        closed with it."""
        self._send(request)

    def abort(self, request_id: str) -> None:
        """Ask for an end to a request; its ``request.finished`` follows."""
        self._send(Abort(request_id=request_id))

    # ---- talking

    def _send(self, command: Command) -> None:
        if self._socket is None:
            return
        try:
            # Unbounded (SNDHWM 0) and so never blocking: what is sent is bounded by the limits on runs.
            self._socket.send(self._encoder.encode(command), flags=zmq.NOBLOCK)
        except zmq.ZMQError as error:
            logger.warning("engine.unsent", error=str(error))

    async def _listen(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            frame = await socket.recv()
            self._last_heard = time.monotonic()
            try:
                reply = self._decoder.decode(frame)
            except msgspec.MsgspecError as error:
                logger.error("engine.unintelligible", error=str(error))
                continue
            self._hear(reply)

    def _hear(self, reply: Reply) -> None:
        listener = self._listener
        assert listener is not None
        if isinstance(reply, Events):
            self._cooked = True
            listener.engine_said(reply, self._clock_offset)
        elif isinstance(reply, Cooking):
            listener.take_cooking(reply, self._clock_offset)
        elif isinstance(reply, TakeEnded):
            listener.take_ended(reply)
        elif isinstance(reply, Accepted):
            listener.engine_accepted(reply)
        elif isinstance(reply, Rejected):
            listener.engine_rejected(reply)
        elif isinstance(reply, Loading):
            self.status = self._loading(reply)
        elif isinstance(reply, Ready):
            self._hear_ready(reply, listener)
        elif isinstance(reply, Failed):
            raise EngineLost(reply.detail, final=reply.reason == "no_model")

    def _loading(self, reply: Loading) -> EngineStatus:
        """At the first warm-up prompts are welcome and wait; after a crash they are not taken until it is over."""
        if self.num_restarts == 0:
            return EngineStatus("loading", "The engine is warming up.", reply.stage, reply.fraction)
        left = max(1.0, self._warm_seconds - (time.monotonic() - self._began))
        return EngineStatus("restarting", "The engine is being started again.", reply.stage, reply.fraction, left)

    def _hear_ready(self, reply: Ready, listener: Listener) -> None:
        # One machine has one monotonic clock. An engine elsewhere has its own: the least delayed answer tells best.
        offset = time.monotonic() - reply.monotonic
        if not self._endpoint.startswith("tcp:"):
            self._clock_offset = 0.0
        elif self.ready is None or offset < self._clock_offset:
            self._clock_offset = offset
        first = self.ready is None
        self.ready = reply
        self.status = EngineStatus("ready", "The engine is ready.")
        if first:
            self._warm_seconds = time.monotonic() - self._began
            logger.info("engine.ready", model=reply.model.name, device=reply.hardware.device, dtype=reply.model.dtype)
            listener.engine_ready(reply)

    async def _keep_in_touch(self) -> None:
        """Say hello; end the engine when it owes an answer and has been silent too long."""
        while True:
            self._send(Hello())
            wait, began = min(HELLO_SECONDS, self._hang_seconds / 4), time.monotonic()
            await asyncio.sleep(wait)
            now = time.monotonic()
            if now - began > 2 * wait:
                # It was we who stood still (a paused container, a laptop that slept): nobody could be heard.
                self._last_heard = now
            silence = now - self._last_heard
            if silence > self._patience():
                if self.pid is not None:
                    os.kill(self.pid, signal.SIGKILL)
                raise EngineLost(f"The engine said nothing for {silence:.0f} seconds and was stopped.")

    def _patience(self) -> float:
        """Seconds of silence after which the engine is given up. One that loads cannot answer and may have much to
        read; but a spare does so by itself as soon as it is spoken to."""
        if self.ready is not None:
            return self._hang_seconds if self.is_busy() else math.inf
        if self._was_spare and self.status.stage == "":
            return SPARE_ANSWER_SECONDS
        return LOADING_HANGS * self._hang_seconds

    # ---- supervising

    async def _supervise(self) -> None:
        failures = 0
        while True:
            self._began, self._cooked = time.monotonic(), False
            try:
                await self._run_once()
            except EngineLost as lost:
                failures = 1 if self._came_up_well() else failures + 1
                delay = self._lose(lost, failures)
                if lost.final:
                    return
            except OSError as error:
                failures += 1
                delay = self._lose(EngineLost(f"The engine could not be started: {error.strerror}."), failures)
            except Exception:
                # Whatever it was, the site must not be left without a kitchen.
                logger.exception("kitchen.fault")
                failures += 1
                delay = self._lose(EngineLost("The kitchen made a mistake and starts afresh."), failures)
            await asyncio.sleep(delay)
            self.num_restarts += 1

    def _came_up_well(self) -> bool:
        """It is not the starting that fails, so waiting longer before the next start would help nobody."""
        return self.ready is not None and (self._cooked or time.monotonic() - self._began > STABLE_SECONDS)

    def _lose(self, lost: EngineLost, failures: int) -> float:
        """Tell everybody. Returns the seconds to wait before the next try: doubling, with jitter, up to a minute."""
        was_ready, self.ready = self.ready is not None, None
        delay = min(MAX_RESTART_SECONDS, self._restart_seconds * 2.0 ** min(failures - 1, 10)) * random.uniform(
            0.75, 1.25
        )
        logger.error("engine.lost", detail=str(lost), final=lost.final, failures=failures)
        if lost.final:
            self.status = EngineStatus("no_model", str(lost))
        elif failures >= 3:
            self.status = EngineStatus("failed", str(lost), retry_seconds=delay)
        else:
            self.status = EngineStatus("restarting", str(lost), retry_seconds=delay)
        assert self._listener is not None
        try:
            self._listener.engine_lost("crashed" if was_ready else "error", str(lost))
        except Exception:
            # Another engine is to come whatever they make of the news.
            logger.exception("kitchen.listener_fault")
        return delay

    async def _run_once(self) -> None:
        """One life of the engine, from its start to its end. Always raises."""
        process = None if self._endpoint else await self._next_process()
        self._process = process
        assert self._context is not None
        socket: zmq.asyncio.Socket | None = None
        tasks: list[asyncio.Task[None]] = []
        try:
            socket = self._context.socket(zmq.DEALER)
            socket.linger = 0
            # An engine's events are never dropped for want of room: a gap would be a lie.
            socket.rcvhwm = socket.sndhwm = 0
            socket.connect(process.endpoint if process else self._endpoint)
            self._socket = socket
            self._last_heard = time.monotonic()
            ended = asyncio.create_task(self._wait_for_end(process)) if process else None
            listening = asyncio.create_task(self._listen(socket))
            tasks = [listening, asyncio.create_task(self._keep_in_touch())]
            if ended:
                tasks += [ended, asyncio.create_task(self._keep_a_spare())]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if ended in done:
                # Its own last words (``Failed``) say more than its exit status, and may still be on their way.
                await asyncio.wait([listening], timeout=0.3)
            for task in tasks:
                if task.done() and (error := task.exception()) is not None:
                    raise error
            raise EngineLost("The engine process ended.")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if process:
                # An engine that still loads does not listen.
                await process.end((lambda: self._send(Shutdown())) if self.ready is not None else None)
            self._socket = None
            if socket is not None:
                socket.close()

    @staticmethod
    async def _wait_for_end(process: EngineProcess) -> None:
        status = await process.wait()
        raise EngineLost(f"The engine process ended {exit_words(status)}.")

    # ---- the spare

    async def _next_process(self) -> EngineProcess:
        """The spare, which has its libraries imported already, if it lives; else a new one."""
        spare, self._spare = self._spare, None
        self._was_spare = spare is not None and spare.pid is not None
        if spare is not None and self._was_spare:
            return spare
        if spare is not None:
            await spare.end(None)
        return await EngineProcess.start([*self._command, *self._arguments])

    async def _keep_a_spare(self) -> None:
        """Once the engine is ready, start another that waits; and another where that one dies."""
        while self._wants_spare:
            await self._quiet_moment()
            try:
                self._spare = await EngineProcess.start([*self._command, *self._arguments], standby=True)
            except OSError as error:
                logger.warning("engine.no_spare", error=error.strerror)
            else:
                # (Taken, it is no longer the spare, and this task has ended with the engine whose place it took.)
                status = await self._spare.wait()
                logger.warning("engine.spare_lost", detail=exit_words(status))
                await self._spare.end(None)
                self._spare = None
            await asyncio.sleep(SPARE_PATIENCE_SECONDS)

    async def _quiet_moment(self) -> None:
        """Until nobody's run would pay for a start; or, where there always is somebody, a while after it was ready."""
        while self.ready is None:
            await asyncio.sleep(SPARE_SECONDS / 4)
        busy_until = time.monotonic() + SPARE_PATIENCE_SECONDS
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < SPARE_SECONDS and time.monotonic() < busy_until:
            await asyncio.sleep(SPARE_SECONDS / 4)
            if self.is_busy():
                quiet_since = time.monotonic()
