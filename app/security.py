"""What protects the reader: headers, origins, and the cookie that makes a run its creator's own."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import Problem, problem_response

VISITOR_COOKIE = "kitchen_visitor"
SECRET_BYTES = 32
VISITOR_SECONDS = 30 * 24 * 3600
_VISITOR = re.compile(r"[A-Za-z0-9_-]{22}")
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")


def content_security_policy(host: str) -> str:
    """Nothing but our own files, nothing inline. ``host`` is named for sockets: older browsers hold that ``'self'``
    does not cover ``ws:``. It comes from the request, so it is dropped unless it is a plain host and port."""
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            f"connect-src 'self'{sockets}",
            "frame-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'self'",
        )
    )


def embed_policy(host: str) -> str:
    """The same for a room in a frame, which any page may hold: it sends no form and frames nothing. ``host`` is named
    for browsers to which ``'self'`` is nobody in a sandbox."""
    own = f"'self' {host}" if _HOST.fullmatch(host) else "'self'"
    return "; ".join(
        (
            "default-src 'none'",
            *(f"{kind}-src {own}" for kind in ("script", "style", "font", "connect")),
            f"img-src {own} data:",
            "form-action 'none'",
            f"base-uri {own}",
            "frame-ancestors *",
        )
    )


def file_policy() -> str:
    """For pages that are plain files, in their ``<meta>``. What a page in a sandbox may load is said by scheme: to it
    a ``'self'`` that stands in the page is nobody. (Who may frame a page only a header can say.)"""
    return "; ".join(
        (
            "default-src 'none'",
            *(f"{kind}-src 'self' http: https:" for kind in ("script", "style", "font", "connect")),
            "img-src 'self' http: https: data:",
            "frame-src 'self'",
            "form-action 'none'",
            "base-uri 'self' http: https:",
        )
    )


def is_framable(path: str, root_path: str) -> bool:
    """Whether other sites may put this address into a frame."""
    return re.fullmatch(r"/embed/[^/]+", path.removeprefix(root_path)) is not None


def security_headers(host: str, *, framable: bool = False) -> dict[str, str]:
    """The headers of every response of the site (what uvicorn answers to a request that is no HTTP is its own).
    ``framable``: other sites may frame it."""
    framing = {"Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "SAMEORIGIN"}
    return {
        "Content-Security-Policy": embed_policy(host) if framable else content_security_policy(host),
        "X-Content-Type-Options": "nosniff",
        # A run's id is the key to read it, and stands in the address bar. (``no-referrer`` would also turn the Origin
        # of our own form into "null".)
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        **({} if framable else framing),
        # What may be kept says so itself.
        "Cache-Control": "no-store",
    }


class SecurityHeaders:
    """ASGI middleware: the security headers on every HTTP response of the site."""

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        values = security_headers(host, framable=is_framable(scope["path"], self.root_path))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in values.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


_READING = re.compile(r"/api/(runs|recordings)/[^/]+(/(events|log|perfetto))?$")


class OpenReading:
    """ASGI middleware: who has a run's id may read it from anywhere, so a room in a sandboxed frame, whose origin is
    "null", may too. Nothing of this depends on a cookie, and a browser lends none to such a request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not _READING.search(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Access-Control-Allow-Origin"] = "*"
            await send(message)

        await self.app(scope, receive, send_open)


class TrustedProxies:
    """ASGI middleware: the caller's address and scheme as told by a proxy that we trust, and by nobody else."""

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self.app = app
        self.trusted = frozenset(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] in ("http", "websocket") and client and client[0] in self.trusted:
            headers = Headers(scope=scope)
            forwarded = [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]
            # The nearest address that is not one of our own proxies is the caller's; what stands left of it is hearsay.
            caller = next((address for address in reversed(forwarded) if address not in self.trusted), None)
            scheme = headers.get("x-forwarded-proto", "").strip().lower()
            scope = dict(scope)
            # The peer's own address stays the key by which a stuck connection is found and cut.
            scope["openkitchen.peer"] = client
            if caller:
                scope["client"] = (caller, 0)
            if scheme in ("http", "https"):
                scope["scheme"] = scheme if scope["type"] == "http" else {"http": "ws", "https": "wss"}[scheme]
        await self.app(scope, receive, send)


class RootPath:
    """ASGI middleware: the site under a prefix, whether the proxy in front strips the prefix or leaves it."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.root_path and scope["type"] in ("http", "websocket"):
            scope = dict(scope)
            path: str = scope["path"]
            scope["root_path"] = self.root_path
            if path == self.root_path and scope["type"] == "http":
                # The page's addresses are relative: they hold only with the slash.
                query = scope.get("query_string", b"").decode("latin-1")
                location = quote(self.root_path) + "/" + (f"?{query}" if query else "")
                await Response(status_code=308, headers={"Location": location})(scope, receive, send)
                return
            if path != self.root_path and not path.startswith(self.root_path + "/"):
                scope["path"] = self.root_path + path
        await self.app(scope, receive, send)


def caller_address(connection: HTTPConnection) -> str:
    """Who is calling, for limits: the address, or for IPv6 its /64, which is what one household holds."""
    host = connection.client.host if connection.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class AllowedHosts:
    """ASGI middleware: answers only to the names that the site has, if it was told them. Another name in the Host
    header is a page that had its own name point here (DNS rebinding), or a link that somebody wants to read wrong."""

    _OWN = ("localhost", "127.0.0.1", "[::1]")

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self.app = app
        self.names = tuple(name.lower() for name in (*allowed, *self._OWN)) if allowed else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.names or scope["type"] not in ("http", "websocket") or self._is_ours(Headers(scope=scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            problem = Problem(421, "wrong_host", "This kitchen does not answer to that name.")
            await problem_response(problem)(scope, receive, send)

    def _is_ours(self, headers: Headers) -> bool:
        host = re.sub(r":\d*$", "", headers.get("host", "").lower())
        return any(host == name or (name[:2] == "*." and host.endswith(name[1:])) for name in self.names)


def is_cross_site(connection: HTTPConnection, public_origins: Sequence[str]) -> bool:
    """Whether another site's page sends this. Browsers say where a request comes from (``Sec-Fetch-Site``,
    ``Origin``); programs say nothing and carry no one's cookie."""
    origin = connection.headers.get("origin")
    if origin is not None and origin in public_origins:
        return False
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and _host_of(origin) != connection.headers.get("host", "").lower()


