"""A long log costs little memory and reads as if it were all there."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.lines import Lines, OpenFile
from tests.app.conftest import assert_whole, serving

batches = st.lists(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=8), max_size=12)


@settings(max_examples=40, deadline=None)
@given(batches, st.integers(0, 120), st.integers(-110, 110), st.integers(-110, 110))
def test_it_reads_as_a_list_does(written: list[list[bytes]], keep: int, start: int, stop: int) -> None:
    whole: list[bytes] = []
    with tempfile.NamedTemporaryFile() as file:
        lines = Lines(file=OpenFile(Path(file.name)), keep_bytes=keep)
        for batch in written:
            file.write(b"".join(line + b"\n" for line in batch))
            file.flush()
            lines.extend(batch)
            whole += batch
            longest = max(map(len, whole), default=0)
            assert lines.held_bytes <= max(2 * keep, longest) + longest
        assert len(lines) == len(whole)
        assert list(lines) == whole
        assert lines[start:stop] == whole[start:stop]
        assert lines[start:stop:3] == whole[start:stop:3]
        if whole:
            assert (lines[0], lines[-1]) == (whole[0], whole[-1])
        with pytest.raises(IndexError):
            lines[len(whole)]


def test_a_file_that_is_removed_is_read_on_and_let_go_of_at_last(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written = [b"line %d" % number for number in range(1000)]
    path.write_bytes(b"".join(line + b"\n" for line in written))
    gc.collect()  # (what other tests left open)
    before = len(os.listdir("/proc/self/fd"))
    lines = Lines(written, file=OpenFile(path), keep_bytes=100)
    path.unlink()
    assert lines.held_bytes <= 200
    assert list(lines) == written
    del lines
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_a_file_all_stays() -> None:
    lines = Lines([b"a", b"bc"])
    assert lines.held_bytes == 3
    assert list(lines) == [b"a", b"bc"]


def test_a_live_run_is_read_from_its_first_event_on_though_little_of_it_is_in_memory(tmp_path: Path) -> None:
    with serving(tmp_path, live_log_bytes=2_000) as site:
        run_id = site.run("SLOW LONG " + "word " * 20, max_tokens=60)
        run = site.site.store._live[run_id]
        site.wait(lambda: run.summary.totals.completion_tokens > 30)
        assert run.broadcast.lines.held_bytes < 8_000
        with site.socket(run_id) as reader:
            events = [event for frame in reader for event in json.loads(frame)["events"]]
        assert_whole(events, run_id)
        assert events == site.events(run_id)


def test_who_needs_nothing_from_the_file_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\nb\n")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    lines = Lines([b"a", b"b"], file=OpenFile(path), keep_bytes=100)
    lines.end()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert list(lines) == [b"a", b"b"]
