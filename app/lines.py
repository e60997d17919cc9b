"""The lines of a log: the last ones in memory, those before read back from its file when somebody is far behind."""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

READ_AT_ONCE = 512
"""Lines, while all are gone through."""


class OpenFile:
    """A file that is open until nobody holds this any more. Who writes a log and who reads it back share one: a log
    that grows long needs no second descriptor, at a moment in which there may be none, and no name to open it by."""

    def __init__(self, path: Path, flags: int = os.O_RDONLY) -> None:
        self.path = path
        self.descriptor = os.open(path, flags, 0o600)
        weakref.finalize(self, os.close, self.descriptor)


class Lines(Sequence[bytes]):
    """A list that grows at its end. With a ``file``, to which each line and a newline were written before they come
    here, at most twice ``keep_bytes`` of them stay in memory; without one, all do."""

    def __init__(self, lines: Iterable[bytes] = (), *, file: OpenFile | None = None, keep_bytes: int = 0) -> None:
        self._file = file
        self._keep_bytes = keep_bytes
        self._ends = array("Q", [0])
        """Where each line's successor begins in the file."""
        self._kept: list[bytes] = []
        self.extend(lines)

    @property
    def _num_gone(self) -> int:
        return len(self) - len(self._kept)

    @property
    def held_bytes(self) -> int:
        """Of the lines that are in memory."""
        return self._ends[-1] - self._ends[self._num_gone] - len(self._kept)

    def alike(self) -> Lines:
        """None yet, of the same file: for who is shown the same lines later."""
        return Lines(file=self._file, keep_bytes=self._keep_bytes)

    def extend(self, lines: Iterable[bytes]) -> None:
        """More lines."""
        for line in lines:
            self._kept.append(line)
            self._ends.append(self._ends[-1] + len(line) + 1)
        if self._file is not None and self.held_bytes > 2 * self._keep_bytes:
            self._let_go()

    def end(self) -> None:
        """No more lines. Where none is to be read back, the file is not needed; else it is still read here when the log
        was packed and the file removed."""
        if not self._num_gone:
            self._file = None

    def _let_go(self) -> None:
        held, count = self.held_bytes, 0
        while held > self._keep_bytes and count < len(self._kept) - 1:
            held -= len(self._kept[count])
            count += 1
        del self._kept[:count]

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            start, stop, stride = index.indices(len(self))
            return self._between(start, stop) if stride == 1 else [self[at] for at in range(start, stop, stride)]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        return self._between(at, at + 1)[0]

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self), READ_AT_ONCE):
            yield from self._between(start, min(start + READ_AT_ONCE, len(self)))

    def _between(self, start: int, stop: int) -> list[bytes]:
        kept, gone = self._kept, self._num_gone
        if start >= gone:
            return kept[start - gone : max(start, stop) - gone]
        found = self._read_back(start, min(stop, gone))
        return found + kept[: stop - gone] if stop > gone else found

    def _read_back(self, start: int, stop: int) -> list[bytes]:
        if stop <= start:
            return []
        assert self._file is not None
        begin, end = self._ends[start], self._ends[stop]
        data = os.pread(self._file.descriptor, end - begin, begin)
        if len(data) != end - begin:
            raise OSError(f"a log on disk is shorter than what was written to it: {self._file.path}")
        return data[:-1].split(b"\n")
