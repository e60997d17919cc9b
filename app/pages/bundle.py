"""Bundle the page's scripts with esbuild: two requests where there were eighty, and one for each room that a reader
comes near.

    python -m app.pages.bundle [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.pages.modules import ENTRIES, MANIFEST, digest_of_sources, modules_of
from app.settings import ROOT, Settings

ESBUILD = ROOT / "node_modules" / ".bin" / "esbuild"
OPTIONS = (
    "--bundle",
    "--splitting",
    "--format=esm",
    "--target=es2022",
    "--minify",
    "--charset=utf8",
    # (``Static`` knows by these names what is small already, and what never changes.)
    "--entry-names=[name].min",
    "--chunk-names=chunks/[name]-[hash].min",
    "--log-level=warning",
)


class CannotBundle(Exception):
    """The reason, and what to do about it."""


def make(out: Path) -> list[Path]:
    """Put a bundle into ``out`` in the place of the one that is there; returns its scripts. Raises CannotBundle."""
    if not ESBUILD.exists():
        raise CannotBundle("There is no esbuild in node_modules: ./kitchen bundle installs it, or npm install.")
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise CannotBundle(f"{out} holds something else than a bundle. Name an empty folder, or none.")
    digest = digest_of_sources()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as work:
        made = Path(work) / "made"
        pages = {entry: _bundle_page(entry, made, Path(work)) for entry in ENTRIES}
        manifest = {"digest": digest, "pages": pages}
        (made / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")
        if out.exists():
            shutil.rmtree(out)
        os.replace(made, out)
    return sorted(out.rglob("*.js"))


def _bundle_page(entry: str, made: Path, work: Path) -> dict[str, list[str]]:
    """One page's scripts. What it needs at once is injected into everything of it: esbuild makes a chunk of each set of
    modules that the same others want, and so makes one of all these, not one for each way in which rooms share them."""
    core, meta = work / "core.js", work / "meta.json"
    core.write_text("".join(f"import {json.dumps(str(ROOT / path))};\n" for path in modules_of(entry)[1:]), "utf-8")
    command = [str(ESBUILD), entry, *OPTIONS, f"--inject:{core}", f"--outdir={made}", f"--metafile={meta}"]
    # (Node may be the one beside this Python.)
    env = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise CannotBundle(f"esbuild would not bundle {entry}:\n{ran.stderr or ran.stdout}")
    outputs = json.loads(meta.read_text("utf-8"))["outputs"]
    return {
        output["entryPoint"]: [_name(file, made) for file in _needed(path, outputs)]
        for path, output in outputs.items()
        if "entryPoint" in output
    }


def _needed(path: str, outputs: Mapping[str, Any]) -> list[str]:
    """An output and those that it needs before it runs, itself first."""
    found, waiting = {path: None}, [path]
    while waiting:
        for needed in outputs[waiting.pop(0)]["imports"]:
            if needed["kind"] == "import-statement" and needed["path"] not in found:
                found[needed["path"]] = None
                waiting.append(needed["path"])
    return list(found)


def _name(output: str, made: Path) -> str:
    """Of an output, which esbuild names as seen from where it ran."""
    return (ROOT / output).resolve().relative_to(made.resolve()).as_posix()


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m app.pages.bundle", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Settings().dist_dir, metavar="DIR", help="where it is put")
    out: Path = parser.parse_args(words).out
    try:
        scripts = make(out)
    except CannotBundle as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    size = sum(path.stat().st_size for path in scripts)
    print(f"{out}: {len(scripts)} scripts, {size / 1e3:.0f} kB")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
