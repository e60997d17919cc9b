"""The wire, where uvicorn leaves it to the peer how long and how much: connections that are held open with nothing, and
sockets that say what nobody needs."""

from __future__ import annotations

import asyncio
from asyncio import BaseTransport

import h11
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

MAX_FRAMES = 1_000
"""From one reader, the answers to our own pings among them: one in twenty seconds."""
_POLICY_VIOLATION = 1008
_BARE = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


_BAD_HANDSHAKE = b"\r\n".join(
    [
        b"HTTP/1.1 400 Bad Request",
        b"content-type: text/plain; charset=utf-8",
        b"connection: close",
        *(name + b": " + value for name, value in _BARE),
        b"",
        b"Failed to open a WebSocket connection: invalid handshake.\n",
    ]
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
        """To what is no HTTP: no page of ours, but with the headers of one. (Where an answer has begun, there is no
        place for another.)"""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *_BARE]
            response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (response, h11.Data(data=msg.encode("ascii")), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:
            # A body that stopped being one: whoever waits for the rest hears that there is none.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()


class SocketConnection(WebSocketsSansIOProtocol):
    """A socket of a reader, who has nothing to say: messages are dropped where they come in, and who sends more than a
    few frames is let go. (uvicorn would queue what they say, gather fragments, and keep pongs that are not taken.)"""

    _num_heard = 0
    _handshake_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """An upgrade is asked for: it is done in the time that a request's head has, or cut."""
        super().connection_made(transport)
        seconds: float = self.config.app.state.site.settings.head_timeout  # type: ignore[union-attr]
        self._handshake_timer = self.loop.call_later(seconds, self._cut_if_not_open)

    def data_received(self, data: bytes) -> None:
        """Bytes have come. To a handshake that h11 lets pass and websockets cannot read, uvicorn would say nothing."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_HANDSHAKE)
            self.handshake_complete = self.close_sent = True
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone."""
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        super().connection_lost(exc)

    def _cut_if_not_open(self) -> None:
        if not self.handshake_complete:
            self.transport.abort()

    def handle_text(self, event: Frame) -> None:
        """Read and dropped."""
        self._hear()

    handle_bytes = handle_cont = handle_text

    def handle_ping(self) -> None:
        """Answered, within bounds: the pong waits in our memory until it is taken."""
        if self._hear():
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """The answer to ours."""
        if self._hear():
            super().handle_pong(event)

    def _hear(self) -> bool:
        """Count a frame. False if it is one too many, or the socket is closing already."""
        self._num_heard += 1
        if self._num_heard > MAX_FRAMES and not self.close_sent:
            self.conn.fail(_POLICY_VIOLATION, "readers have nothing to say")
            self.handle_parser_exception()
        return not self.close_sent

    async def send(self, message: ASGISendEvent) -> None:
        """What the application says after the wire has closed goes nowhere, and is not its mistake."""
        if self.handshake_complete and self.close_sent and self.initial_response is None:
            raise ClientDisconnected
        await super().send(message)
