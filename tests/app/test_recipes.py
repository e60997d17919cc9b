"""The recordings that the article opens with: each shows what its room needs, and they say where they come from."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from app.cli import app
from app.pages.article import RECORDING
from app.recipes import (
    DEFAULT_RUN,
    MAX_BYTES,
    PROMPT,
    RECIPES,
    RECORDINGS,
    SHARDING,
    Lanes,
    ShowsNothing,
    of,
    opened,
    token_ids,
)
from app.record import CannotRecord, read_log
from app.recording import record_recipes
from app.settings import Settings
from app.takes import parent_of
from inference.events import BlockCopied, LogOpened, RequestFinished, RequestPreempted, StepStarted, TokenSampled
from inference.takes import KINDS

BATCHED = ("static", "continuous", "unchunked", "chunked", "batch", "slab", "paged", "starved", "rush-hour")


@pytest.fixture(scope="module")
def lanes() -> Lanes:
    return {key: read_log(RECORDINGS / recipe.file) for key, recipe in RECIPES.items()}


@pytest.mark.parametrize("key", RECIPES)
def test_it_shows_what_its_room_needs(lanes: Lanes, key: str) -> None:
    RECIPES[key].shows(lanes[key], lanes)


@pytest.mark.parametrize("key", RECIPES)
def test_it_says_where_it_comes_from(lanes: Lanes, key: str) -> None:
    first = opened(lanes[key])
    assert first.source == "recorded"
    assert first.hardware is not None
    assert first.hardware.name
    assert first.hardware.memory_bandwidth > 0
    assert first.software is not None
    assert len(first.software.commit) == 40
    assert first.opened_at > 1.7e9
    assert first.model is not None
    assert "GGUF" in first.model.note


@pytest.mark.parametrize("key", [key for key in RECIPES if key != DEFAULT_RUN])
def test_it_is_a_take_of_the_default_run(lanes: Lanes, key: str) -> None:
    first, run = opened(lanes[key]), opened(lanes[DEFAULT_RUN])
    assert first.parent == run.run_id
    assert first.take == SHARDING or first.take in KINDS
    assert key.startswith(first.take) or first.take == "probe"
    assert run.parent is None
    parent = parent_of(lanes[DEFAULT_RUN])
    assert parent is not None
    assert parent.prompt == PROMPT
    if first.take not in ("fork", "probe", SHARDING):
        assert first.params["seed"] == parent.params.seed
        assert first.params["top_p"] == parent.params.top_p


@pytest.mark.parametrize("key", BATCHED)
def test_neighbours_have_no_words(lanes: Lanes, key: str) -> None:
    log = lanes[key]
    own = opened(log).run_id
    assert {e.request_id for e in of(log, TokenSampled)} == {own}
    guests = [e for e in of(log, RequestFinished) if e.request_id != own]
    assert guests
    assert all(e.request_id.startswith("guest-") and e.text is None for e in guests)
    items = {item.request_id for e in of(log, StepStarted) for item in e.requests}
    assert items == {own, *(e.request_id for e in guests)}


def test_the_lanes_of_a_race_have_the_same_knobs(lanes: Lanes) -> None:
    shared = ("temperature", "max_tokens")
    for keys in (("standard", "speculative", "mismatched", "look-up"), ("standard-fp32", "speculative-fp32")):
        assert len({tuple(opened(lanes[key]).knobs[knob] for knob in (*shared, "dtype")) for key in keys}) == 1
    for one, other in (("static", "continuous"), ("slab", "paged")):
        knobs = [opened(lanes[key]).knobs | {"share": True} for key in (one, other)]  # (slabs never share)
        assert knobs[0] == knobs[1]
    whole, pieces = (opened(lanes[key]).knobs for key in ("unchunked", "chunked"))
    assert {name for name in whole if whole[name] != pieces[name]} == {"max_num_batched_tokens"}


def test_all_together_are_small_and_nothing_else_lies_there() -> None:
    files = {path.name for path in RECORDINGS.glob("*.jsonl.gz")}
    assert files == {recipe.file for recipe in RECIPES.values()}
    assert sum((RECORDINGS / name).stat().st_size for name in files) < MAX_BYTES
    assert (RECORDINGS / Path(RECORDING).name) == RECORDINGS / RECIPES[DEFAULT_RUN].file


def test_what_is_on_disk_is_lines_of_json() -> None:
    for recipe in RECIPES.values():
        lines = gzip.decompress((RECORDINGS / recipe.file).read_bytes()).splitlines()
        assert json.loads(lines[0])["type"] == "log.opened"
        assert json.loads(lines[-1])["type"] == "log.closed"


@pytest.mark.parametrize(
    ("key", "other", "words"),
    [
        ("starved", "paged", "request.preempted"),
        ("samples", "again", "three samples"),
        ("continuous", "batch", "the workload of static"),
        ("paged", "slab", "less waste"),
        ("unchunked", "continuous", "read in one step|five usual"),
        ("chunked", "unchunked", "half of the longest"),
        ("again", "paged", "prefix-cache hit"),
        ("speculative", "standard", "drafts"),
        ("standard", "speculative", "no drafts"),
        ("speculative-fp32", "speculative", "float32"),
        ("int4", "int8", "weights of int4"),
        ("logits", "attention", "logits"),
        ("attention", "logits", "summaries"),
        ("gaze", "attention", "every token"),
        ("rush-hour", "static", "place in the line"),
        ("sharding", "again", "collectives"),
    ],
)
def test_a_recording_of_something_else_is_found_out(lanes: Lanes, key: str, other: str, words: str) -> None:
    with pytest.raises(ShowsNothing, match=words):
        RECIPES[key].shows(lanes[other], lanes)


def test_a_log_with_a_hole_is_found_out(lanes: Lanes) -> None:
    log = lanes["samples"]
    copied = next(index for index, event in enumerate(log) if isinstance(event, BlockCopied))
    with pytest.raises(ShowsNothing, match="seq"):
        RECIPES["samples"].shows([*log[:copied], *log[copied + 1 :]], lanes)
    with pytest.raises(ShowsNothing, match="finished"):
        RECIPES["samples"].shows(log[:-1], lanes)
    bare = replace(opened(log), hardware=None)
    with pytest.raises(ShowsNothing, match="hardware"):
        RECIPES["samples"].shows([bare, *log[1:]], lanes)


def test_two_texts_that_part_are_found_out(lanes: Lanes) -> None:
    log = list(lanes["speculative-fp32"])
    place = next(index for index, event in enumerate(log) if isinstance(event, TokenSampled))
    log[place] = replace(log[place], id=1)
    assert token_ids(log) != token_ids(lanes["standard-fp32"])
    with pytest.raises(ShowsNothing, match="token for token"):
        RECIPES["speculative-fp32"].shows(log, lanes)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--prompt TEXT or --recipe NAME"),
        (["--prompt", "a", "--recipe", "all"], "--prompt TEXT or --recipe NAME"),
        (["--prompt", "a"], "-o NAME.jsonl.gz"),
        (["--prompt", "a", "-o", "a.json"], "NAME.jsonl.gz, not a.json"),
        (["--recipe", "minestrone"], "There is no recipe 'minestrone'; there are tomato-soup, again,"),
        (["--recipe", "samples", "-o", "nowhere/samples.jsonl.gz"], "There is no folder nowhere."),
        (["--recipe", "all", "-o", "nowhere"], "There is no folder nowhere."),
    ],
)
def test_what_cannot_be_recorded_is_said_in_words(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["record", *arguments])
    assert result.exit_code == 1
    assert words in result.stderr


def test_takes_want_a_default_run(tmp_path: Path) -> None:
    with pytest.raises(CannotRecord, match=DEFAULT_RUN):
        next(record_recipes(["samples", "paged"], tmp_path, Settings(), lambda stage, fraction: None))


def test_the_starved_run_is_preempted_itself(lanes: Lanes) -> None:
    """The page follows the reader's own tokens out and in again."""
    own = opened(lanes["starved"]).run_id
    assert any(e.request_id == own for e in of(lanes["starved"], RequestPreempted))
    assert isinstance(lanes["starved"][0], LogOpened)
