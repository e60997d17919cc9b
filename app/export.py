"""``openkitchen export``: the page as plain files, for any web server and any sub-path, with no kitchen behind it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from app.pages.article import article_html
from app.pages.chapters import rooms
from app.pages.embed import embed_html
from app.pages.gallery import recordings_html
from app.pages.modules import DIST, bundle_in
from app.pages.sheets import BUNDLES, bundle
from app.pages.static import STATIC, body_of
from app.run_files import RunFiles
from app.security import file_policy
from app.settings import ROOT, Settings
from app.version import VERSION

MARKER = ".openkitchen-export"
"""Names the files of an export, so that the next one knows which are its own."""
STAGING = ".openkitchen-new"
SUFFIX = ".html"
LEFT_OUT = {"static/js/styleguide.js", "static/css/styleguide.css"}
UNUSED = ("static/vendor/htmx", "static/vendor/LICENSES/htmx", f"{DIST}/")
"""What only a page with a kitchen asks for; and a bundle, which is taken from where the settings say."""

Files = dict[str, bytes]


class CannotExport(Exception):
    """The reason, and what to do about it."""


def export(folder: Path, settings: Settings, run_ids: Sequence[str] = (), *, force: bool = False) -> list[str]:
    """Write the site into ``folder``; returns the paths of its files there. Everything is made before anything of the
    folder changes, each file then takes its place whole, and an export that was cut short can be made again.

    Raises CannotExport for a folder with files of somebody else's (``force`` leaves those where they are, unless they
    stand in the way) and for runs that are not there; OSError where the disk will not have it.
    """
    known = _check(folder, force=force)
    files = site_files(settings, run_ids)
    _check_ways(folder, files)
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for name, body in files.items():
            _write(staging / name, body)
        # From here on the folder is an export, whole or not: whoever comes next may mend it.
        _mark(folder, {*known, *files})
        # Pages last: what they name is there before them.
        for name in sorted(files, key=lambda name: (name.endswith(SUFFIX), name)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / name, folder / name)
        for name in known - files.keys():
            _remove(folder, name)
        _mark(folder, set(files))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(files)


def site_files(settings: Settings, run_ids: Sequence[str] = ()) -> Files:
    """All that the page needs, by the paths under which it finds it. Raises CannotExport for a run that is not here."""
    dist = settings.dist_dir
    files = dict(_static_files(dist))
    runs: dict[str, str] = {}
    for run_id in run_ids:
        runs[run_id] = f"runs/{run_id}.jsonl.gz"
        files[runs[run_id]] = _packed_run(settings, run_id)
    policy = file_policy()
    page = {"kitchen": False, "run_id": None, "mine": False, "runs": runs, "embeds": SUFFIX}
    common = {"kitchen": False, "policy": policy, "address": ""}
    nothing = {"social": None, "run": None, "refresh": False, "notice": "", "problem": None, "prompt": ""}
    files["index.html"] = article_html(page, common | nothing, dist).encode()
    files[f"gallery{SUFFIX}"] = recordings_html(common, dist).encode()
    for slug, room in rooms().items():
        files[f"embed/{slug}{SUFFIX}"] = embed_html(room, runs, dist, more={"policy": policy}).encode()
    # GitHub's pages would else be made by a program that leaves out what begins with an underscore.
    files[".nojekyll"] = b""
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return files


def _static_files(dist: Path) -> Iterator[tuple[str, bytes]]:
    for name in BUNDLES:
        yield f"static/css/{name}.css", bundle(name)
    bundled = {f"static/css/{part}.css" for parts in BUNDLES.values() for part in parts}
    for path in sorted(STATIC.rglob("*")):
        name = path.relative_to(STATIC.parent).as_posix()
        if not path.is_file() or name in bundled | LEFT_OUT or name.startswith(UNUSED) or name.endswith(".d.ts"):
            continue
        yield name, body_of(path)
    pages = bundle_in(dist) or {}
    scripts = {name for entry in pages.keys() - LEFT_OUT for names in pages[entry].values() for name in names}
    for name in sorted(scripts):
        yield f"{DIST}/{name}", body_of(dist / name)


def _packed_run(settings: Settings, run_id: str) -> bytes:
    if not run_id.isascii() or not run_id.replace("-", "").replace("_", "").isalnum():
        raise CannotExport(f"{run_id!r} is no run's id. It stands in the page's address: ?run=ID")
    packed = RunFiles(settings.data_dir / "runs").read_packed(run_id)
    if packed is None:
        raise CannotExport(
            f"There is no finished run {run_id} in {settings.data_dir}. It may still be cooking, or be older than is "
            "kept; --data-dir names another kitchen's folder."
        )
    return packed


# ---- the folder -----------------------------------------------------------------------------------------------------


def _check(folder: Path, *, force: bool) -> set[str]:
    """The files of an earlier export there. Raises CannotExport where there are others too."""
    if folder.exists() and not folder.is_dir():
        raise CannotExport(f"{folder} is a file. Name a folder.")
    if not folder.exists():
        return set()
    known = _marked(folder)
    others = [name for name in _names(folder) if name not in known]
    if others and not force:
        some = ", ".join(sorted(others)[:3]) + (" ..." if len(others) > 3 else "")
        raise CannotExport(
            f"{folder} holds files that no export wrote ({some}). Name an empty folder; or, with --force, they stay "
            "where they are, unless one of them has the name of a file of the export."
        )
    return known


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        # (A link to a folder is somebody's, and what lies behind it is not ours to write to.)
        if name.parts[0] not in (STAGING, MARKER) and (path.is_symlink() or not path.is_dir()):
            yield name.as_posix()


def _check_ways(folder: Path, names: Iterable[str]) -> None:
    """Raises CannotExport where a file or a link stands where the export wants a folder, or a folder where it wants a
    file: before anything is written."""
    for name in names:
        ways = [folder / way for way in PurePosixPath(name).parents if way.name]
        blocked = next((way for way in ways if way.is_symlink() or (way.exists() and not way.is_dir())), None)
        if blocked is None and (folder / name).is_dir():
            blocked = folder / name
        if blocked is not None:
            raise CannotExport(f"{blocked} is in the way of the export. Move it, or name another folder.")


def _marked(folder: Path) -> set[str]:
    """What the marker names, of what may be a name. Nobody's marker is trusted with a path out of the folder."""
    try:
        names = json.loads((folder / MARKER).read_bytes())["files"]
        return {name for name in names if isinstance(name, str) and _is_inside(name)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _mark(folder: Path, names: set[str]) -> None:
    body = json.dumps({"openkitchen": VERSION, "files": sorted(names)}, indent=1) + "\n"
    _write(folder / STAGING / MARKER, body.encode())
    os.replace(folder / STAGING / MARKER, folder / MARKER)


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def _remove(folder: Path, name: str) -> None:
    """A file of an earlier export that this one does not have, and folders that are empty without it."""
    path = folder / name
    path.unlink(missing_ok=True)
    for parent in path.relative_to(folder).parents:
        try:
            (folder / parent).rmdir()
        except OSError:
            return
