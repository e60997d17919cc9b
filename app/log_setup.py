"""Our own log: JSON lines for machines, colours for a terminal. It never holds a prompt, an answer or a run's id."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

import structlog


def set_up_logging(level: str, *, as_json: bool | None = None) -> None:
    """Structured lines on standard error; ``as_json`` None decides by whether that is a terminal."""
    if as_json is None:
        as_json = not sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        # (The renderer's own choice would print every local variable, prompts among them.)
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
    # The server's own lines would name runs by their id, which is the key to read them: warnings and up only.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


class _StandardError:
    """Prints lines to whatever standard error is now. Never raises: a log that cannot be written (a full disk, a
    terminal that is gone, a closed pipe) must not end what was only going to be mentioned in it."""

    def msg(self, line: str) -> None:
        """Print one line."""
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    log = debug = info = warning = warn = error = err = critical = exception = fatal = failure = msg
