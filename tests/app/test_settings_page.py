"""``docs/settings.md`` names every variable that anything here reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from app.settings import ROOT, Settings
from tools import generate_settings

READERS = (
    "app/**/*.py",
    "inference/**/*.py",
    "benchmarks/**/*.py",
    "kitchen",
    "Dockerfile",
    "compose.yaml",
    "docs/**/*",
)
_VARIABLE = re.compile(r"OPENKITCHEN_[A-Z][A-Z_]*[A-Z]")


def test_the_page_is_what_would_be_written() -> None:
    assert generate_settings.TARGET.read_text() == generate_settings.render()


def test_every_variable_is_on_the_page() -> None:
    page = set(_VARIABLE.findall(generate_settings.TARGET.read_text()))
    files = {file for pattern in READERS for file in ROOT.glob(pattern) if file.suffix in ("", ".py", ".yaml", ".md")}
    named = {(file.name, name) for file in files if file.is_file() for name in _VARIABLE.findall(file.read_text())}
    assert {(file, name) for file, name in named if name not in page} == set()
    assert {f"OPENKITCHEN_{name.upper()}" for name in Settings.model_fields} <= page


def test_a_setting_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_bees has no docstring"):
        generate_settings.meaning("keep_bees", FieldInfo(annotation=int))


def test_a_drifted_page_fails_the_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "settings.md"
    page.write_text(generate_settings.render().replace("8000", "8001"))
    monkeypatch.setattr(generate_settings, "TARGET", page)
    monkeypatch.setattr(generate_settings, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["generate_settings.py", "--check"])
    monkeypatch.setattr(generate_settings, "__file__", str(tmp_path / "tools" / "generate_settings.py"))
    assert generate_settings.main() == 1
