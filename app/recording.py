"""Makes the recordings that the article opens with, by their recipes."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from app.recipes import (
    DEFAULT_RUN,
    PARAMS,
    PROMPT,
    RECIPES,
    RECORDINGS,
    SHARDED_TOKENS,
    SHARDING,
    Lanes,
    Log,
    Recipe,
    ShowsNothing,
    opened,
)
from app.record import CannotRecord, Progress, Recorder, read_log
from app.settings import Settings
from app.takes import parent_of
from inference.events import encode


def record_recipes(keys: Sequence[str], output: Path | None, settings: Settings, progress: Progress) -> Iterator[Path]:
    """Make the recordings ``keys``, in the book's order, and say each file when it stands. ``output``: of one, the
    file; of several, the folder; None: where the article looks for them.

    What is a take, is one of the default run: of the one that is made now, else of the recording that is there. A
    recording takes its place only once it shows what its room needs. Raises what ``Recorder`` raises, ``CannotRecord``,
    and ``ShowsNothing`` with the recipe's name.
    """
    folder = RECORDINGS if output is None or len(keys) == 1 else output
    lanes: dict[str, Log] = {
        recipe.key: read_log(folder / recipe.file) for recipe in RECIPES.values() if (folder / recipe.file).exists()
    }
    if DEFAULT_RUN not in keys and DEFAULT_RUN not in lanes:
        raise CannotRecord(f"the other recordings are takes of {DEFAULT_RUN}, which is not in {folder} yet")
    book = _Book(settings, progress, lanes)
    for key in [key for key in RECIPES if key in keys]:
        recipe = RECIPES[key]
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary) / recipe.file
            book.record(recipe, made)
            log = read_log(made)
            try:
                recipe.shows(log, lanes)
            except ShowsNothing as lack:
                raise ShowsNothing(f"the recording {key!r} lacks {lack}") from None
            lanes[key] = log
            target = output if output is not None and len(keys) == 1 else folder / recipe.file
            shutil.copyfile(made, target)
        yield target


class _Book:
    """Records one recipe after another on one loaded model."""

    def __init__(self, settings: Settings, progress: Progress, lanes: Lanes) -> None:
        self._settings = settings
        self._progress = progress
        self._lanes = lanes
        self._recorder = Recorder(settings, progress)
        self._has_cooked = False
        """The default run, on this engine: its blocks may be found in the prefix cache."""

    def record(self, recipe: Recipe, made: Path) -> None:
        if recipe.key == DEFAULT_RUN:
            self._recorder.run(PROMPT, PARAMS, made)
            self._has_cooked = True
            return
        run = self._lanes[DEFAULT_RUN]
        parent = parent_of(run)
        assert parent is not None, "it has been read, and shown to have an answer"
        if recipe.key == SHARDING:
            self._shard(opened(run).run_id, made)
            return
        assert recipe.take is not None
        if recipe.key == "again" and not self._has_cooked:
            self._recorder.run(PROMPT, PARAMS, None)
        self._recorder.take(recipe.take(parent, run), parent, opened(run).run_id, made)

    def _shard(self, parent_id: str, made: Path) -> None:
        """In three processes, which is no engine of ours: the log is told afterwards whose take it is."""
        from inference import sharding

        self._progress("sharding", None)
        sharding.record(PROMPT, made, name=self._settings.model, max_tokens=SHARDED_TOKENS)
        log = read_log(made)
        log[0] = replace(opened(log), parent=parent_id, take=SHARDING, knobs={"num_ranks": sharding.NUM_RANKS})
        made.write_bytes(gzip.compress(b"".join(encode(event) + b"\n" for event in log), 9, mtime=0))
