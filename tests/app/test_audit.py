"""An audit that could not ask is never taken for a clean one."""

from __future__ import annotations

import json

import pytest

from tools import audit

CLEAN = json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": []}]})
BAD = json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1"}]}]})
SKIPPED = json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found on PyPI and could not be audited"}]})
NPM_CLEAN = json.dumps({"metadata": {"dependencies": {"total": 3}}, "vulnerabilities": {}})
NPM_BAD = json.dumps({"metadata": {"dependencies": {"total": 3}}, "vulnerabilities": {"b": {"severity": "high"}}})
NPM_NONE = json.dumps({"message": "405 Method Not Allowed", "error": {}})


@pytest.mark.parametrize(
    ("python", "npm", "status", "strict", "words"),
    [
        (CLEAN, NPM_CLEAN, 0, 0, "1 packages asked about, no known vulnerability"),
        (BAD, NPM_CLEAN, 1, 1, "VULNERABLE: a 1 (PYSEC-1)"),
        (CLEAN, NPM_BAD, 1, 1, "VULNERABLE: b (high)"),
        (SKIPPED, NPM_CLEAN, 0, 2, "NOT AUDITED: 1 packages (a): not found on PyPI"),
        ("", NPM_CLEAN, 0, 2, "no all-clear for Python"),
        (CLEAN, NPM_NONE, 0, 2, "405 Method Not Allowed"),
        (CLEAN, "", 0, 2, "no all-clear for npm"),
    ],
)
def test_what_is_said_of_what_came_back(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    python: str,
    npm: str,
    status: int,
    strict: int,
    words: str,
) -> None:
    monkeypatch.setattr(audit, "run", lambda command, extra: (npm if command[0] == "npm" else python, "no route"))
    monkeypatch.setattr(audit.shutil, "which", lambda name: name)
    assert audit.main([]) == status
    assert audit.main(["--strict"]) == strict
    said = capsys.readouterr().out
    assert words in said
    assert ("all-clear" in said) == (strict == 2)