def refuse_cross_site(request: Request, public_origins: Sequence[str]) -> None:
    """Raise 403 when another site's page sends this request with our cookie."""
    if is_cross_site(request, public_origins):
        raise Problem(403, "cross_site", "This request comes from another site's page; only our own may send it.")


def _host_of(origin: str) -> str | None:
    """Host and port; None for what is no origin, and so nobody's."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


class Visitors:
    """Knows a visitor again by a random cookie, of which only keyed digests are ever kept."""

    def __init__(self, secret: bytes, path: Path | None = None) -> None:
        self.secret = secret
        self._path = path

    def adopt(self, secret: bytes) -> None:
        """Use the secret that other replicas use, from now on and at the next start."""
        self.secret = secret
        if self._path is not None:
            unfinished = self._path.with_suffix(".new")
            unfinished.unlink(missing_ok=True)
            _write_secret(unfinished, secret)
            os.replace(unfinished, self._path)

    @classmethod
    def load(cls, data_dir: Path) -> Visitors:
        """The secret of this installation, made at the first start (mode 0600) so that cookies survive a restart. One
        that a crash or a full disk cut short is no secret: another is made."""
        path = data_dir / "secret"
        try:
            secret = path.read_bytes()
        except FileNotFoundError:
            secret = b""
        if len(secret) < SECRET_BYTES:
            path.unlink(missing_ok=True)
            secret = secrets.token_bytes(SECRET_BYTES)
            _write_secret(path, secret)
        return cls(secret, path)

    def of(self, connection: HTTPConnection) -> str | None:
        """The visitor's token, or None for somebody new (or with a cookie that is none of ours)."""
        token = connection.cookies.get(VISITOR_COOKIE, "")
        return token if _VISITOR.fullmatch(token) else None

    def new(self) -> str:
        """A token for somebody new."""
        return secrets.token_urlsafe(16)

    def digest(self, visitor: str, purpose: str) -> str:
        """What may be stored or told to the engine in the visitor's stead; unlinkable between purposes."""
        return hmac.new(self.secret, f"{purpose}:{visitor}".encode(), hashlib.sha256).hexdigest()[:32]

    def created(self, request: Request, creator: str) -> bool:
        """Whether the request comes from the visitor whose ``creator`` digest a run carries."""
        visitor = self.of(request)
        return visitor is not None and hmac.compare_digest(self.digest(visitor, "creator"), creator)

    def remember(self, response: Response, visitor: str, request: Request) -> None:
        """Give the visitor their token."""
        response.set_cookie(
            VISITOR_COOKIE,
            visitor,
            max_age=VISITOR_SECONDS,
            path=request.scope.get("root_path") or "/",
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )


def _write_secret(path: Path, secret: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
