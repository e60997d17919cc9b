"""One process of the engine: started, asked to end, ended."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import structlog

logger = structlog.get_logger(__name__)

SHUTDOWN_SECONDS = 2.0
"""An engine has nothing to lose: one that is in the middle of a long step is not waited for."""
_PREFIX = "openkitchen-engine-"
"""Of folders for sockets; the process id of who made it follows."""


class EngineProcess:
    """From its start to its end. It binds ``endpoint``, which nobody else uses."""

    def __init__(self, process: asyncio.subprocess.Process, directory: tempfile.TemporaryDirectory[str]) -> None:
        self._process = process
        self._directory = directory
        self._words = asyncio.create_task(self._read_words())

    @classmethod
    async def start(cls, command: Sequence[str], *, standby: bool = False) -> Self:
        """``standby``: it makes itself ready as far as that costs little memory, and goes on when it is first spoken
        to. Raises OSError where there is no such command."""
        directory = tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True)
        arguments = ["--endpoint", _endpoint(directory.name), *(["--standby"] if standby else [])]
        # (We may be gone before it looks who its parent is.)
        arguments += ["--parent-pid", str(os.getpid())]
        try:
            # A session of its own: Ctrl-C in a terminal reaches us, and we end it in order.
            process = await asyncio.create_subprocess_exec(
                *command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        except BaseException:
            directory.cleanup()
            raise
        logger.info("engine.started", pid=process.pid, standby=standby)
        return cls(process, directory)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return _endpoint(self._directory.name)

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self._process.pid if self._process.returncode is None else None

    async def wait(self) -> int:
        """Its exit status, once it has one."""
        return await self._process.wait()

    async def end(self, ask: Callable[[], None] | None) -> None:
        """``ask`` for its end, where it listens; else, or in vain, tell it; else kill it."""
        process = self._process
        try:
            for say, seconds in (
                (ask, SHUTDOWN_SECONDS),
                (lambda: process.send_signal(signal.SIGTERM), 2.0),
                (lambda: process.send_signal(signal.SIGKILL), 2.0),
            ):
                if process.returncode is not None:
                    return
                if say is not None and await self._ends_after(say, seconds):
                    return
        finally:
            self._words.cancel()
            await asyncio.gather(self._words, return_exceptions=True)
            self._directory.cleanup()

    async def _ends_after(self, say: Callable[[], None], seconds: float) -> bool:
        try:
            say()
            await asyncio.wait_for(self._process.wait(), seconds)
        except ProcessLookupError:
            return True
        except TimeoutError:
            return False
        return True

    async def _read_words(self) -> None:
        """What the engine process prints goes to our log, not to readers."""
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(8192):
            for line in chunk.decode(errors="replace").splitlines():
                if line.strip():
                    logger.info("engine.output", line=line[:500])


def sweep_left_behind() -> None:
    """Remove the folders of sites that were killed and could not."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _endpoint(directory: str) -> str:
    return f"ipc://{Path(directory) / 'engine'}"


def exit_words(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by signal {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
