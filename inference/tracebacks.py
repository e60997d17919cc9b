"""Where an exception came from, without what it says: messages quote what they stumble over, which may be a visitor's
prompt or the id that is the key to their run."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from types import TracebackType


def says_all() -> bool:
    """Whether whoever keeps this kitchen asked for the messages too (``OPENKITCHEN_LOG_PRIVATE``)."""
    return os.environ.get("OPENKITCHEN_LOG_PRIVATE", "").lower() in ("1", "true", "yes", "on")


def frames_and_types(error: BaseException) -> str:
    """A traceback with files, lines, source and the types of the exceptions, causes first."""
    if says_all():
        return "".join(traceback.format_exception(error)).rstrip()
    return "\n".join(_parts(error, set()))


def _parts(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    parts = [*_parts(cause, seen), "and from there:"] if cause is not None and id(cause) not in seen else []
    parts += [frame.rstrip() for frame in traceback.format_tb(error.__traceback__)]
    parts.append(type(error).__name__)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            parts += ["in the group:", *_parts(inner, seen)]
    return parts


class QuietFormatter(logging.Formatter):
    """Lines whose tracebacks have no messages."""

    def formatException(self, ei: object) -> str:
        """As ``frames_and_types``."""
        error = ei[1] if isinstance(ei, tuple) else None
        return frames_and_types(error) if isinstance(error, BaseException) else ""


def be_quiet() -> None:
    """The same for what ends this process."""

    def tell(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        sys.stderr.write(f"{frames_and_types(error)}\n")

    sys.excepthook = tell
