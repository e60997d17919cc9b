"""Which scripts a page needs at once: named in its head, they come side by side, not one after the other as each is
read and found to import the next. Where they were bundled (``app/pages/bundle.py``) and not changed since, those of the
bundle are named."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from functools import cache
from pathlib import Path

import structlog

from app.settings import ROOT

ENTRIES = ("static/js/main.js", "static/js/embed.js", "static/js/shelf.js", "static/js/styleguide.js")
"""The modules that pages begin with."""
DIST = "static/dist"
"""Where a bundle is found by a browser, wherever it lies on disk."""
MANIFEST = "manifest.json"

# Static imports and re-exports; what `import(...)` fetches comes when it is wanted.
_IMPORT = re.compile(r"""^\s*(?:import|export)\b[^"'();]*["'](\.[^"']+)["']""", re.MULTILINE)

logger = structlog.get_logger(__name__)

Bundle = dict[str, dict[str, list[str]]]
"""By the page's entry, and then by each module that is fetched by itself (the entry, and those that it imports lazily):
its file in the bundle and those that it needs at once."""


def scripts_of(entry: str, dist: Path, lazy: str | None = None) -> tuple[str, ...]:
    """What the page of ``entry`` fetches at once: its own script first, then all that this one needs; with ``lazy``, a
    module that the page will import by and by, also that and what it needs. ``dist``: where a bundle may lie."""
    if entry not in ENTRIES:
        raise ValueError(f"{entry} begins no page: name it in ENTRIES, so that it is bundled too")
    wanted = (entry, lazy) if lazy else (entry,)
    bundle = bundle_in(dist)
    if bundle is None:
        return tuple(dict.fromkeys(path for module in wanted for path in modules_of(module)))
    return tuple(dict.fromkeys(f"{DIST}/{file}" for module in wanted for file in bundle[entry][module]))


@cache
def modules_of(entry: str) -> tuple[str, ...]:
    """The modules that ``entry`` needs before it runs, itself first, in the order of their discovery."""
    found: dict[str, None] = {entry: None}
    waiting = [entry]
    while waiting:
        path = waiting.pop(0)
        for name in _IMPORT.findall((ROOT / path).read_text("utf-8")):
            needed = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
            if needed not in found:
                found[needed] = None
                waiting.append(needed)
    return tuple(found)


@cache
def bundle_in(dist: Path) -> Bundle | None:
    """The bundle that lies there, looked at once; None without one, and where it was made of other scripts than are
    here now."""
    try:
        manifest = json.loads((dist / MANIFEST).read_bytes())
        digest, pages = manifest["digest"], manifest["pages"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("bundle.unreadable", folder=str(dist), kind=type(error).__name__)
        return None
    if digest != digest_of_sources():
        logger.warning("bundle.stale", folder=str(dist), mend="python -m app.pages.bundle")
        return None
    bundle: Bundle = pages
    return bundle


def digest_of_sources() -> str:
    """Of every script under ``static/js``, by name and content."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "static" / "js").rglob("*.js")):
        body = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {len(body)}\n".encode() + body)
    return digest.hexdigest()
