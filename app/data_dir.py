"""The data directory, and the claim on it: two kitchens on one would close each other's logs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataDirUnusable(Exception):
    """The directory cannot be used; the message says why, and what to do."""


OURS = {"runs": "a folder", "secret": "a file"}
"""What stands in the directory, and as what. (``lock`` is tried out.)"""


def in_the_way(data_dir: Path) -> str:
    """What of ours cannot stand there because something else does, in words; empty where nothing is."""
    for name, kind in OURS.items():
        path = data_dir / name
        if path.exists() and not (path.is_dir() if kind == "a folder" else path.is_file()):
            return f"{path} is not {kind}"
    return ""


@contextmanager
def using(data_dir: Path) -> Iterator[None]:
    """What fails within fails because of the directory. Raises DataDirUnusable."""
    advice = "Move it away or mend its owner, or name another folder with --data-dir."
    if found := in_the_way(data_dir):
        raise DataDirUnusable(f"Runs cannot be kept in {data_dir}: {found}. {advice}")
    try:
        yield
    except OSError as error:
        what = f"{error.filename or data_dir}: {error.strerror or error}"
        raise DataDirUnusable(f"Runs cannot be kept in {data_dir}: {what}. {advice}") from error


class DataDirClaim:
    """An exclusive lock on ``DIR/lock``. The operating system drops it with the process, however that ends."""

    def __init__(self, data_dir: Path) -> None:
        self._descriptor: int | None = None
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirUnusable(
                f"Runs cannot be kept in {data_dir}: {error.strerror}. Name another folder with --data-dir."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                detail = f"Another kitchen keeps its runs in {data_dir}. Give this one a folder of its own: --data-dir."
            else:
                detail = f"{data_dir} cannot be locked: {error.strerror}. Name another folder with --data-dir."
            raise DataDirUnusable(detail) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another kitchen have it. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()
