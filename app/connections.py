"""The wire, where uvicorn leaves it to the peer how long and how much: connections that are held open with nothing, and
sockets that send what nobody needs and take no answer."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

MAX_FRAGMENTS = 64
"""Of one message. (Messages are bounded in bytes, but a fragment may be empty.)"""
MAX_UNTAKEN_BYTES = 1024 * 1024
"""What a peer may leave untaken while it asks for more pongs: a few of our largest frames."""
_POLICY_VIOLATION = 1008
_BARE = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


class HTTPConnection(H11Protocol):
    """Cuts a connection on which no whole request head comes for ``head_timeout`` seconds: after it was made, or after
    the first byte of the next request. (Between two requests uvicorn's own keep-alive counts; for bodies there is
    ``body_timeout``.)"""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A peer is there."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_watching()
        elif self._head_timer is None:
            seconds: float = self.config.app.state.site.settings.head_timeout  # type: ignore[union-attr]
            self._head_timer = self.loop.call_later(seconds, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def send_400_response(self, msg: str) -> None:
        """To what is no HTTP: no page of ours, but with the headers of one."""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *_BARE]
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (response, h11.Data(data=msg.encode("ascii")), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class SocketConnection(WebSocketsSansIOProtocol):
    """Bounds what uvicorn does not: the fragments of a message, and pongs that the peer does not take."""

    def handle_cont(self, event: Frame) -> None:
        """One more fragment of a message."""
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self.frames = []
            self.conn.fail(_POLICY_VIOLATION, "too many fragments")
            self.handle_parser_exception()

    def handle_ping(self) -> None:
        """A ping: its pong waits in our memory until the peer takes it."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MAX_UNTAKEN_BYTES:
            self.transport.abort()


def protocols() -> dict[str, Any]:
    """Of uvicorn's configuration."""
    return {"http": HTTPConnection, "ws": SocketConnection}
