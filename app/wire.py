"""A socket as our server holds it: frames are written ready-made, and it says when its reader does not keep up.

uvicorn would make every message anew for every reader: a task that wakes, a masked copy, a compressor of its own. Here
a frame is encoded and compressed once and the same bytes go to all readers. permessage-deflate allows for that where no
message refers to the one before (``server_no_context_takeover``): a little more for one reader, and next to nothing for
the second to the thousandth; and no connection holds a compressor's memory.
"""

from __future__ import annotations

import logging
import socket
from asyncio import BaseTransport
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

from starlette.types import Scope
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.server import ServerProtocol

from app.connections import SocketConnection

WRITE_BUFFER_BYTES = 64 * 1024
"""A reader for whom more than this waits in our memory gets nothing more until it has taken it."""
SEND_BUFFER_BYTES = 128 * 1024
"""And so much at most waits in the kernel's: left to itself it grows to megabytes for each who does not read."""
LINGER_SECONDS = 5.0
"""For who is dropped to take what waits for it, the reason at its end; then the connection is cut."""
_EXTENSION = "openkitchen.wire"
_DEFLATE = PerMessageDeflate(
    remote_no_context_takeover=True, local_no_context_takeover=True, remote_max_window_bits=15, local_max_window_bits=15
)


class Frame:
    """One WebSocket text message, ready to be written to any reader: encoded when first wanted, and then kept."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    @cached_property
    def plain(self) -> bytes:
        """For a reader without compression."""
        return WebSocketFrame(Opcode.TEXT, self.text).serialize(mask=False)

    @cached_property
    def deflated(self) -> bytes:
        """For the others: one message by itself, so that the same bytes will do for all."""
        return WebSocketFrame(Opcode.TEXT, self.text).serialize(mask=False, extensions=[_DEFLATE])


class Wire(SocketConnection):
    """uvicorn's WebSocket connection, with a way past its queue. Everything else on it is uvicorn's: the handshake,
    pings, its leaving; what the reader says is dropped (``connections.py``)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        deflate = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
        self.conn = ServerProtocol(
            extensions=[deflate], max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error")
        )
        self.on_pause: Callable[[], None] = lambda: None
        self.on_resume: Callable[[], None] = lambda: None

    def connection_made(self, transport: BaseTransport) -> None:
        """Bound what may wait for this reader."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        handle = transport.get_extra_info("socket")
        if handle is not None and handle.family in (socket.AF_INET, socket.AF_INET6):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    async def run_asgi(self) -> None:
        """With the connection where ``wire_of`` finds it."""
        self.scope["extensions"][_EXTENSION] = cast(Any, self)
        await super().run_asgi()

    @cached_property
    def deflates(self) -> bool:
        """Whether compression was agreed on."""
        return any(isinstance(extension, PerMessageDeflate) for extension in self.conn.extensions)

    @property
    def is_open(self) -> bool:
        """Something may still be written."""
        return not (self.close_sent or self.disconnected or self.transport.is_closing())

    @property
    def is_paused(self) -> bool:
        """Too much waits for the reader."""
        return not self.writable.is_set()

    @property
    def num_unsent_bytes(self) -> int:
        """What waits in our memory."""
        return self.transport.get_write_buffer_size()

    def write(self, frame: Frame) -> None:
        """Send it, or keep it until the reader takes what came before."""
        self.transport.write(frame.deflated if self.deflates else frame.plain)

    def pause_writing(self) -> None:
        """The buffer is full."""
        super().pause_writing()
        self.on_pause()

    def resume_writing(self) -> None:
        """The reader has taken most of it."""
        super().resume_writing()
        self.on_resume()

    def end(self, code: int, reason: str = "") -> None:
        """Say goodbye after all that was written; the application hears of a disconnect."""
        if not self.is_open:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    def drop(self, code: int, reason: str) -> None:
        """As ``end``, for a reader who takes nothing: it will not be waited for."""
        self.end(code, reason)
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def wire_of(scope: Scope) -> Wire | None:
    """The connection that this scope came over; None under another server than ours."""
    return cast("Wire | None", scope.get("extensions", {}).get(_EXTENSION))
