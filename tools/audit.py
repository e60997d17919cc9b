"""Ask whether anything that we install has a known vulnerability: ``./kitchen audit``.

Python's pins (``constraints.txt``) go to pip-audit, which asks OSV (the advisories of PyPI among them, and no package
index is troubled for each of our names); the page's tools (``package-lock.json``) go to ``npm audit``. Exit status 1:
something is vulnerable. What could not be asked about is said and never counts as clean: with ``--strict`` that is exit
status 2, else 0, since a machine without the network is no fault.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / ".cache" / "audit"
"""pip-audit, apart from our own environment: its dependencies are none of ours."""
SECONDS = 300
Run = Callable[[Sequence[str], dict[str, str]], "tuple[str, str]"]


@dataclass
class Finding:
    """What came of asking about one set of packages."""

    what: str
    num_audited: int = 0
    not_audited: list[str] = field(default_factory=list)
    vulnerable: list[str] = field(default_factory=list)
    why: str = ""

    def words(self) -> str:
        """For people."""
        lines = [f"{self.what}: VULNERABLE: {found}" for found in self.vulnerable]
        if self.num_audited and not self.vulnerable:
            lines.append(f"{self.what}: {self.num_audited} packages asked about, no known vulnerability")
        if self.not_audited:
            some = ", ".join(self.not_audited[:5]) + (" ..." if len(self.not_audited) > 5 else "")
            lines.append(f"{self.what}: NOT AUDITED: {len(self.not_audited)} packages ({some}): {self.why}")
        return "\n".join(lines)


def pins() -> list[str]:
    """The names in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line.partition("==")[0] for line in lines if line and not line.startswith("#")]


def of_python(run: Run) -> Finding:
    """pip-audit's answer."""
    command = [sys.executable, "-m", "pip_audit", "-r", "constraints.txt", "--no-deps", "--disable-pip", "-s", "osv"]
    return read_pip_audit(*run([*command, "-f", "json", "--progress-spinner", "off"], {"PYTHONPATH": str(TOOL)}))


def read_pip_audit(out: str, err: str) -> Finding:
    """From its JSON. A package that a service does not know is skipped with a reason, which is not an all-clear."""
    finding = Finding("Python")
    try:
        packages = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        finding.not_audited, finding.why = pins(), last_line(err)
        return finding
    for package in packages:
        if "skip_reason" in package:
            finding.not_audited.append(package["name"])
            finding.why = package["skip_reason"]
        else:
            finding.num_audited += 1
            ids = [f"{vulnerability['id']}" for vulnerability in package["vulns"]]
            finding.vulnerable += [f"{package['name']} {package['version']} ({', '.join(ids)})"] if ids else []
    return finding


def of_npm(run: Run) -> Finding:
    """``npm audit``'s answer."""
    if shutil.which("npm") is None:
        return Finding("npm", not_audited=locked(), why="there is no npm here")
    return read_npm_audit(*run(["npm", "audit", "--json"], {}))


def read_npm_audit(out: str, err: str) -> Finding:
    """From its JSON, which is an error where the registry has no advisories."""
    finding = Finding("npm")
    try:
        report = json.loads(out)
    except ValueError:
        report = {}
    if "metadata" not in report or "error" in report:
        finding.not_audited, finding.why = locked(), last_line(str(report.get("message") or err))
        return finding
    finding.num_audited = report["metadata"]["dependencies"]["total"]
    found = report.get("vulnerabilities", {})
    finding.vulnerable = [f"{name} ({found[name]['severity']})" for name in sorted(found)]
    return finding


def locked() -> list[str]:
    """The packages of package-lock.json."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    return sorted(name.rpartition("node_modules/")[2] for name in packages if name)


def last_line(text: str) -> str:
    """The end of what a tool said, short."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def run(command: Sequence[str], extra: dict[str, str]) -> tuple[str, str]:
    """Output and errors of a command, whatever its exit status."""
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **extra},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{type(error).__name__}: {error}"
    return ended.stdout, ended.stderr


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, say, and sum it up in an exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--strict", action="store_true", help="exit 2 where something could not be asked about")
    strict = parser.parse_args(arguments).strict
    findings = [of_python(run), of_npm(run)]
    print("\n".join(finding.words() for finding in findings))
    if any(finding.vulnerable for finding in findings):
        return 1
    unasked = [finding.what for finding in findings if finding.not_audited]
    if unasked:
        print(f"This is no all-clear for {' and '.join(unasked)}: ask again where the advisories can be reached.")
    return 2 if unasked and strict else 0


if __name__ == "__main__":
    sys.exit(main())
