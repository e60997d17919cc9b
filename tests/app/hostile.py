"""What nobody should send to a socket: handshakes and frames, by a seed."""

from __future__ import annotations

import base64
import os
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """One frame of RFC 6455, right or wrong."""
    head = bytes([(fin << 7) | (rsv << 4) | opcode])
    size, flag = len(payload), 0x80 if masked else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 65_536:
        head += bytes([flag | 126]) + struct.pack("!H", size)
    else:
        head += bytes([flag | 127]) + struct.pack("!Q", size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


def handshake(path: str, *, extra: str = "", version: str = "13", key: str | None = None) -> bytes:
    """The head of a socket's request."""
    key = base64.b64encode(os.urandom(16)).decode() if key is None else key
    return (
        f"GET {path} HTTP/1.1\r\nHost: kitchen\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n{extra}\r\n"
    ).encode()


def bomb(size: int) -> bytes:
    """A message that permessage-deflate makes ``size`` bytes of."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (deflate.compress(b"\0" * size) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def odd_handshake(rng: random.Random, path: str) -> bytes:
    """One that ought to fail, or hardly."""
    whole = handshake(path)
    return rng.choice(
        [
            lambda: whole[: rng.randrange(len(whole))],
            lambda: handshake(path, version="99"),
            lambda: handshake(path, key=""),
            lambda: handshake(path, key="not base64!"),
            lambda: handshake(path, extra="Sec-WebSocket-Protocol: chat, superchat\r\n"),
            lambda: handshake(path, extra="Sec-WebSocket-Protocol: ,,,;=\r\n"),
            lambda: handshake(path, extra="Sec-WebSocket-Protocol: a\x7f\r\n"),
            lambda: handshake(
                path, extra="Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n"
            ),
            lambda: handshake(path, extra="Origin: https://evil.example\r\n"),
            lambda: handshake(path + "?after=-1"),
            lambda: handshake(path + "?after=" + "9" * 2_000),
            lambda: handshake("/api/runs/..%2f..%2fsecret/socket"),
            lambda: handshake("/no/such/place"),
            lambda: handshake("/healthz"),
            lambda: handshake(path, extra="X: " + "y" * 20_000 + "\r\n"),
            lambda: handshake(path).replace(b"GET", b"POST", 1),
            lambda: rng.randbytes(rng.randrange(1, 400)),
        ]
    )()


def message(rng: random.Random) -> bytes:
    """One hostile message."""
    kinds: list[Callable[[], bytes]] = [
        lambda: rng.randbytes(rng.randrange(1, 600)),
        lambda: frame(TEXT, b"hello"),
        lambda: frame(TEXT, b'{"v":1,"seq":1,"events":[]}'),
        lambda: frame(TEXT, b"\xff\xfe\xc0"),
        lambda: frame(BINARY, rng.randbytes(rng.randrange(3_000))),
        lambda: frame(TEXT, b"x" * 5_000),
        lambda: frame(BINARY, b"x" * 70_000),
        lambda: b"\x82\xff" + struct.pack("!Q", 2**62) + b"\0\0\0\0" + b"x" * 100,
        lambda: frame(TEXT, b"a", fin=False) + b"".join(frame(CONTINUATION, b"", fin=False) for _ in range(500)),
        lambda: frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) + frame(CONTINUATION, b"c"),
        lambda: frame(CONTINUATION, b"of nothing"),
        lambda: frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
        lambda: b"".join(frame(PING, rng.randbytes(125)) for _ in range(100)),
        lambda: frame(PING, b"x" * 126),
        lambda: frame(PING, fin=False),
        lambda: b"".join(frame(PONG, b"unasked") for _ in range(100)),
        lambda: frame(CLOSE, b"\x03"),
        lambda: frame(CLOSE, struct.pack("!H", rng.choice([0, 999, 1004, 1005, 1006, 1015, 5000, 65535]))),
        lambda: frame(CLOSE, struct.pack("!H", 1000) + b"\xff\xfe"),
        lambda: frame(CLOSE, struct.pack("!H", 1000)) * 3 + frame(TEXT, b"after the end"),
        lambda: frame(rng.choice([3, 7, 11, 15]), b"?"),
        lambda: frame(TEXT, b"x", rsv=rng.randrange(1, 8)),
        lambda: frame(TEXT, b"unmasked", masked=False),
        lambda: frame(TEXT, bomb(10_000_000), rsv=4),
        lambda: frame(TEXT, rng.randbytes(50), rsv=4),
    ]
    return rng.choice(kinds)()


def attack(port: int, path: str, rng: random.Random, most: int) -> int:
    """One connection: a handshake, then messages until it is cut or bored. Returns how many messages were sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, suppress(OSError):
        connection.settimeout(5)
        if rng.random() < 0.2:
            connection.sendall(odd_handshake(rng, path))
            return 1
        extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if rng.random() < 0.5 else ""
        connection.sendall(handshake(path, extra=extra))
        reads = rng.random() < 0.7
        sent = 0
        for _ in range(rng.randint(1, most)):
            connection.sendall(message(rng))
            sent += 1
            if reads:
                connection.setblocking(False)
                with suppress(BlockingIOError):
                    if not connection.recv(65_536):
                        break
                connection.settimeout(5)
        if rng.random() < 0.3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif rng.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
        return sent
    return 1


def attacks(port: int, path: str, seed: int, count: int) -> Iterator[int]:
    """Connections until ``count`` messages have been sent."""
    rng = random.Random(seed)
    sent = 0
    while sent < count:
        sent += attack(port, path, rng, 12)
        yield sent
