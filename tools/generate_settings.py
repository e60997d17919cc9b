"""Write ``docs/settings.md`` from ``app/settings.py`` and the command line, or check that it has not drifted.

python tools/generate_settings.py            # writes docs/settings.md
python tools/generate_settings.py --check    # exit 1 if that file is not what would be written
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import typer.main
from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "settings.md"

sys.path.insert(0, str(ROOT))

from app.cli import app  # noqa: E402
from app.settings import Settings  # noqa: E402

PREFIX = "OPENKITCHEN_"
SECTIONS = {
    "host": "Serving",
    "engine": "Several replicas",
    "model": "The engine",
    "max_prompt_chars": "Limits",
    "keep_runs": "Keeping runs",
}
"""The first setting of each section."""
BESIDES = {
    "CACHE_DIR": "Where converted models and what was measured of the machine are kept; unset: the platform's cache "
    "folder (`~/.cache/openkitchen` on Linux). Shared by `serve` and `record`.",
    "COMMIT": "The commit that a recording says it was made at, where there is no checkout to ask (the image sets it).",
    "LOG_PRIVATE": "`1`: what exceptions and libraries say stands in the log too, to look into a fault: it may quote "
    "prompts and ids of runs.",
    "TORCH_INDEX": "For `./kitchen` and the Dockerfile: the index that PyTorch is installed from.",
    "CHROMIUM": "For tests and benchmarks: a Chromium.",
}
"""Variables that are no settings of the site."""
HEAD = """# Settings

Each setting is an environment variable; those with an option can be given to `openkitchen serve` too, and the option
wins. Lists are separated by commas. Seconds and bytes unless a name says otherwise. A value that is no good ends the
start with a sentence that says why; `openkitchen doctor` looks at the whole of a set-up.

This page is written by `tools/generate_settings.py` from `app/settings.py`.
"""


def kind(annotation: Any) -> str:  # noqa: ANN401
    """A type in words."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "list"
    inner = [part for part in get_args(annotation) if part is not NoneType]
    names = {
        bool: "true, false",
        int: "whole number",
        float: "number",
        str: "text",
        SecretStr: "secret",
        Path: "folder",
    }
    return names[inner[0] if inner else annotation]


def bounds(field: FieldInfo) -> str:
    """What a number must be, in words; empty where it may be anything."""
    words = {Ge: ("ge", "from {}"), Gt: ("gt", "over {}"), Le: ("le", "to {}"), Lt: ("lt", "under {}")}
    said = [
        text.format(f"{getattr(limit, name):,}")
        for limit in field.metadata
        for form, (name, text) in words.items()
        if isinstance(limit, form)
    ]
    return f", {' '.join(said)}" if said else ""


def default(name: str, field: FieldInfo) -> str:
    """The value without the variable."""
    if name == "data_dir":
        return "`data` in a checkout, else `~/.local/share/openkitchen`"
    value = field.default
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        return f"`{value.relative_to(ROOT)}` beside the program"
    if value is None or value in ("", ()):
        return "unset"
    return f"`{value:.12g}`" if isinstance(value, float) else f"`{value}`"


def meaning(name: str, field: FieldInfo) -> str:
    """Its docstring on one line. Raises ``ValueError`` where there is none."""
    if not field.description:
        raise ValueError(f"{name} has no docstring in app/settings.py: say what it means")
    return " ".join(field.description.replace("``", "`").split())


def commands() -> dict[str, Any]:
    """The commands by name, as Typer makes them."""
    group: Any = typer.main.get_command(app)
    made: dict[str, Any] = group.commands
    return made


def of_commands() -> Iterator[tuple[str, str]]:
    """Variables of other commands' own options, and what they are for."""
    for name, command in commands().items():
        for option in command.params:
            if option.envvar:
                yield str(option.envvar), f"`openkitchen {name} {option.opts[0]}`: {option.help}"


def render() -> str:
    """The whole page."""
    with_option = {option.name for option in commands()["serve"].params}
    lines = [HEAD]
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            lines += ["", f"## {SECTIONS[name]}", "", "| variable | option | default | value | meaning |"]
            lines.append("|---|---|---|---|---|")
        option = f"`--{name.replace('_', '-')}`" if name in with_option else ""
        value = f"{kind(field.annotation)}{bounds(field)}"
        cells = (f"`{PREFIX}{name.upper()}`", option, default(name, field), value, meaning(name, field))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Besides", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{PREFIX}{name}` | {words} |" for name, words in BESIDES.items()]
    lines += [f"| `{name}` | {words} |" for name, words in of_commands()]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page has drifted")
    wanted = render()
    if not parser.parse_args().check:
        TARGET.write_text(wanted)
        return 0
    if TARGET.exists() and TARGET.read_text() == wanted:
        return 0
    print(f"{TARGET.relative_to(ROOT)} has drifted from app/settings.py: run {Path(__file__).relative_to(ROOT)}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
