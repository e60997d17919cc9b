"""``openkitchen doctor``: what it says of this machine, and of machines that lack something."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from app.doctor import examine
from app.settings import Settings
from inference.machine import Finding, look
from inference.models import package_gguf

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there the kernels are run: minutes")


@without_gpu
def test_it_says_what_this_machine_has(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["doctor", "--json", str(report), "--data-dir", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    written = json.loads(report.read_text())
    assert written["healthy"]
    assert written["kernels"] is None
    assert "not run: there is no GPU here" in result.output
    said = {finding["topic"]: finding for finding in written["findings"]}
    assert torch.__version__ in said["PyTorch"]["value"]
    assert str(package_gguf()) in said["model"]["value"]
    assert said["GPU"]["state"] == "lacks"
    assert said["would use"]["value"].startswith("cpu, ")
    assert not (tmp_path / "runs").exists()  # it looks and leaves nothing
    assert all(finding["value"] in result.output for finding in written["findings"])


@without_gpu
@pytest.mark.parametrize(
    ("option", "value", "topic"),
    [
        ("--model", "/no/such/model", "model"),
        ("--model", "owner/not-in-the-cache", "model"),
        ("--device", "cuda", "would use"),
        ("--dtype", "int3", "would use"),
        ("--data-dir", "/dev/null/runs", "runs"),
    ],
)
def test_what_is_missing_ends_with_1(option: str, value: str, topic: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["doctor", option, value, "--json", str(report)])
    assert result.exit_code == 1
    written = json.loads(report.read_text())
    assert not written["healthy"]
    needs = [finding for finding in written["findings"] if finding["state"] == "needs"]
    assert [finding["topic"] for finding in needs] == [topic]
    assert needs[0]["advice"]
    assert f"! {topic}" in result.output


def test_no_folder_for_the_report_is_said_first() -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", "/no/such/folder/report.json"])
    assert result.exit_code == 1
    assert "There is no folder /no/such/folder" in result.output
    assert "PyTorch" not in result.output


def test_a_broken_pytorch_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = list(look("auto", "auto"))
    assert [finding.topic for finding in found if finding.state == "needs"] == ["PyTorch"]


def test_no_browser_is_no_illness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENKITCHEN_CHROMIUM", str(tmp_path / "chromium"))
    monkeypatch.setattr("app.doctor._kernels", lambda say: None)
    report = examine(Settings(data_dir=tmp_path), lambda line: None)
    assert report.healthy
    assert next(finding for finding in report.findings if finding.topic == "Chromium").state == "lacks"


@pytest.mark.parametrize(
    ("has_driver", "cuda", "advice"),
    [(True, None, "remove .venv"), (False, None, "none needed"), (True, "13.0", "none")],
)
def test_why_there_is_no_gpu(has_driver: bool, cuda: str | None, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi" if has_driver else None)
    gpu = next(finding for finding in look("cpu", "auto") if finding.topic == "GPU")
    assert gpu.state == "lacks"
    assert gpu.advice.startswith(advice)


def test_triton_on_a_gpu_wants_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from inference import machine

    monkeypatch.setattr(machine, "version", lambda package: "3.7.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    assert machine._triton().state == "needs"
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert machine._triton() == Finding(topic="Triton", state="has", value="3.7.1: attention runs in Triton's kernels")
