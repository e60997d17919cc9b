"""A disk that is full, by the doors through which logs and the files beside them are written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

PLENTY = 100_000_000


def fill_up(monkeypatch: pytest.MonkeyPatch, room: int) -> Callable[[], None]:
    """From now on the disk takes ``room`` more bytes, of a write a part too, then nothing; the returned function makes
    room again."""
    write = os.write
    left = [room]

    def full() -> OSError:
        return OSError(errno.ENOSPC, "No space left on device")

    def scarce(descriptor: int, data: bytes) -> int:
        if left[0] <= 0:
            raise full()
        written = write(descriptor, bytes(data)[: left[0]])
        left[0] -= written
        return written

    def private(path: Path, data: bytes) -> None:
        path.write_bytes(data[: max(0, left[0])])
        left[0] -= len(data)
        if left[0] < 0:
            raise full()

    monkeypatch.setattr("app.runs.os.write", scarce)
    for module in ("app.run_store", "app.run_files"):
        monkeypatch.setattr(f"{module}.write_private", private)
    return lambda: left.__setitem__(0, PLENTY)
