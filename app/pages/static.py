"""The files of the page, with caching that a browser can trust."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

import rcssmin
import rjsmin
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.pages.sheets import BUNDLES, bundle
from app.settings import ROOT

STATIC = ROOT / "static"
# ``name-1.2.3.min.js`` never changes; neither does a font, nor a chunk of a bundle, whose name holds its hash.
_VERSIONED = re.compile(r"(^|/)vendor/[^/]+-\d+\.\d+\.\d+[^/]*$|-[0-9A-Z]{8}\.min\.js$|\.woff2$")
_TYPES = {".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".gz": "application/gzip"}


_PACKED = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
_MINIFIERS = {".js": rjsmin.jsmin, ".css": rcssmin.cssmin}


@lru_cache(maxsize=512)
def minified(path: str, modified_ns: int) -> bytes:
    """A script or a sheet of ours without its comments, which are for whoever reads the sources."""
    with open(path, encoding="utf-8") as file:
        return str(_MINIFIERS[os.path.splitext(path)[1]](file.read())).encode()


def _is_written_here(name: str) -> bool:
    """A script or a sheet as it was written, which leaves smaller."""
    return os.path.splitext(name)[1] in _MINIFIERS and not name.endswith(".min.js") and not _VERSIONED.search(name)


def body_of(path: Path) -> bytes:
    """What leaves here for a file under ``static/``."""
    if _is_written_here(path.as_posix()):
        return minified(str(path), path.stat().st_mtime_ns)
    return path.read_bytes()


@lru_cache(maxsize=512)
def packed(body: bytes) -> bytes:
    """A script or a sheet, compressed once for all readers: it was the dearest part of a first visit."""
    return gzip.compress(body, mtime=0)


class Static(StaticFiles):
    """Files under ``static/``. Unversioned ones are asked for again each time (a 304 mostly), and scripts and sheets of
    ours leave without their comments; recordings are plain bytes of gzip, which the browser's ``DecompressionStream``
    opens."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        folder, file = os.path.split(path)
        name, suffix = os.path.splitext(file)
        if folder != "css" or suffix != ".css" or name not in BUNDLES:
            return await super().get_response(path, scope)
        body = bundle(name)
        tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        known = tag in Headers(scope=scope).get("if-none-match", "")
        headers = {"Cache-Control": "public, no-cache", "Access-Control-Allow-Origin": "*", "ETag": tag}
        if not known and _takes_gzip(scope):
            body, headers = packed(body), headers | _PACKED
        return Response(b"" if known else body, 304 if known else 200, headers, "text/css")

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        path = os.fspath(full_path)
        name = path.replace(os.sep, "/")
        immutable = _VERSIONED.search(name) is not None
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if immutable else "public, no-cache"
        # Embedded pages in sandboxed frames have the origin "null" and may read all of this: it is public.
        response.headers["Access-Control-Allow-Origin"] = "*"
        # Weak, since the same file leaves here compressed or not.
        etag = response.headers["ETag"]
        response.headers["ETag"] = etag if etag.startswith("W/") else f"W/{etag}"
        suffix = os.path.splitext(path)[1]
        if response.status_code != 200:
            return response
        if suffix in _MINIFIERS and _takes_gzip(scope):
            response = _with_body(packed(body_of(Path(path))), response.headers)
            response.headers.update(_PACKED)
        elif _is_written_here(name):
            response = _with_body(minified(path, stat_result.st_mtime_ns), response.headers)
        if suffix in _TYPES:
            response.headers["Content-Type"] = _TYPES[suffix]
        return response


def _takes_gzip(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "gzip" in headers.get("accept-encoding", "") and "range" not in headers


def _with_body(body: bytes, headers: MutableHeaders) -> Response:
    """The same answer with other bytes: whole, for ranges of them would not be those of the file."""
    response = Response(body)
    for name, value in headers.items():
        if name not in ("content-length", "accept-ranges"):
            response.headers[name] = value
    return response
