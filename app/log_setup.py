"""Our own log: JSON lines for machines, colours for a terminal. It never holds a prompt, an answer or a run's id.

Our lines are made of counts, times and names of ours. What may hold more is cut: exceptions are told by where they came
from and their type, and of what a library says only the first line stands, without the ids in it."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress

import structlog
from structlog.typing import EventDict, WrappedLogger

from inference.tracebacks import frames_and_types, says_all

_KEY = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])")
"""A run's id or a visitor's token."""


def set_up_logging(level: str, *, as_json: bool | None = None) -> None:
    """Structured lines on standard error; ``as_json`` None decides by whether that is a terminal."""
    if as_json is None:
        as_json = not on_terminal()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_exception,
        _without_keys,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
    # The server's own lines would name runs by their id, which is the key to read them: warnings and up only.
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _cut],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)


def on_terminal() -> bool:
    """Whether standard error is a person's terminal."""
    with suppress(OSError, ValueError, AttributeError):
        return sys.stderr.isatty()
    return False


def _tell_exception(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """``exc_info`` in words."""
    told = event.pop("exc_info", None)
    error = told[1] if isinstance(told, tuple) else sys.exc_info()[1] if told is True else told
    if isinstance(error, BaseException):
        event["exception"] = frames_and_types(error)
    return event


def _without_keys(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """An error of the disk names the file, which has the name of the run."""
    for field, value in event.items():
        if isinstance(value, str) and field not in ("event", "exception"):
            event[field] = _KEY.sub("(key)", value)
    return event


def _cut(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """What a library says may quote what it was given in the lines after its first."""
    if not says_all():
        first = str(event.get("event", "")).strip().partition("\n")[0]
        event["event"] = _KEY.sub("(key)", first)
    return event


class _StandardError:
    """Prints lines to whatever standard error is now. Never raises: a log that cannot be written (a full disk, a
    terminal that is gone, a closed pipe) must not end what was only going to be mentioned in it."""

    def msg(self, line: str) -> None:
        """Print one line."""
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    log = debug = info = warning = warn = error = err = critical = exception = fatal = failure = msg


class _Handler(logging.Handler):
    """The libraries' lines, the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        _StandardError().msg(self.format(record))
