"""What Lighthouse says of the served page: four scores, on a desk and on a phone (which it slows down by itself)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.chromium import chromium_path
from benchmarks.figures import Figure
from benchmarks.served import ROOT, Served

VERSION = "12.8.2"
FOLDER = ROOT / ".cache" / "lighthouse"
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
LEAST = {"desktop": 95, "mobile": 90}


def lighthouse() -> Path:
    """Lighthouse's command; installed by npm when it is first asked for."""
    command = FOLDER / "node_modules" / ".bin" / "lighthouse"
    if not command.exists():
        npm = shutil.which("npm", path=_path())
        if npm is None:
            raise FileNotFoundError("Lighthouse needs npm: run ./kitchen lint once, which brings Node")
        FOLDER.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--prefix", str(FOLDER), "--no-fund", "--no-audit", f"lighthouse@{VERSION}"]
        subprocess.run(install, check=True, env=os.environ | {"PATH": _path()}, stdout=subprocess.DEVNULL)
    return command


def _path() -> str:
    """Node may be the one of the environment."""
    return f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def report(url: str, kind: str) -> dict[str, Any]:
    """Lighthouse's report on one page."""
    flags = ["--headless=new", "--no-first-run", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with tempfile.TemporaryDirectory(prefix="lighthouse-") as folder:
        out = Path(folder) / "report.json"
        command = [str(lighthouse()), url, "--quiet", "--output=json", f"--output-path={out}"]
        command += [f"--only-categories={','.join(CATEGORIES)}", f"--chrome-flags={' '.join(flags)}"]
        command += ["--no-enable-error-reporting", *(["--preset=desktop"] if kind == "desktop" else [])]
        environment = os.environ | {"PATH": _path(), "TMPDIR": folder}
        if path := chromium_path():
            environment["CHROME_PATH"] = path
        subprocess.run(command, check=True, env=environment, timeout=300)
        found: dict[str, Any] = json.loads(out.read_text("utf-8"))
        return found


def complaints(found: dict[str, Any]) -> list[str]:
    """What costs points, in Lighthouse's words."""
    audits = found["audits"]
    weighed = [
        (category["title"], audits[part["id"]])
        for category in found["categories"].values()
        for part in category["auditRefs"]
        if part["weight"] > 0
    ]
    return [
        f"{title}: {audit['title']} {audit.get('displayValue', '')}".strip()
        for title, audit in weighed
        if audit["score"] is not None and audit["score"] < 0.9
    ]


def run() -> Iterator[Figure]:
    with Served() as served:
        for kind, least in LEAST.items():
            found = report(served.url, kind)
            for name in CATEGORIES:
                score = 100 * (found["categories"][name]["score"] or 0)
                yield Figure(f"Lighthouse, {kind}: {name}", score, "", f"at least {least}", score >= least)
            for words in complaints(found):
                print(f"  {kind}: {words}", flush=True)


if __name__ == "__main__":
    for figure in run():
        print(figure.line(), flush=True)
