"""One line a request, and a name for the request that all of its lines carry."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import Metrics
from app.tracing import Tracing

logger = structlog.get_logger(__name__)

HEADER = "X-Request-ID"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNMATCHED = "unmatched"
STATIC_ROUTE = "/static/{path}"
STATIC_MOUNTS = ("/static", "/static/dist")


def request_id_of(connection: HTTPConnection) -> str:
    """The name of this request, in its log lines and its problem document; says nothing of the run."""
    name: str = connection.scope.get("state", {}).get("request_id", "")
    return name


class RequestLog:
    """ASGI middleware, the outermost: names every request (as a proxy that we trust has named it, else anew) and says
    the name in the answer; counts, times and traces it; logs its method, route, status and seconds. The path, which may
    hold a run's id, is never told."""

    def __init__(
        self, app: ASGIApp, *, trusted: Sequence[str], metrics: Metrics, tracing: Tracing, lines: bool
    ) -> None:
        self.app = app
        self._trusted = frozenset(trusted)
        self._metrics = metrics
        self._tracing = tracing
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        client = scope.get("client")
        # Only a proxy that we trust says who a request is.
        headers = Headers(scope=scope) if client and client[0] in self._trusted else Headers()
        request_id = headers.get(HEADER, "")
        if not _NAME.fullmatch(request_id):
            request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        method = scope["method"][:16] if scope["type"] == "http" else "SOCKET"
        with self._tracing.request(method, request_id, headers) as span:
            answer = Answer(send, request_id)
            try:
                await self.app(scope, receive, answer.send)
            except Exception:
                # (A fault is answered outside of all middleware: `main.py`.)
                answer.status = answer.status or 500
                raise
            finally:
                route = scope["state"].get("route", UNMATCHED)
                self._tracing.end_request(span, method, route, answer.status)
                self._say(method, route, answer)

    def _say(self, method: str, route: str, answer: Answer) -> None:
        seconds = time.perf_counter() - answer.began
        if method != "SOCKET":
            self._metrics.answered(method, route, answer.status, answer.head_seconds or seconds)
        if self._lines:
            # (A page asks for a hundred files.)
            say = logger.debug if route == STATIC_ROUTE and answer.status < 400 else logger.info
            say("request", method=method, route=route, status=answer.status, seconds=round(seconds, 4))


class Answer:
    """What goes back, looked at as it passes."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.began = time.perf_counter()
        self.status = 0
        """Of HTTP, or the code that a socket closed with."""
        self.head_seconds = 0.0

    async def send(self, message: Message) -> None:
        """Pass it on, with the request's name in its head."""
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status, self.head_seconds = message["status"], time.perf_counter() - self.began
            MutableHeaders(scope=message)[HEADER] = self._request_id
        elif message["type"] == "websocket.close":
            self.status = message.get("code", 1000)
        await self._send(message)


class NoteRoute:
    """ASGI middleware, the innermost: keeps the template of the route that answered for whoever logs and counts. (The
    router tells it in its own copy of the scope.)"""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if "state" in scope:
                scope["state"]["route"] = _template(scope)


def _template(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str) and path not in STATIC_MOUNTS:
        return path
    root: str = scope.get("root_path", "")
    return STATIC_ROUTE if root.endswith(STATIC_MOUNTS) or path in STATIC_MOUNTS else UNMATCHED
