"""Which scripts a page needs at once: named in its head, they come side by side, not one after the other as each is
read and found to import the next."""

from __future__ import annotations

import posixpath
import re
from functools import cache

from app.settings import ROOT

# Static imports and re-exports; what `import(...)` fetches comes when it is wanted.
_IMPORT = re.compile(r"""^\s*(?:import|export)\b[^"'();]*["'](\.[^"']+)["']""", re.MULTILINE)


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
