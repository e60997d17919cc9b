"""The worker's end of the wire to the app."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

import msgspec
import zmq

from inference.messages import Command, Rejected, Reply

logger = logging.getLogger("inference.worker")


class Link:
    """The worker's end of the sockets: decodes commands, encodes replies, knows who is at the other end."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._socket.linger = 2000
        self._socket.bind(endpoint)
        self._peer: bytes | None = None
        self._backlog: deque[Command] = deque()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)

    @property
    def connected(self) -> bool:
        """Whether anybody has said anything yet, so that there is somebody to answer."""
        return self._peer is not None

    def say(self, reply: Reply) -> None:
        """Send to whoever spoke last; nobody there, nothing said."""
        if self._peer is not None:
            self._socket.send_multipart([self._peer, self._encoder.encode(reply)])

    def listen(self, milliseconds: int) -> None:
        """Take in what has come, waiting at most that long for the first frame."""
        try:
            while self._socket.poll(milliseconds):
                self._take(self._socket.recv_multipart())
                milliseconds = 0
        except zmq.Again:
            return

    def next_command(self) -> Command | None:
        """The oldest command not yet handled."""
        return self._backlog.popleft() if self._backlog else None

    @property
    def has_command(self) -> bool:
        """Whether one is not yet handled."""
        return bool(self._backlog)

    def close(self) -> None:
        """Send what is unsent (for at most the linger time) and close."""
        self._socket.close()
        self._context.term()

    def _take(self, frames: list[bytes]) -> None:
        self._peer = frames[0]
        try:
            self._backlog.append(self._decoder.decode(frames[-1]))
        except msgspec.MsgspecError as error:
            logger.warning("a command that cannot be read: %s", error)
            self.say(Rejected(request_id=_request_id_in(frames[-1]), reason="invalid", detail=str(error)))


def _request_id_in(frame: bytes) -> str:
    """The request id of a command that is otherwise wrong, or nothing."""
    try:
        fields: Any = msgspec.msgpack.decode(frame)
    except msgspec.MsgspecError:
        return ""
    found = fields.get("request_id") if isinstance(fields, dict) else None
    return found if isinstance(found, str) else ""
